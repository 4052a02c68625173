"""Where words and data go: data to stdout, everything else to stderr.

Must never write to stdout anything but the result, and never show the local
variables of a traceback.
"""

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from aiosipcdr.display import escape_json, visible
from aiosipcdr.errors import StorageError

__all__ = [
    "print_json",
    "print_line",
    "print_table",
    "show_traceback",
    "shows_progress",
    "silence_stdout",
    "tell",
]


def tell(sentence: str) -> None:
    """Write a line to stderr; it may quote names and texts from elsewhere."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or full: what is to be done must not fail for that
        sys.stderr.write(f"{visible(sentence)}\n")
        sys.stderr.flush()


def print_line(line: str) -> None:
    """Write a line of the result to stdout, at once; it may quote names and texts from elsewhere."""
    _print(visible(line))


def _print(line: str) -> None:
    if sys.stdout is None:
        msg = "stdout is closed: there is nowhere to write the result"
        raise StorageError(msg)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(result: dict[str, Any]) -> None:
    """Write the result to stdout as one line of JSON."""
    _print(escape_json(msgspec.json.encode(result).decode()))


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Write `rows` to stdout, the last column folded where the terminal is narrow; they may hold rich's markup."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    cells = [tuple(map(visible, row)) for row in rows]
    for _ in cells[0][:-1] if cells else ():
        table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in cells:
        table.add_row(*row)
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        # Into a pipe, a line is as long as it is: paths must stay in one piece.
        console = Console(file=sys.stdout, highlight=False, width=10_000)
    with console.capture() as drawn:
        console.print(table)
    _print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def shows_progress() -> bool:
    """Say whether stderr is a terminal that can redraw a line."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def show_traceback(error: BaseException) -> None:
    """Write the traceback to stderr: places and source lines, no values of variables."""
    tell("".join(traceback.format_exception(error)).rstrip())


def silence_stdout() -> None:
    """Send what is still in stdout's buffer nowhere: its reader is gone."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
