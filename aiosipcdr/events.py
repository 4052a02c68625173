"""Events of a run, and the hooks that take them.

An event contains counts, times and windows, but no key, signature, record or value of a filter.
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
    """Kind of an event."""

    RUN_STARTED = "run_started"
    """A run on the range `window` started. If it resumes an earlier run, that one had read `records` records."""
    REQUEST_SENT = "request_sent"
    """A request for `page` of `window` was sent."""
    REQUEST_ANSWERED = "request_answered"
    """Its answer with `records` records came after `elapsed` seconds."""
    REQUEST_RETRIED = "request_retried"
    """A request failed with `error` and will be sent again after `delay` seconds."""
    THROTTLED = "throttled"
    """The vendor throttled the client: it sends nothing for `delay` seconds."""
    WINDOW_PLANNED = "window_planned"
    """The vendor counts `total` calls in a part of the range; once for every 31 days of the range."""
    WINDOW_COMPLETE = "window_complete"
    """A window with `records` records was delivered."""
    RECHECK_SCHEDULED = "recheck_scheduled"
    """`records` rows of a synced table would vanish from `window`, which is read again after `delay` seconds."""
    RUN_FINISHED = "run_finished"
    """The run on the range `window` ended, with its `report`; `error` names the class of the error that ended it."""
    FEED_WAITING = "feed_waiting"
    """A poll of a feed failed with `error`; the feed polls again after `delay` seconds."""
    FEED_RESUMED = "feed_resumed"
    """A feed that was waiting has polled successfully."""
    FEED_GAP = "feed_gap"
    """A feed has left out the range `window`: the vendor has deleted its calls, or they could not be proven."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in a run; fields that do not apply are `None`.

        def hook(event: Event) -> None:
            if event.kind is EventKind.RUN_STARTED:
                print(f"fetching {event.window}")  # fetching 2026-10-01T00:00:00+08:00/2026-10-02T00:00:00+08:00

    Attributes:
        kind: What happened.
        run: Number of the run, unique in this process.
        window: The window of the request; of events about a run, the range of the caller.
        page: Number of the page.
        attempt: Number of the attempt, from 1.
        records: Number of records.
        total: The vendor's count.
        elapsed: Seconds from when a worker took the request until its answer was decoded, time for the connection
            included; without the time in which the process was suspended.
        delay: Seconds to the next attempt.
        error: Name of the class of an error.
        report: The report of the run.
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
    """A callable that takes events.

        async with CdrClient(base_url, api_key, api_secret, hook=print) as client: ...

    It is called in the event loop: keep it short and do not block in it. What it raises ends the run and reaches the
    caller. If it has a method `wants(kind: EventKind) -> bool`, each run calls that at its start, once for
    `REQUEST_SENT` and once for `REQUEST_ANSWERED`, and omits these events where it returns false. All other events are
    always sent.
    """

    def __call__(self, event: Event, /) -> None:
        """Take an event."""


def choose_events(hook: EventHook | None) -> Callable[[EventKind], bool]:
    """Return the function that decides which kinds of events of requests are sent to `hook`: its method `wants`.

    A hook without this method receives all, no hook receives none.
    """
    if hook is None:
        return lambda _: False
    wants: Callable[[EventKind], bool] | None = getattr(hook, "wants", None)
    return wants or (lambda _: True)


_package_logger: Final = logging.getLogger("aiosipcdr")
# Without a handler, Python would print the warnings of a library in programs that configure no logging.
_package_logger.addHandler(logging.NullHandler())

_LINES: Final = {
    EventKind.RUN_STARTED: (logging.INFO, "run %(cdr_run)s started"),
    EventKind.REQUEST_SENT: (
        logging.DEBUG,
        "run %(cdr_run)s requests page %(cdr_page)s of %(cdr_window)s, attempt %(cdr_attempt)s",
    ),
    EventKind.REQUEST_ANSWERED: (
        logging.DEBUG,
        "run %(cdr_run)s got page %(cdr_page)s of %(cdr_window)s with %(cdr_records)s calls in %(cdr_elapsed).3f s",
    ),
    EventKind.REQUEST_RETRIED: (
        logging.WARNING,
        "run %(cdr_run)s retries page %(cdr_page)s of %(cdr_window)s in %(cdr_delay).1f s, after %(cdr_error)s",
    ),
    EventKind.THROTTLED: (
        logging.WARNING,
        "run %(cdr_run)s is throttled by the vendor: the client waits %(cdr_delay).1f s",
    ),
    EventKind.WINDOW_PLANNED: (
        logging.DEBUG,
        "run %(cdr_run)s expects %(cdr_total)s calls in %(cdr_window)s",
    ),
    EventKind.WINDOW_COMPLETE: (
        logging.DEBUG,
        "run %(cdr_run)s delivered %(cdr_records)s calls of %(cdr_window)s",
    ),
    EventKind.RECHECK_SCHEDULED: (
        logging.WARNING,
        "run %(cdr_run)s misses %(cdr_records)s calls of %(cdr_window)s: it reads again in %(cdr_delay).1f s",
    ),
    EventKind.RUN_FINISHED: (logging.INFO, "run %(cdr_run)s ended"),
    EventKind.FEED_WAITING: (
        logging.WARNING,
        "run %(cdr_run)s, a feed, polls again in %(cdr_delay).1f s, after %(cdr_error)s",
    ),
    EventKind.FEED_RESUMED: (logging.INFO, "run %(cdr_run)s, a feed, goes on"),
    EventKind.FEED_GAP: (
        logging.WARNING,
        "run %(cdr_run)s, a feed, left out %(cdr_window)s: its calls were deleted by the vendor, or are unproven",
    ),
}
_RANGE: Final = " on %(cdr_window)s"
_ERROR: Final = " with %(cdr_error)s"
_REPORT: Final = (
    ": %(cdr_readable)s of %(cdr_total)s calls, certified: %(cdr_certified)s,"
    " %(cdr_requests)s requests (%(cdr_retries)s retried) in %(cdr_elapsed).1f s"
)

_UNREADABLE: Final = "run %(cdr_run)s: %(cdr_unreadable)s"

_FACTS: Final = ("page", "attempt", "records", "total", "elapsed", "delay", "error")
_COUNTS: Final = tuple(field.name for field in msgspec.structs.fields(FetchReport) if field.type in {int, float, bool})


class LoggingHook:
    """Writes events to the logger "aiosipcdr"; the hook of clients that are given none.

        CdrClient(..., hook=LoggingHook(logging.getLogger("billing.calls")))

    Requests and windows are logged at DEBUG, start and end of a run at INFO, retries and unreadable values at WARNING.
    Errors are raised, not logged; the line at the end of the run names them.

    Each log record has the facts of the event as attributes, for structured logs: always `cdr_event` and `cdr_run`;
    where they apply, `cdr_window` (text; of a run its range), `cdr_page`, `cdr_attempt`, `cdr_records`, `cdr_total`,
    `cdr_elapsed` and `cdr_delay` (seconds) and `cdr_error` (name of a class); at the end of a run the counts of its
    report (`cdr_unique`, `cdr_certified` and so on) and `cdr_readable`, the calls that could be read.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger = _package_logger) -> None:
        """Write to `logger`."""
        self._logger = logger

    def wants(self, kind: EventKind) -> bool:
        """Return whether the logger is enabled for a kind of event; subclasses want all by default.

        For example:

            LoggingHook().wants(EventKind.REQUEST_SENT)  # False, unless the level is DEBUG
        """
        # The end of a run may bring a warning.
        level = logging.WARNING if kind is EventKind.RUN_FINISHED else _LINES[kind][0]
        return type(self) is not LoggingHook or self._logger.isEnabledFor(level)

    def __call__(self, event: Event, /) -> None:
        """Log `event`, if the logger is enabled for it."""
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
                facts["cdr_readable"] = event.report.unique - event.report.quarantined
        self._logger.log(level, line, facts, extra=facts)

    def _warn(self, event: Event, report: FetchReport) -> None:
        if unreadable := describe_unreadable(report):
            facts = {"cdr_event": event.kind.value, "cdr_run": event.run, "cdr_unreadable": unreadable}
            self._logger.warning(_UNREADABLE, facts, extra=facts)


def combine(*hooks: EventHook) -> EventHook:
    """Return one hook that calls all of `hooks`, in this order.

        CdrClient(..., hook=combine(LoggingHook(), OpenTelemetryHook()))

    If one of them raises, the run ends, and the following hooks do not see that event.

    Raises:
        ValueError: A hook is not callable.
    """
    for hook in hooks:
        if not callable(hook):
            raise ValueError(f"a hook must be callable with one event, not {type(hook).__name__}")  # noqa: TRY004 - one kind of error for every bad argument

    def call_each(event: Event, /) -> None:
        for hook in hooks:
            hook(event)

    return call_each
