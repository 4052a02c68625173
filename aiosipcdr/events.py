"""What a run tells while it works: one frozen event, one callable that takes it.

An event holds counts, times and the place in the range; never a key, a
signature, a record or a filter's value.
"""

from collections.abc import Callable
from enum import StrEnum, unique
from typing import Protocol

import msgspec

from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import FetchReport

__all__ = ["Event", "EventHook", "EventKind", "choose_events"]


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
