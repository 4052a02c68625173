"""`fetch_page`, `count` and `ping`, and clients from the environment."""

from datetime import timedelta

import pytest

from aiosipcdr import AuthenticationError, CdrClient, InvalidQueryError, OutOfTimeRangeError, Page
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import client_of

SANDBOX = {"records": 1_050, "order": "oldest"}


async def test_a_page_is_returned_as_the_vendor_sends_it(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        page = await client.fetch_page(sandbox.start, sandbox.end)
        assert isinstance(page, Page)
        assert (page.total, page.size, page.current, page.pages) == (1_050, 100, 1, 11)
        assert [record.voice_id for record in page.records] == sandbox.voice_ids()[:100]
        last = await client.fetch_page(sandbox.start, sandbox.end, 11)
        assert [record.voice_id for record in last.records] == sandbox.voice_ids()[1_000:]
        small = await client.fetch_page(sandbox.start, sandbox.end, current=3, size=7)
        assert (small.size, small.current, small.pages) == (7, 3, 150)
        assert [record.voice_id for record in small.records] == sandbox.voice_ids()[14:21]
    assert sandbox.stats.requests == 3


async def test_a_page_is_not_judged() -> None:
    async with Sandbox(records=50, max_size=20, overflow="first", wrong_total=7) as sandbox:
        async with client_of(sandbox) as client:
            page = await client.fetch_page(sandbox.start, sandbox.end, 9)
        assert (page.total, page.size, page.current, len(page.records)) == (57, 20, 1, 20)
        assert sandbox.stats.requests == 1


@pytest.mark.parametrize("current", [1, 3])
async def test_a_page_above_the_first_that_is_refused_is_not_blamed_on_the_filters(current: int) -> None:
    async with Sandbox(records=150, overflow="code-22") as sandbox, client_of(sandbox) as client:
        sandbox.add_faults(*([Fault(kind="code", code=-22, page=1)] if current == 1 else []))
        with pytest.raises(InvalidQueryError) as caught:
            await client.fetch_page(sandbox.start, sandbox.end, current, sip_group_name="sales")
    assert caught.value.page == current
    assert caught.value.status == -22
    assert ("page 3 was refused" in str(caught.value)) == (current == 3)
    assert ("filters" in str(caught.value)) == (current == 1)


async def test_a_page_can_be_filtered(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        page = await client.fetch_page(sandbox.start, sandbox.end, sip_group_name="客服一组")
    expected = [row["voiceId"] for row in sandbox.rows() if row["sipGroupName"] == "客服一组"]
    assert [record.voice_id for record in page.records] == expected[:100]


async def test_a_page_of_too_wide_a_range_is_refused_before_it_is_asked_for(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(ValueError, match=r"a page covers 31 days at most: .* use fetch_all or stream"):
            await client.fetch_page(sandbox.end - timedelta(days=31, seconds=1), sandbox.end)
        assert sandbox.stats.requests == 0
        assert (await client.fetch_page(sandbox.end - timedelta(days=31), sandbox.end)).total == 1_050


async def test_a_count_is_one_request_for_a_page_of_one(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        assert await client.count(sandbox.start, sandbox.end) == 1_050
        assert (sandbox.stats.requests, sandbox.stats.rows_read) == (1, 1)
        middle = sandbox.start + timedelta(days=10)
        part = await client.count(sandbox.start, middle)
        assert part == len(sandbox.voice_ids(sandbox.start, middle))


@pytest.mark.parametrize("start_inclusive", [True, False])
@pytest.mark.parametrize("end_inclusive", [True, False])
async def test_a_count_over_several_tiles_takes_off_their_overlaps(
    *, start_inclusive: bool, end_inclusive: bool
) -> None:
    async with Sandbox(
        records=0, days=70, months_back=None, start_inclusive=start_inclusive, end_inclusive=end_inclusive
    ) as sandbox:
        # Calls in every second around the first seam.
        seam = sandbox.start + timedelta(days=31)
        for offset in range(-3, 4):
            sandbox.insert(seam + timedelta(seconds=offset), count=2)
        sandbox.insert(sandbox.start + timedelta(days=1), count=5)
        async with client_of(sandbox) as client:
            assert await client.count(sandbox.start, sandbox.end) == 19
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 19


async def test_a_count_of_a_range_that_is_not_kept_is_an_error(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(OutOfTimeRangeError):
            await client.count(sandbox.start - timedelta(days=300), sandbox.start - timedelta(days=299))


async def test_a_ping_says_nothing_when_all_is_well(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        await client.ping()
    assert sandbox.stats.requests == 1


async def test_a_ping_reports_the_cause(sandbox: Sandbox) -> None:
    async with CdrClient(sandbox.base_url, sandbox.api_key, "sandbox-other") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
    assert sandbox.stats.requests == 1


def set_environment(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)


async def test_a_client_is_built_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, sandbox)
    async with CdrClient.from_env(concurrency=3) as client:
        assert await client.count(sandbox.start, sandbox.end) == 1_050

    class Mine(CdrClient):
        pass

    assert type(Mine.from_env()) is Mine


@pytest.mark.parametrize("name", ["AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_missing_environment_variables_are_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    set_environment(monkeypatch, sandbox)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name) as caught:
        CdrClient.from_env()
    others = {"AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET"} - {name}
    assert not any(other in str(caught.value) for other in others)


def test_settings_from_the_environment_are_checked_too(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, sandbox)
    with pytest.raises(ValueError, match="concurrency"):
        CdrClient.from_env(concurrency=0)


@pytest.mark.parametrize("ending", ["", "/", "/recordSipQuery"])
async def test_the_base_url_may_end_as_people_write_it(sandbox: Sandbox, ending: str) -> None:
    async with CdrClient(sandbox.base_url + ending, sandbox.api_key, sandbox.api_secret) as client:
        assert await client.count(sandbox.start, sandbox.end) == 1_050


async def test_windows_that_were_read_are_counted_again() -> None:
    with Sandbox(records=2_500) as sandbox:
        async with client_of(sandbox) as client:
            report = (await client.fetch_all(sandbox.start, sandbox.end)).report
            reported = {window.window: window.total for window in report.window_reports}
            assert len(reported) > 1
            sandbox.reset_stats()
            assert await client.recount(reported) == reported
            assert sandbox.stats.requests == len(reported)
            sandbox.insert(at=sandbox.start + timedelta(hours=1))
            counts = await client.recount(reported)
            assert [counts[window] - total for window, total in reported.items()] == [1] + [0] * (len(reported) - 1)
            assert await client.recount([]) == {}
            groups = await client.recount(reported, sip_group_name="客服一组")
            assert sum(groups.values()) == sum(row["sipGroupName"] == "客服一组" for row in sandbox.rows())
            with pytest.raises(ValueError, match="phone_name must be a text"):
                await client.recount(reported, phone_name="")
