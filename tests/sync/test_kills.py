"""A sync that is killed with SIGKILL, at any moment and any number of times, loses and doubles nothing.

`AIOSIPCDR_KILLS` is the number of kills that each database has to survive; two by default.
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
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

import aiosipcdr
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.sync.databases import DATABASES, Database, expected_rows

KILLS = int(os.environ.get("AIOSIPCDR_KILLS", "2"))
RECORDS = 240

# Every sync runs in a process of its own, forked from one that has imported everything. It may kill itself just before
# or just after its n-th transaction ends: from outside, that moment is too short to be hit.
STARTER = """
import json, os, signal, sys
import anyio._backends._asyncio, deltalake, duckdb, psycopg, pyarrow.compute
import aiosipcdr.client, aiosipcdr.cli.sync
from aiosipcdr.cli.app import run
from aiosipcdr.sync import reader, spans
from aiosipcdr.sync.targets.delta import DeltaTarget
from aiosipcdr.sync.targets.duckdb import DuckdbTarget
from aiosipcdr.sync.targets.postgres import PostgresTarget
from aiosipcdr.sync.targets.sqlite import SqliteTarget

spans.SPAN_ROWS, spans.CHUNK_ROWS, reader.PLAN_ROWS = 40, 80, 80  # several transactions

def arm(kind, name, is_commit):
    execute = getattr(kind, name)
    def armed(self, *arguments):
        global commit
        commit -= is_commit(arguments[0])
        is_due = is_commit(arguments[0]) and commit < 0
        if is_due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(self, *arguments)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(kind, name, armed)

while line := sys.stdin.readline():
    arguments, commit, after = json.loads(line)
    child = os.fork()
    if not child:
        if commit is not None:
            for kind, name in (SqliteTarget, "_execute"), (DuckdbTarget, "_fetch"), (PostgresTarget, "_fetch"):
                arm(kind, name, lambda statement: statement == "COMMIT")
            # Each transaction of Delta is two writes: kills in between, too.
            arm(DeltaTarget, "_write_calls", lambda _: True)
            arm(DeltaTarget, "_write_state", lambda _: True)
        os._exit(run(arguments))
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose calls end today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        with Sandbox(records=RECORDS, days=1, leg_every=20, order="scattered") as sandbox:
            yield sandbox


class Starter:
    """Starts syncs, and reports how they ended."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(
        self, arguments: list[str], *, commit: int | None, after: bool, moment: Callable[[], bool] | None = None
    ) -> int:
        """Run a sync, and kill it at a transaction or when `moment` has come; return its exit code."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps([arguments, commit, after]), file=stdin, flush=True)
        child = int(stdout.readline())
        while moment is not None and b") Z " not in Path(f"/proc/{child}/stat").read_bytes():
            if moment():
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.0005)  # the command needs the processor
        print(file=stdin, flush=True)
        return int(stdout.readline())


@pytest.fixture(scope="module")
def starter(sandbox: Sandbox) -> Iterator[Starter]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system does not report on processes")
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(aiosipcdr.__file__).parent.parent),
            "AIOSIPCDR_BASE_URL": sandbox.base_url,
            "AIOSIPCDR_API_KEY": sandbox.api_key,
            "AIOSIPCDR_API_SECRET": sandbox.api_secret,
        },
    ) as process:
        yield Starter(process)


def disturb(sandbox: Sandbox, rng: Random) -> None:
    """Change the list: calls arrive late, are rated again, and vanish."""
    ids = sandbox.voice_ids()
    for _ in range(3):
        sandbox.insert(at=sandbox.start + timedelta(seconds=rng.randrange(1, 86_000)))
    sandbox.update(*rng.sample(ids, 3), cost=f"{rng.randrange(1_000)}.0001")
    sandbox.delete(*rng.sample(ids, 3))


@pytest.mark.timeout(300 + 5 * KILLS)
@pytest.mark.parametrize("database", DATABASES)
async def test_a_table_is_the_list_however_often_its_sync_was_killed(
    database: Database, sandbox: Sandbox, starter: Starter, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rng = Random(f"{pytestconfig.getoption('randomly_seed', 0)} {database.name}")  # noqa: S311 - to be repeated
    sandbox.reset()
    url = database.url(tmp_path)
    arguments = ["sync", "--to", url, "--since", sandbox.start.isoformat(), "--lookback", "30d", "--deep"]
    arguments += ["--count-delay", "0", "--allow-mass-vanish"]
    kinds = ["before", "after", "answers"]
    rng.shuffle(kinds)
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        kind = kinds[killed.total() % len(kinds)]
        sandbox.reset_stats()
        answers = rng.randrange(3, 30)
        code = starter.run(
            arguments,
            commit=None if kind == "answers" else rng.randrange(5),
            after=kind == "after",
            moment=(lambda: sandbox.stats.requests >= answers) if kind == "answers" else None,  # noqa: B023 - runs now
        )
        assert code in (0, -signal.SIGKILL)
        killed[kind] += code != 0
        disturb(sandbox, rng)

    async with client_of(sandbox, count_delay=timedelta(0)) as client:
        options: dict[str, Any] = {"since": sandbox.start, "lookback": timedelta(days=30), "deep": True}
        options["allow_mass_vanish"] = True
        await client.sync(url, **options)
        again = await client.sync(url, **options)
    assert (again.added, again.changed, again.vanished) == (0, 0, 0)
    expected = expected_rows(sandbox)
    assert database.live_rows(tmp_path) == expected
    costs = [cost for _, _, cost, _ in database.live_rows(tmp_path) if cost is not None]
    assert sum(costs, Decimal()) == sum((cost for _, _, cost, _ in expected if cost is not None), Decimal())
    assert again.unchanged == len(expected)
