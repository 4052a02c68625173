"""Records that rise: their ids and their submit times together, as most servers send them.

One look at a page, while the processor still has it at hand, then tells that
no id stands twice, in which order they come and which times they span; pages
join without a look at any record.  Pure, and must never be needed: what does
not rise goes the ordinary way, at a higher price.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime
from enum import Enum, auto
from operator import attrgetter, lt

import msgspec

from aiosipcdr.model.errors import FilterIgnoredError
from aiosipcdr.model.records import LARGEST_SIZE, TIME_FIELDS, CallDetailRecord, Page
from aiosipcdr.model.report import counted
from aiosipcdr.model.windows import OVERLAP, TimeWindow
from aiosipcdr.wire.codec import Filters, PageAnswer

__all__ = [
    "PageRequest",
    "SortedRun",
    "Verdict",
    "count_loose_matches",
    "count_pages",
    "describe_unreadable",
    "enlarge_count",
    "find_ignored_filter",
    "find_sorted_run",
    "join_sorted_runs",
    "judge_answer",
    "plan_end_page",
    "resize",
]

_VOICE_ID = attrgetter("voice_id")


class SortedRun(msgspec.Struct, frozen=True):
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


def find_sorted_run(records: list[CallDetailRecord]) -> SortedRun | None:
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
    return SortedRun(rising, ids[0], ids[-1], earliest, latest)


def join_sorted_runs(sorted_runs: list[SortedRun]) -> SortedRun | None:
    """Return the records of all `sorted_runs`, at least one, if they rise from each to the next in some order."""
    in_order = sorted(sorted_runs, key=attrgetter("lowest"))
    records: list[CallDetailRecord] = []
    before = None
    for sorted_run in in_order:
        if before is not None and not (before.highest < sorted_run.lowest and before.latest <= sorted_run.earliest):
            return None
        records += sorted_run.records
        before = sorted_run
    first, last = in_order[0], in_order[-1]
    return SortedRun(records, first.lowest, last.highest, first.earliest, last.latest)


class PageRequest(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One page to be asked for; `owner` is whoever planned it and takes the answer."""

    owner: object
    window: TimeWindow
    params: bytes
    current: int
    size: int
    control: bool = False
    """Asked for its total alone."""
    delay: float = 0.0
    """Seconds to wait before it is sent."""
    is_end: bool = False
    """Asked to show that no row follows the last one that is counted: see `plan_end_page`."""
    asked_before: bool = False
    """The first answer to this request could not be used."""
    is_reread: bool = False
    """An earlier reading of the window, or of a larger one, may have asked for the same."""
    scan: object = None
    """The reading of a window that it is a part of."""

    @property
    def needs_fresh_answer(self) -> bool:
        """Whether the answer to an earlier request must not stand for this one's."""
        return self.control or self.is_end or self.asked_before or self.is_reread

    def __repr__(self) -> str:
        """Leave out `params`: a filter may be a phone's number."""
        return f"PageRequest({self.window}, current={self.current}, size={self.size})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("window", self.window), ("current", self.current), ("size", self.size)]


class Verdict(Enum):
    """What an answer is worth."""

    USE = auto()
    PAST_THE_END = auto()
    """The page does not exist any more; only the answer's total counts."""
    ASK_AGAIN = auto()
    DOUBTFUL = auto()
    """Records have no readable id, or a page in the middle no data: another answer may be better, else it is used."""


def count_pages(total: int, size: int) -> int:
    """Return how many pages of `size` hold `total` records; one page is always read."""
    return max(1, -(-total // size))


def resize(answer: PageAnswer, size: int) -> PageAnswer:
    """Return `answer` as a page of `size`, where the vendor echoes another size than it gives."""
    pages = -(-answer.page.total // size)
    return msgspec.structs.replace(answer, page=msgspec.structs.replace(answer.page, size=size, pages=pages))


def enlarge_count(request: PageRequest, size: int) -> PageRequest | None:
    """Return a refused request for a total with pages of `size`; `None` where it was no such request, or as large."""
    if not request.control or request.size >= size:
        return None
    return msgspec.structs.replace(request, size=size)


def plan_end_page(total: int, size: int) -> tuple[int, int] | None:
    """Return the number and the size of a page that begins before row `total` and reaches beyond it.

    A row behind the last one that is counted stands on that page, and the page is not behind the end of the list:
    what servers send for such a page (page 1, the last page, nothing) shows nothing.

    Args:
        total: how many rows are counted, at least one.
        size: the page size that the vendor gives; the size returned is smaller if any smaller one will do.

    Returns:
        `None` where every size up to 100 divides `total`.
    """
    for other in (*range(size - 1, 1, -1), *range(size + 1, LARGEST_SIZE + 1)):
        if total % other:
            return total // other + 1, other
    return None


def judge_answer(
    request: PageRequest,
    answer: PageAnswer,
    filters: Filters,
    time_field: str | None = None,
    sorted_run: SortedRun | None = None,
) -> tuple[Verdict, str]:
    """Say whether `answer` may be used for `request`, and why not.

    Args:
        request: what was asked.
        answer: what came back.
        filters: what the vendor was asked to select.
        time_field: the time that the vendor is known to select on.
        sorted_run: the answer's records, if they rise.

    Raises:
        FilterIgnoredError: records came back that `filters` exclude.
    """
    page = answer.page
    if not (request.control or 1 <= page.size <= request.size) or (request.is_end and page.size != request.size):
        return Verdict.ASK_AGAIN, f"page size {page.size} came back for {request.size}"
    if page.current != request.current:
        if request.current > count_pages(page.total, max(1, page.size)):
            # MyBatis-Plus with overflow=true answers page 1 for a page that is gone.
            return Verdict.PAST_THE_END, ""
        return Verdict.ASK_AGAIN, f"page {page.current} came back for page {request.current}"
    if page.records:
        if (ignored := find_ignored_filter(request, page, filters)) is not None:
            raise ignored
        if not _lie_within(page.records, request.window, time_field, sorted_run):
            return Verdict.ASK_AGAIN, "records came back that lie outside the window"
    is_doubtful = answer.quarantined or (answer.is_bare and request.current > 1)
    if is_doubtful and not (request.asked_before or request.control or request.is_end):
        return Verdict.DOUBTFUL, ""
    return Verdict.USE, ""


def find_ignored_filter(request: PageRequest, page: Page, filters: Filters) -> FilterIgnoredError | None:
    """Return the error for records that `filters` exclude; `None` if there are none on the page."""
    is_filtered = filters.sip_group_name is not None or filters.phone_name is not None  # no local holds a value
    if is_filtered and (contradiction := _find_contradiction(page.records, filters)) is not None:
        return FilterIgnoredError(contradiction, window=request.window, page=request.current)
    return None


def describe_unreadable(answer: PageAnswer) -> str | None:
    """Say what of `answer` could not be read; `None` if everything could."""
    if answer.quarantined:
        number = counted(len(answer.quarantined), "record has", "records have")
        return f"{number} no readable id; the first: {answer.quarantined[0].reason}"
    if answer.faulty_fields:
        names = [f"{name} ({number:,})" for name, number in answer.faulty_fields.items()]
        return f"values cannot be read of {', '.join(names)}"
    return None


def count_loose_matches(records: list[CallDetailRecord], filters: Filters) -> int:
    """Return how many records match `filters` only without case and outer blanks."""
    wanted = [(name, value) for name, value in _filter_values(filters) if value]
    return sum(any(getattr(record, name) != value for name, value in wanted) for record in records)


def _filter_values(filters: Filters) -> tuple[tuple[str, str | None], ...]:
    return ("sip_group_name", filters.sip_group_name), ("phone_name", filters.phone_name)


def _find_contradiction(records: list[CallDetailRecord], filters: Filters) -> str | None:
    # Neither value is quoted: a phone's name may be a number.
    for field, wanted in _filter_values(filters):
        if not wanted:
            continue
        other = set(map(attrgetter(field), records)) - {wanted}
        if not other:
            continue
        if any(value is not None and _loosely(value) != _loosely(wanted) for value in other):
            return (
                f"records of another {field} came back: the vendor ignores this filter; fetch without it and select"
                " yourself"
            )
        if None in other:
            return (
                f"records without a {field} that can be read came back: the vendor does not apply this filter to them;"
                " fetch without it and select yourself"
            )
        if filters.match == "exact":
            return (
                f"records came back whose {field} differs from the filter in case or outer blanks: give the name as"
                ' the vendor writes it, or accept them with filter_match="loose"'
            )
    return None


def _loosely(value: str) -> str:
    return value.strip().casefold()


def _lie_within(
    records: list[CallDetailRecord], window: TimeWindow, time_field: str | None, sorted_run: SortedRun | None
) -> bool:
    # Which of the times the vendor filters on is not documented: a record is outside only when none of its times is
    # inside.  The one that most likely decides settles nearly every page.
    earliest, latest = window.start, window.end + OVERLAP
    if time_field in {None, "submit_time"}:
        span = _find_span(records, sorted_run)
        if span is not None and earliest <= span[0] and span[1] <= latest:
            return True
    fields = TIME_FIELDS if time_field is None else (time_field,)
    for record in records:
        reported = [time for field in fields if (time := getattr(record, field)) is not None]
        if reported and not any(earliest <= time <= latest for time in reported):
            return False
    return True


def _find_span(records: list[CallDetailRecord], sorted_run: SortedRun | None) -> tuple[datetime, datetime] | None:
    if sorted_run is not None:
        return sorted_run.earliest, sorted_run.latest
    times = [time for record in records if (time := record.submit_time) is not None]
    return (min(times), max(times)) if len(times) == len(records) else None
