"""What is asked at once, and told as the vendor answers it: counts and single pages.

Judges no answer and proves nothing; that is for what fetches whole ranges.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aiosipcdr.connection import LARGEST_PAGE, Connection
from aiosipcdr.http.options import check_between, check_filters
from aiosipcdr.model.errors import OutOfTimeRangeError
from aiosipcdr.model.records import Page
from aiosipcdr.model.report import WindowReport
from aiosipcdr.model.windows import WIDEST, ArgumentError, TimeWindow
from aiosipcdr.proof.queries import RangeCount, SinglePage, WindowCounts
from aiosipcdr.wire.codec import Filters

__all__ = ["Asking"]


class Asking(Connection):
    """What `CdrClient` asks of the vendor in one go."""

    async def count(
        self, start: datetime, end: datetime, *, sip_group_name: str | None = None, phone_name: str | None = None
    ) -> int:
        """Return how many calls the vendor counts in a range.

        It takes one request for every 31 days and one for each seam between them. An end that lies more than 31 days
        in the future is clipped there.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        if isinstance(filters, ValueError):
            raise filters
        now = self._opened().read_vendor_clock().now
        plan = RangeCount(TimeWindow.of(start, end), filters, size=self._page_size, now=now)
        await self._ask(plan)
        return plan.total

    async def recount(
        self,
        windows: Iterable[TimeWindow],
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> dict[TimeWindow, int]:
        """Return how many calls the vendor counts now in each of `windows`, one request a window.

        For windows that were read before, as told by `FetchReport.window_reports`; each is at most 31 days wide.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        if isinstance(filters, ValueError):
            raise filters
        return await self._count_windows(windows, filters)

    async def fetch_page(
        self,
        start: datetime,
        end: datetime,
        current: int = 1,
        size: int = 100,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> Page:
        """Fetch one page as the vendor returns it: order, `total` and `pages` are the vendor's own and are not checked.

        Args:
            start: begin of the range, aware; at most 31 days before `end`.
            end: end of the range, aware.
            current: number of the page, from 1.
            size: records a page, 1 to 100.
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.

        Raises:
            ValueError: before any request: a naive time, an inverted range or one of more than 31 days, a page or a
                size that cannot exist, an empty filter.
            FilterIgnoredError: the page holds records that the filters exclude: see `filter_match`.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        if isinstance(filters, ValueError):
            raise filters
        check_between("current", current, 1, 10**9, ArgumentError)
        check_between("size", size, 1, LARGEST_PAGE, ArgumentError)
        window = TimeWindow.of(start, end)
        if window.end - window.start > WIDEST:
            raise ArgumentError("a page is asked of 31 days at most: shorten the range, or use fetch_all or stream")
        plan = SinglePage(window, filters, current=current, size=size, strict=self._strict)
        await self._ask(plan)
        assert plan.page is not None  # noqa: S101 - `_ask` returns when the plan has its result
        return plan.page

    async def ping(self) -> None:
        """Return if key, signature, clock and address are accepted; raise the error that says which is not."""
        end = datetime.now(UTC)
        window = TimeWindow.of(end - timedelta(hours=1), end)
        await self._ask(WindowCounts([window], Filters(), size=self._page_size, confirm_zero=False))

    async def _count_again(
        self, provisional: list[WindowReport], filters: Filters, *, skip: bool
    ) -> dict[TimeWindow, int]:
        windows = [reported.window for reported in provisional]
        try:
            return await self._count_windows(windows, filters)
        except OutOfTimeRangeError as error:
            if not skip:
                raise
            # What the vendor keeps no more cannot be counted, and stays as it was read.
            edge = error.available_from
            return await self._count_windows(
                [one for one in windows if edge is not None and one.start >= edge], filters
            )

    async def _count_windows(self, windows: Iterable[TimeWindow], filters: Filters) -> dict[TimeWindow, int]:
        plan = WindowCounts(windows, filters, size=self._page_size)
        if not plan.has_result:
            await self._ask(plan)
        return plan.totals
