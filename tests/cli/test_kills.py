"""An export that is killed with SIGKILL, at any moment and any number of times, ends with the same bytes.

`AIOSIPCDR_KILLS` is the number of kills that each format has to survive; a few by default.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

import aiosipcdr
from aiosipcdr.export import JOURNAL, MANIFEST, read_manifest
from aiosipcdr.sandbox import Sandbox
from tests.made_up_exports import sidecar_path
from tests.selection import ALL, some

KILLS = int(os.environ.get("AIOSIPCDR_KILLS", "3" if ALL else "1"))

# Every command runs in a process of its own, forked from one that has imported
# everything: starting Python again would take most of the time. It is not waited
# for before its exit code is requested, so that its process id is not reused.
STARTER = """
import json, os, sys
import anyio._backends._asyncio, pyarrow.parquet
import aiosipcdr.client, aiosipcdr.cli.export, aiosipcdr.export.exporter
from aiosipcdr.cli.app import run
while line := sys.stdin.readline():
    child = os.fork()
    if not child:
        os._exit(run(json.loads(line)))
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Starter:
    """Starts commands and returns their exit codes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, arguments: list[str], moment: Callable[[], bool] | None = None) -> int:
        """Run a command, and kill it when `moment` has come; return its exit code, negative for a signal."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(arguments), file=stdin, flush=True)
        child = int(stdout.readline())
        while moment is not None and is_running(child):
            if moment():
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.001)  # the command needs the processor
        print(file=stdin, flush=True)
        return int(stdout.readline())


def is_running(process: int) -> bool:
    return b") Z " not in Path(f"/proc/{process}/stat").read_bytes()


RECORDS = 5_000 if ALL else 600
SANDBOX = {"records": RECORDS}


@pytest.fixture(scope="module")
def starter(shared_sandbox: Sandbox) -> Iterator[Starter]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(aiosipcdr.__file__).parent.parent),
            "AIOSIPCDR_BASE_URL": shared_sandbox.base_url,
            "AIOSIPCDR_API_KEY": shared_sandbox.api_key,
            "AIOSIPCDR_API_SECRET": shared_sandbox.api_secret,
        },
    ) as process:
        yield Starter(process)


def moments(sandbox: Sandbox, path: Path, rng: Random, requests: int) -> Callable[[], bool]:
    """Return the condition for one random kill: a number of responses, or a file that exists."""
    # The journal is there at the beginning, the part while the file is built, the manifest just before it appears.
    steps = [sidecar_path(path, JOURNAL), path.with_name(f".{path.name}.part"), sidecar_path(path, MANIFEST), path]
    if rng.random() < 0.3:
        return rng.choice(steps).exists
    answers = rng.randrange(requests)
    return lambda: sandbox.stats.requests >= answers


@pytest.mark.timeout(300 + 5 * KILLS)
@pytest.mark.parametrize("ending", some(["ndjson", "csv", "ndjson.gz", "parquet", "csv.zst"], every=3))
def test_a_file_is_the_same_however_often_its_export_was_killed(
    ending: str, sandbox: Sandbox, starter: Starter, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rng = Random(f"{pytestconfig.getoption('randomly_seed', 0)} {ending}")  # noqa: S311 - to be repeated
    span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat(), "--concurrency", "3"]
    undisturbed = tmp_path / f"undisturbed.{ending}"
    sandbox.reset_stats()
    assert starter.run(["export", *span, "--output", str(undisturbed)]) == 0
    requests = sandbox.stats.requests
    wanted = undisturbed.read_bytes()

    killed: Counter[str] = Counter()
    files = 0
    while killed.total() < KILLS:
        files += 1
        path = tmp_path / f"calls{files}.{ending}"
        # Killed when the file had appeared, the journal may be there still: then there is something left to do.
        while not path.exists() or sidecar_path(path, JOURNAL).exists():
            sandbox.reset_stats()
            moment = moments(sandbox, path, rng, requests) if killed.total() < KILLS else None
            code = starter.run(["export", *span, "--output", str(path)], moment)
            assert code in (0, -signal.SIGKILL)
            killed["before" if not path.exists() else "after"] += code != 0
        assert path.read_bytes() == wanted
        manifest = read_manifest(sidecar_path(path, MANIFEST))
        assert (manifest.rows, manifest.certified) == (RECORDS, True)
        assert sorted(file.name for file in tmp_path.glob(f"*{path.name}*")) == [
            path.name,
            f"{path.name}.manifest.json",
        ]
    assert killed.total() >= KILLS


@pytest.mark.timeout(300 + 5 * KILLS)
def test_days_are_the_same_however_often_their_export_was_killed(
    sandbox: Sandbox, starter: Starter, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rng = Random(f"{pytestconfig.getoption('randomly_seed', 0)} days")  # noqa: S311 - to be repeated
    end = sandbox.start + timedelta(days=3)
    span = ["--start", sandbox.start.isoformat(), "--end", end.isoformat(), "--tz", "+08:00", "--daily"]
    sandbox.reset_stats()
    assert starter.run(["export", *span, "--output", str(tmp_path / "{date}.csv")]) == 0
    requests = sandbox.stats.requests
    wanted = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert len(wanted) == 3

    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        folder = tmp_path / str(rounds)
        folder.mkdir()
        code = -signal.SIGKILL
        while code:
            sandbox.reset_stats()
            day = folder / rng.choice(sorted(wanted))
            moment = moments(sandbox, day, rng, requests) if killed < KILLS else None
            code = starter.run(["export", *span, "--output", str(folder / "{date}.csv")], moment)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
        assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == wanted
        assert len(list(folder.iterdir())) == 2 * len(wanted)
