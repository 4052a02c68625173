"""Reads of a course with Spark, measured; and the truth to compare them with."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from course.calls import END, START, Calls
from course.processes import Course
from course.standalone import Cluster
from course.task import KEY, SECRET
from course.usage import Kind, UsageWatch

__all__ = ["Read", "Session", "Totals", "Truth", "start_session"]

_SETTINGS = {
    "spark.app.name": "aiosipcdr benchmark",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.executor.cores": "1",
    "spark.executor.memory": "1g",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "300s",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # no task before all executors are there
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_GROUP = "group3"
_DAY = START + timedelta(days=10)
_NEXT_DAY = _DAY + timedelta(days=1)
_IN_GROUP_AND_DAY = (
    f"sip_group_name = '{_GROUP}' and submit_time >= timestamp '{_DAY}' and submit_time < timestamp '{_NEXT_DAY}'"
)


class Totals(NamedTuple):
    """What is compared."""

    rows: int
    distinct: int
    cost: Decimal


class _Call(msgspec.Struct, rename="camel"):
    voice_id: str
    sip_group_name: str
    submit_time: datetime
    cost: Decimal


class Truth:
    """Totals of the records that an endpoint with so many calls sends.

    Attributes:
        all: Those of all calls.
        group_and_day: Those of the calls of one group and one day.
    """

    def __init__(self, number: int) -> None:
        """Count them."""
        calls = Calls(number)
        chunks = (range(first, min(first + 10_000, number)) for first in range(0, number, 10_000))
        decode = msgspec.json.Decoder(list[_Call]).decode
        found = [call for places in chunks for call in decode(b"[%b]" % calls.records(places))]
        self.all = _count(found)
        self.group_and_day = _count(
            [one for one in found if one.sip_group_name == _GROUP and _DAY <= one.submit_time < _NEXT_DAY]
        )


def _count(calls: list[_Call]) -> Totals:
    return Totals(len(calls), len({one.voice_id for one in calls}), sum((one.cost for one in calls), Decimal()))


class Read(NamedTuple):
    """What one read took and found.

    Attributes:
        requests: Requests that the endpoint received, those of planning included.
        wall: Seconds.
        cpu: Seconds of the executors, by kind of process.
        found: Totals of the rows.
        files: Number of calls in each file that was written.
    """

    requests: int
    wall: float
    cpu: dict[Kind, float]
    found: Totals
    files: list[int]


class Session:
    """Spark on a cluster, with executors of one core and 1 GB each.

    Attributes:
        usage: What the executors use.
    """

    def __init__(self, cluster: Cluster, usage: UsageWatch, executors: int, folder: Path) -> None:
        """Start it; files are written to `folder`."""
        from pyspark.sql import SparkSession

        from aiosipcdr.integrations.spark import SipCdrDataSource

        settings = _SETTINGS | {"spark.cores.max": str(executors)}
        self.usage = usage
        self._spark = SparkSession.builder.master(cluster.master).config(map=settings).getOrCreate()
        self._spark.sparkContext.setLogLevel("OFF")  # a killed executor is an error to Spark
        self._spark.dataSource.register(SipCdrDataSource)
        self._account, self._files = folder / "account.toml", folder / "calls"

    def write(self, course: Course, *, disturb: Callable[[], None] | None = None) -> Read:
        """Write all calls to files, while `disturb` runs."""
        return self._write(course, self._load(course), disturb)

    def write_group_and_day(self, course: Course, *, pushes: bool) -> Read:
        """Write the calls of one group and one day to files, with pushdown of filters or without."""
        self._spark.conf.set("spark.sql.python.filterPushdown.enabled", str(pushes).lower())
        return self._write(course, self._load(course, pushdown=pushes).where(_IN_GROUP_AND_DAY))

    def sum_up(self, course: Course, *, disturb: Callable[[], None] | None = None) -> Read:
        """Sum up all calls without files, while `disturb` runs."""
        found: list[Totals] = []
        frame = self._load(course)
        requests, wall, cpu = self._measure(course, lambda: found.append(_sum(frame)), disturb)
        return Read(requests, wall, cpu, found[0], [])

    def kill_executor(self, course: Course, requests: int) -> None:
        """Kill an executor once the endpoint has received so many requests."""
        while course.stats()["requests"] < requests:
            time.sleep(0.02)
        os.kill(self.usage.executors()[0], signal.SIGKILL)

    def stop(self) -> None:
        """End it and its executors."""
        self._spark.stop()

    def _load(self, course: Course, *, pushdown: bool = False) -> Any:  # noqa: ANN401 - of Spark
        self._account.touch(mode=0o600)
        self._account.write_text(f'base_url = "{course.task.base_url}"\napi_key = "{KEY}"\napi_secret = "{SECRET}"\n')
        options = {"credentialsFile": str(self._account), "start": START.isoformat(), "end": END.isoformat()}
        options |= {"timeField": "submit_time", "rows": str(min(50_000, course.calls // 4))}
        options["pushdown"] = str(pushdown).lower()
        return self._spark.read.format("sipcdr").options(**options).load()

    def _write(self, course: Course, frame: Any, disturb: Callable[[], None] | None = None) -> Read:  # noqa: ANN401
        from pyarrow.parquet import read_metadata

        files = str(self._files)
        taken = self._measure(course, lambda: frame.write.mode("overwrite").parquet(files), disturb)
        found = _sum(self._spark.read.parquet(files))
        return Read(*taken, found, [read_metadata(path).num_rows for path in self._files.glob("part-*")])

    def _measure(
        self, course: Course, work: Callable[[], None], disturb: Callable[[], None] | None
    ) -> tuple[int, float, dict[Kind, float]]:
        disturbing = threading.Thread(target=disturb, daemon=True)
        before, began = self.usage.cpu(), time.perf_counter()
        course.reset()
        disturbing.start()
        work()
        wall, after, requests = time.perf_counter() - began, self.usage.cpu(), int(course.stats()["requests"])
        disturbing.join()
        return requests, wall, {kind: after[kind] - before[kind] for kind in after}


def _sum(frame: Any) -> Totals:  # noqa: ANN401 - of Spark
    return Totals(*frame.selectExpr("count(*)", "count(distinct voice_id)", "coalesce(sum(cost), 0)").first())


@contextmanager
def start_session(cluster: Cluster, executors: int, folder: Path, small: Course) -> Iterator[Session]:
    """Give a session that has read `small`."""
    with UsageWatch(cluster.workers) as usage:
        session = Session(cluster, usage, executors, folder)
        try:
            session.write(small)
            yield session
        finally:
            session.stop()
