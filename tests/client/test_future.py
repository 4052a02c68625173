"""Ranges that end long after now: one window for the future, and a report that says where it was clipped."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import read_manifest, verify_file
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sandbox import Sandbox
from tests.clients import ShiftedClock, client_of, open_with

pytestmark = pytest.mark.usefixtures("calls_until_today")

FAR = [datetime(2999, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
MONTH = timedelta(days=31)


@pytest.mark.parametrize("end", FAR)
async def test_the_future_costs_one_window(end: datetime) -> None:
    async with Sandbox(records=300, days=20) as sandbox, client_of(sandbox) as client:
        begun = datetime.now(UTC)
        until_now = await client.fetch_all(sandbox.start, begun)
        assert until_now.report.clipped_to is None
        records = await client.fetch_all(sandbox.start, end)
        report = records.report
        assert len(records) == 300
        assert report.certified
        assert report.clipped_to is not None
        assert begun + MONTH - timedelta(seconds=2) <= report.clipped_to <= datetime.now(UTC) + MONTH
        assert report.requests <= until_now.report.requests + 3
        last = report.window_reports[-1]
        assert (last.window.end, last.total, last.provisional) == (report.clipped_to, 0, True)
        assert "the rest is in the future" in str(report)
        assert await client.count(sandbox.start, end) == 300


async def test_a_range_that_begins_in_the_future_is_one_window_from_its_start() -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
    async with Sandbox(records=10) as sandbox, client_of(sandbox) as client:
        records = await client.fetch_all(start, FAR[1])
        assert (len(records), records.report.windows, records.report.certified) == (0, 1, True)
        assert records.report.clipped_to == start + MONTH
        near = await client.fetch_all(start, start + MONTH)
        assert near.report.clipped_to is None


async def test_a_clock_that_is_months_behind_certifies_nothing_that_it_took_for_the_future() -> None:
    clock = ShiftedClock(-80 * 86_400)
    async with (
        Sandbox(records=300) as sandbox,
        open_with(client_of(sandbox), wall_clock=clock) as client,
    ):
        start = sandbox.start - timedelta(days=90)
        stream = client.stream(start, FAR[0], allow_incomplete=True, on_out_of_range="skip")
        clock.ahead = 0.0  # as the first answer's Date shows
        async with stream:
            async for _ in stream:
                pass
        assert stream.report.clipped_to is not None
        assert not stream.report.certified


async def test_a_file_says_where_its_range_was_clipped_and_is_verified(tmp_path: Path) -> None:
    target = tmp_path / "calls.ndjson"
    async with Sandbox(records=300) as sandbox, client_of(sandbox) as client:
        report = await client.export(sandbox.start, FAR[0], target)
    assert report.clipped_to is not None
    manifest = read_manifest(tmp_path / "calls.ndjson.manifest.json")
    assert manifest.certified
    assert manifest.report.clipped_to == report.clipped_to
    assert manifest.query.end == FAR[0]
    assert verify_file(target, manifest) == []


async def test_an_export_that_is_resumed_keeps_the_end_it_was_clipped_to(tmp_path: Path) -> None:
    seen = set[TimeWindow | None]()

    def stop(event: Event) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE:
            if seen:
                raise LookupError
            seen.add(event.window)

    target = tmp_path / "calls.ndjson"
    async with Sandbox(records=300) as sandbox:
        async with client_of(sandbox, hook=stop) as client:
            with pytest.raises(LookupError):
                await client.export(sandbox.start, FAR[0], target)
        assert (tmp_path / "calls.ndjson.journal").exists()
        async with client_of(sandbox) as client:
            report = await client.export(sandbox.start, FAR[0], target)
    assert report.certified
    assert report.clipped_to is not None
    assert len(target.read_text(encoding="utf-8").splitlines()) == 300
