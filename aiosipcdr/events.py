"""What a run tells while it works: one frozen event, one callable that takes it.

An event holds counts, times and the place in the range; never a key, a
signature, a record or a filter's value.
"""

import logging
from collections.abc import Callable
from enum import StrEnum, unique
from typing import Final, Protocol

import msgspec

from aiosipcdr.model.report import FetchReport, describe_unreadable
from aiosipcdr.model.windows import TimeWindow

__all__ = ["Event", "EventHook", "EventKind", "LoggingHook", "combine"]


@unique
class EventKind(StrEnum):
    """What happened."""

    RUN_STARTED = "run_started"
    """A run began on the range `window`; `records` were read by an earlier one, if it goes on with that."""
    REQUEST_SENT = "request_sent"
    REQUEST_ANSWERED = "request_answered"
    REQUEST_RETRIED = "request_retried"
    """A request failed and will be sent again after `delay` seconds."""
    THROTTLED = "throttled"
    """The vendor asked for patience: the whole client waits `delay` seconds."""
    WINDOW_PLANNED = "window_planned"
    """A span of the range is known to hold `total` calls (told once for every tile)."""
    WINDOW_COMPLETE = "window_complete"
    """A window was read and handed over, with `records` records."""
    RUN_FINISHED = "run_finished"
    """The run on the range `window` ended; `report` holds its result, `error` the name of what ended it early."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a run; fields that do not apply are `None`.

    `run` tells the runs of one process apart. `window` is what was asked for: by a request, or at the beginning and end
    of a run by the caller. `elapsed` is the seconds between a request and its answer, `delay` those until the next
    attempt.

        def hook(event: Event) -> None:
            if event.kind is EventKind.RUN_STARTED:
                print(f"fetching {event.window}")  # fetching 2026-10-01T00:00:00+08:00/2026-10-02T00:00:00+08:00
    """

    kind: EventKind
    run: int
    window: TimeWindow | None = None
    page: int | None = None
    attempt: int | None = None
    records: int | None = None
    total: int | None = None
    elapsed: float | None = None
    delay: float | None = None
    error: str | None = None
    report: FetchReport | None = None


class EventHook(Protocol):
    """Anything that can be called with an event.

    It runs between two requests: keep it short and never block in it.  What
    it raises ends the run and reaches the caller as it is.  A hook that has a
    method `wants(kind: EventKind) -> bool` may not be called with kinds of
    events for which that is false.
    """

    def __call__(self, event: Event, /) -> None:
        """Take note of `event`."""


def choose_events(hook: EventHook | None) -> Callable[[EventKind], bool]:
    """Return what tells whether `hook` is to hear of a kind of event.

    A hook that has a method `wants` is asked, so that what happens with every request costs nothing where nobody
    listens; any other hears all.
    """
    if hook is None:
        return lambda _: False
    wants: Callable[[EventKind], bool] | None = getattr(hook, "wants", None)
    return wants or (lambda _: True)


_package_logger: Final = logging.getLogger("aiosipcdr")
# Without a handler, Python itself would print the warnings of a library in programs that set up no log.
_package_logger.addHandler(logging.NullHandler())

_LINES: Final = {
    EventKind.RUN_STARTED: (logging.INFO, "run %(cdr_run)s began"),
    EventKind.REQUEST_SENT: (
        logging.DEBUG,
        "run %(cdr_run)s asks for page %(cdr_page)s of %(cdr_window)s, attempt %(cdr_attempt)s",
    ),
    EventKind.REQUEST_ANSWERED: (
        logging.DEBUG,
        "run %(cdr_run)s got page %(cdr_page)s of %(cdr_window)s with %(cdr_records)s calls in %(cdr_elapsed).3f s",
    ),
    EventKind.REQUEST_RETRIED: (
        logging.WARNING,
        "run %(cdr_run)s asks again for page %(cdr_page)s of %(cdr_window)s in %(cdr_delay).1f s, after %(cdr_error)s",
    ),
    EventKind.THROTTLED: (
        logging.WARNING,
        "run %(cdr_run)s: the vendor asks for patience, the client waits %(cdr_delay).1f s",
    ),
    EventKind.WINDOW_PLANNED: (
        logging.DEBUG,
        "run %(cdr_run)s expects %(cdr_total)s calls in %(cdr_window)s",
    ),
    EventKind.WINDOW_COMPLETE: (
        logging.DEBUG,
        "run %(cdr_run)s has handed over %(cdr_records)s calls of %(cdr_window)s",
    ),
    EventKind.RUN_FINISHED: (logging.INFO, "run %(cdr_run)s ended"),
}
_RANGE: Final = " on %(cdr_window)s"
_ERROR: Final = " with %(cdr_error)s"
_REPORT: Final = (
    ": %(cdr_unique)s of %(cdr_total)s calls, certified: %(cdr_certified)s,"
    " %(cdr_requests)s requests (%(cdr_retries)s repeated) in %(cdr_elapsed).1f s"
)

_UNREADABLE: Final = "run %(cdr_run)s: %(cdr_unreadable)s"

_FACTS: Final = ("page", "attempt", "records", "total", "elapsed", "delay", "error")
_COUNTS: Final = tuple(field.name for field in msgspec.structs.fields(FetchReport) if field.type in {int, float, bool})


class LoggingHook:
    """Writes events to the logger "aiosipcdr": what a client without a hook of its own does.

    Requests and windows are written at DEBUG, the beginning and the end of a run at INFO,
    what is asked for again and what could not be read at WARNING.  An error is raised and therefore not logged again:
    the line that ends its run names it.

    Each record of the log has the facts of the event as attributes, for structured logs:
    `cdr_event` and `cdr_run` always, `cdr_window` (text; of a run its range), `cdr_page`, `cdr_attempt`,
    `cdr_records`, `cdr_total`, `cdr_elapsed` and `cdr_delay` (seconds) and `cdr_error`
    (the name of a class) where they apply, and at the end of a run the counts of its
    report (`cdr_unique`, `cdr_certified` and so on).
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger = _package_logger) -> None:
        """Write to `logger`."""
        self._logger = logger

    def wants(self, kind: EventKind) -> bool:
        """Tell whether somebody listens: an event that nobody hears need not be made.

        A class made out of this one hears all, unless it says itself what it wants.
        """
        # The end of a run may bring a warning.
        level = logging.WARNING if kind is EventKind.RUN_FINISHED else _LINES[kind][0]
        return type(self) is not LoggingHook or self._logger.isEnabledFor(level)

    def __call__(self, event: Event, /) -> None:
        """Write `event`, if somebody listens."""
        if event.kind is EventKind.RUN_FINISHED and event.report is not None:
            self._warn(event, event.report)
        level, line = _LINES[event.kind]
        if not self._logger.isEnabledFor(level):
            return
        facts: dict[str, object] = {"cdr_event": event.kind.value, "cdr_run": event.run}
        if event.window is not None:
            facts["cdr_window"] = str(event.window)
            if event.kind is EventKind.RUN_STARTED:
                line += _RANGE
        facts |= {f"cdr_{name}": fact for name in _FACTS if (fact := getattr(event, name)) is not None}
        if event.kind is EventKind.RUN_FINISHED:
            if event.error is not None:
                line += _ERROR
            if event.report is not None:
                line += _REPORT
                facts |= {f"cdr_{name}": getattr(event.report, name) for name in _COUNTS}
        self._logger.log(level, line, facts, extra=facts)

    def _warn(self, event: Event, report: FetchReport) -> None:
        if unreadable := describe_unreadable(report):
            facts = {"cdr_event": event.kind.value, "cdr_run": event.run, "cdr_unreadable": unreadable}
            self._logger.warning(_UNREADABLE, facts, extra=facts)


def combine(*hooks: EventHook) -> EventHook:
    """Return one hook that calls all of `hooks`, in their order.

        CdrClient(..., hook=combine(LoggingHook(), OpenTelemetryHook()))

    What one of them raises ends the run, and those behind it do not see that event.

    Raises:
        ValueError: one of them cannot be called.
    """
    for hook in hooks:
        if not callable(hook):
            raise ValueError(f"a hook must be callable with one event, not {type(hook).__name__}")  # noqa: TRY004 - one kind of error for every bad argument

    def call_each(event: Event, /) -> None:
        for hook in hooks:
            hook(event)

    return call_each
