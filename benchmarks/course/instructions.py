"""Instructions instead of seconds: what one more run of a contender takes, or a script, counted by valgrind.

The same on a busy machine as on an idle one, within a percent or so; the
kernel's are not in it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from course.processes import Runner
from course.task import Task

__all__ = ["count_instructions", "count_script", "find_valgrind"]

_counted = re.compile(r"I\s+refs:\s+([\d,]+)").findall


def find_valgrind() -> str | None:
    """Return where valgrind is, if it is installed (Debian: apt-get install valgrind)."""
    return shutil.which("valgrind")


def count_instructions(name: str, tasks: Sequence[Task]) -> list[int]:
    """Return the instructions that the contender `name` takes for each task, in a process that has done it before.

    A forked process does the task, another one nothing: the difference has neither start nor imports.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        with Runner(name, under=_under(log)) as runner:
            for task in tasks:
                for fork in ("no", "idle", "work"):
                    runner.run(msgspec.structs.replace(task, folder=folder, fork=fork))
        counts = _read_counts(log)
    return [work - idle for idle, work in zip(counts[:-1:2], counts[1::2], strict=True)]


def count_script(script: str, environment: Mapping[str, str]) -> int:
    """Return the instructions of a fresh interpreter that runs `script`, its own start included."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        subprocess.run([*_under(log), sys.executable, "-c", script], check=True, env=environment)
        return _read_counts(log)[-1]


def _under(log: Path) -> tuple[str, ...]:
    out = "--cachegrind-out-file=/dev/null"
    return ("env", "PYTHONHASHSEED=0", "valgrind", "--tool=cachegrind", "--cache-sim=no", out, f"--log-file={log}")


def _read_counts(log: Path) -> list[int]:
    # In the order in which the processes have ended, that of `Runner` last.
    counts = [int(number.replace(",", "")) for number in _counted(log.read_text())]
    if not counts:
        raise SystemExit(f"valgrind has counted nothing: {log.read_text()}")
    return counts
