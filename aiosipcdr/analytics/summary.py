"""Summaries of traffic in one pass: metrics, billing audit and hints of fraud, which add up exactly."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from decimal import localcontext
from itertools import islice
from operator import attrgetter
from os import PathLike
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from aiosipcdr.analytics.billing import BillingAudit
from aiosipcdr.analytics.files import read_records
from aiosipcdr.analytics.hints import FraudHints
from aiosipcdr.analytics.metrics import CallFacts, TrafficMetrics
from aiosipcdr.analytics.seconds import ConcurrentCalls, SecondCounts, time_of
from aiosipcdr.model.money import EXACT
from aiosipcdr.model.records import CallDetailRecord

__all__ = ["MOST_GROUPS", "CallSource", "Dimension", "GroupKey", "Grouping", "TrafficSummary", "summarize"]

Dimension = Literal["code", "sip_group_name", "phone_name", "currency", "termination_code", "day", "hour", "weekday"]
"""What calls are grouped by: a field of `CallDetailRecord`, or a part of `submit_time` in the zone of the summary:
`day` (a date), `hour` (0 to 23) or `weekday` (0 is Monday)."""

Grouping = Dimension | tuple[Dimension, ...]
"""One table: by a dimension, or by the combinations of several."""

GroupKey = tuple[str | int | date | None, ...]
"""The values of a grouping's dimensions, in their order; `None` where calls have none."""

CallSource = str | PathLike[str] | Iterable["CallDetailRecord | Iterable[CallDetailRecord] | str | PathLike[str]"]
"""Calls: records, batches of records, or exported files, also mixed."""

MOST_GROUPS = 100_000
"""The most groups of a table."""

_BATCH = 4_096
_SLOT = 900
_MOST_SLOTS = 100_000
_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class _LocalTime(NamedTuple):
    day: date | None = None
    hour: int | None = None
    weekday: int | None = None


_UNDATED = _LocalTime()


class TrafficSummary:
    """Metrics of all calls and of their groups, the billing audit and hints of fraud.

    Add calls in any order, or whole summaries: those of days add up to that of the month exactly. A call belongs to the
    day of its `submit_time` in `tz`.

        summary = TrafficSummary(by=("code", ("weekday", "hour")), tz=ZoneInfo("Asia/Shanghai"))
        async with client.stream(start, end) as stream:
            async for batch in stream.batches():
                summary.add(batch)
        summary.total.asr                                     # 0.609
        summary.table("code")["Germany(Berlin)",].answered    # 142

    Attributes:
        by: The groupings, one table for each.
        tz: The zone of `day`, `hour` and `weekday`.
        peaks_by: The groupings whose groups count calls by the second, too.
        total: The metrics of all calls.
        billing: The audit; `None` where it was switched off.
        hints: The hints of fraud; likewise.
    """

    __slots__ = ("_keys", "_slots", "_tables", "billing", "by", "hints", "peaks_by", "total", "tz")

    def __init__(
        self,
        *,
        by: Dimension | Sequence[Grouping] = ("code",),
        tz: TimeZone = UTC,
        peaks_by: Dimension | Sequence[Grouping] = (),
        billing: bool = True,
        hints: bool = True,
    ) -> None:
        """Begin without calls; see `summarize` for the arguments.

        Raises:
            ValueError: `by` has an unknown dimension, or `peaks_by` a grouping that `by` has not.
        """
        self.by: tuple[tuple[Dimension, ...], ...] = _check_groupings(by)
        self.tz: TimeZone = tz
        self.peaks_by: tuple[tuple[Dimension, ...], ...] = _check_groupings(peaks_by)
        if missing := set(self.peaks_by) - set(self.by):
            raise ValueError(f"peaks_by has {sorted(missing)}, which is not in by; add it there")
        self.total: TrafficMetrics = _new_metrics(peaks=True)
        self.billing: BillingAudit | None = BillingAudit() if billing else None
        self.hints: FraudHints | None = FraudHints() if hints else None
        self._tables: dict[tuple[Dimension, ...], dict[GroupKey, TrafficMetrics]] = {names: {} for names in self.by}
        self._keys = [(names, _key_of(names)) for names in self.by]
        self._slots: dict[int, _LocalTime] = {}

    def add(self, records: Iterable[CallDetailRecord]) -> None:
        """Add calls, as long as they last.

            summary.add(batch)

        Raises:
            ValueError: A table has more than 100,000 groups, or the calls name more than 1,000 currencies.
        """
        rest = iter(records)
        # By batches, so that no code of a generator runs in the decimal context of the sums.
        while batch := list(islice(rest, _BATCH)):
            with localcontext(EXACT):
                for record in batch:
                    self._add(record)

    def _add(self, record: CallDetailRecord) -> None:
        call = CallFacts.of(record)
        self.total.add_facts(call)
        local = _UNDATED if call.submitted_at is None else self._localize(call.submitted_at)
        for names, key_of in self._keys:
            self._group(names, key_of(record, local)).add_facts(call)
        if self.billing is not None:
            self.billing.add(record, local.day, call)
        if self.hints is not None:
            self.hints.add(record, call)

    def update(self, other: "TrafficSummary") -> None:
        """Add all calls of another summary, exactly.

            month = TrafficSummary(by=("code",), tz=zone)
            for day in days:
                month.update(day)

        Raises:
            ValueError: It has other groupings, another zone, or was made without the audit or the hints.
        """
        if self._settings() != other._settings():
            raise ValueError("summaries add up only if by, tz, peaks_by, billing and hints are the same")
        with localcontext(EXACT):
            self.total.update(other.total)
            for names, table in other._tables.items():
                for key, metrics in table.items():
                    self._group(names, key).update(metrics)
            if self.billing is not None and other.billing is not None:
                self.billing.update(other.billing)
            if self.hints is not None and other.hints is not None:
                self.hints.update(other.hints)

    def __add__(self, other: "TrafficSummary") -> "TrafficSummary":
        """Return the summary of the calls of both."""
        if not isinstance(other, TrafficSummary):
            return NotImplemented
        billing, hints = self.billing is not None, self.hints is not None
        both = TrafficSummary(by=self.by, tz=self.tz, peaks_by=self.peaks_by, billing=billing, hints=hints)
        both.update(self)
        both.update(other)
        return both

    def table(self, *names: Dimension) -> dict[GroupKey, TrafficMetrics]:
        """Return the groups of a grouping, ordered by their values, `None` first.

            summary.table("code")["Germany(Berlin)",].attempts
            summary.table("weekday", "hour")[0, 9].asr

        Args:
            *names: The dimensions, in the order in which `by` has them.

        Raises:
            KeyError: The summary was made without this grouping.
        """
        if names not in self._tables:
            raise KeyError(f"there is no table by {names}; the summary was made with by={self.by}")
        order = sorted(
            self._tables[names].items(), key=lambda item: [(part is not None, part or 0) for part in item[0]]
        )
        return dict(order)

    def __eq__(self, other: object) -> bool:
        """Compare what both say, whatever the order in which calls were added."""
        if not isinstance(other, TrafficSummary):
            return NotImplemented
        return (
            self._settings() == other._settings()
            and self.total == other.total
            and self._tables == other._tables
            and (self.billing and self.billing.result()) == (other.billing and other.billing.result())
            and (self.hints and self.hints.find()) == (other.hints and other.hints.find())
        )

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """Show the counts, and no value of a group: it may be a phone number."""
        return f"TrafficSummary(attempts={self.total.attempts}, answered={self.total.answered}, by={self.by})"

    def _repr_html_(self) -> str:
        """Show the metrics and the largest groups in a notebook, numbers masked."""
        from aiosipcdr.analytics.notebook import render_summary

        return render_summary(self)

    def _settings(self) -> tuple[object, ...]:
        # By name: a zone that is loaded twice, as after `ZoneInfo.clear_cache()`, does not equal itself.
        return self.by, str(self.tz), self.peaks_by, self.billing is None, self.hints is None

    def _group(self, names: tuple[Dimension, ...], key: GroupKey) -> TrafficMetrics:
        table = self._tables[names]
        metrics = table.get(key)
        if metrics is None:
            if len(table) == MOST_GROUPS:
                raise ValueError(f"more than {MOST_GROUPS:,} groups by {', '.join(names)}; group by fewer dimensions")
            metrics = table[key] = _new_metrics(peaks=names in self.peaks_by)
        return metrics

    def _localize(self, second: int) -> _LocalTime:
        slot = second // _SLOT
        local = self._slots.get(slot)
        if local is not None:
            return local
        # Zones change their offsets on quarters of an hour; where one did not, each second is looked at.
        first, last = (_local(time_of(slot * _SLOT + place, self.tz)) for place in (0, _SLOT - 1))
        if first != last:
            return _local(time_of(second, self.tz))
        if len(self._slots) >= _MOST_SLOTS:
            self._slots.clear()
        self._slots[slot] = first
        return first

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the counts, so that days can be stored and added up later."""
        settings = {"by": self.by, "tz": self.tz, "peaks_by": self.peaks_by}
        return _restore, (settings, self.total, self._tables, self.billing, self.hints)


def summarize(
    source: CallSource,
    by: Dimension | Sequence[Grouping] = ("code",),
    *,
    tz: TimeZone = UTC,
    peaks_by: Dimension | Sequence[Grouping] = (),
    billing: bool = True,
    hints: bool = True,
) -> TrafficSummary:
    """Summarize calls in one pass and bounded memory.

        summary = summarize("october.parquet", by=("code", ("weekday", "hour")), tz=ZoneInfo("Asia/Shanghai"))
        summary.total.asr, summary.total.acd             # 0.609, 104.9
        summary.table("code")["Germany(Berlin)",].money()
        summary.billing.result().differences             # {}

    For calls that come one after the other, as of `client.stream`, make a `TrafficSummary` and `add` them. This
    function reads files and computes, so call it with `asyncio.to_thread` where an event loop runs.

    Args:
        source: Records, batches of records, or exported files, also mixed. Each row counts: drop calls of overlapping
            ranges before.
        by: The groupings, a table for each: a dimension, or a tuple of some for their combinations.
            `("code", ("weekday", "hour"))` makes two tables.
        tz: The zone of `day`, `hour` and `weekday`.
        peaks_by: Those of `by` whose groups get `concurrent` and `starts`, as `total` always does. Each group takes at
            most 29 KB for an hour with calls.
        billing: Make the billing audit; it takes 20 bytes for each charged call.
        hints: Collect hints of fraud; they take 13 bytes for each call.

    Raises:
        ExportError: A file cannot be read.
        ValueError: An unknown dimension, more than 100,000 groups in a table, or more than 1,000 currencies.
    """
    summary = TrafficSummary(by=by, tz=tz, peaks_by=peaks_by, billing=billing, hints=hints)
    summary.add(_records(source))
    return summary


def _records(source: CallSource) -> Iterator[CallDetailRecord]:
    if isinstance(source, str | PathLike):
        yield from read_records(source)
        return
    for one in source:
        if isinstance(one, CallDetailRecord):
            yield one
        elif isinstance(one, str | PathLike):
            yield from read_records(one)
        else:
            yield from one


def _check_groupings(groupings: Dimension | Sequence[Grouping]) -> tuple[tuple[Dimension, ...], ...]:
    listed: Sequence[Grouping] = (groupings,) if isinstance(groupings, str) else groupings
    checked = [(one,) if isinstance(one, str) else tuple(one) for one in listed]
    for names in checked:
        if unknown := [name for name in names if name not in _DIMENSIONS]:
            raise ValueError(f"calls cannot be grouped by {unknown[0]!r}; choose of {', '.join(_DIMENSIONS)}")
        if not names:
            raise ValueError("a grouping needs a dimension; `total` has the metrics of all calls")
    return tuple(dict.fromkeys(checked))


def _key_of(names: Sequence[Dimension]) -> Callable[[CallDetailRecord, _LocalTime], GroupKey]:
    getters: list[tuple[Callable[[Any], Any], bool]] = [
        (attrgetter(name), name in _LocalTime._fields) for name in names
    ]
    if len(getters) == 1:
        get, is_of_time = getters[0]
        return lambda record, local: (get(local if is_of_time else record),)
    return lambda record, local: tuple([get(local if is_of_time else record) for get, is_of_time in getters])


def _new_metrics(*, peaks: bool) -> TrafficMetrics:
    return TrafficMetrics(concurrent=ConcurrentCalls(), starts=SecondCounts()) if peaks else TrafficMetrics()


def _local(time: datetime | None) -> _LocalTime:
    return _UNDATED if time is None else _LocalTime(time.date(), time.hour, time.weekday())


def _restore(settings: dict[str, Any], total: TrafficMetrics, tables: Any, billing: Any, hints: Any) -> TrafficSummary:  # noqa: ANN401
    summary = TrafficSummary(**settings, billing=billing is not None, hints=hints is not None)
    summary.total, summary.billing, summary.hints, summary._tables = total, billing, hints, tables
    return summary
