"""A standalone Spark cluster of processes on loopback."""

import os
import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Cluster"]

_LOOPBACK = "127.0.0.1"


class Cluster:
    """A master, and workers with a core each; their logs and executors' folders go into `folder`.

    Attributes:
        master: The address of the master.
        workers: The process ids of the workers.
    """

    def __init__(self, folder: Path, *, workers: int, memory: str) -> None:
        """Start it; the workers are registered when this returns."""
        import pyspark

        self._home = Path(pyspark.__file__).parent
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        try:
            log = self._start("master", "Master", "--port", "0")
            self.master = self._wait_for(log, rf"spark://{_LOOPBACK}:\d+")
            place = ["--cores", "1", "--memory", memory, "--work-dir", str(folder), self.master]
            for log in [self._start(f"worker{number}", "Worker", *place) for number in range(workers)]:
                self._wait_for(log, "Successfully registered with master")
        except BaseException:
            self.close()
            raise
        self.workers = [process.pid for process in self._started[1:]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End its processes, and wait until they have ended."""
        for process in reversed(self._started):
            process.terminate()
        for process in self._started:
            process.wait()

    def _start(self, log_name: str, kind: str, *arguments: str) -> Path:
        command = [str(self._home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind.lower()}.{kind}"]
        log = self._folder / f"{log_name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--host", _LOOPBACK, "--webui-port", "0", *arguments],
                env=os.environ | {"SPARK_DAEMON_MEMORY": "256m", "SPARK_HOME": str(self._home)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return log

    def _wait_for(self, log: Path, pattern: str) -> str:
        while not (found := re.search(pattern, log.read_text(encoding="utf-8"))):
            if any(process.poll() is not None for process in self._started):
                raise SystemExit(f"the cluster did not start:\n{log.read_text(encoding='utf-8')[-2_000:]}")
            time.sleep(0.05)
        return found[0]
