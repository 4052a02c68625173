"""CPU and peak memory of Spark's executors, from /proc (Linux only).

An executor is a child of its worker. It starts a Python daemon, which forks a Python worker for each task at a time.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

__all__ = ["Kind", "Usage", "UsageWatch"]

Kind = Literal["jvm", "daemon", "worker"]

_KINDS: tuple[Kind, ...] = ("jvm", "daemon", "worker")  # child, grandchild and great-grandchild of Spark's worker
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.2


class Usage(NamedTuple):
    """What one process of an executor has used.

    Attributes:
        kind: The executor's JVM, its Python daemon, or a Python worker.
        cpu: Seconds of this process, threads included and children not.
        peak: MiB at most (VmHWM), shared pages included.
    """

    kind: Kind
    cpu: float
    peak: float


class UsageWatch:
    """Samples all processes below Spark's workers; of one that has ended, the last sample counts."""

    def __init__(self, workers: list[int]) -> None:
        """Prepare to watch the executors of `workers`, which are process ids."""
        self._workers = workers
        self._seen: dict[int, Usage] = {}
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._sampler = threading.Thread(target=self._sample_on, daemon=True)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.set()
        self._sampler.join()

    def cpu(self) -> dict[Kind, float]:
        """Return the seconds used so far, by kind of process."""
        usages = self._sample()
        return {kind: sum(one.cpu for one in usages if one.kind == kind) for kind in _KINDS}

    def peak(self) -> dict[Kind, float]:
        """Return the MiB of the largest process of each kind."""
        usages = self._sample()
        return {kind: max((one.peak for one in usages if one.kind == kind), default=0.0) for kind in _KINDS}

    def executors(self) -> list[int]:
        """Return the process ids of the executors that run Python now; one that is ending has no processes left."""
        stats = _stats()
        parents = {one.parent for one in stats.values()}
        return [pid for pid, one in stats.items() if one.parent in self._workers and pid in parents]

    def _sample_on(self) -> None:
        while not self._ends.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> list[Usage]:
        stats = _stats()
        with self._lock:
            below = {*self._workers}
            for kind in _KINDS:
                # A child of the JVM is a copy of it until it has become Python.
                below = {pid for pid, one in stats.items() if one.parent in below and one.is_java == (kind == "jvm")}
                for pid in below:
                    with suppress(OSError, IndexError):  # it has just ended
                        self._seen[pid] = Usage(kind, stats[pid].cpu, _peak(pid))
            return [*self._seen.values()]


class _Stat(NamedTuple):
    parent: int
    is_java: bool
    cpu: float


def _stats() -> dict[int, _Stat]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            head, _, tail = stat.read_text().rpartition(")")
            fields = tail.split()
            cpu = sum(map(int, fields[11:13])) / _TICKS
            found[int(stat.parent.name)] = _Stat(int(fields[1]), head.endswith("(java"), cpu)
    return found


def _peak(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) / 1024
