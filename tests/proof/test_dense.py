"""Ranges with many calls in each second: their requests, and limits of the vendor.

Everything is a tenth of its real size: the calls of a second, the rows of windows and pages.
"""

from unittest.mock import patch

import pytest

from aiosipcdr.model.errors import IncompleteRangeError, InvalidQueryError
from aiosipcdr.proof import budget as budget_module
from aiosipcdr.proof.checkpoint import Checkpoint, Delivered, JournalEvent, JournalQueue, ReadWindow
from aiosipcdr.proof.page import PageRequest
from tests.proof.simulated_vendor import Drive, Habits, Vendor, cover, drive, scaled_windows, seconds, seeded

SCALE = 10
SIZE = 100 // SCALE
SPAN = 41


class DeepestPageVendor(Vendor):
    """A vendor that serves no page beyond `last_page`, however many it reports."""

    last_page = 50

    def page_size(self, request: PageRequest) -> int:
        if request.current > self.last_page:
            raise InvalidQueryError("parameter exception", status=-22, window=request.window)
        return super().page_size(request)


def fill(vendor: Vendor, calls: int) -> int:
    """Store so many calls in each second of the range, its last one included; return their number."""
    for second in range(SPAN + 1):
        for _ in range(calls):
            vendor.add(second * 1_000)
    vendor.tick()
    return calls * (SPAN + 1)


@pytest.mark.parametrize(
    ("calls", "own", "a_page", "a_page_half_open"),
    [(12, 8, 1.45, 1.35), (40, 4, 1.70, 1.45), (70, 4, 1.60, 1.35), (116, 4, 1.60, 1.35), (208, 2, 2.10, 1.60)],
)
@pytest.mark.parametrize("includes_end", [True, False])
def test_a_window_with_more_calls_a_second_has_four_seconds_of_its_own(
    calls: int,
    own: int,
    a_page: float,
    a_page_half_open: float,
    includes_end: bool,  # noqa: FBT001
) -> None:
    vendor = Vendor(Habits(includes_end=includes_end), seeded(1))
    stored = fill(vendor, calls) - (0 if includes_end else calls)
    with scaled_windows(SCALE):
        reader = cover(seconds(0, SPAN), size=SIZE, most_windows=8)
        run = drive(reader, vendor, Drive(concurrency=8))
    assert run.certified
    assert len(set(run.delivered)) == len(run.delivered) == stored
    assert max(one.window.seconds for one in run.windows) == own + 1
    assert run.requests <= (a_page if includes_end else a_page_half_open) * stored / SIZE
    assert vendor.deepest < 10_000 / SCALE / SIZE
    # What neighbours share is read within the plan, so that every repair is left.
    assert reader._budget._repaired == 0 or calls == 208


def test_a_vendor_that_serves_no_deep_page_is_read_in_windows_of_two_seconds() -> None:
    vendor = DeepestPageVendor(Habits(includes_end=True), seeded(1))
    stored = fill(vendor, 116)
    with scaled_windows(SCALE):
        run = drive(cover(seconds(0, SPAN), size=SIZE, most_windows=8), vendor, Drive(concurrency=8))
    assert run.certified
    assert len(set(run.delivered)) == stored
    assert [one.window.seconds for one in run.windows] == [2] * (SPAN - 1)
    assert run.requests <= 3.6 * stored / SIZE


@pytest.mark.parametrize("reported", [900, 100_000])
def test_the_same_total_for_every_window_costs_no_more_than_the_budget(reported: int) -> None:
    vendor = Vendor(Habits(tell=lambda _: reported), seeded(1))
    fill(vendor, 2)
    with scaled_windows(SCALE):
        run = drive(cover(seconds(0, SPAN), size=SIZE), vendor, Drive())
    assert isinstance(run.error, IncompleteRangeError)
    assert run.requests <= 3 * reported // SIZE + 260


@pytest.mark.parametrize("kill_after", [200, 500])
def test_a_run_that_split_into_two_seconds_goes_on_with_its_own_windows(kill_after: int) -> None:
    # The journal of an earlier version: its windows are those of that version, and none is read twice.
    vendor = Vendor(Habits(includes_end=True), seeded(1))
    stored = fill(vendor, 116)
    with scaled_windows(SCALE):
        with patch.multiple(budget_module, DENSE_SECONDS=1, MAX_DENSE_ROWS=2_000 // SCALE):
            begun = cover(seconds(0, SPAN), size=SIZE, journal=JournalQueue())
            killed = drive(begun, vendor, Drive(ends_after=kill_after))
        entries: list[JournalEvent | Delivered] = killed.entries
        latest = [
            ReadWindow(
                window=one.window,
                ids={record.voice_id for record in [*one.records, *one.repeated]},
                records=[*one.records, *one.repeated],
            )
            for one in killed.windows[-3:]
        ]
        reader = cover(seconds(0, SPAN), size=SIZE, journal=JournalQueue())
        reader.resume(Checkpoint(tiles=begun.tiles, entries=entries, latest=latest))
        run = drive(reader, vendor, Drive())
    assert killed.windows
    assert run.certified
    windows = [one.window for one in [*killed.windows, *run.windows]]
    assert windows == sorted(set(windows))
    assert {window.seconds for window in windows} == {2}
    assert len(killed.delivered) + len(run.delivered) == len({*killed.delivered, *run.delivered}) == stored
