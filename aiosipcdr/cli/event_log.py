"""What a run tells while it works, as lines for machines: one JSON object a line on stderr.

An event holds counts, times and the names of errors, so a line does too: no
key, no record, no filter. Must never raise: it is called between two requests,
and a log that cannot be written must not end an export.
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
    """An event hook that writes; a context manager with nothing to put back, to stand where a bar would."""

    def __enter__(self) -> Self:
        """Stand ready."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave: whatever ended the run is told by whoever reports it."""

    def __call__(self, event: Event, /) -> None:
        """Write the line of `event`; what does not apply to it is left out."""
        facts: dict[str, Any] = {"run": event.run}
        if event.window is not None:
            facts |= {"start": event.window.start.isoformat(), "end": event.window.end.isoformat()}
        facts |= {name: value for name in _FIELDS if (value := getattr(event, name)) is not None}
        if event.report is not None:
            facts["report"] = event.report.facts()
        log_line(str(event.kind), **facts)


def warn(sentence: str, *, log_json: bool) -> None:
    """Tell a warning on stderr, as a sentence or as a line of the log."""
    if log_json:
        log_line("warning", warning=sentence)
    else:
        print_notice(f"aiosipcdr: warning: {sentence}")


def log_line(kind: str, **facts: object) -> None:
    """Write one line: the time in UTC, the kind, and `facts`."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **facts}
    with suppress(OSError, ValueError):  # a full disk, a reader that has gone, a stream that is closed
        sys.stderr.write(f"{escape_json(msgspec.json.encode(line).decode())}\n")
        sys.stderr.flush()
