"""Instructions instead of seconds: what one more run of a contender takes, or a script, counted by valgrind.

The same on a busy machine as on an idle one, within a percent or so; the
kernel's are not in it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from course.processes import Course, Runner
from course.task import Task

__all__ = ["count_instructions", "count_script", "find_valgrind"]

_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)").search


def find_valgrind() -> str | None:
    """Return where valgrind is, if it is installed (Debian: apt-get install valgrind)."""
    return shutil.which("valgrind")


def count_instructions(name: str, course: Course, bodies: list[str]) -> int:
    """Return the instructions of one run of the contender `name`, start and imports taken off."""
    # The first run warms caches up; the second and the third differ from nothing else.
    return _count(name, course, bodies, runs=3) - _count(name, course, bodies, runs=2)


def count_script(script: str, environment: Mapping[str, str]) -> int:
    """Return the instructions of a fresh interpreter that runs `script`, its own start included."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        subprocess.run([*_under(log), sys.executable, "-c", script], check=True, env=environment)
        return _told(log)


def _count(name: str, course: Course, bodies: list[str], *, runs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        with Runner(name, under=_under(log)) as runner:
            for _ in range(runs):
                runner.run(Task(course.port, bodies=bodies, folder=folder, rewrites=course.rewrites))
        return _told(log)


def _under(log: Path) -> tuple[str, ...]:
    out = "--cachegrind-out-file=/dev/null"
    return ("env", "PYTHONHASHSEED=0", "valgrind", "--tool=cachegrind", "--cache-sim=no", out, f"--log-file={log}")


def _told(log: Path) -> int:
    found = _COUNTED(log.read_text())
    if found is None:
        raise SystemExit(f"valgrind has counted nothing: {log.read_text()}")
    return int(found[1].replace(",", ""))
