"""Instructions instead of seconds: what one more run of a contender takes, counted by valgrind.

The same on a busy machine as on an idle one, within a percent or so; the
kernel's are not in it.
"""

import re
import shutil
import tempfile
from pathlib import Path

from course.processes import Course, Runner
from course.task import Task

__all__ = ["count_instructions", "find_valgrind"]

_TOLD = re.compile(r"I\s+refs:\s+([\d,]+)").search


def find_valgrind() -> str | None:
    """Return where valgrind is, if it is installed (Debian: apt-get install valgrind)."""
    return shutil.which("valgrind")


def count_instructions(name: str, course: Course, bodies: list[str]) -> int:
    """Return the instructions of one run of the contender `name`, start and imports taken off."""
    # The first run warms caches up; the second and the third differ from nothing else.
    return _count(name, course, bodies, runs=3) - _count(name, course, bodies, runs=2)


def _count(name: str, course: Course, bodies: list[str], *, runs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        out = "--cachegrind-out-file=/dev/null"
        under = ("env", "PYTHONHASHSEED=0", "valgrind", "--tool=cachegrind", "--cache-sim=no", out, f"--log-file={log}")
        with Runner(name, under=under) as runner:
            for _ in range(runs):
                runner.run(Task(course.port, bodies=bodies, folder=folder))
        found = _TOLD(log.read_text())
        if found is None:
            raise SystemExit(f"valgrind has counted nothing: {log.read_text()}")
        return int(found[1].replace(",", ""))
