"""Records that rise: their ids and their submit times together, as most servers send them.

One look at a page, while the processor still has it at hand, then tells that
no id stands twice, in which order they come and which times they span; pages
join without a look at any record.  Pure, and must never be needed: what does
not rise goes the ordinary way, at a higher price.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter, lt

import msgspec

from aiosipcdr.protocol.records import CallDetailRecord

__all__ = ["Ascent", "find_ascent", "join_ascents"]

_VOICE_ID = attrgetter("voice_id")


class Ascent(msgspec.Struct, frozen=True):
    """Records whose ids rise from each to the next, and whose submit times never fall.

    Attributes:
        records: all of them, at least one; never to be changed.
        lowest: the first id; `highest` the last.
        earliest: the first submit time; `latest` the last.
    """

    records: list[CallDetailRecord]
    lowest: str
    highest: str
    earliest: datetime
    latest: datetime

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        return f"Ascent(<{len(self.records)}>, {self.earliest.isoformat()}/{self.latest.isoformat()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("records", len(self.records)), ("earliest", self.earliest), ("latest", self.latest)]

    def between(self, lowest: str, highest: str) -> list[CallDetailRecord]:
        """Return the records with ids from `lowest` to `highest`, both included."""
        first = bisect_left(self.records, lowest, key=_VOICE_ID)
        return self.records[first : bisect_right(self.records, highest, first, key=_VOICE_ID)]

    def without(self, ids: Iterable[str]) -> tuple[list[CallDetailRecord], list[CallDetailRecord]]:
        """Return the records without those of `ids`, all of which it holds, and those of `ids`, both in order."""
        left: list[CallDetailRecord] = []
        taken: list[CallDetailRecord] = []
        begin = 0
        for voice_id in sorted(ids):
            place = bisect_left(self.records, voice_id, begin, key=_VOICE_ID)
            taken.append(self.records[place])
            # What lies between two of them moves at once: a burst in a shared second may repeat a whole window.
            left += self.records[begin:place]
            begin = place + 1
        left += self.records[begin:]
        return left, taken


def find_ascent(records: list[CallDetailRecord]) -> Ascent | None:
    """Return `records` in rising order, if they rise or fall throughout."""
    if not records:
        return None
    ids = [record.voice_id for record in records]
    rising = records
    if ids[-1] < ids[0]:
        rising = records[::-1]
        ids.reverse()
    if not all(map(lt, ids, ids[1:])):
        return None
    times = [record.submit_time for record in rising]
    try:
        in_order = sorted(times)  # type: ignore[type-var]  # None is met below
    except TypeError:
        return None
    earliest, latest = times[0], times[-1]
    if times != in_order or earliest is None or latest is None:
        return None
    return Ascent(rising, ids[0], ids[-1], earliest, latest)


def join_ascents(ascents: list[Ascent]) -> Ascent | None:
    """Return the records of all `ascents`, at least one, if they rise from each to the next in some order."""
    in_order = sorted(ascents, key=attrgetter("lowest"))
    records: list[CallDetailRecord] = []
    before = None
    for ascent in in_order:
        if before is not None and not (before.highest < ascent.lowest and before.latest <= ascent.earliest):
            return None
        records += ascent.records
        before = ascent
    first, last = in_order[0], in_order[-1]
    return Ascent(records, first.lowest, last.highest, first.earliest, last.latest)
