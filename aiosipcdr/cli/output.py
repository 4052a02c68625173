"""Output of commands: results to stdout, everything else to stderr.

Tracebacks show no local variables.
"""

import io
import os
import select
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiosipcdr.display import escape_json, visible
from aiosipcdr.model.errors import StorageError

__all__ = [
    "flush_stdout",
    "print_grid",
    "print_json",
    "print_line",
    "print_notice",
    "print_table",
    "show_traceback",
    "shows_progress",
    "silence_stdout",
    "tolerate_encoding",
    "write_stdout",
]


def print_notice(sentence: str) -> None:
    """Write a line to stderr, with control characters escaped."""
    with suppress(OSError, ValueError, AttributeError):  # closed or full: the command itself must not fail for that
        sys.stderr.write(f"{visible(sentence)}\n")
        sys.stderr.flush()


def print_line(line: str) -> None:
    """Write a line of the result to stdout and flush it, with control characters escaped."""
    _print(visible(line))


def _print(line: str, encoding: str | None = None) -> None:
    encoding = encoding or getattr(sys.stdout, "encoding", None)
    write_stdout(f"{line}\n".encode(encoding or "utf-8", "replace"))


def write_stdout(data: bytes | memoryview) -> None:
    """Write all of `data` to stdout, unbuffered: nothing is left to flush when the reader closes the pipe.

    Raises:
        BrokenPipeError: The reader has closed the pipe.
        StorageError: Any other error, also if stdout is closed.
    """
    if sys.stdout is None:
        msg = "stdout is closed; redirect it to a file or a pipe"
        raise StorageError(msg)
    try:
        sys.stdout.flush()
        descriptor = sys.stdout.fileno()
    except (io.UnsupportedOperation, AttributeError):  # replaced by an object that is no file
        sys.stdout.write(bytes(data).decode(sys.stdout.encoding or "utf-8", "replace"))
        return
    rest = memoryview(data)
    try:
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # another program has made the pipe or the terminal non-blocking
                select.select((), (descriptor,), ())
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"cannot write to stdout: {error.strerror or type(error).__name__}; redirect it elsewhere"
        raise StorageError(msg) from None


def flush_stdout() -> str | None:
    """Flush what cyclopts or rich printed; return the error message, if there is an error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        silence_stdout()
        return f"cannot write to stdout: {error.strerror or type(error).__name__}; redirect it elsewhere"
    return None


def tolerate_encoding() -> None:
    """Print a question mark for characters that the encoding of stdout does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def print_json(result: dict[str, Any]) -> None:
    """Write the result to stdout as one line of JSON, in UTF-8 whatever the locale."""
    _print(escape_json(msgspec.json.encode(result).decode()), "utf-8")


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Write `rows`, which may hold rich markup, to stdout; the last column folds in a narrow terminal."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    cells = [tuple(map(visible, row)) for row in rows]
    for _ in cells[0][:-1] if cells else ():
        table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in cells:
        table.add_row(*row)
    _print_wide(table)


def print_grid(heads: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str], *, texts: int) -> None:
    """Write a table of plain texts to stdout, and a total; columns after the first `texts` are numbers."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for place, head in enumerate(heads):
        is_text = place < texts
        table.add_column(head, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for row in rows:
        table.add_row(*[Text(visible(cell)) for cell in row])
    table.add_section()
    table.add_row(*[Text(visible(cell)) for cell in total], style="bold")
    _print_wide(table)


def _print_wide(table: Table) -> None:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        # In a pipe lines do not fold: paths stay in one piece.
        console = Console(file=sys.stdout, highlight=False, width=10_000)
    with console.capture() as capture:
        console.print(table)
    _print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def shows_progress() -> bool:
    """Return whether stderr is a terminal that can redraw a line."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def show_traceback(error: BaseException) -> None:
    """Write the traceback to stderr: locations and source lines, no values of variables."""
    print_notice("".join(traceback.format_exception(error)).rstrip())


def silence_stdout() -> None:
    """Discard stdout's buffer, because the reader has closed the pipe."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)
