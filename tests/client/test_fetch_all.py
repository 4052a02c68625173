"""`fetch_all`: every call of a range exactly once, with a well-behaved and a misbehaving sandbox."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest

from aiosipcdr import (
    CallDetailRecord,
    CallDetailRecords,
    CdrClient,
    FilterIgnoredError,
    IncompleteRangeError,
    OutOfTimeRangeError,
    ProtocolError,
)
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.selection import ALL, some

MANY = 20_000 if ALL else 3_000
SANDBOX = {"records": 3_000}


def ids_of(records: list[CallDetailRecord]) -> list[str]:
    return [record.voice_id for record in records]


async def test_thousands_of_calls_within_two_seconds_are_certified() -> None:
    begin = datetime(2026, 10, 24, tzinfo=UTC)
    calls = [
        {"voiceId": f"{10**18 + number}", "submitTime": (begin + timedelta(seconds=3_600 + number % 2)).isoformat()}
        for number in range(MANY)
    ]
    with Sandbox(calls=calls, months_back=None) as sandbox:
        async with client_of(sandbox) as client:
            records = await client.fetch_all(begin, begin + timedelta(days=1))
    assert records.report.certified
    assert Counter(ids_of(records)) == Counter(call["voiceId"] for call in calls)
    assert records.report.requests <= 3 * MANY // 100 + 160


async def test_every_call_comes_exactly_once_and_in_order(sandbox: Sandbox) -> None:
    sandbox.reset_stats()
    async with client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    assert isinstance(records, CallDetailRecords)
    assert Counter(ids_of(records)) == Counter(sandbox.voice_ids())
    assert records == sorted(records, key=attrgetter("submit_time", "voice_id"))
    report = records.report
    assert report.certified
    assert report.total == report.unique == 3_000
    assert report.requests == sandbox.stats.requests
    assert (report.duplicates, report.conflicts, report.quarantined, report.anomalies, report.retries) == (0,) * 5
    assert report.provisional == 0
    assert report.windows == report.scans == len(report.window_reports)
    assert report.elapsed > 0
    windows = [reported.window for reported in report.window_reports]
    assert windows == sorted(windows)
    assert (windows[0].start, windows[-1].end) == (sandbox.start, sandbox.end)


async def test_the_same_rows_give_the_same_list_whatever_the_concurrency_and_page_size(sandbox: Sandbox) -> None:
    results = []
    for concurrency, page_size in ((1, 100), (3, 37), (64, 100)):
        async with client_of(sandbox, concurrency=concurrency, page_size=page_size) as client:
            results.append(ids_of(await client.fetch_all(sandbox.start, sandbox.end)))
    assert results[0] == results[1] == results[2]


async def test_fields_arrive_as_the_vendor_wrote_them(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.start + timedelta(days=2))
    rows = {row["voiceId"]: row for row in sandbox.rows()}
    assert len(records) > 20
    for record in records:
        row = rows[record.voice_id]
        assert record.callee == row["callee"]
        assert record.sip_group_name == row["sipGroupName"]
        assert str(record.cost) == row["cost"]
        assert record.submit_time == datetime.fromisoformat(row["submitTime"])
        assert record.call_duration == row["callDuration"]
        answered = row.get("answerTime")
        assert record.answer_time == (datetime.fromisoformat(answered) if answered else None)


async def test_a_range_without_calls_is_an_empty_list_that_is_certified() -> None:
    for empty in ("list", "null"):
        async with Sandbox(records=0, empty_records=empty) as sandbox, client_of(sandbox) as client:
            records = await client.fetch_all(sandbox.start, sandbox.end)
            assert records == []
            assert records.report.certified
            assert (records.report.total, records.report.requests) == (0, 2)


@pytest.mark.parametrize("group", ["sales-us", "客服一组", "ops night shift"])
async def test_a_group_is_fetched_by_its_name(sandbox: Sandbox, group: str) -> None:
    expected = {row["voiceId"] for row in sandbox.rows() if row["sipGroupName"] == group}
    async with client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end, sip_group_name=group)
        assert await client.count(sandbox.start, sandbox.end, sip_group_name=group) == len(expected)
    assert expected
    assert set(ids_of(records)) == expected
    assert len(records) == len(expected) < 3_000
    assert records.report.certified


async def test_group_and_phone_narrow_down_together(sandbox: Sandbox) -> None:
    row = sandbox.rows()[0]
    group, phone = row["sipGroupName"], row["phoneName"]
    expected = {r["voiceId"] for r in sandbox.rows() if (r["sipGroupName"], r["phoneName"]) == (group, phone)}
    async with client_of(sandbox) as client:
        both = await client.fetch_all(sandbox.start, sandbox.end, sip_group_name=group, phone_name=phone)
        nobody = await client.fetch_all(sandbox.start, sandbox.end, phone_name="nobody")
    assert set(ids_of(both)) == expected
    assert nobody == []
    assert nobody.report.certified


async def test_a_filter_that_the_vendor_ignores_is_an_error_and_not_a_wrong_sum() -> None:
    async with Sandbox(records=300, filters="ignored") as sandbox, client_of(sandbox) as client:
        with pytest.raises(FilterIgnoredError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end, sip_group_name="sales-us")
        assert caught.value.window is not None or "sip_group_name" in str(caught.value)
        assert sandbox.stats.requests == 1


async def test_a_filter_that_the_vendor_reads_loosely_is_still_the_filter() -> None:
    async with Sandbox(records=300, filters="loose") as sandbox, client_of(sandbox) as client:
        expected = {row["voiceId"] for row in sandbox.rows() if row["sipGroupName"] == "sales-us"}
        with pytest.raises(FilterIgnoredError, match="case or outer blanks"):
            await client.fetch_all(sandbox.start, sandbox.end, sip_group_name=" SALES-us")
    async with Sandbox(records=300, filters="loose") as sandbox, client_of(sandbox, filter_match="loose") as client:
        records = await client.fetch_all(sandbox.start, sandbox.end, sip_group_name=" SALES-us")
        assert set(ids_of(records)) == expected
        assert records.report.certified
        assert records.report.anomalies == len(records) > 0


async def test_ranges_of_more_than_31_days_are_covered_by_several_tiles() -> None:
    async with Sandbox(records=2_000, days=100, months_back=None) as sandbox, client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
        assert Counter(ids_of(records)) == Counter(sandbox.voice_ids())
        assert records.report.certified
        assert records.report.total == records.report.unique == 2_000
        assert records.report.windows >= 4
        assert records.report.duplicates == 0
        assert all(reported.window.seconds <= 31 * 86_400 for reported in records.report.window_reports)
        assert await client.count(sandbox.start, sandbox.end) == 2_000


@pytest.mark.parametrize("start_inclusive", [True, False])
@pytest.mark.parametrize("end_inclusive", [True, False])
async def test_no_reading_of_the_bounds_loses_a_call_between_windows(
    *, start_inclusive: bool, end_inclusive: bool
) -> None:
    # One call every second, and windows so small that there are many seams.
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    calls = [
        {"voiceId": str(10**18 + n), "submitTime": (begin + timedelta(seconds=n)).isoformat()} for n in range(5_000)
    ]
    async with (
        Sandbox(calls=calls, months_back=None, start_inclusive=start_inclusive, end_inclusive=end_inclusive) as sandbox,
        client_of(sandbox) as client,
    ):
        end = begin + timedelta(seconds=4_999)
        records = await client.fetch_all(begin, end)
        assert ids_of(records) == sandbox.voice_ids(begin, end)
        assert len(records) == 5_000 - (not start_inclusive) - (not end_inclusive)
        assert records.report.certified
        assert records.report.windows > 2
        assert records.report.total == records.report.unique == len(records)


@pytest.mark.parametrize("start_inclusive", [True, False])
@pytest.mark.parametrize("end_inclusive", [True, False])
async def test_range_field_trims_to_the_exact_half_open_range(*, start_inclusive: bool, end_inclusive: bool) -> None:
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    calls = [{"voiceId": str(10**18 + n), "submitTime": (begin + timedelta(seconds=n)).isoformat()} for n in range(60)]
    async with (
        Sandbox(calls=calls, months_back=None, start_inclusive=start_inclusive, end_inclusive=end_inclusive) as sandbox,
        client_of(sandbox) as client,
    ):
        for first, last in ((10, 20), (0, 60), (30, 30)):
            start, end = begin + timedelta(seconds=first), begin + timedelta(seconds=last)
            records = await client.fetch_all(start, end, time_field="submit_time")
            assert ids_of(records) == [str(10**18 + n) for n in range(first, last)]
            assert records.report.certified
            assert records.report.total == records.report.unique == last - first


async def test_range_field_may_be_another_time() -> None:
    async with Sandbox(records=500, time_field="hangupTime") as sandbox, client_of(sandbox) as client:
        start, end = sandbox.start + timedelta(days=5), sandbox.start + timedelta(days=12)
        records = await client.fetch_all(start, end, time_field="hangup_time")
        expected = {
            row["voiceId"]
            for row in sandbox.rows()
            if row.get("hangupTime") and start <= datetime.fromisoformat(row["hangupTime"]) < end
        }
        assert expected
        assert set(ids_of(records)) == expected


@pytest.mark.usefixtures("calls_until_today")
async def test_a_deleted_range_is_an_error_with_the_start_of_retention() -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
    async with (
        Sandbox(records=600, start=start, days=15, retention=timedelta(days=30)) as sandbox,
        client_of(sandbox) as client,
    ):
        sandbox.change(retention=timedelta(days=10))
        with pytest.raises(OutOfTimeRangeError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        error = caught.value
        edge = datetime.now(UTC) - timedelta(days=10)
        assert error.status == -25
        assert error.available_from is not None
        assert abs(error.available_from - edge) < timedelta(minutes=2)
        assert error.window is not None
        assert (error.window.start, error.window.end) == (sandbox.start, sandbox.end)

        kept = await client.fetch_all(sandbox.start, sandbox.end, on_out_of_range="skip")
        assert not kept.report.certified
        gap = kept.report.window_reports[0]
        assert gap.window.start == sandbox.start
        assert not gap.certified
        assert ids_of(kept) == sandbox.voice_ids(gap.window.end)
        assert 0 < len(kept) < 600


async def test_a_range_of_which_nothing_is_kept_names_no_boundary() -> None:
    async with Sandbox(records=10) as sandbox, client_of(sandbox) as client:
        start = sandbox.start - timedelta(days=300)
        with pytest.raises(OutOfTimeRangeError) as caught:
            await client.fetch_all(start, start + timedelta(days=1))
        assert caught.value.available_from is None
        skipped = await client.fetch_all(start, start + timedelta(days=1), on_out_of_range="skip")
        assert skipped == []
        assert not skipped.report.certified


async def test_windows_younger_than_lateness_are_provisional_but_certified(sandbox: Sandbox) -> None:
    for lateness, provisional in ((timedelta(hours=4), 0), (timedelta(days=36_500), 3), (timedelta(0), 0)):
        async with client_of(sandbox, lateness=lateness, count_delay=timedelta(0)) as client:
            report = (await client.fetch_all(sandbox.start, sandbox.end)).report
        assert report.certified
        assert (report.provisional > 0) == (provisional > 0)
        assert report.provisional in (0, report.windows)


@pytest.mark.parametrize("wrong", [3, -3])
async def test_a_total_that_is_wrong_is_an_incomplete_export(wrong: int) -> None:
    async with Sandbox(records=150, days=1, wrong_total=wrong) as sandbox, client_of(sandbox) as client:
        with pytest.raises(IncompleteRangeError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        error = caught.value
        assert not error.report.certified
        # Some may have been given up on their way.
        assert error.report.requests >= sandbox.stats.requests > 0
        assert error.records.report is error.report
        ids = ids_of(error.records)
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(sandbox.voice_ids())
        assert error.window is not None


# Days whose calls lie so that one was returned twice: it lies in the second that two windows share, and was read before
# both were cut, or before one was cut and in a part of the other.
@pytest.mark.parametrize(
    ("day", "wrong", "records"),
    some([("2026-01-23", -3, 150), ("2026-01-30", -3, 150), ("2026-04-02", -3, 400), ("2026-07-04", -3, 400)], every=2),
)
async def test_an_incomplete_range_repeats_no_call(day: str, wrong: int, records: int) -> None:
    start = datetime.fromisoformat(f"{day}T00:00:00+08:00")
    async with (
        Sandbox(records=records, days=1, start=start, months_back=None, wrong_total=wrong) as sandbox,
        client_of(sandbox, concurrency=4) as client,
    ):
        with pytest.raises(IncompleteRangeError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        ids = ids_of(caught.value.records)
        assert ids
        assert len(set(ids)) == len(ids) == caught.value.report.unique


async def test_allow_incomplete_returns_uncertified_records() -> None:
    async with Sandbox(records=150, days=1, wrong_total=3) as sandbox, client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end, allow_incomplete=True)
        assert Counter(ids_of(records)) == Counter(sandbox.voice_ids())
        assert not records.report.certified
        assert records.report.total > records.report.unique == 150


@pytest.mark.parametrize("allow_incomplete", [False, True])
async def test_a_proof_that_cannot_succeed_costs_no_more_than_its_budget(*, allow_incomplete: bool) -> None:
    async with Sandbox(records=500, days=5, wrong_total=3) as sandbox, client_of(sandbox) as client:
        try:
            await client.fetch_all(sandbox.start, sandbox.end, allow_incomplete=allow_incomplete)
        except IncompleteRangeError:
            assert not allow_incomplete
        planned = 6  # 503 reported, 100 a page
        first_page, control_count = 1, 1  # outside the budget
        assert sandbox.stats.requests <= 3 * planned + 220 + first_page + control_count  # see proof/budget.py


MISBEHAVIOUR = [
    {"insert_every": 3},
    {"insert_every": 3, "drift_between": True},
    {"insert_late_every": 3},
    {"insert_late_every": 2, "order": "oldest"},
    {"delete_every": 3},
    {"delete_every": 2, "order": "oldest", "drift_requests": 40},
    {"delete_every": 2, "overflow": "first", "drift_requests": 20},
    {"order": "none"},
    {"order": "none", "insert_every": 4, "drift_requests": 30},
    {"order": "scattered"},
    {"max_size": 30},
    {"max_size": 30, "pages_from_requested_size": True},
    {"max_size": 7, "insert_every": 5, "drift_requests": 30},
    {"search_count": False},
    {"repeat_every": 50},
]


@pytest.mark.parametrize("config", MISBEHAVIOUR, ids=str)
async def test_any_vendor_gives_a_complete_result_or_an_incomplete_range_error(
    config: dict[str, Any],
) -> None:
    async with Sandbox(records=500, days=5, **config) as sandbox, client_of(sandbox, concurrency=4) as client:
        before = set(sandbox.voice_ids())
        try:
            records = await client.fetch_all(sandbox.start, sandbox.end)
        except IncompleteRangeError as error:
            assert not error.report.certified  # noqa: PT017
            assert config in ({"search_count": False}, {"repeat_every": 50})
            return
        ids = ids_of(records)
        assert len(set(ids)) == len(ids)
        assert records.report.certified
        assert records.report.unique == records.report.total == len(ids)
        # What was there before and after must have been read; of the rest nothing is invented.
        after = set(sandbox.voice_ids())
        assert before & after <= set(ids) <= before | after


@pytest.mark.parametrize(
    "config",
    [
        {"status_as": "int"},
        {"absent": "empty"},
        {"absent": "missing"},
        {"extra_keys": True},
        {"extra_record_keys": True},
        {"pretty": True},
        {"gzip": True},
        {"cost_field": "costEur"},
        {"send_date": False},
        {"utc_offset": timedelta(hours=-3, minutes=-30)},
        {"host": "localhost"},
    ],
    ids=str,
)
async def test_every_dialect_of_the_vendor_reads_the_same(config: dict[str, Any]) -> None:
    async with Sandbox(records=250, **config) as sandbox, client_of(sandbox) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
        assert Counter(ids_of(records)) == Counter(sandbox.voice_ids())
        assert records.report.certified
        assert records.report.quarantined == 0
        if "extra_record_keys" in config:
            assert min(records.report.unknown_fields.values()) >= 250
        if "cost_field" in config:
            # A currency that was sent stays as it was sent.
            reported = {record.currency for record in records if record.cost is not None}
            assert "EUR" in reported
            assert None not in reported


async def test_a_record_that_cannot_be_read_costs_itself_alone() -> None:
    async with Sandbox(records=120) as sandbox:
        sandbox.add_rows([{"voiceId": "7777777777777777777", "submitTime": "yesterday", "cost": "NaN"}, b"[1]"])
        async with client_of(sandbox) as client:
            records = await client.fetch_all(sandbox.start, sandbox.end)
        (odd,) = [record for record in records if record.voice_id == "7777777777777777777"]
        assert (odd.submit_time, odd.cost, odd.extra) == (None, None, {"submitTime": '"yesterday"', "cost": '"NaN"'})
        assert len(records) == 121
        assert records.report.faulty_fields == {"submit_time": 1, "cost": 1}
        assert (records.report.quarantined, records.report.certified, records.report.is_complete) == (1, False, True)
        assert records.report.total == records.report.unique == 122
        assert [set_aside.raw for set_aside in records.quarantined] == [b"[1]"]
        async with client_of(sandbox, strict=True) as client:
            with pytest.raises(ProtocolError, match="strict"):
                await client.fetch_all(sandbox.start, sandbox.end)


async def test_times_may_be_given_in_any_zone(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        here = await client.fetch_all(sandbox.start, sandbox.end)
        there = await client.fetch_all(sandbox.start.astimezone(UTC), sandbox.end.astimezone(UTC))
    assert ids_of(here) == ids_of(there)


async def test_a_range_without_length_is_one_instant() -> None:
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    calls = [{"voiceId": str(10**18 + n), "submitTime": (begin + timedelta(seconds=n)).isoformat()} for n in range(3)]
    async with Sandbox(calls=calls, months_back=None) as sandbox, client_of(sandbox) as client:
        instant = begin + timedelta(seconds=1)
        assert ids_of(await client.fetch_all(instant, instant)) == [str(10**18 + 1)]


async def test_small_pages_are_paged_and_cost_no_windows() -> None:
    async with Sandbox(records=1_000) as sandbox:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, page_size=10) as client:
            records = await client.fetch_all(sandbox.start, sandbox.end)
        report = records.report
        # A hundred pages, the control count, and the page behind the last.
        assert (report.windows, report.scans, report.requests) == (1, 1, 102)
