"""The HTML report of a range: its calls are summarized while they are fetched, and never held together."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from os import PathLike
from typing import NamedTuple

from msgspec.structs import replace

from aiosipcdr.analytics.report.certificate import Certificate
from aiosipcdr.analytics.report.page import REPORT_GROUPINGS
from aiosipcdr.analytics.report.write import check_report, write_report
from aiosipcdr.analytics.summary import Grouping, TrafficSummary
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.model.errors import IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.query import Query
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import day_start, fixed_offset
from aiosipcdr.threads import run_in_thread

__all__ = ["ReportOptions", "period_before", "report_range"]


class ReportOptions(NamedTuple):
    """How the page is written: see `write_report`."""

    path: str | PathLike[str]
    title: str
    show_numbers: bool
    overwrite: bool
    mode: int | None


async def report_range(
    open_stream: Callable[[Query], CdrStream], query: Query, options: ReportOptions, *, tz: TimeZone, compare: bool
) -> FetchReport:
    """Fetch a range, and the period before if it is compared, and write the page; return the report of the range.

    A period before that cannot be read completely is left out, and the page says so.
    """
    path, title, show_numbers, overwrite, mode = options
    await run_in_thread(check_report, path, overwrite=overwrite, mode=mode)
    groupings = (*REPORT_GROUPINGS, "phone_name") if show_numbers else REPORT_GROUPINGS
    summary, report = await _summarize(open_stream(query), tz, groupings)
    before: TrafficSummary | None = None
    certificate_before: Certificate | None = None
    if compare:
        before, certificate_before = await _read_before(open_stream, query, tz)
    await run_in_thread(
        write_report,
        summary,
        path,
        certificate=_certify(report, query),
        before=before,
        certificate_before=certificate_before,
        title=title,
        show_numbers=show_numbers,
        overwrite=overwrite,
        mode=mode,
    )
    return report


async def _read_before(
    open_stream: Callable[[Query], CdrStream], query: Query, tz: TimeZone
) -> tuple[TrafficSummary | None, Certificate]:
    try:
        start, end = period_before(query.start, query.end, tz)
    except OverflowError:
        return None, Certificate(verdict="unknown", reasons=("It would begin before the year 1.",))
    earlier = replace(query, start=start, end=end, on_out_of_range="raise", allow_incomplete=False)
    try:
        summary, report = await _summarize(open_stream(earlier), tz, ())
    except OutOfTimeRangeError:
        return None, Certificate(verdict="unknown", reasons=("The vendor has already deleted calls of it.",))
    except IncompleteRangeError:
        return None, Certificate(verdict="unknown", reasons=("It could not be proven complete.",))
    return summary, _certify(report, earlier)


async def _summarize(stream: CdrStream, tz: TimeZone, by: Sequence[Grouping]) -> tuple[TrafficSummary, FetchReport]:
    is_whole = bool(by)
    summary = TrafficSummary(by=by, tz=tz, billing=is_whole, hints=is_whole)
    async with stream:
        async for batch in stream.batches():
            await run_in_thread(summary.add, batch)
    return summary, stream.report


def _certify(report: FetchReport, query: Query) -> Certificate:
    filters = query.filters
    return Certificate.of_report(
        report,
        start=query.start,
        end=report.clipped_to or query.end,
        sip_group_name=filters.sip_group_name,
        phone_name=filters.phone_name,
    )


def period_before(start: datetime, end: datetime, zone: TimeZone) -> tuple[datetime, datetime]:
    """Return the period before one: the months before whole months of `zone`, the days before whole days.

        period_before(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), UTC)  # all of September

    Otherwise it is as long in seconds. It ends where the period begins.

    Raises:
        OverflowError: It would begin before the calendar does.
    """
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if (start, end) != (day_start(first, zone), day_start(last, zone)) or first >= last:
        return fixed_offset((start - (end - start)).astimezone(zone)), fixed_offset(start.astimezone(zone))
    if first.day == last.day == 1:
        months = (last.year - first.year) * 12 + last.month - first.month
        place = first.year * 12 + first.month - 1 - months
        if place < 12:  # noqa: PLR2004 - January of the year 1
            raise OverflowError
        earlier = date(place // 12, place % 12 + 1, 1)
    else:
        earlier = first - timedelta(days=(last - first).days)
    return day_start(earlier, zone), day_start(first, zone)
