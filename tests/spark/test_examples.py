"""The examples for Spark, run in this process: they find the session that runs already."""

import runpy
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from aiosipcdr.sandbox import Sandbox
from tests.spark.ranges import open_client

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DAY = timedelta(days=1)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_day_of_the_lake_is_replaced_and_others_stay(
    spark: Any, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = sandbox.start.replace(hour=0, minute=0, second=0) + DAY
    folder = tmp_path / "lake"
    with open_client(sandbox) as client:
        records = client.fetch_all(start, start + 2 * DAY, time_field="submit_time")

    for first, last in ((start, start + 2 * DAY), (start + DAY, start + 2 * DAY)):
        span = ("--start", first.isoformat(), "--end", last.isoformat())
        run(monkeypatch, "spark_lake.py", *span, "--folder", str(folder), "--rate", "2000")

    assert capsys.readouterr().out.splitlines() == [f"{len(records):,} calls of 2 days in {folder}"] * 2
    assert sorted(path.name for path in folder.glob("day=*")) == [
        f"day={start:%Y-%m-%d}",
        f"day={start + DAY:%Y-%m-%d}",
    ]
    assert spark.read.parquet(str(folder)).selectExpr("count(distinct voice_id)").first()[0] == len(
        {one.voice_id for one in records}
    )
    with pytest.raises(SystemExit):
        run(monkeypatch, "spark_lake.py", "--start", f"{start:%Y-%m-%d}T01:00:00+08:00", "--end", last.isoformat())


def test_rows_are_merged_once(
    spark: Any, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spark
    folder = tmp_path / "calls"
    start = sandbox.end - 2 * DAY
    arguments = ("--start", start.isoformat(), "--folder", str(folder), "--rows", "1000", "--rate", "2000")
    with open_client(sandbox) as client:
        records = client.fetch_all(start, sandbox.end + DAY)

    run(monkeypatch, "spark_delta.py", *arguments)
    run(monkeypatch, "spark_delta.py", *arguments)
    shutil.rmtree(f"{folder}-checkpoint")  # all calls are read again
    run(monkeypatch, "spark_delta.py", *arguments)

    table = DeltaTable(str(folder)).to_pyarrow_table()
    assert sorted(table["voice_id"].to_pylist()) == sorted(one.voice_id for one in records)
    assert capsys.readouterr().out.count(f"{len(records):,} calls in {folder}, version ") == 3
