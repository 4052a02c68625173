# ruff: noqa: ANN401 - switches are anything
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.sandbox.calls import (
    CallGenerator,
    Row,
    WireTimes,
    charged_seconds,
    decimal_text,
    plan_seconds,
)
from aiosipcdr.sandbox.config import SandboxConfig
from tests.caches import CONFIG_FIELDS

START = int(datetime(2026, 3, 1, 16, tzinfo=UTC).timestamp())
END = START + 7 * 86_400
TIMES = ("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime")


def make_rows(records: int = 3_000, **config: Any) -> list[Row]:
    generator = CallGenerator(SandboxConfig(records=records, **config), START, END)
    return [row for batch in generator.batches() for row in batch]


def make_records(records: int = 3_000, **config: Any) -> list[dict[str, Any]]:
    return [json.loads(row.body) for row in make_rows(records, **config)]


def second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_same_seed_number_and_start_give_the_same_bytes() -> None:
    assert make_rows() == make_rows()
    assert make_rows() != make_rows(seed=8)


def test_the_cache_of_generated_calls_knows_all_that_they_depend_on() -> None:
    read = set()

    class Recorder:
        def __getattr__(self, name: str) -> object:
            read.add(name)
            return getattr(SandboxConfig(records=10, leg_every=2), name)

    config: Any = Recorder()
    assert sum(map(len, CallGenerator(config, START, END).batches())) >= 10
    assert read == {*CONFIG_FIELDS}


def test_the_notation_of_a_record_does_not_change_its_contents() -> None:
    plain, dressed = make_records(), make_records(absent="missing", cost_field="costEur")
    for left, right in zip(plain, dressed, strict=True):
        right["cost"] = right.pop("costEur")
        assert {name: value for name, value in left.items() if value is not None} == right


@given(records=st.integers(0, 40))
def test_as_many_calls_as_asked_for_strictly_inside_the_range_in_order(records: int) -> None:
    seconds = [s for batch in plan_seconds(SandboxConfig(records=records), START, END) for s in batch]
    assert len(seconds) == records
    assert seconds == sorted(seconds)
    assert all(START < s < END for s in seconds)


def test_every_time_of_every_call_lies_inside_the_range() -> None:
    for record in make_records():
        times = [second(record[name]) for name in TIMES if record[name] is not None]
        assert min(times) > START
        assert max(times) < END


def test_office_hours_are_busy_and_nights_and_weekends_quiet() -> None:
    local = [datetime.fromisoformat(record["submitTime"]) for record in make_records(20_000)]
    hours = Counter(moment.hour for moment in local)
    days = Counter(moment.weekday() for moment in local)
    assert hours[10] > 20 * hours[3]
    assert days[2] > 2 * days[6]


def test_some_calls_share_their_second() -> None:
    rows = make_rows(1_000)
    assert len({row.submitted for row in rows}) < len(rows)


def test_ids_are_nineteen_digits_and_unique() -> None:
    ids = [str(row.voice_id) for row in make_rows()]
    assert len(set(ids)) == len(ids)
    assert all(len(i) == 19 and i.isascii() and i.isdigit() for i in ids)


def test_an_id_begins_with_the_time_of_submission() -> None:
    record = make_records(1)[0]
    digits = record["submitTime"].translate({ord(c): None for c in "-T:"})
    assert record["voiceId"].startswith(digits[2:14])


def test_the_mix_is_believable() -> None:
    records = make_records()
    answered = [record for record in records if record["answerTime"] is not None]
    assert 0.5 < len(answered) / len(records) < 0.7
    assert {record["terminationCode"] for record in records} >= {"200", "486", "487", "404", "503"}
    assert {record["currency"] for record in records} == {None, "EUR", "GBP", "CNY"}  # no currency: US dollars
    assert any(record["callTime"] > record["hangupTime"] for record in records)


def test_a_call_that_was_not_answered_has_nothing_that_answered_ones_have() -> None:
    for record in make_records():
        if record["answerTime"] is None:
            assert record["recordingFileId"] is None
            assert (record["cost"], record["callDuration"], record["chargedDuration"]) == ("0", 0, 0)
        else:
            gap = second(record["hangupTime"]) - second(record["answerTime"])
            assert record["callDuration"] == gap > 0


def test_cost_follows_from_rate_period_and_duration() -> None:
    for record in make_records():
        first, step = map(int, record["billPeriod"].split("+"))
        charged, duration = record["chargedDuration"], record["callDuration"]
        assert charged == 0 if duration == 0 else charged >= max(first, duration)
        assert (charged - first) % step == 0 or duration == 0
        assert charged - duration < max(first, step)
        rate, cost = Decimal(record["rate"]), Decimal(record["cost"])
        assert cost * 60 == rate * charged
        if record["currency"] is None:
            assert record["settleRate"] is record["quoteExchange"] is record["settlePay"] is None
        else:
            exchange = Decimal(record["quoteExchange"])
            assert Decimal(record["settleRate"]) == rate * exchange
            assert Decimal(record["settlePay"]) == cost * exchange


@pytest.mark.parametrize("field", TIMES)
def test_a_call_that_is_added_lies_where_the_range_looks(field: Any) -> None:
    generator = CallGenerator(SandboxConfig(time_field=field), START, END)
    for at in (START + 5_000, *range(END - 60, END + 60)):
        row = generator.make_at(at, "a group", "a phone")
        record = json.loads(row.body)
        assert row.ranged == second(record[field]) == at
        assert (record["sipGroupName"], record["phoneName"]) == ("a group", "a phone")
        assert record["answerTime"] is not None


def test_absent_values_are_written_as_asked() -> None:
    assert any(None in record.values() for record in make_records(50))
    empty = make_records(50, absent="empty")
    assert any("" in record.values() for record in empty)
    assert not any(None in record.values() for record in empty)


def test_repeated_ids_come_on_top() -> None:
    ids = [row.voice_id for row in make_rows(100, repeat_every=10)]
    assert len(ids) == 110
    assert len(set(ids)) == 100


def test_other_switches_of_a_record() -> None:
    records = make_records(50, extra_record_keys=True, success_code="1000")
    assert all("hangupSide" in record for record in records)
    assert {r["terminationCode"] for r in records if r["answerTime"] is not None} == {"1000"}


@given(st.integers(0, 10**12), st.integers(0, 8))
def test_decimal_text_is_exact_and_short(units: int, places: int) -> None:
    text = decimal_text(units, places)
    assert Decimal(text) == Decimal(units).scaleb(-places)
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("duration", "period", "charged"),
    [
        (0, "60+60", 0),
        (1, "60+60", 60),
        (60, "60+60", 60),
        (61, "60+60", 120),
        (7, "6+6", 12),
        (5, "20+20", 20),
        (41, "20+20", 60),
        (59, "1+1", 59),
        (31, "30+6", 36),
    ],
)
def test_charged_seconds(duration: int, period: str, charged: int) -> None:
    assert charged_seconds(duration, period) == charged


@given(
    st.integers(0, 4_000_000_000),
    st.integers(-1439, 1439).map(lambda minutes: timedelta(minutes=minutes)),
)
def test_times_are_written_with_their_offset(moment: int, offset: timedelta) -> None:
    text = WireTimes(offset)[moment]
    parsed = datetime.fromisoformat(text)
    assert parsed.timestamp() == moment
    assert parsed.utcoffset() == offset
    assert len(text) == len("2026-01-01T00:00:00+08:00")


def test_a_leg_begins_when_the_one_before_it_ends() -> None:
    rows = make_rows(2_000, leg_every=10)
    records = [json.loads(row.body) for row in rows]
    assert [row.submitted for row in rows] == sorted(row.submitted for row in rows)
    by_id: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_id.setdefault(record["voiceId"], []).append(record)
    pairs = [legs for legs in by_id.values() if len(legs) == 2]
    assert len(by_id) == 2_000
    assert 190 <= len(pairs) <= 200  # the last ones could not end inside the range
    assert len(rows) == 2_000 + len(pairs)
    for first, second_leg in pairs:
        assert second_leg["submitTime"] == first["hangupTime"]
        assert second_leg["sipGroupName"] == first["sipGroupName"]
    assert all(second(record[name]) < END for record in records for name in TIMES if record[name] is not None)


def test_legs_change_nothing_where_there_are_none() -> None:
    assert make_rows(50, leg_every=51) == make_rows(50)
