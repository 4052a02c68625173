"""One page: its request, the checks of its answer, and the fast path for sorted pages.

Pages whose records are sorted by id and by submit time are checked once; pages of a window are then joined without
looking at any record again. Pages that are not sorted take a slower path with the same result.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from aiosipcdr.model.errors import (
    FilterIgnoredError,
    InvalidQueryError,
    OutageError,
    ProtocolError,
    ServerFaultError,
    SipCdrError,
)
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import LARGEST_SIZE, TIME_FIELDS, CallDetailRecord, Page
from aiosipcdr.model.report import counted
from aiosipcdr.model.windows import OVERLAP, TimeWindow
from aiosipcdr.wire.codec import PageAnswer

__all__ = [
    "PageRequest",
    "PlanChange",
    "RequestOwner",
    "SortedRun",
    "Transition",
    "Verdict",
    "count_loose_matches",
    "count_pages",
    "describe_page_faults",
    "enlarge_count",
    "find_ignored_filter",
    "find_sorted_run",
    "is_page_refusal",
    "join_sorted_runs",
    "judge_answer",
    "plan_end_page",
    "resize",
]

_VOICE_ID = attrgetter("voice_id")


class SortedRun(msgspec.Struct, frozen=True):
    """Records whose ids increase strictly, and whose submit times never decrease.

    Attributes:
        records: The records, at least one; must not be modified.
        lowest: The first id.
        highest: The last id.
        earliest: The first submit time.
        latest: The last submit time.
    """

    records: list[CallDetailRecord]
    lowest: str
    highest: str
    earliest: datetime
    latest: datetime

    def __repr__(self) -> str:
        """Show the number of records, not the records."""
        return f"SortedRun(<{len(self.records)}>, {self.earliest.isoformat()}/{self.latest.isoformat()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("records", len(self.records)), ("earliest", self.earliest), ("latest", self.latest)]

    def between(self, lowest: str, highest: str) -> list[CallDetailRecord]:
        """Return the records with ids from `lowest` to `highest`, both included."""
        first = bisect_left(self.records, lowest, key=_VOICE_ID)
        return self.records[first : bisect_right(self.records, highest, first, key=_VOICE_ID)]

    def without(self, ids: Iterable[str]) -> tuple[list[CallDetailRecord], list[CallDetailRecord]]:
        """Return the records without those of `ids`, and those of `ids`; both in order. All of `ids` must exist."""
        remaining: list[CallDetailRecord] = []
        removed: list[CallDetailRecord] = []
        begin = 0
        for voice_id in sorted(ids):
            index = bisect_left(self.records, voice_id, begin, key=_VOICE_ID)
            removed.append(self.records[index])
            # Copied in slices: a burst in a shared second may repeat a whole window.
            remaining += self.records[begin:index]
            begin = index + 1
        remaining += self.records[begin:]
        return remaining, removed


def find_sorted_run(records: list[CallDetailRecord]) -> SortedRun | None:
    """Return `records` in ascending order if they are sorted, ascending or descending."""
    if not records:
        return None
    ascending = records[::-1] if records[-1].voice_id < records[0].voice_id else records
    first = ascending[0]
    highest, latest = "", first.submit_time
    if latest is None:
        return None
    try:
        for record in ascending:
            if record.voice_id <= highest or record.submit_time < latest:  # type: ignore[operator]  # None is handled below
                return None
            highest, latest = record.voice_id, record.submit_time
    except TypeError:
        return None
    return SortedRun(ascending, first.voice_id, highest, first.submit_time, latest)  # type: ignore[arg-type]  # compared, so not None


def join_sorted_runs(sorted_runs: list[SortedRun]) -> SortedRun | None:
    """Return the records of all `sorted_runs`, at least one, as one sorted run if their ranges do not overlap."""
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


class PlanChange(Enum):
    """What an answer changed."""

    DONE = auto()
    """The owner of the request needs no more answers. From a plan: a result can be taken."""
    OUT_OF_RANGE = auto()
    """The vendor has deleted a part of the window that the owner reads."""


Transition = SipCdrError | PlanChange | None
"""What an answer changed: the error that ends the run, a `PlanChange`, or `None` if others need not act."""


class RequestOwner(Protocol):
    """The object that planned a request and processes its answer."""

    def accept(self, request: "PageRequest", answer: PageAnswer, /) -> Transition:
        """Process the answer to `request`.

        For example:

            def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
                self.page = answer.page
                return PlanChange.DONE
        """

    def refuse(self, request: "PageRequest", error: SipCdrError, /) -> Transition:
        """Process the final error of `request`.

        For example:

            def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
                return error  # ends the run
        """


class PageRequest(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Request for one page of a window.

    Attributes:
        owner: Processes the answer.
        window: The window.
        params: The encoded window and filters, see `encode_params`.
        current: Number of the page, from 1.
        size: Number of records to ask for.
        control: Whether only the total of the answer is used.
        delay: Seconds to wait before it is sent.
        is_end: Whether it checks that no row follows the last counted one, see `plan_end_page`.
        asked_before: Whether it was sent before and the answer was not usable.
        may_be_gone: Whether the page exists only by an earlier total, so that the window is counted if it fails.
        is_reread: Whether an earlier scan of the window, or of a larger one, may have sent the same request.
        scan: Number of the scan that it is a part of; 0 if there is none.
    """

    owner: RequestOwner
    window: TimeWindow
    params: bytes
    current: int
    size: int
    control: bool = False
    delay: float = 0.0
    is_end: bool = False
    asked_before: bool = False
    may_be_gone: bool = False
    is_reread: bool = False
    scan: int = 0

    @property
    def needs_fresh_answer(self) -> bool:
        """Whether a cached answer to an earlier request must not be used."""
        return self.control or self.is_end or self.asked_before or self.is_reread

    def __repr__(self) -> str:
        """Omit `params`: a filter may be a phone number."""
        return f"PageRequest({self.window}, current={self.current}, size={self.size})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("window", self.window), ("current", self.current), ("size", self.size)]


class Verdict(Enum):
    """Whether an answer is usable."""

    USE = auto()
    PAST_THE_END = auto()
    """The page no longer exists; only the total of the answer is used."""
    ASK_AGAIN = auto()
    DOUBTFUL = auto()
    """Records have no readable id, or a page after the first has no data: request it once more, then use it."""


def count_pages(total: int, size: int) -> int:
    """Return the number of pages of `size` for `total` records, at least one."""
    return max(1, -(-total // size))


def resize(answer: PageAnswer, size: int) -> PageAnswer:
    """Return `answer` with page size `size`, for a vendor that states another size than it uses."""
    pages = -(-answer.page.total // size)
    return msgspec.structs.replace(answer, page=msgspec.structs.replace(answer.page, size=size, pages=pages))


def is_page_refusal(error: SipCdrError) -> bool:
    """Return whether `error` may be due to the number or the size of the page: others concern account or connection."""
    cause = error.__cause__ if isinstance(error, OutageError) else error
    return isinstance(cause, InvalidQueryError | ProtocolError | ServerFaultError)


def enlarge_count(request: PageRequest, error: SipCdrError, size: int) -> PageRequest | None:
    """Return a request for a total with page size `size`, if a smaller one was refused; otherwise `None`."""
    if not request.control or request.size >= size or not is_page_refusal(error):
        return None
    if error.retryable or isinstance(error, OutageError):  # the server fails, whatever the size
        return None
    return msgspec.structs.replace(request, size=size)


def plan_end_page(total: int, size: int) -> tuple[int, int] | None:
    """Return the number and the size of a page that has the last counted row and space for at least one more.

    If a row follows the last counted one, it is on that page. A page that begins after the last row is of no use: some
    servers answer it with page 1, with the last page, or with nothing.

    Args:
        total: Number of rows that are counted, at least one.
        size: Page size that the vendor uses. The result has another one, smaller if possible.

    Returns:
        Number and size; `None` if every other size up to 100 divides `total`.
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
    """Return whether `answer` may be used for `request`, and if not, why.

    Args:
        request: The request.
        answer: Its answer.
        filters: Filters of the query.
        time_field: The time field that the vendor is known to filter on.
        sorted_run: The records of the answer, if they are sorted.

    Raises:
        FilterIgnoredError: The answer has records that `filters` exclude.
    """
    page = answer.page
    if not (request.control or 1 <= page.size <= request.size) or (request.is_end and page.size != request.size):
        return Verdict.ASK_AGAIN, f"page size {page.size} came back for {request.size}"
    if page.current != request.current:
        if request.current > count_pages(page.total, max(1, page.size)):
            # MyBatis-Plus with overflow=true sends page 1 instead of a page that does not exist.
            return Verdict.PAST_THE_END, ""
        return Verdict.ASK_AGAIN, f"page {page.current} came back for page {request.current}"
    if page.records:
        is_filtered = (
            filters.sip_group_name is not None or filters.phone_name is not None
        )  # values are not bound to locals
        if is_filtered and (ignored := find_ignored_filter(request, page, filters)) is not None:
            raise ignored
        if not _lie_within(page.records, request.window, time_field, sorted_run):
            return Verdict.ASK_AGAIN, "records came back that lie outside the window"
    is_doubtful = answer.quarantined or (answer.is_bare and request.current > 1)
    if is_doubtful and not (request.asked_before or request.control or request.is_end):
        return Verdict.DOUBTFUL, ""
    return Verdict.USE, ""


def find_ignored_filter(request: PageRequest, page: Page, filters: Filters) -> FilterIgnoredError | None:
    """Return the error for records that `filters` exclude, `None` if the page has none."""
    if (contradiction := _find_contradiction(page.records, filters)) is not None:
        return FilterIgnoredError(contradiction, window=request.window, page=request.current)
    return None


def describe_page_faults(answer: PageAnswer) -> str | None:
    """Return a text that names the unreadable records or values of `answer`; `None` if there are none."""
    if answer.quarantined:
        number = counted(len(answer.quarantined), "record has", "records have")
        return f"{number} no readable id; the first: {answer.quarantined[0].reason}"
    if answer.faulty_fields:
        names = [f"{name} ({number:,})" for name, number in answer.faulty_fields.items()]
        return f"values of {', '.join(names)} cannot be read"
    return None


def count_loose_matches(records: list[CallDetailRecord], filters: Filters) -> int:
    """Return the number of records that match `filters` only if case and outer blanks are ignored."""
    wanted = [(name, value) for name, value in _filter_values(filters) if value]
    return sum(any(getattr(record, name) != value for name, value in wanted) for record in records)


def _filter_values(filters: Filters) -> tuple[tuple[str, str | None], ...]:
    return ("sip_group_name", filters.sip_group_name), ("phone_name", filters.phone_name)


def _find_contradiction(records: list[CallDetailRecord], filters: Filters) -> str | None:
    # Neither value is quoted: the name of a phone may be a number.
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
    # The vendor does not document which time it filters on: a record is outside only if none of its times is inside.
    # The submit time is the likely one and decides nearly every page.
    earliest, latest = window.start, window.end + OVERLAP
    if time_field in {None, "submit_time"}:
        if sorted_run is not None:
            if earliest <= sorted_run.earliest and sorted_run.latest <= latest:
                return True
        else:
            times: list[Any] = [record.submit_time for record in records]
            with suppress(TypeError):  # one has no time
                if earliest <= min(times) and max(times) <= latest:
                    return True
    fields = TIME_FIELDS if time_field is None else (time_field,)
    for record in records:
        reported = [time for field in fields if (time := getattr(record, field)) is not None]
        if reported and not any(earliest <= time <= latest for time in reported):
            return False
    return True
