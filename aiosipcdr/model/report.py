"""What a run hands over: its report, its windows and its list of records.

Counts only: no phone number and no secret can stand in a report.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Literal, SupportsIndex, overload

import msgspec

from aiosipcdr.model.arrow import ArrowRecords
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow

__all__ = [
    "CallDetailRecords",
    "CompleteWindow",
    "DayOutcome",
    "DayReport",
    "DaysReport",
    "FetchReport",
    "QuarantinedRecord",
    "WindowReport",
    "WindowShare",
    "counted",
    "describe_unreadable",
]


class WindowReport(msgspec.Struct, kw_only=True):
    """The proof of one window: what was counted, what was read, and whether they agree.

    `total` is the vendor's last count of the window without `copies`, rows that
    it lists more than once, byte for byte; `unique` the distinct rows read in
    it, neighbours' overlap included on both sides.
    `provisional`: its end was younger than `lateness` when it was counted, by
    the vendor's clock; by this machine's if `local_clock`, because the vendor
    sends no `Date`.
    """

    window: TimeWindow
    total: int = 0
    unique: int = 0
    copies: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    anomalies: int = 0
    requests: int = 0
    pages: int = 0
    scans: int = 0
    certified: bool = False
    provisional: bool = False
    local_clock: bool = False

    @property
    def counted(self) -> int:
        """The vendor's last count of the window, copies included."""
        return self.total + self.copies


class FetchReport(msgspec.Struct, kw_only=True):
    """What a run did and what it proves.

    Attributes:
        total: calls that the vendor counts in the range; overlaps count once.
        unique: distinct calls delivered or quarantined; equals `total` when certified.
        duplicates: rows that were told twice within one sweep and dropped.
        conflicts: calls whose contents changed between two answers, each once for a window.
        quarantined: records without a readable id, kept in the quarantine.
        anomalies: oddities of answers (short page, wrong `pages`, ...) that the proof overruled.
        windows: windows proven or given up.
        pages: pages of records read, re-reads included.
        requests: requests sent, control counts, retries and abandoned pages included.
        scans: readings of whole windows; `windows` when nothing had to be read again.
        retries: requests sent again after a fault.
        provisional: windows so young that calls may still be added to them.
        certified: every window was proven complete, none was left out, and nothing was quarantined.
        elapsed: seconds from the first request to the last answer.
        window_reports: one per window, oldest first.
        unknown_fields: names of record fields that this version does not know, with the number of calls; at most 100.
        faulty_fields: names of fields that could not be read, with the number of calls; they are `None` in the record,
            and their raw JSON is in its `extra`.
        clipped_to: where the range was read to, if its end lies more than 31 days after the vendor's current time;
            the report proves nothing about what is later.
    """

    total: int = 0
    unique: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    anomalies: int = 0
    windows: int = 0
    pages: int = 0
    requests: int = 0
    scans: int = 0
    retries: int = 0
    provisional: int = 0
    certified: bool = False
    elapsed: float = 0.0
    window_reports: list[WindowReport] = msgspec.field(default_factory=list)
    unknown_fields: dict[str, int] = msgspec.field(default_factory=dict)
    faulty_fields: dict[str, int] = msgspec.field(default_factory=dict)
    clipped_to: datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every window was proven complete and none was left out, whatever was quarantined."""
        all_proven = all(window.certified for window in self.window_reports)
        return self.certified or (self.quarantined > 0 and all_proven and self.unique >= self.total)

    @property
    def local_clock(self) -> bool:
        """Whether the age of a window was judged by this machine's clock, because the vendor sends no `Date`."""
        return any(reported.local_clock for reported in self.window_reports)

    def facts(self) -> dict[str, object]:
        """Return its numbers for a program, without the list of its windows (it may be long)."""
        facts = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "window_reports"}
        clipped_to = None if self.clipped_to is None else self.clipped_to.isoformat()
        return facts | {"clipped_to": clipped_to, "local_clock": self.local_clock}

    def __str__(self) -> str:
        """Say it in one paragraph that a person can read."""
        proof = "certified complete" if self.certified else "NOT certified"
        effort = [
            counted(self.windows, "window", "windows"),
            counted(self.pages, "page", "pages"),
            f"{counted(self.requests, 'request', 'requests')} in {self.elapsed:.1f} s",
        ]
        # What was never asked for lies before what the vendor keeps.
        gaps = sum(not reported.certified and not reported.requests for reported in self.window_reports)
        troubles = [
            counted(count, *name)
            for count, name in (
                (gaps, ("part that the vendor no longer keeps", "parts that the vendor no longer keeps")),
                (
                    self.provisional,
                    ("provisional window (calls may still be added)", "provisional windows (calls may still be added)"),
                ),
                (self.retries, ("retry", "retries")),
                (self.duplicates, ("duplicate dropped", "duplicates dropped")),
                (self.conflicts, ("conflict", "conflicts")),
                (self.anomalies, ("anomaly", "anomalies")),
            )
            if count
        ]
        if self.clipped_to is not None:
            troubles.append(f"read up to {self.clipped_to.isoformat()}: the rest is in the future")
        if self.local_clock:
            troubles.append("ages by this machine's clock (the vendor sends no Date)")
        readable = self.unique - self.quarantined
        unreadable = describe_unreadable(self)
        words = [*effort, *troubles, *([unreadable] if unreadable else [])]
        return f"{readable:,} of {self.total:,} calls, {proof}: {', '.join(words)}"


DayOutcome = Literal["written", "rewritten", "unchanged", "shrunk", "expired"]
"""What has become of a day.

"written": its file is new. "rewritten": it was read again, since the file was unfinished or the vendor counts more
calls by now. "unchanged": the file was finished already. "shrunk": the vendor counts fewer calls than the file has, and
it stays. "expired": the vendor has deleted some of the day's calls; a file that is there stays as it is.
"""


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of one day of an export of days.

    Attributes:
        date: the day.
        path: its file.
        outcome: see `DayOutcome`.
        report: what the file's manifest says; `None` for an expired day without a file.
        count: the vendor's count of a finished day that was counted again.
    """

    date: date
    path: str
    outcome: DayOutcome
    report: FetchReport | None = None
    count: int | None = None


class DaysReport(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of every day of an export of days, oldest first; days that have not begun are left out."""

    days: list[DayReport]

    @property
    def certified(self) -> bool:
        """Whether every day has a file that is certified complete."""
        return all(day.report is not None and day.report.certified for day in self.days)

    @property
    def provisional(self) -> int:
        """How many days are so young that calls may still be added to them: they are read again by the next export."""
        return sum(day.report is not None and day.report.provisional > 0 for day in self.days)


def describe_unreadable(report: FetchReport) -> str:
    """Say what could not be read; an empty text if everything could."""
    words = []
    if report.quarantined:
        words.append(counted(report.quarantined, "record", "records") + " quarantined (no readable id)")
    if report.faulty_fields:
        fields = ", ".join(f"{name} ({number:,})" for name, number in report.faulty_fields.items())
        words.append(f"unreadable values of {fields}")
    return ", ".join(words)


def counted(count: int, one: str, many: str) -> str:
    """Return `count` with its noun, as in "1 window" and "1,200 windows"."""
    return f"{count:,} {one if count == 1 else many}"


class QuarantinedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be decoded: its bytes as told, where it stood, and why.

    `raw` may hold phone numbers, so no repr shows it.
    """

    raw: bytes
    window: TimeWindow | None
    page: int
    reason: str
    voice_id: str | None = None

    @property
    def identity(self) -> str:
        """What the record counts by: its id, or a hash of its bytes."""
        return self.digest if self.voice_id is None else self.voice_id

    @property
    def digest(self) -> str:
        """A hash of its bytes."""
        return f"sha256:{hashlib.sha256(self.raw).hexdigest()}"

    def __repr__(self) -> str:
        """Give the place and the reason, not the bytes."""
        return f"QuarantinedRecord(page={self.page}, reason={self.reason!r}, raw=<{len(self.raw)} bytes>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("page", self.page), ("reason", self.reason)]


class WindowShare(msgspec.Struct, kw_only=True):
    """What a window adds to its run, where it repeats nothing.

    Attributes:
        unique: calls delivered or quarantined.
        total: the vendor's count of them.
        quarantined: those that could not be decoded.
        unions: the distinct calls that are new to each window which this one was cut out of, the outermost first.
        floors: calls that came on top for each of those that end here unproven, the innermost first.
        unknown_fields: see `FetchReport`.
        faulty_fields: see `FetchReport`.
        filled_fields: for each field of times or money, the calls that came with a value; an estimate where none of
            the window's fields is faulty.
    """

    unique: int = 0
    total: int = 0
    quarantined: int = 0
    unions: list[int] = []
    floors: list[int] = []
    unknown_fields: dict[str, int] = {}
    faulty_fields: dict[str, int] = {}
    filled_fields: dict[str, int] = {}


class CompleteWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window whose reading has ended: the unit that engine, stream and export pass on.

    `records` are ordered by (`submit_time`, `None` last, `voice_id`) and hold
    nothing that an earlier window of the same run handed over.  `repeated` was
    read here, too, and is left out; `unread_ids` is what everything that could
    not be decoded counts by; `share` is what the window adds to the report of
    its run.
    """

    window: TimeWindow
    records: list[CallDetailRecord]
    quarantined: list[QuarantinedRecord]
    report: WindowReport
    share: WindowShare = msgspec.field(default_factory=WindowShare)
    repeated: list[CallDetailRecord] = []
    unread_ids: list[str] = []

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        return f"CompleteWindow({self.window}, records=<{len(self.records)}>, certified={self.report.certified})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("window", self.window), ("records", len(self.records)), ("certified", self.report.certified)]


class CallDetailRecords(list[CallDetailRecord]):
    """The records of a range, oldest window first, with the `report` that proves them.

    It is a list, and libraries of data frames take a list as a list: hand them `records.arrow`. A slice has the same
    type, and the report of the whole range.

        polars.DataFrame(records[:1000].arrow)

    FastAPI and pydantic take it as a response model, a list of `CallDetailRecord`.
    """

    __slots__ = ("quarantined", "report")

    def __init__(self, records: Iterable[CallDetailRecord] = (), *, report: FetchReport | None = None) -> None:
        """Hold `records` and the report of the run that fetched them."""
        super().__init__(records)
        self.report: FetchReport = report if report is not None else FetchReport()
        self.quarantined: list[QuarantinedRecord] = []

    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> tuple[object, ...]:
        """Pickle with every protocol; the old ones know no slots."""
        return _restore, (type(self), list(self), self.report, self.quarantined)

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        proof = "certified" if self.report.certified else "not certified"
        return f"<CallDetailRecords: {len(self):,} records, {proof}>"

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> CallDetailRecord: ...

    @overload
    def __getitem__(self, place: slice, /) -> "CallDetailRecords": ...

    def __getitem__(self, place: SupportsIndex | slice, /) -> "CallDetailRecord | CallDetailRecords":
        found = super().__getitem__(place)
        return self._with_report(found) if isinstance(found, list) else found

    def copy(self) -> "CallDetailRecords":
        """Return a new list of the same records, with the same report."""
        return self._with_report(self)

    def _with_report(self, records: Iterable[CallDetailRecord]) -> "CallDetailRecords":
        kept = CallDetailRecords(records, report=self.report)
        kept.quarantined = self.quarantined
        return kept

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        """Describe them to pydantic, and so to FastAPI: as a list."""
        return handler.generate_schema(list[CallDetailRecord])

    @property
    def arrow(self) -> ArrowRecords:
        """The same records, for `polars.DataFrame`, `pyarrow.table`, DuckDB, pandas and all that read Arrow streams.

        Needs the extra `arrow` when it is read: `ImportError` says so.
        """
        return ArrowRecords(self)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule with a stream of Arrow batches, converted as they are read.

        Raises:
            ImportError: the extra `arrow` is not installed.
        """
        return self.arrow.__arrow_c_stream__(requested_schema)


def _restore(
    kind: type[CallDetailRecords],
    records: list[CallDetailRecord],
    report: FetchReport,
    quarantined: list[QuarantinedRecord],
) -> CallDetailRecords:
    restored = kind(records, report=report)
    restored.quarantined = quarantined
    return restored
