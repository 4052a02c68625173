"""The semantics of a range: which time of a call it is compared with, and whether its bounds are inclusive.

Pure functions. Each response rules out hypotheses; several may remain.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import product

import msgspec

from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.model.windows import NARROWEST_SECONDS, TimeWindow

__all__ = ["ALL_SEMANTICS", "RangeSemantics", "filter_hypotheses", "plan_window"]

_CALLS_COMPARED = 25
_WIDTH = timedelta(seconds=NARROWEST_SECONDS)
_YEARS = range(2000, 2101)


class RangeSemantics(msgspec.Struct, frozen=True, order=True):
    """One possible meaning of `strTime` and `endTime`."""

    field: str
    start_inclusive: bool
    end_inclusive: bool

    def includes(self, call: CallDetailRecord, window: TimeWindow) -> bool:
        """Return whether `call` is in `window` with these semantics."""
        time: datetime | None = getattr(call, self.field)
        if time is None:
            return False
        after = window.start <= time if self.start_inclusive else window.start < time
        return after and (time <= window.end if self.end_inclusive else time < window.end)


ALL_SEMANTICS = [
    RangeSemantics(field, start, end) for field, start, end in product(TIME_FIELDS, (True, False), (True, False))
]


def filter_hypotheses(
    hypotheses: Iterable[RangeSemantics],
    window: TimeWindow,
    reported: Sequence[CallDetailRecord],
    known: Iterable[CallDetailRecord] = (),
) -> list[RangeSemantics]:
    """Return the hypotheses that explain a response.

    Args:
        hypotheses: The hypotheses so far.
        window: The window of the request.
        reported: The returned calls.
        known: Calls of other responses, if the response holds all calls of `window`: calls missing in it are not in
            the window.
    """
    ids = {call.voice_id for call in reported}
    missing = [call for call in known if call.voice_id not in ids]
    return [
        hypothesis
        for hypothesis in hypotheses
        if all(hypothesis.includes(call, window) for call in reported)
        and not any(hypothesis.includes(call, window) for call in missing)
    ]


def plan_window(
    hypotheses: Sequence[RangeSemantics], known: Iterable[CallDetailRecord], asked: Collection[TimeWindow]
) -> TimeWindow | None:
    """Return the window that distinguishes most hypotheses; `None` if no new one distinguishes any.

    It begins, ends or has its middle exactly at a time of a known call.

    Args:
        hypotheses: The hypotheses so far.
        known: Calls of earlier responses.
        asked: Windows of earlier requests, which are not returned.
    """
    # Calls with more distinct times distinguish more, so they come first.
    calls = sorted(known, key=_distinct_times, reverse=True)
    for first in range(0, len(calls), _CALLS_COMPARED):
        best = _plan_window(hypotheses, calls[first : first + _CALLS_COMPARED], asked)
        if best is not None:
            return best
    return None


def _plan_window(
    hypotheses: Sequence[RangeSemantics], calls: Sequence[CallDetailRecord], asked: Collection[TimeWindow]
) -> TimeWindow | None:
    best, least = None, len(hypotheses)
    spans = [(min(times), max(times), call) for call in calls if (times := _times(call))]
    for window in dict.fromkeys(_windows_at(calls)):
        if window in asked:
            continue
        # Most calls are outside the window with any semantics.
        near = [call for first, last, call in spans if first <= window.end and window.start <= last]
        outcomes = Counter(
            frozenset(call.voice_id for call in near if hypothesis.includes(call, window)) for hypothesis in hypotheses
        )
        (_, undecided), *_ = outcomes.most_common(1)
        if undecided < least:
            best, least = window, undecided
    return best


def _windows_at(calls: Iterable[CallDetailRecord]) -> Iterable[TimeWindow]:
    for call in calls:
        for time in _times(call):
            if time.year not in _YEARS:  # implausible, and maybe outside the calendar
                continue
            second = time.replace(microsecond=0)
            yield TimeWindow(second, second + _WIDTH)
            yield TimeWindow(second - _WIDTH, second)
            yield TimeWindow(second - _WIDTH / 2, second + _WIDTH / 2)


def _times(call: CallDetailRecord) -> list[datetime]:
    return [time for field in TIME_FIELDS if (time := getattr(call, field)) is not None]


def _distinct_times(call: CallDetailRecord) -> int:
    return len(set(_times(call)))
