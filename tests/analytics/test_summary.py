"""Summaries: parts that add up, groups, files, and DuckDB's figures for the same calls."""
# ruff: noqa: S608 - the queries hold texts of this file alone

import asyncio
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, getcontext
from fractions import Fraction
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr import CallDetailRecord, CallDetailRecords, CdrClient, ExportError
from aiosipcdr.analytics import Grouping, TrafficMetrics, TrafficSummary, summarize
from aiosipcdr.analytics import summary as summary_module
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.sandbox import Sandbox
from tests.made_up_calls import calls as wild_calls
from tests.made_up_traffic import made_call, traffic, unanswered

SHANGHAI = ZoneInfo("Asia/Shanghai")
BY: tuple[Grouping, ...] = ("code", "day", ("sip_group_name", "currency"), ("weekday", "hour"))


def summary_of(records: Sequence[CallDetailRecord]) -> TrafficSummary:
    return summarize(records, by=BY, tz=SHANGHAI, peaks_by=("code",))


any_calls = st.lists(traffic | wild_calls, max_size=6)


@given(any_calls, any_calls, any_calls)
def test_parts_add_up_in_any_grouping(
    first: list[CallDetailRecord], second: list[CallDetailRecord], third: list[CallDetailRecord]
) -> None:
    one, two, three = map(summary_of, (first, second, third))
    whole = summary_of([*first, *second, *third])

    assert (one + two) + three == whole
    assert one + (two + three) == whole
    assert three + one + two == whole


@given(any_calls.flatmap(lambda records: st.tuples(st.just(records), st.permutations(records))))
def test_the_order_of_calls_does_not_matter(drawn: tuple[list[CallDetailRecord], list[CallDetailRecord]]) -> None:
    records, shuffled = drawn

    assert summary_of(records) == summary_of(shuffled)


@given(st.lists(traffic, max_size=20))
def test_days_add_up_to_the_month(records: list[CallDetailRecord]) -> None:
    by_day: dict[date | None, list[CallDetailRecord]] = {}
    for record in records:
        submitted = record.submit_time
        by_day.setdefault(submitted.astimezone(SHANGHAI).date() if submitted else None, []).append(record)
    days = {day: summary_of(of_day) for day, of_day in by_day.items()}

    month = reduce(add, days.values(), summary_of([]))
    assert month == summary_of(records)
    assert {key: metrics.attempts for key, metrics in month.table("day").items()} == {
        (day,): len(of_day) for day, of_day in by_day.items()
    }
    # A second reading changes something: equality sees it.
    assert not records or month + next(iter(days.values())) != month


@given(st.lists(traffic, max_size=20))
def test_each_table_has_every_call_once(records: list[CallDetailRecord]) -> None:
    summary = summary_of(records)
    total = summary.total

    for names in summary.by:
        groups = summary.table(*names).values()
        assert sum(group.attempts for group in groups) == len(records)
        assert sum(group.seconds for group in groups) == total.seconds
        assert sum(group.erlang_hours for group in groups) == total.erlang_hours
        assert sum((group.by_currency[None].cost for group in groups if None in group.by_currency), Decimal()) == (
            total.by_currency[None].cost if None in total.by_currency else 0
        )


def test_adding_does_not_change_the_operands() -> None:
    one, two = summary_of([made_call(0)]), summary_of([made_call(1, cost=Decimal(9)), unanswered(2)])
    three = one + two
    three.add([made_call(3)])

    assert one == summary_of([made_call(0)])
    assert two == summary_of([made_call(1, cost=Decimal(9)), unanswered(2)])
    one.update(two)
    assert one != three
    assert one == summary_of([made_call(0), made_call(1, cost=Decimal(9)), unanswered(2)])


@pytest.mark.parametrize(
    "settings", [{"by": ("day",)}, {"tz": UTC}, {"billing": False}, {"hints": False}, {"peaks_by": ("code",)}]
)
def test_summaries_of_other_settings_do_not_add_up(settings: dict[str, Any]) -> None:
    ours = summarize([], tz=SHANGHAI)
    other = summarize([], **({"tz": SHANGHAI} | settings))

    assert ours != other
    with pytest.raises(ValueError, match="add up only if"):
        ours.update(other)


def test_sums_are_exact_whatever_the_context() -> None:
    getcontext().prec = 28
    tiny, huge = Decimal("1E-40"), Decimal("1E+20")
    summary = summarize([made_call(0, cost=huge), made_call(1, cost=tiny), made_call(2, cost=-huge)])

    assert summary.total.by_currency[None].cost == tiny
    assert (summarize([made_call(0, cost=huge)]) + summarize([made_call(1, cost=tiny)])).total.money() == [
        MoneyRow("cost", None, Decimal("100000000000000000000.0000000000000000000000000000000000000001"))
    ]


def test_groups_are_ordered_and_have_the_days_of_the_zone() -> None:
    # 2026-10-05T16:00Z is Tuesday, midnight in Shanghai.
    late = made_call(submit_time=datetime(2026, 10, 5, 16, tzinfo=UTC), code="Ireland(Special)")
    calls = [late, made_call(), made_call(code=None), made_call(submit_time=None)]
    summary = summarize(calls, by=("code", "day", ("weekday", "hour")), tz=SHANGHAI)

    codes = {key: metrics.attempts for key, metrics in summary.table("code").items()}
    assert list(codes.items()) == [((None,), 1), (("Ireland(Special)",), 1), (("United Kingdom(Mobile)",), 2)]
    assert [*summary.table("day")] == [(None,), (date(2026, 10, 5),), (date(2026, 10, 6),)]
    assert [*summary.table("weekday", "hour")] == [(None, None), (0, 17), (1, 0)]
    assert summary.total.undated == 1
    with pytest.raises(KeyError, match="no table by"):
        summary.table("phone_name")


@pytest.mark.parametrize("minutes", [0, 7, 330, 765, -1])
def test_days_begin_at_any_minute(minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    moments = [datetime(2026, 10, 5, tzinfo=zone) + timedelta(seconds=second) for second in (-1, 0, 899, 900)]
    summary = summarize([made_call(submit_time=moment) for moment in moments], by=("day",), tz=zone)

    assert {key: metrics.attempts for key, metrics in summary.table("day").items()} == {
        (date(2026, 10, 4),): 1,
        (date(2026, 10, 5),): 3,
    }


def test_a_day_has_its_hours_where_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)  # 25 October, midnight; that day has 25 hours
    calls = [made_call(submit_time=start + timedelta(hours=hour)) for hour in range(25)]
    summary = summarize(calls, by=("day", "hour"), tz=berlin)

    assert [*summary.table("day")] == [(date(2026, 10, 25),)]
    assert {key: metrics.attempts for key, metrics in summary.table("hour").items()} == {
        (hour,): 2 if hour == 2 else 1 for hour in range(24)
    }


def test_peaks_are_counted_where_they_are_asked_for() -> None:
    summary = summarize([made_call()], by=("code", "day"), peaks_by=("code",))
    (of_code,), (of_day,) = summary.table("code").values(), summary.table("day").values()

    assert of_code.concurrent == summary.total.concurrent
    assert of_code.starts == summary.total.starts
    assert (of_day.concurrent, of_day.starts) == (None, None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"by": ("callee",)}, "cannot be grouped by 'callee'"),
        ({"by": ((),)}, "needs a dimension"),
        ({"by": ("code",), "peaks_by": ("day",)}, "which is not in by"),
    ],
)
def test_groupings_that_do_not_exist_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TrafficSummary(**settings)


def test_one_dimension_may_be_named_alone() -> None:
    assert summarize([made_call()], by="code") == summarize([made_call()], by=("code", "code"))
    assert summarize([made_call()], ()).by == ()


def test_too_many_groups_are_refused_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "MOST_GROUPS", 2)
    calls = [made_call(number, code=f"place {number}") for number in range(3)]

    with pytest.raises(ValueError, match="more than 2 groups by code"):
        summarize(calls)
    one, two = summarize(calls[:2]), summarize(calls[2:])
    with pytest.raises(ValueError, match="more than 2 groups by code"):
        one.update(two)


def test_records_and_batches_may_be_mixed() -> None:
    calls = [made_call(number) for number in range(5)]
    batches: list[CallDetailRecord | Iterable[CallDetailRecord]] = [calls[0], CallDetailRecords(calls[1:3])]
    batches.append(iter(calls[3:]))

    assert summarize(batches) == summarize(calls) == summarize(iter(calls))


def test_a_generator_keeps_its_own_decimal_context() -> None:
    precisions = []

    def made() -> Any:  # noqa: ANN401
        for number in range(3):
            precisions.append(getcontext().prec)
            yield made_call(number)

    summarize(made())

    assert precisions == [getcontext().prec] * 3


def test_a_summary_can_be_stored() -> None:
    summary = summary_of([made_call(), made_call(1, cost=Decimal(3)), made_call(1, cost=Decimal(3)), unanswered(2)])
    stored = pickle.loads(pickle.dumps(summary))  # noqa: S301 - our own

    assert stored == summary
    assert stored + summary == summary + stored
    stored.add([made_call(9)])
    assert stored != summary


def test_summaries_of_a_zone_that_was_loaded_twice_add_up() -> None:
    summary, other = (summarize([made_call()], tz=ZoneInfo.no_cache("Asia/Shanghai")) for _ in range(2))

    assert summary == other
    assert (summary + other).total.attempts == 2
    assert summary != summarize([made_call()], tz=ZoneInfo("Asia/Tokyo"))


def test_no_repr_shows_a_value_of_a_group() -> None:
    summary = summarize([made_call(phone_name="+12125550123")], by=("phone_name", "code"))

    assert [*summary.table("phone_name")] == [("+12125550123",)]
    shown = repr(summary) + repr(summary.billing) + repr(summary.hints) + repr(summary.total)
    assert "2125550123" not in shown
    assert "447700" not in shown


@dataclass
class Fetched:
    records: CallDetailRecords
    files: list[Path]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    files = [tmp_path_factory.mktemp("files") / f"calls.{name}" for name in ("ndjson", "csv.gz", "parquet")]

    async def fetch() -> Fetched:
        async with (
            Sandbox(records=1_000, seed=5, days=1) as sandbox,
            CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
        ):
            for path in files:
                await client.export(sandbox.start, sandbox.end, path)
            return Fetched(await client.fetch_all(sandbox.start, sandbox.end), files)

    return asyncio.run(fetch())


def test_summaries_of_files_and_records_are_equal(fetched: Fetched) -> None:
    expected = summary_of(fetched.records)

    assert expected.total.attempts == 1_000
    for path in fetched.files:
        assert summarize(path, by=BY, tz=SHANGHAI, peaks_by=("code",)) == expected
    twice = summarize([*map(str, fetched.files[:2])], by=BY, tz=SHANGHAI, peaks_by=("code",))
    assert twice == expected + expected


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cost", '"0.12"', '"a lot"'),
        ("cost", '"0.12"', '"NaN"'),
        ("submit_time", "+00:00", ""),
        ("call_duration", "90", '"90"'),
    ],
)
def test_a_file_that_no_export_wrote_is_refused(tmp_path: Path, name: str, old: str, new: str) -> None:
    fields = made_call().to_dict()
    line = made_call().to_json()
    assert name in fields
    (tmp_path / "calls.ndjson").write_text(line)
    assert summarize(tmp_path / "calls.ndjson").total.answered == 1
    (tmp_path / "calls.ndjson").write_text(line.replace(old, new))

    with pytest.raises(ExportError, match="cannot be read"):
        summarize(tmp_path / "calls.ndjson")
    with pytest.raises(ExportError, match="cannot be read"):
        summarize(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="format"):
        summarize(tmp_path / "calls.txt")


ANSWERED = "answer_time is not null and call_duration > 0"
ORACLE = f"""
    with legs as (
        select epoch(date_trunc('second', answer_time))::bigint as moment, 1 as change from calls where {ANSWERED}
        union all
        select epoch(date_trunc('second', hangup_time))::bigint, -1 from calls where {ANSWERED}
    ),
    seconds as (select moment, sum(change) as change from legs group by moment),
    levels as (select sum(change) over (order by moment) as level from seconds),
    starts as (select count(*) as calls from calls group by date_trunc('second', submit_time))
    select
        count(*) as attempts,
        count(*) filter ({ANSWERED}) as answered,
        count(*) filter ({ANSWERED}) / count(*) as asr,
        (count(*) filter ({ANSWERED} or termination_code in ('480', '486', '487', '600', '603'))) / count(*) as ner,
        avg(call_duration) filter ({ANSWERED}) as acd,
        quantile_disc(epoch(ringing_time - submit_time)::bigint, 0.5) filter (ringing_time is not null) as pdd,
        quantile_disc(epoch(ringing_time - submit_time)::bigint, 0.95) filter (ringing_time is not null) as pdd95,
        (select max(level) from levels)::bigint as peak,
        (select max(calls) from starts) as calls_per_second,
        (sum(call_duration) filter ({ANSWERED}))::bigint as seconds,
        sum(charged_duration)::bigint as charged_seconds,
        (count(*) filter ({ANSWERED} and call_duration < 6)) / count(*) filter ({ANSWERED}) as short_share,
        sum(cost) filter (currency is null) as cost,
        sum(cost) filter (currency = 'EUR') as cost_in_eur,
        sum(settle_pay) filter (currency = 'EUR') as settle_pay
    from calls
"""


def test_duckdb_finds_the_same_figures(fetched: Fetched) -> None:
    calls = fetched.records.arrow  # noqa: F841 - DuckDB finds it by its name
    answer = duckdb.sql(ORACLE)
    assert answer is not None
    (row,) = answer.fetchall()
    oracle = dict(zip(answer.columns, row, strict=True))
    metrics = summary_of(fetched.records).total
    assert metrics.concurrent is not None
    assert metrics.starts is not None
    peak, busiest = metrics.concurrent.peak(), metrics.starts.peak()
    assert peak is not None
    assert busiest is not None

    assert oracle == {
        "attempts": metrics.attempts,
        "answered": metrics.answered,
        "asr": metrics.asr,
        "ner": metrics.ner,
        "acd": metrics.acd,
        "pdd": metrics.pdd(),
        "pdd95": metrics.pdd(0.95),
        "peak": peak.calls,
        "calls_per_second": busiest.calls,
        "seconds": metrics.seconds,
        "charged_seconds": metrics.charged_seconds,
        "short_share": metrics.short_share,
        "cost": metrics.by_currency[None].cost,
        "cost_in_eur": metrics.by_currency["EUR"].cost,
        "settle_pay": metrics.by_currency["EUR"].settle_pay,
    }
    assert peak.calls > 3
    assert metrics.erlang_hours == Fraction(oracle["seconds"], 3_600)


def ask(query: str, calls: object) -> list[tuple[Any, ...]]:  # noqa: ARG001 - DuckDB finds the calls by their name
    answer = duckdb.sql(query)
    assert answer is not None
    return sorted(answer.fetchall())


def test_duckdb_finds_the_same_groups(fetched: Fetched) -> None:
    calls = fetched.records.arrow
    by_code = ask(f"select code, count(*), count(*) filter ({ANSWERED}) from calls group by code", calls)
    local = "timezone('Asia/Shanghai', submit_time)"
    by_hour = ask(
        f"select isodow({local}) - 1, hour({local}), count(*), sum(charged_duration)::bigint from calls group by 1, 2",
        calls,
    )
    summary = summary_of(fetched.records)

    def rows(table: dict[Any, TrafficMetrics]) -> list[tuple[Any, ...]]:
        return [(*key, metrics.attempts, metrics.answered) for key, metrics in table.items()]

    assert by_code == rows(summary.table("code"))
    assert by_hour == [
        (*key, metrics.attempts, metrics.charged_seconds) for key, metrics in summary.table("weekday", "hour").items()
    ]
    assert len(by_code) > 10
    assert summary.billing is not None
    audit = summary.billing.result()
    assert (audit.checked, audit.mismatched, audit.misrounded.total, audit.duplicates.total) == (1_000, 0, 0, 0)
