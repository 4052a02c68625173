"""Records in a data frame: every library takes them, and nothing is rounded, shifted or lost."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiosipcdr
from aiosipcdr import CallDetailRecord, CallDetailRecords
from aiosipcdr.model.arrow import BATCH_ROWS, ArrowRecords, fit_columns, record_batch, record_batches, schema
from aiosipcdr.model.records import ExtraFields, list_faulty_fields
from tests.made_up_calls import SHANGHAI, calls

FULL = CallDetailRecord(
    voice_id="2610241209441000001",
    sip_group_name="客服一组",
    phone_name="agent 7",
    callee="+12125550123",
    display_num="+447700900123",
    code="Afghanistan(Kandahar)",
    submit_time=datetime(2026, 10, 24, 1, 20, 9, 123456, tzinfo=SHANGHAI),
    call_time=datetime(2026, 10, 23, 17, 20, 10, tzinfo=UTC),
    call_duration=1_000_000_000,
    charged_duration=0,
    termination_code="200",
    cost=Decimal("0.000000000001"),
    bill_period="20+20",
    rate=Decimal("12345678901234567890123456.123456789012"),
    settle_pay=Decimal("-0.10"),
    currency="EUR",
)
EMPTY = CallDetailRecord(voice_id="2")
NAMES = list(CallDetailRecord.__struct_fields__)


def rows(records: list[CallDetailRecord]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(record) | {"extra": record.extra.to_json()} for record in records]


def ask(query: str, fetched: CallDetailRecords) -> list[Any]:
    records = fetched.arrow  # noqa: F841 - DuckDB finds it by its name
    answer = duckdb.sql(query)
    assert answer is not None
    return answer.fetchall()


@given(st.lists(calls, max_size=8))
def test_every_value_comes_back_as_it_was(records: list[CallDetailRecord]) -> None:
    table = pa.table(CallDetailRecords(records).arrow)
    assert table.column_names == NAMES
    assert table.to_pylist() == rows(records)


def test_the_columns_have_the_promised_types() -> None:
    reported = {field.name: str(field.type) for field in schema()}
    assert list(reported) == NAMES
    assert reported["voice_id"] == reported["callee"] == reported["termination_code"] == "string"
    assert reported["submit_time"] == reported["hangup_time"] == "timestamp[us, tz=UTC]"
    assert reported["call_duration"] == reported["charged_duration"] == "int64"
    assert reported["cost"] == reported["quote_exchange"] == "decimal128(38, 12)"
    assert [field.name for field in schema() if not field.nullable] == ["voice_id"]


@given(st.lists(calls, max_size=8), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_columns_that_are_asked_for_are_those_of_the_whole(records: list[CallDetailRecord], names: list[str]) -> None:
    chosen = pa.table(CallDetailRecords(records).arrow.select(names))
    assert chosen.column_names == names
    assert chosen.equals(pa.table(CallDetailRecords(records).arrow).select(names))


def test_columns_that_are_not_asked_for_are_not_built() -> None:
    record = CallDetailRecord(voice_id="1", cost="no amount", currency="EUR")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        record_batch([record])
    assert record_batch([record], ["currency", "voice_id"]).to_pylist() == [{"currency": "EUR", "voice_id": "1"}]
    assert [batch.num_columns for batch in record_batches([record] * 3, ["currency"])] == [1]
    assert repr(CallDetailRecords([record]).arrow.select(["cost"])) == "<ArrowRecords: 1 records>"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "columns must be a list of names"),
        ("cost", "columns must be a list of names"),
        (["cost", "costs", "price"], "columns has no such field: 'costs', 'price'; there are voice_id, "),
        (["cost", "rate", "cost"], "columns has these names twice: cost"),
    ],
)
def test_columns_that_do_not_exist_are_refused_at_once(columns: Any, message: str) -> None:  # noqa: ANN401
    for refuse in (CallDetailRecords([FULL]).arrow.select, schema, lambda names: record_batch([FULL], names)):
        with pytest.raises(ValueError, match=message):
            refuse(columns)


BERLIN = ZoneInfo("Europe/Berlin")
INSTANTS = [
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2026, 7, 1, 12, tzinfo=BERLIN),
    datetime(1850, 1, 1, 12, tzinfo=BERLIN),  # local mean time: an offset with seconds
    datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30, seconds=7))),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    None,
]


@given(st.lists(st.sampled_from(INSTANTS), max_size=6))
def test_an_instant_is_the_same_in_every_zone(times: list[datetime | None]) -> None:
    table = record_batch([CallDetailRecord(voice_id="1", hangup_time=time) for time in times], ["hangup_time"])
    expected = [None if time is None else time.astimezone(UTC) for time in times]
    assert table.column("hangup_time").to_pylist() == expected


@pytest.mark.parametrize(
    "time", [datetime.min.replace(tzinfo=SHANGHAI), datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))]
)
def test_a_time_outside_the_calendar_in_utc_is_kept_in_extra(time: datetime) -> None:
    record = CallDetailRecord(voice_id="1", call_time=time)
    whole, alone = record_batch([record, FULL]), record_batch([record], ["call_time"])
    assert whole.column("call_time").to_pylist() == [None, FULL.call_time]
    assert whole.column("extra").to_pylist() == [f'{{"callTime":"{time.isoformat()}"}}', None]
    assert alone.to_pylist() == [{"call_time": None}]


def test_no_records_are_a_table_without_rows() -> None:
    nothing = CallDetailRecords()
    assert pa.table(nothing.arrow).schema == schema()
    assert pa.table(nothing.arrow).num_rows == 0
    assert pl.DataFrame(nothing.arrow).columns == NAMES
    assert list(pd.DataFrame.from_arrow(nothing.arrow).columns) == NAMES
    assert ask("select count(*) from records", nothing) == [(0,)]


def test_polars_takes_them() -> None:
    frame = pl.DataFrame(CallDetailRecords([FULL, EMPTY]).arrow)
    assert frame["cost"].to_list() == [FULL.cost, None]
    assert frame["rate"].to_list() == [FULL.rate, None]
    assert frame["submit_time"].to_list() == [FULL.submit_time, None]
    assert frame.schema["submit_time"] == pl.Datetime("us", "UTC")
    assert frame["voice_id"].to_list() == [FULL.voice_id, "2"]


def test_duckdb_takes_them() -> None:
    query = (
        "select count(*), sum(rate), sum(call_duration), max(submit_time) = '2026-10-23 17:20:09.123456+00',"
        " count(callee), any_value(voice_id) from records"
    )
    (row,) = ask(query, CallDetailRecords([FULL, EMPTY]))
    assert row == (2, FULL.rate, 1_000_000_000, True, 1, FULL.voice_id)


def test_pandas_takes_them() -> None:
    frame = pd.DataFrame.from_arrow(CallDetailRecords([FULL, EMPTY]).arrow)
    assert frame["cost"].tolist() == [FULL.cost, None]
    assert frame["submit_time"][0] == FULL.submit_time
    assert str(frame["submit_time"].dtype) == "datetime64[us, UTC]"
    assert pd.isna(frame["submit_time"][1])
    assert frame["voice_id"][0] == FULL.voice_id


def test_the_list_itself_is_a_stream_for_those_who_ask() -> None:
    records = CallDetailRecords([FULL, EMPTY])
    assert pa.RecordBatchReader.from_stream(records).read_all().to_pylist() == rows(records)


def test_a_reader_may_ask_for_other_types() -> None:
    wanted = pa.schema(
        [field.with_type(pa.large_string()) if field.type == pa.string() else field for field in schema()]
    )
    reader = pa.RecordBatchReader.from_stream(CallDetailRecords([FULL]), schema=wanted)
    assert reader.read_all().schema.field("callee").type == pa.large_string()


def test_columns_that_hold_nothing_keep_their_types() -> None:
    batch = record_batch([EMPTY, EMPTY])
    assert batch.schema == schema()
    assert batch.column("cost").null_count == batch.column("submit_time").null_count == 2


def test_long_lists_come_in_bounded_batches_made_when_they_are_read() -> None:
    class Counted(list[CallDetailRecord]):
        slices = 0

        def __getitem__(self, place: Any) -> Any:  # noqa: ANN401
            Counted.slices += 1
            return super().__getitem__(place)

    records = Counted([EMPTY] * (BATCH_ROWS + 1))
    batches = record_batches(records)
    assert Counted.slices == 0
    assert next(batches).num_rows == BATCH_ROWS
    assert Counted.slices == 1
    assert [batch.num_rows for batch in batches] == [1]
    assert [batch.num_rows for batch in pa.RecordBatchReader.from_stream(ArrowRecords(records))] == [BATCH_ROWS, 1]


def test_a_stream_can_be_read_again_with_added_records() -> None:
    records = CallDetailRecords([FULL])
    view = records.arrow
    assert pa.table(view).num_rows == 1
    records.append(EMPTY)
    assert pa.table(view).num_rows == 2


@pytest.mark.parametrize("amount", ["1E-13", "123456789012345678901234567", "0.30000000000000004", "NaN"])
def test_an_amount_that_does_not_fit_is_kept_in_extra_and_not_rounded(amount: str) -> None:
    record = CallDetailRecord(voice_id="1", cost=Decimal(amount), rate=Decimal(2), extra=ExtraFields(zone="1"))
    fit = CallDetailRecord(voice_id="2", cost=Decimal("7.50"))
    first, second = record_batch([record, fit]).to_pylist()
    assert (first["cost"], first["rate"], first["extra"]) == (None, Decimal(2), f'{{"cost":"{amount}","zone":1}}')
    assert (second["cost"], second["extra"]) == (Decimal("7.50"), None)
    assert list_faulty_fields(fit_columns([record])[0]) == ["cost"]


@pytest.mark.parametrize(
    "amount", ["1.5000000000000", "0E-18", "0E+40", "1E+25", "99999999999999999999999999.9999999999990"]
)
def test_an_amount_fits_by_its_value_whatever_its_digits(amount: str) -> None:
    (row,) = record_batch([CallDetailRecord(voice_id="1", settle_pay=Decimal(amount))]).to_pylist()
    assert (row["settle_pay"], row["extra"]) == (Decimal(amount), None)


def test_ordinary_records_are_not_looked_at_one_by_one() -> None:
    records = [FULL, EMPTY]
    assert fit_columns(records[1:] * 3) == records[1:] * 3
    plain = [CallDetailRecord(voice_id="1", cost=Decimal("-1.25"), settle_rate=Decimal("0.000000000001"))]
    assert fit_columns(plain) is plain


def test_no_number_is_in_a_repr() -> None:
    assert repr(CallDetailRecords([FULL]).arrow) == "<ArrowRecords: 1 records>"


def test_a_missing_extra_names_the_package_to_install() -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(aiosipcdr.__file__).parent.parent)!r})
sys.modules["pyarrow"] = None
from aiosipcdr import CallDetailRecord, CallDetailRecords
records = CallDetailRecords([CallDetailRecord(voice_id="1")])
for stream in records, records.arrow:
    try:
        stream.__arrow_c_stream__()
    except ImportError as error:
        print(error)
"""
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240
    )
    assert result.stdout == 'Arrow and Parquet need pyarrow: pip install "aiosipcdr[arrow]"\n' * 2
