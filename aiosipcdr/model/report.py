"""Reports of a run, its windows and its records.

Reports are frozen; `ReportBuilder` and `WindowReportBuilder` make them. They hold counts: no phone number, no secret.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Literal, SupportsIndex, overload

import msgspec

from aiosipcdr.model.arguments import check_between
from aiosipcdr.model.arrow import ArrowRecords
from aiosipcdr.model.frames import to_pandas, to_polars
from aiosipcdr.model.html import RecordsPreview, render_report
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow

__all__ = [
    "CallDetailRecords",
    "CompleteWindow",
    "DayOutcome",
    "DayReport",
    "DaysReport",
    "FetchReport",
    "ReportBuilder",
    "WindowReport",
    "WindowReportBuilder",
    "WindowShare",
    "counted",
    "describe_unreadable",
    "report_window",
]


class WindowReport(msgspec.Struct, frozen=True, kw_only=True):
    """The proof of one window: what the vendor counts, what was read, and whether they agree.

    Attributes:
        window: The window.
        total: The vendor's last count, without `copies`.
        unique: Distinct rows read; those in the overlaps with neighbouring windows are included.
        copies: Rows that the vendor lists more than once, byte for byte.
        duplicates: Rows that were repeated within one scan.
        conflicts: Calls whose contents changed between two answers.
        quarantined: Records without a readable id.
        anomalies: Inconsistent answers (short page, wrong `pages`, ...) that the proof overruled.
        requests: Requests for pages and counts of the window, without retries.
        pages: Pages of records read.
        scans: Readings of the whole window.
        certified: Whether it is proven complete.
        provisional: Whether its end was younger than `lateness` when it was counted, by the vendor's clock.
        local_clock: Whether its age was measured by this machine's clock, because the vendor sends no `Date` header.
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


class WindowReportBuilder(msgspec.Struct, kw_only=True):
    """Counters of a window while it is read; the fields are those of `WindowReport`."""

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

    def build(self) -> WindowReport:
        """Return the report as of now."""
        return WindowReport(**msgspec.structs.asdict(self))


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and what it proves.

    Frozen; its list and dicts must not be modified.

        records.report.certified, records.report.total  # True, 1204

    Attributes:
        total: Calls that the vendor counts in the range; overlaps of windows count once.
        unique: Distinct calls delivered or quarantined; equals `total` when certified.
        duplicates: Rows that were repeated within one scan, and dropped.
        conflicts: Calls whose contents changed between two answers, each once per window.
        quarantined: Records without a readable id; their bytes are kept in the quarantine.
        anomalies: Inconsistent answers (short page, wrong `pages`, ...) that the proof overruled.
        windows: Windows that were proven or given up.
        pages: Pages of records read, repeated ones included.
        requests: Requests sent; includes control counts, retries and cancelled requests.
        scans: Readings of whole windows; equals `windows` if none was read again.
        retries: Requests that were repeated after an error.
        provisional: Windows so young that calls may still be added to them.
        certified: Whether every window was proven complete, none was left out, and nothing was quarantined.
        elapsed: Seconds from the start of the run to the last window that was taken from it.
        window_reports: One report per window, oldest first.
        unknown_fields: Names of record fields that this version does not know, with the number of calls; at most 100.
        faulty_fields: Names of fields that could not be read, with the number of calls. Such a field is `None` in the
            record, and its raw JSON is in `extra`.
        clipped_to: End of what was read, if the range ends more than 31 days after the vendor's current time; the
            report proves nothing about later calls.
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
        """Whether every window was proven complete and none was left out; ignores the quarantine."""
        all_proven = all(window.certified for window in self.window_reports)
        return self.certified or (self.quarantined > 0 and all_proven and self.unique >= self.total)

    @property
    def local_clock(self) -> bool:
        """Whether the age of a window was measured by this machine's clock, without a `Date` header of the vendor."""
        return any(reported.local_clock for reported in self.window_reports)

    def facts(self) -> dict[str, object]:
        """Return the fields as a dict, without `window_reports` (which may be long).

        For example:

            records.report.facts()["total"]  # 1204
        """
        facts = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "window_reports"}
        clipped_to = None if self.clipped_to is None else self.clipped_to.isoformat()
        return facts | {"clipped_to": clipped_to, "local_clock": self.local_clock}

    def _repr_html_(self) -> str:
        """Show verdict, counts and windows that could not be proven in a notebook."""
        return render_report(self)

    def __str__(self) -> str:
        """Return a summary in one line."""
        proof = "certified complete" if self.certified else "NOT certified"
        effort = [
            counted(self.windows, "window", "windows"),
            counted(self.pages, "page", "pages"),
            f"{counted(self.requests, 'request', 'requests')} in {self.elapsed:.1f} s",
        ]
        # A window without requests lies before the vendor's retention boundary.
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


class ReportBuilder(msgspec.Struct, kw_only=True):
    """Counters of a run; the fields are those of `FetchReport`."""

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
    window_reports: list[WindowReport] = []
    unknown_fields: dict[str, int] = {}
    faulty_fields: dict[str, int] = {}
    clipped_to: datetime | None = None

    def build(self) -> FetchReport:
        """Return the report as of now; later changes do not affect it."""
        fields = msgspec.structs.asdict(self)
        for name in ("window_reports", "unknown_fields", "faulty_fields"):
            fields[name] = fields[name].copy()
        return FetchReport(**fields)


def report_window(window: "CompleteWindow") -> FetchReport:
    """Return the report of one window as if it were the whole range, without retries and elapsed time."""
    reported = window.report
    counts = {name: getattr(reported, name) for name in _SHARED_COUNTS}
    return ReportBuilder(
        **counts,
        windows=1,
        provisional=int(reported.provisional),
        certified=reported.certified and not reported.quarantined,
        window_reports=[reported],
        unknown_fields=window.share.unknown_fields,
        faulty_fields=window.share.faulty_fields,
    ).build()


# The counts of a window that its run has under the same names.
_SHARED_COUNTS = (
    "total",
    "unique",
    "duplicates",
    "conflicts",
    "quarantined",
    "anomalies",
    "pages",
    "requests",
    "scans",
)


DayOutcome = Literal["written", "rewritten", "unchanged", "shrunk", "expired"]
"""Result of a day.

"written": its file is new. "rewritten": it was read again, because the file was unfinished or the vendor counts more
calls now. "unchanged": the file was already finished. "shrunk": the vendor counts fewer calls than the file has; the
file is kept. "expired": the vendor has already deleted some of the day's calls; an existing file is kept.
"""


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one day of `export_days`.

    Attributes:
        date: The day.
        path: Its file.
        outcome: See `DayOutcome`.
        report: The report in the file's manifest; `None` for an expired day without a file.
        count: The vendor's count of a finished day that was counted again.
    """

    date: date
    path: str
    outcome: DayOutcome
    report: FetchReport | None = None
    count: int | None = None


class DaysReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results of `export_days`.

    Attributes:
        days: One result for each day, oldest first; days that have not begun are left out.
    """

    days: list[DayReport]

    @property
    def certified(self) -> bool:
        """Whether every day has a file that is certified complete."""
        return all(day.report is not None and day.report.certified for day in self.days)

    @property
    def provisional(self) -> int:
        """Number of days so young that calls may still be added to them; the next export reads them again."""
        return sum(day.report is not None and day.report.provisional > 0 for day in self.days)


def describe_unreadable(report: FetchReport) -> str:
    """Return a text about the records and fields that could not be read; an empty text if there are none."""
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


class WindowShare(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that a window adds to the report of its run, without rows that earlier windows delivered.

    Attributes:
        unique: Calls delivered or quarantined.
        total: The vendor's count of them.
        quarantined: Those that could not be decoded.
        distinct_rows: For each window that this one was split from, the outermost first: the number of rows of this
            window that no other part has delivered.
        unclaimed: For each of those whose last part is this window, the innermost first: the number of calls that were
            read before the split and that no part has delivered.
        unknown_fields: See `FetchReport`.
        faulty_fields: See `FetchReport`.
        filled_fields: For each field of times or money: the calls that have a value; an estimate if none of the
            window's fields is faulty.
    """

    unique: int = 0
    total: int = 0
    quarantined: int = 0
    distinct_rows: list[int] = msgspec.field(default_factory=list, name="unions")  # the name in journals
    unclaimed: list[int] = msgspec.field(default_factory=list, name="floors")  # the name in journals
    unknown_fields: dict[str, int] = {}
    faulty_fields: dict[str, int] = {}
    filled_fields: dict[str, int] = {}


class CompleteWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window that was read: the unit passed from the engine to streams and exports.

    Attributes:
        window: The window.
        records: Its records, ordered by (`submit_time`, `None` last, `voice_id`), without those that an earlier window
            of the run delivered.
        quarantined: Records that could not be decoded.
        report: Its report.
        share: What it adds to the report of the run.
        repeated: Records that an earlier window delivered.
        unread_ids: Identities of all records that could not be decoded, see `QuarantinedRecord.identity`.
    """

    window: TimeWindow
    records: list[CallDetailRecord]
    quarantined: list[QuarantinedRecord]
    report: WindowReport
    share: WindowShare = msgspec.field(default_factory=WindowShare)
    repeated: list[CallDetailRecord] = []
    unread_ids: list[str] = []

    def __repr__(self) -> str:
        """Show the number of records, not the records."""
        return f"CompleteWindow({self.window}, records=<{len(self.records)}>, certified={self.report.certified})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("window", self.window), ("records", len(self.records)), ("certified", self.report.certified)]


class CallDetailRecords(list[CallDetailRecord]):
    """The records of a range, oldest window first, with the `report` that proves them complete.

    A list. A slice has the same type, and the report of the whole range. Data frame libraries treat it as a plain list:
    pass them `records.arrow` instead.

        polars.DataFrame(records[:1000].arrow)

    FastAPI and pydantic accept it as a response model, a list of `CallDetailRecord`.

    Attributes:
        report: The report of the run.
        quarantined: Records that could not be decoded.
    """

    __slots__ = ("quarantined", "report")

    def __init__(self, records: Iterable[CallDetailRecord] = (), *, report: FetchReport | None = None) -> None:
        """Create a list of `records` with the report of the run that fetched them."""
        super().__init__(records)
        self.report: FetchReport = report if report is not None else FetchReport()
        self.quarantined: list[QuarantinedRecord] = []

    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> tuple[object, ...]:
        """Support all pickle protocols; the older ones do not support slots."""
        return _restore, (type(self), list(self), self.report, self.quarantined)

    def __repr__(self) -> str:
        """Show the number of records, not the records."""
        proof = "certified" if self.report.certified else "not certified"
        return f"<CallDetailRecords: {len(self):,} records, {proof}>"

    def _repr_html_(self) -> str:
        """Show the first records in a notebook, numbers masked; see `preview`."""
        return self.preview()._repr_html_()

    def preview(self, rows: int = 10, *, mask_numbers: bool = True) -> RecordsPreview:
        """Return the first records as a table for a notebook, which also shows the list itself so.

            records.preview(3, mask_numbers=False)

        Args:
            rows: How many records to show.
            mask_numbers: Mask phone numbers. Without it they are saved with the notebook.

        Returns:
            An object that notebooks show as a table; its repr holds no record.
        """
        check_between("rows", rows, 0, 1_000_000)
        verdict = "certified" if self.report.certified else "not certified"
        return RecordsPreview(self[:rows], len(self), verdict, mask_numbers=mask_numbers)

    def to_pandas(self, *, float_money: bool = False) -> Any:  # noqa: ANN401 - pandas is optional
        """Return the records as a `pandas.DataFrame`.

            frame = records.to_pandas(float_money=True)
            frame.set_index("submit_time")["cost"].resample("D").sum().plot()

        Texts are strings; times `datetime64[us, UTC]`; durations seconds, floats where some are missing.

        Args:
            float_money: Money as `float64`, rounded, for plots; by default exact `Decimal` objects, with 12 places.

        Raises:
            ImportError: pandas, or pyarrow (extra `arrow`), is not installed.
        """
        return to_pandas(self, float_money=float_money)

    def to_polars(self, *, float_money: bool = False) -> Any:  # noqa: ANN401 - polars is optional
        """Return the records as a `polars.DataFrame`.

            records.to_polars().group_by("currency").agg(polars.col("cost").sum())

        Texts are `String`; times `Datetime("us", "UTC")`; durations `Int64` seconds.

        Args:
            float_money: Money as `Float64`, rounded, for plots; by default exact `Decimal(38, 12)`.

        Raises:
            ImportError: polars, or pyarrow (extra `arrow`), is not installed.
        """
        return to_polars(self, float_money=float_money)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> CallDetailRecord: ...

    @overload
    def __getitem__(self, index: slice, /) -> "CallDetailRecords": ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> "CallDetailRecord | CallDetailRecords":
        found = super().__getitem__(index)
        return self._with_report(found) if isinstance(found, list) else found

    def copy(self) -> "CallDetailRecords":
        """Return a new list of the same records, with the same report.

        For example:

            records.copy().report is records.report  # True
        """
        return self._with_report(self)

    def _with_report(self, records: Iterable[CallDetailRecord]) -> "CallDetailRecords":
        kept = CallDetailRecords(records, report=self.report)
        kept.quarantined = self.quarantined
        return kept

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        """Return the pydantic schema of a list of records, also used by FastAPI."""
        return handler.generate_schema(list[CallDetailRecord])

    @property
    def arrow(self) -> ArrowRecords:
        """The same records for `polars.DataFrame`, `pyarrow.table`, DuckDB, pandas and other readers of Arrow streams.

        Reading it raises `ImportError` without the extra `arrow`.
        """
        return ArrowRecords(self)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule with a stream of Arrow batches, converted as they are read.

        Raises:
            ImportError: The extra `arrow` is not installed.
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
