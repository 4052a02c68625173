"""A standalone cluster: a master and two workers, as processes on loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyspark
import pytest

from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.selection import some
from tests.spark.conftest import RECORDS, ROWS, start_session
from tests.spark.ranges import open_client, read, sums, truth

HOME = Path(pyspark.__file__).parent
# Spark runs no second attempt of a task on the same host. All of 127.0.0.0/8 is loopback on Linux.
HOSTS = ("127.0.0.1", "127.0.0.2" if sys.platform == "linux" else "127.0.0.1")
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.5",
    "spark.ui.liveUpdate.period": "0",  # the status tracker is not late
}


@pytest.fixture(scope="module")
def workers(running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    """The address of a master, and the process ids of its two workers."""
    assert running.base_url  # is in their environment
    folder = tmp_path_factory.mktemp("cluster")
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, host: str, *arguments: str) -> Path:
        log = folder / f"{len(started)}.log"
        kind = name.lower()
        command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}.{name}", "--host", host]
        with log.open("wb") as file:
            started.append(
                subprocess.Popen(  # noqa: S603
                    [*command, "--webui-port", "0", *arguments],
                    env=os.environ | {"SPARK_DAEMON_MEMORY": "256m", "SPARK_HOME": str(HOME)},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        return log

    def wait_for(log: Path, pattern: str) -> str:
        while not (found := re.search(pattern, log.read_text(encoding="utf-8"))):
            assert started[-1].poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        return found[0]

    try:
        master = wait_for(start("Master", HOSTS[0], "--port", "0"), r"spark://127\.0\.0\.1:\d+")
        place = ["--cores", "1", "--memory", "700m", "--work-dir", str(folder)]
        logs = [start("Worker", host, *place, master) for host in HOSTS]
        for log in logs:
            wait_for(log, "Successfully registered with master")
        yield master, [process.pid for process in started[1:]]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


@pytest.fixture(scope="module")
def cluster(workers: tuple[str, list[int]], settings: dict[str, str]) -> Iterator[Any]:
    """Spark on the cluster, one core for each executor."""
    master, _ = workers
    executors = {"spark.executor.memory": "512m", "spark.executor.cores": "1"}
    session = start_session(master, settings | executors | SPECULATION)
    yield session
    session.stop()


class Writer(threading.Thread):
    """Writes a frame into a Parquet folder, in a thread of its own."""

    def __init__(self, frame: Any, out: Path) -> None:
        super().__init__()
        self._frame = frame
        self._out = out
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._frame.write.parquet(str(self._out))
        except BaseException as error:  # noqa: BLE001 - of the other thread
            self.failed = error


def has_second_attempt(spark: Any) -> bool:
    """Whether all tasks of a stage but one have ended, and that one runs twice."""
    tracker = spark.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return any(one and one.numCompletedTasks == one.numTasks - 1 and one.numActiveTasks == 2 for one in stages)


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return [int(text) for text in listed.stdout.split()]


@pytest.mark.parametrize("options", [{"timeField": "submit_time"}, {"rate": 2_000}], ids=["known", "unknown, paced"])
def test_executors_with_the_account_in_their_environment_read_each_row_once(
    cluster: Any, sandbox: Sandbox, options: dict[str, object]
) -> None:
    assert sums(read(cluster, sandbox, rows=ROWS, **options)) == truth(sandbox)


def test_a_killed_executor_costs_no_row(
    cluster: Any, workers: tuple[str, list[int]], sandbox: Sandbox, gate: Gate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    gate.free = RECORDS // 200
    writer = Writer(read(cluster, sandbox, rows=ROWS), out)
    writer.start()
    # Both tasks wait for pages; at least one of them has begun its file.
    while writer.is_alive() and not (gate.held and [*out.glob("_temporary/**/part-*.parquet")]):
        time.sleep(0.05)
    executors = children(workers[1][0])
    assert executors
    for executor in executors:
        os.kill(executor, signal.SIGKILL)
    gate.opened.set()
    writer.join()

    assert writer.failed is None
    assert sums(cluster.read.parquet(str(out))) == truth(sandbox)


@pytest.mark.skipif(HOSTS[0] == HOSTS[1], reason="needs two hosts")
@pytest.mark.parametrize("options", some([{"timeField": "submit_time"}, {}], every=2), ids=str)
def test_two_attempts_of_a_task_give_its_rows_once(
    cluster: Any, sandbox: Sandbox, gate: Gate, tmp_path: Path, options: dict[str, Any]
) -> None:
    with open_client(sandbox) as client:
        *_, last = client.plan_parts(sandbox.start, sandbox.end, rows=ROWS, time_field=options.get("timeField"))
    asked: list[tuple[str, int]] = []

    def is_page_of_last(body: bytes) -> bool:
        """Whether it is a second page or later, which planning does not ask for, in the last part."""
        request = json.loads(body)
        begin, page = request["params"]["strTime"], request["current"]
        if page == 1 or datetime.fromisoformat(begin) < last.start:
            return False
        asked.append((begin, page))
        return True

    gate.applies, gate.free = is_page_of_last, 0
    out = tmp_path / "out"
    writer = Writer(read(cluster, sandbox, rows=ROWS, **options), out)
    writer.start()
    have_both_asked = False  # for the same page, and wait
    while writer.is_alive() and not have_both_asked:
        time.sleep(0.05)
        have_both_asked = has_second_attempt(cluster) and len({*asked}) < len(asked)
    gate.opened.set()
    writer.join()

    assert writer.failed is None
    assert have_both_asked
    assert sums(cluster.read.parquet(str(out))) == truth(sandbox)
