"""Cutting a range into windows that the endpoint can be asked for.

Pure arithmetic on times.  Neighbours always overlap by one second, so that no
reading of the bounds (inclusive or not) can lose a call between two windows.
"""

from datetime import datetime, timedelta
from math import ceil

from aiosipcdr.protocol.windows import TimeWindow

__all__ = [
    "NARROWEST_SECONDS",
    "OVERLAP",
    "WIDEST",
    "can_split",
    "clip_window",
    "plan_range",
    "plan_tiles",
    "split_at_now",
    "split_window",
]

WIDEST = timedelta(days=31)
"""The vendor's documented limit on the distance of `strTime` and `endTime`."""

OVERLAP = timedelta(seconds=1)
NARROWEST_SECONDS = 2

_MARGIN = 2
"""Seconds from now to the end of what has passed, so that what is to come is still empty when it is read."""


def plan_tiles(window: TimeWindow) -> list[TimeWindow]:
    """Cut `window` into tiles of 31 days at most, oldest first."""
    tiles = []
    start = window.start
    while window.end - start > WIDEST:
        # Interior bounds take the offset of the range's start.
        tiles.append(TimeWindow(start, start + WIDEST))
        start += WIDEST - OVERLAP
    tiles.append(TimeWindow(start, window.end))
    return tiles


def clip_window(window: TimeWindow, now: datetime) -> TimeWindow:
    """Return `window` with an end at most 31 days after `now`, or after its own start where that is later."""
    latest = max(window.start, now.replace(microsecond=0)) + WIDEST
    return window if window.end <= latest else TimeWindow(window.start, latest.astimezone(window.end.tzinfo))


def plan_range(window: TimeWindow, now: datetime) -> list[TimeWindow]:
    """Cut `window` into tiles like `plan_tiles`; where its end is clipped, the last one holds all that is to come."""
    clipped = clip_window(window, now)
    passed = ceil((now - window.start).total_seconds()) + _MARGIN
    if clipped == window or passed <= _MARGIN:
        return plan_tiles(clipped)
    seam = window.start + timedelta(seconds=passed)
    return [*plan_tiles(TimeWindow(window.start, seam)), TimeWindow(seam - OVERLAP, clipped.end)]


def can_split(window: TimeWindow) -> bool:
    """Tell whether `window` is wide enough to be cut once more."""
    return window.seconds > NARROWEST_SECONDS


def split_at_now(window: TimeWindow, ahead: float) -> tuple[TimeWindow, TimeWindow] | None:
    """Cut `window` where its calls end: what has passed in a moment, and what is still to come.

    Args:
        window: the window.
        ahead: seconds from now to its end.

    Returns:
        `None` if it lies on one side, or nearly so.
    """
    passed = ceil(window.seconds - ahead) + _MARGIN
    if not 1 < passed < window.seconds:
        return None
    now = window.start + timedelta(seconds=passed)
    return TimeWindow(window.start, now), TimeWindow(now - OVERLAP, window.end)


def split_window(window: TimeWindow, parts: int) -> list[TimeWindow]:
    """Cut `window` into at most `parts` windows of equal width (two at least), oldest first.

    None of them is narrower than two seconds or as wide as `window`.

    Raises:
        ValueError: `window` is too narrow to be cut.
    """
    if not can_split(window):
        msg = f"a window of {window.seconds} s cannot be cut: {window}"
        raise ValueError(msg)
    # Each part is its share and the second of overlap behind it.
    shared = window.seconds - 1
    parts = max(2, min(parts, shared))
    bounds = [window.start + timedelta(seconds=shared * part // parts) for part in range(parts)]
    ends = [bound + OVERLAP for bound in bounds[1:]]
    return [TimeWindow(start, end) for start, end in zip(bounds, [*ends, window.end], strict=True)]
