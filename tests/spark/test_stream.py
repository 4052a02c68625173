"""Streams with `spark.readStream`: offsets, limits, and a driver that is killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.selection import ALL
from tests.spark.conftest import RECORDS, ROWS
from tests.spark.ranges import sums, truth

ROOT = Path(__file__).resolve().parents[2]


def start_job(settings: dict[str, str], options: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    order = {"settings": settings, "options": options, "out": f"{folder}/out", "checkpoint": f"{folder}/checkpoint"}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tests.spark.stream_job", json.dumps(order)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), "AIOSIPCDR_SPARK": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Any, job: subprocess.Popen[str] | None = None) -> None:
    while not condition():
        assert job is None or job.poll() is None
        time.sleep(0.05)


def test_a_killed_stream_goes_on_without_loss_or_repetition(
    spark: Any, sandbox: Sandbox, gate: Gate, settings: dict[str, str], tmp_path: Path
) -> None:
    options = {
        "start": sandbox.start.isoformat(),
        "rows": str(ROWS // 2),
        "maxRowsPerTrigger": str(ROWS),
        "rate": "2000",
    }
    pages = RECORDS // 100
    servers = tmp_path / f"aiosipcdr-spark-{os.getuid()}"
    for kill in range(4 if ALL else 1):
        # While a task of a micro-batch waits for a page.
        gate.opened.clear()
        gate.free, gate.held = pages * (kill + 2) // 5, 0
        job = start_job(settings, options, tmp_path)
        wait_until(lambda: gate.held, job)
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        gate.opened.set()
    job = start_job(settings, options, tmp_path)
    out, _ = job.communicate()

    assert job.returncode == 0
    batches = json.loads(out.splitlines()[-1])
    assert max(batches) <= ROWS * 1.01
    assert sums(spark.read.parquet(f"{tmp_path}/out")) == truth(sandbox)
    # The rate server of each driver has ended with it.
    wait_until(lambda: not [*servers.iterdir()])


def test_calls_younger_than_the_lateness_are_not_read_yet(spark: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    young = sandbox.insert(now - timedelta(minutes=30), count=3)
    old = sandbox.insert(now - timedelta(hours=3), count=4)

    def run() -> None:
        reader = spark.readStream.format("sipcdr").option("start", (now - timedelta(hours=5)).isoformat())
        reader = reader.option("timeField", "submit_time").option("lateness", lateness).load()
        writer = reader.writeStream.option("checkpointLocation", f"{tmp_path}/checkpoint").trigger(availableNow=True)
        writer.start(f"{tmp_path}/out", format="parquet").awaitTermination()

    def ids() -> list[str]:
        return sorted(row.voice_id for row in spark.read.parquet(f"{tmp_path}/out").collect())

    lateness = "2h"
    run()
    assert ids() == sorted(old)
    run()
    assert ids() == sorted(old)
    lateness = "20m"
    run()
    assert ids() == sorted([*old, *young])


def test_a_query_ends_when_a_part_is_not_certified_and_goes_on_later(
    spark: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    end = sandbox.start + timedelta(hours=3)

    def start() -> Any:
        reader = spark.readStream.format("sipcdr").option("start", sandbox.start.isoformat())
        reader = reader.option("end", end.isoformat()).option("timeField", "submit_time").load()
        writer = reader.writeStream.option("checkpointLocation", f"{tmp_path}/checkpoint").trigger(availableNow=True)
        return writer.start(f"{tmp_path}/out", format="parquet")

    sandbox.change(wrong_total=1)
    with pytest.raises(Exception, match="is not certified"):
        start().awaitTermination()
    sandbox.change(wrong_total=0)
    start().awaitTermination()

    found = sorted(row.voice_id for row in spark.read.parquet(f"{tmp_path}/out").collect())
    assert found == sorted(sandbox.voice_ids(sandbox.start, end - timedelta(seconds=1)))
