"""Ranges with `spark.read`, on two cores of this machine."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812 - as everybody names it

from aiosipcdr.model.arrow import record_batch, schema
from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.spark.conftest import RECORDS, ROWS, write_account
from tests.spark.ranges import open_client, read, sums, truth

LARGE = 200_000


@pytest.fixture
def pushing(spark: Any) -> Iterator[None]:
    spark.conf.set("spark.sql.python.filterPushdown.enabled", "true")
    yield
    spark.conf.set("spark.sql.python.filterPushdown.enabled", "false")


@pytest.fixture(scope="module")
def large() -> Iterator[Sandbox]:
    with Sandbox(records=LARGE, leg_every=50) as sandbox:
        yield sandbox


@pytest.mark.parametrize("options", [{"timeField": "submit_time"}, {"rate": 2_000}], ids=["known", "unknown, paced"])
def test_all_rows_of_a_large_range_are_read_once(
    spark: Any, large: Sandbox, tmp_path: Path, options: dict[str, object]
) -> None:
    frame = read(spark, large, credentialsFile=write_account(large, tmp_path), rows=LARGE // 4, **options)
    large.reset_stats()

    assert sums(frame) == truth(large)
    assert frame.rdd.getNumPartitions() == 4
    assert LARGE / 100 < large.stats.requests < 2 * LARGE / 100


def test_the_rate_is_that_of_all_tasks_together(spark: Any, sandbox: Sandbox, gate: Gate) -> None:
    with open_client(sandbox) as client:
        client.plan_parts(sandbox.start, sandbox.end, rows=ROWS)
    planned = sandbox.stats.requests
    rate = RECORDS // 1_000
    arrivals: list[float] = []

    def note(_body: bytes) -> bool:
        arrivals.append(time.monotonic())
        return False

    gate.applies = note
    assert read(spark, sandbox, rows=ROWS, rate=rate).count() == truth(sandbox).rows

    # With a rate for each task, the two cores would take half of it.
    of_tasks = arrivals[planned:]
    assert of_tasks[-1] - arrivals[planned - 1] >= (len(of_tasks) - 10) / rate


def test_rows_are_those_of_the_client(spark: Any, sandbox: Sandbox) -> None:
    start, end = sandbox.start, sandbox.start + timedelta(days=1)
    frame = read(spark, sandbox, end=end.isoformat(), rows=200)
    with open_client(sandbox) as client:
        records = client.fetch_all(start, end)

    table = frame.toArrow()

    assert table.schema == schema()
    expected = record_batch(records).to_pylist()
    key = lambda row: str([*row.values()])  # noqa: E731
    assert sorted(table.to_pylist(), key=key) == sorted(expected, key=key)
    assert len(expected) > 300


def test_columns_are_chosen_by_a_schema(spark: Any, sandbox: Sandbox) -> None:
    reader = spark.read.format("sipcdr").schema("cost decimal(38,12), voice_id string")
    frame = reader.option("start", sandbox.start.isoformat()).option(
        "end", (sandbox.start + timedelta(hours=6)).isoformat()
    )

    table = frame.load().toArrow()

    assert table.schema.names == ["cost", "voice_id"]
    assert {*table["voice_id"].to_pylist()} <= {*sandbox.voice_ids()}
    assert table.num_rows
    with pytest.raises(PySparkException, match=r"no column cost double; there are voice_id string"):
        spark.read.format("sipcdr").schema("cost double").option("start", "2026-10-01T00:00:00Z").option(
            "end", "2026-10-01T00:00:00Z"
        ).load().count()


@pytest.mark.usefixtures("pushing")
def test_filters_of_time_group_and_phone_are_pushed_down(spark: Any, sandbox: Sandbox) -> None:
    with open_client(sandbox) as client:
        day = client.fetch_all(sandbox.start + timedelta(days=3), sandbox.start + timedelta(days=4))
    first = min(record.submit_time for record in day if record.submit_time is not None)
    last = max(record.submit_time for record in day if record.submit_time is not None)
    phone, group = next((one.phone_name, one.sip_group_name) for one in day if one.phone_name and one.sip_group_name)
    frame = read(spark, sandbox, timeField="submit_time", pushdown="true")
    before = sandbox.stats.requests

    time = F.col("submit_time")
    one_phone = frame.where((time > F.lit(first)) & (time <= F.lit(last)))
    one_phone = one_phone.where((F.col("sip_group_name") == group) & (F.col("phone_name") == phone))
    found = [row.voice_id for row in one_phone.select("voice_id", F.upper("callee")).collect()]

    expected = [
        one.voice_id
        for one in day
        if one.submit_time is not None
        and first < one.submit_time <= last
        and (one.sip_group_name, one.phone_name) == (group, phone)
    ]
    assert sorted(found) == sorted(expected)
    assert found
    assert sandbox.stats.requests - before <= 12
    # Nothing can be in the range of both conditions: no request at all.
    before = sandbox.stats.requests
    assert frame.where((time < F.lit(first)) & (time > F.lit(last + timedelta(days=1)))).count() == 0
    assert sandbox.stats.requests - before == 0


@pytest.mark.usefixtures("pushing")
def test_other_filters_are_left_to_spark(spark: Any, sandbox: Sandbox) -> None:
    end = sandbox.start + timedelta(hours=12)
    frame = read(spark, sandbox, end=end.isoformat(), pushdown="true")
    with open_client(sandbox) as client:
        records = client.fetch_all(sandbox.start, end)
    groups = {one.sip_group_name for one in records}
    group = min(name for name in groups if name)
    middle = sandbox.start + timedelta(hours=6)

    def count(condition: Any) -> int:
        return int(frame.where(condition).count())

    # The vendor's time field is not known, so no condition on a time is pushed.
    assert count(F.col("call_time") < F.lit(middle)) == sum(
        one.call_time is not None and one.call_time < middle for one in records
    )
    assert count((F.col("sip_group_name") == group) | F.col("cost").isNull()) == sum(
        one.sip_group_name == group or one.cost is None for one in records
    )
    assert count(F.col("sip_group_name") != group) == sum(
        one.sip_group_name is not None and one.sip_group_name != group for one in records
    )
    assert count(F.col("sip_group_name") == "") == 0
    assert count(F.col("cost") > 0) == sum(one.cost is not None and one.cost > 0 for one in records)


@pytest.mark.usefixtures("pushing")
def test_a_frame_without_pushdown_has_all_rows_whatever_was_selected_from_it(spark: Any, sandbox: Sandbox) -> None:
    end = sandbox.start + timedelta(hours=12)
    with open_client(sandbox) as client:
        records = client.fetch_all(sandbox.start, end)
    one, other = sorted({record.sip_group_name for record in records if record.sip_group_name})[:2]
    of_both = sum(record.sip_group_name in (one, other) for record in records)
    frame = read(spark, sandbox, end=end.isoformat(), timeField="submit_time")
    group = F.col("sip_group_name")

    assert frame.where(group == one).count() < len(records)
    assert frame.count() == len(records)
    assert frame.where(group == one).union(frame.where(group == other)).count() == of_both


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "2026-10-01"}, 'option "start" is invalid: needs an offset'),
        ({"end": "yesterday"}, 'option "end" is invalid: must be a time with an offset'),
        ({"timeField": "time"}, 'option "timeField" is invalid'),
        ({"rows": "many"}, 'option "rows" is invalid: must be a whole number'),
        ({"pushdown": "yes"}, 'option "pushdown" is invalid: must be true or false'),
        ({"rate": "0"}, 'option "rate" is invalid: must be a number of requests a second'),
        ({"limit": "3"}, 'there is no option "limit"; there are credentialsFile, start, end'),
        ({"apiSecret": "4711-0815"}, 'option "apisecret" is refused: Spark shows options in plans and logs'),
        ({"credentialsFile": "/nowhere/account.toml"}, "/nowhere/account.toml cannot be read"),
    ],
)
def test_invalid_options_are_refused_before_any_request(
    spark: Any, sandbox: Sandbox, options: dict[str, str], message: str
) -> None:
    with pytest.raises(PySparkException) as caught:
        read(spark, sandbox, **options).count()

    assert message in str(caught.value)
    assert "4711" not in str(caught.value)
    assert sandbox.stats.requests == 0


def test_a_part_that_is_not_certified_fails_its_task(spark: Any, sandbox: Sandbox) -> None:
    end = sandbox.start + timedelta(hours=3)
    sandbox.change(wrong_total=1)
    frame = read(spark, sandbox, end=end.isoformat())

    with pytest.raises(PySparkException) as caught:
        frame.write.format("noop").mode("overwrite").save()

    message = str(caught.value)
    assert "IncompleteRangeError: RangePart(1/1, " in message
    assert f"{sandbox.start.isoformat()}/{end.isoformat()}" in message
    assert "the vendor counts" in message
    sandbox.change(wrong_total=0)
    assert frame.count()


def test_records_without_an_id_fail_the_task_unless_they_may_be_missing(spark: Any, sandbox: Sandbox) -> None:
    end = sandbox.start + timedelta(hours=3)
    ids = sandbox.voice_ids(sandbox.start, end)
    sandbox.add_rows([{"callee": "+12125550123"}], at=sandbox.start + timedelta(hours=1))

    with pytest.raises(PySparkException, match=r"is not certified: 1 record without a readable id in 20") as caught:
        read(spark, sandbox, end=end.isoformat()).count()

    assert "2125550123" not in str(caught.value)
    assert read(spark, sandbox, end=end.isoformat(), allowIncomplete="true").count() == len(ids)


def test_credentials_are_in_no_plan_and_no_log(
    spark: Any, sandbox: Sandbox, credentials_file: str, event_log: Path
) -> None:
    frame = read(spark, sandbox, credentialsFile=credentials_file, rows=ROWS, rate=5_000)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        frame.explain(extended=True)
        frame.explain("formatted")
    execution = frame._jdf.queryExecution()
    frame.where("cost > 0").write.format("noop").mode("overwrite").save()

    logs = [path.read_text(encoding="utf-8") for path in event_log.rglob("*") if path.is_file()]
    keys = [path.read_text() for path in Path(tempfile.gettempdir(), f"aiosipcdr-spark-{os.getuid()}").iterdir()]
    texts = [shown.getvalue(), repr(frame), execution.toString(), execution.logical().toJSON(), *logs, *keys]
    assert "sipcdr" in shown.getvalue()
    assert any("SparkListenerTaskEnd" in log for log in logs)
    assert keys
    for text in texts:
        assert sandbox.api_secret not in text
        assert sandbox.api_key not in text


def test_times_do_not_depend_on_the_zone_of_the_session(spark: Any, sandbox: Sandbox) -> None:
    end = sandbox.start + timedelta(hours=3)
    earliest = read(spark, sandbox, end=end.isoformat()).selectExpr("unix_micros(min(submit_time))").first()[0]
    with open_client(sandbox) as client:
        times = [one.submit_time for one in client.fetch_all(sandbox.start, end) if one.submit_time is not None]

    assert datetime.fromtimestamp(0, UTC) + timedelta(microseconds=earliest) == min(times)
