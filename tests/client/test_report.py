"""`client.report`: a range as one page, compared with the period before."""

from datetime import timedelta
from pathlib import Path

import pytest

from aiosipcdr import CdrClient, ExportConflictError, OutOfTimeRangeError
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of

SANDBOX = {"records": 200}
GROUP = "sales-us"  # calls in one currency: a page with fewer charts is drawn sooner


async def test_a_range_is_compared_with_the_days_before(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    start = sandbox.start.replace(hour=0, minute=0, second=0) + timedelta(days=10)
    end, before = start + timedelta(days=4), start - timedelta(days=4)
    report = await client.report(
        start, end, page, compare=True, show_numbers=True, time_field="submit_time", sip_group_name=GROUP
    )
    text = page.read_text(encoding="utf-8")

    assert report.certified
    assert f"{await client.count(start, end, sip_group_name=GROUP):,} calls are on this page" in text
    assert f"{report.total:,} calls are on this page" in text
    earlier = await client.fetch_all(before, start, time_field="submit_time", sip_group_name=GROUP)
    assert f", {len(earlier):,} calls. It is certified complete." in text
    assert "(UTC+08:00)" in text  # that of the start
    calls = await client.fetch_all(start, end, time_field="submit_time", sip_group_name=GROUP)
    assert any(call.phone_name in text for call in calls if call.phone_name)


async def test_a_period_before_that_the_vendor_has_deleted_is_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    async with (
        Sandbox(records=100, retention=timedelta(days=40)) as sandbox,
        client_of(sandbox) as client,
    ):
        middle = sandbox.end - timedelta(days=15)
        with pytest.raises(OutOfTimeRangeError):
            await client.report(sandbox.end - timedelta(days=60), middle, page)
        assert not page.exists()
        start = sandbox.end - timedelta(days=30)
        report = await client.report(start, sandbox.end, page, compare=True, tz="UTC", sip_group_name=GROUP)
    text = page.read_text(encoding="utf-8")

    assert report.certified
    assert "The period before is not compared. The vendor has already deleted calls of it." in text
    assert "(UTC)" in text


async def test_a_target_that_cannot_be_written_costs_no_request(
    client: CdrClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine", encoding="utf-8")
    with pytest.raises(ExportConflictError):
        await client.report(sandbox.start, sandbox.end, page)
    with pytest.raises(ValueError, match="tz must be"):
        await client.report(sandbox.start, sandbox.end, tmp_path / "other.html", tz="nowhere")

    assert sandbox.stats.requests == 0
    assert page.read_text(encoding="utf-8") == "mine"
