"""A standalone cluster: a master and two workers, as processes on loopback."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest

from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.spark.conftest import RECORDS, ROWS, start_session
from tests.spark.ranges import read, sums, truth

HOME = Path(pyspark.__file__).parent


@pytest.fixture(scope="module")
def workers(running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    """The address of a master, and the process ids of its two workers."""
    assert running.base_url  # is in their environment
    folder = tmp_path_factory.mktemp("cluster")
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        log = folder / f"{len(started)}.log"
        kind = name.lower()
        command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}.{name}", "--host", "127.0.0.1"]
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
        master = wait_for(start("Master", "--port", "0"), r"spark://127\.0\.0\.1:\d+")
        place = ["--cores", "1", "--memory", "700m", "--work-dir", str(folder)]
        logs = [start("Worker", *place, master) for _ in range(2)]
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
    session = start_session(master, settings | {"spark.executor.memory": "512m", "spark.executor.cores": "1"})
    yield session
    session.stop()


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
    frame = read(cluster, sandbox, rows=ROWS)
    out = tmp_path / "out"
    gate.free = RECORDS // 200
    failed: list[BaseException] = []

    def write() -> None:
        try:
            frame.write.parquet(str(out))
        except BaseException as error:  # noqa: BLE001 - of the other thread
            failed.append(error)

    writer = threading.Thread(target=write)
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

    assert failed == []
    assert sums(cluster.read.parquet(str(out))) == truth(sandbox)
