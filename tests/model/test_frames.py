"""Records as data frames that plot."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest

from aiosipcdr import CallDetailRecords
from tests.made_up_traffic import made_call, unanswered

RECORDS = CallDetailRecords([made_call(0), unanswered(1, cost=None), made_call(2, cost=Decimal("0.1234567890123"))])


def test_pandas_has_exact_money_and_instants() -> None:
    frame = RECORDS.to_pandas()

    assert list(frame["cost"])[:2] == [Decimal("0.120000000000"), None]
    assert str(frame["submit_time"].dtype) == "datetime64[us, UTC]"
    assert frame["voice_id"].iloc[0] == "2610050000000000000"
    assert frame["call_duration"].dtype.kind == "i"


def test_pandas_has_money_as_floats_on_demand_so_that_it_plots() -> None:
    frame: Any = RECORDS.to_pandas(float_money=True)

    assert {str(frame[name].dtype) for name in ("cost", "rate", "settle_rate", "quote_exchange", "settle_pay")} == {
        "float64"
    }
    assert frame["cost"].iloc[0] == 0.12
    assert pd.isna(frame["cost"].iloc[1])
    # What `plot` takes of a frame: the columns of numbers, over an index of times.
    by_day = frame.set_index("submit_time")["cost"].resample("D").sum()
    assert by_day.dtype.kind == "f"
    assert by_day.index[0] == pd.Timestamp(datetime(2026, 10, 5, tzinfo=UTC))
    assert "cost" in frame.select_dtypes("number").columns


def test_polars_has_exact_money_and_floats_on_demand() -> None:
    frame = RECORDS.to_polars()

    assert frame.schema["cost"] == pl.Decimal(38, 12)
    assert frame.schema["submit_time"] == pl.Datetime("us", "UTC")
    assert frame["cost"].to_list()[:2] == [Decimal("0.12"), None]
    floats = RECORDS.to_polars(float_money=True)
    assert floats.schema["cost"] == pl.Float64
    assert floats["cost"].to_list()[:2] == [0.12, None]
    assert floats.drop("cost", "rate", "settle_rate", "quote_exchange", "settle_pay").equals(
        frame.drop("cost", "rate", "settle_rate", "quote_exchange", "settle_pay")
    )


def test_no_records_are_an_empty_frame() -> None:
    assert len(CallDetailRecords().to_pandas(float_money=True)) == 0
    assert CallDetailRecords().to_polars().shape == (0, 24)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"this needs {name}: pip install {name}"):
        getattr(RECORDS, f"to_{name}")()
