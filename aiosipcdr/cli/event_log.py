"""The log of a run on stderr: one JSON object per line.

Lines hold counts, times and names of errors, as events do: no key, no record and no filter. Never raises: it is called
between requests, and a failing log must not stop an export.
"""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from aiosipcdr.cli.output import print_notice
from aiosipcdr.display import escape_json
from aiosipcdr.events import Event

__all__ = ["LOG_JSON", "EventLog", "log_line", "warn"]

LOG_JSON: Final = "--log-json"

_FIELDS = ("page", "attempt", "records", "total", "elapsed", "delay", "error")


class EventLog:
    """An event hook that logs; a context manager, so that it can replace the progress bar."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: the command reports errors."""

    def __call__(self, event: Event, /) -> None:
        """Write the line of `event`, without the fields that it does not have."""
        facts: dict[str, Any] = {"run": event.run}
        if event.window is not None:
            facts |= {"start": event.window.start.isoformat(), "end": event.window.end.isoformat()}
        facts |= {name: value for name in _FIELDS if (value := getattr(event, name)) is not None}
        if event.report is not None:
            facts["report"] = event.report.facts()
        log_line(str(event.kind), **facts)


def warn(sentence: str, *, log_json: bool) -> None:
    """Write a warning to stderr, as a sentence or as a line of the log."""
    if log_json:
        log_line("warning", warning=sentence)
    else:
        print_notice(f"aiosipcdr: warning: {sentence}")


def log_line(kind: str, **facts: object) -> None:
    """Write one line: the time in UTC, the kind and `facts`."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **facts}
    with suppress(OSError, ValueError):  # a full disk, a closed pipe or stream
        sys.stderr.write(f"{escape_json(msgspec.json.encode(line).decode())}\n")
        sys.stderr.flush()
