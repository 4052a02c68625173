"""Days written by several processes: the same bytes and errors, one rate, and no process left behind."""
# ruff: noqa: ASYNC240 - small local files

import os
import pickle
import signal
import ssl
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aiosipcdr import AuthenticationError, CdrClient, Event, EventKind, ExportConflictError, ExportError
from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.http.options import FileAuthorities
from aiosipcdr.model.report import DayReport
from aiosipcdr.sandbox import Fault, Sandbox
from tests.client.test_export_days import FIRST, LAST, row
from tests.clients import client_of
from tests.gates import Gate
from tests.http.test_transport import authority
from tests.selection import ALL, some

__all__ = ["authority"]

ROOT = Path(__file__).resolve().parents[2]
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
CALLS = [
    row(1_000 * day.day + number, day, hour=1 + number % 23) | {"phoneName": f"phone {number % 7}"}
    for day in DAYS
    for number in range(250)
]
on_linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list processes")


def children() -> set[int]:
    """Return the workers that this process has started."""
    return workers_of(os.getpid())


def workers_of(parent: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if b"aiosipcdr.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


def is_running(process: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{process}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("calls*.csv"))}


async def test_files_and_errors_are_the_same_and_rate_concurrency_and_hook_are_shared(tmp_path: Path) -> None:
    events: list[Event] = []
    done: dict[str, list[DayReport]] = {"one": [], "two": []}
    rate, mask = 60.0, b"a key of sixteen bytes or more"

    async def export(client: CdrClient, name: str, processes: int) -> str:
        folder = tmp_path / name
        foreign = folder / f"dt={DAYS[1]}" / "calls.csv"
        foreign.parent.mkdir(parents=True)
        foreign.write_text("somebody else's")
        with pytest.raises(ExportConflictError) as caught:
            await client.export_days(
                *(FIRST, LAST, "UTC", folder / "dt={date}/calls.csv"),
                mask_numbers=mask,
                processes=processes,
                on_day=done[name].append,
            )
        return str(caught.value).replace(str(folder), "")

    with Sandbox(calls=CALLS, months_back=None) as sandbox:
        async with client_of(sandbox) as client:
            alone = await export(client, "one", 1)
        requests = sandbox.stats.requests
        sandbox.reset_stats()
        started = time.monotonic()
        async with client_of(sandbox, rate=rate, concurrency=3, hook=events.append) as client:
            assert await export(client, "two", 2) == alone
        took = time.monotonic() - started
        assert sandbox.stats.requests == requests
        assert sandbox.stats.peak_in_flight <= 3
    assert str(DAYS[1]) in alone
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "two")) == 3
    assert took >= (requests - 1) * 1.05 / rate - 0.1  # the slots of the shared rate
    outcomes = [[(day.date, day.outcome) for day in sorted(days, key=lambda day: day.date)] for days in done.values()]
    assert outcomes[0] == outcomes[1] == [(DAYS[0], "written"), (DAYS[2], "written")]
    assert [day.report.unique for day in done["two"] if day.report] == [250] * 2
    # Events of all processes, each run with a number of its own.
    finished = [event for event in events if event.kind is EventKind.RUN_FINISHED]
    assert len({event.run for event in finished}) == len(finished) == 2
    assert sum(event.records or 0 for event in events if event.kind is EventKind.WINDOW_COMPLETE) == 500
    assert sum(event.kind is EventKind.REQUEST_SENT for event in events) == requests


@pytest.mark.skipif(not ALL, reason="two processes more")
def test_the_blocking_client_uses_processes_too(tmp_path: Path) -> None:
    with (
        Sandbox(calls=CALLS, months_back=None) as sandbox,
        BlockingCdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
    ):
        report = client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv", processes=2)
        again = client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv", processes=2)
    assert [day.outcome for day in report.days] == ["written"] * 3
    assert [day.outcome for day in again.days] == ["unchanged"] * 3
    assert [day.date for day in report.days] == DAYS


@pytest.mark.skipif(not ALL, reason="two processes more")
async def test_an_error_that_concerns_all_days_ends_all_processes(tmp_path: Path) -> None:
    with Sandbox(calls=CALLS, months_back=None) as sandbox:
        sandbox.add_faults(Fault("code", code=-1, times=50))
        async with client_of(sandbox) as client:
            with pytest.raises(AuthenticationError) as caught:
                await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv", processes=2)
        sandbox.reset()
    assert caught.value.status == -1
    assert children() == set()


@on_linux
@pytest.mark.skipif(not ALL, reason="two processes more")
async def test_a_process_that_was_killed_is_an_error_and_the_same_export_resumes(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(event: Event) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE and not killed:
            killed.append(min(children()))
            os.kill(killed[0], signal.SIGKILL)

    with Sandbox(calls=CALLS, months_back=None, latency=0.02) as sandbox:
        async with client_of(sandbox, hook=kill, page_size=10) as client:
            with pytest.raises(
                ExportError, match=r"killed by signal 9; to resume, run the same export again"
            ) as caught:
                await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv", processes=2)
            assert caught.value.retryable
            assert children() == set()
            report = await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv")
    assert report.certified
    assert len(contents(tmp_path)) == 3


class Unpicklable(ZoneInfo):
    """A zone that no other process can have."""

    def __reduce__(self) -> Any:  # noqa: ANN401 - never returned
        raise TypeError


async def test_options_that_workers_cannot_take_are_refused_before_writing(tmp_path: Path) -> None:
    with Sandbox(records=0) as sandbox:
        for setting, value in (
            ("ssl_context", ssl.create_default_context()),
            ("assume_tz", Unpicklable.no_cache("UTC")),
        ):
            async with client_of(sandbox, **{setting: value}) as client:
                with pytest.raises(ValueError, match=f"{setting} cannot be handed to another process"):
                    await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.csv", processes=2)
        async with client_of(sandbox) as client:
            for processes in (0, 65, 1.5, True):
                with pytest.raises(ValueError, match="processes must be a whole number from 1 to 64"):
                    await client.export_days(FIRST, LAST, "UTC", "calls.csv", processes=processes)  # type: ignore[arg-type]
        assert sandbox.stats.requests == 0
    assert [*tmp_path.iterdir()] == []


def test_authorities_of_a_file_pickle(authority: Path) -> None:
    context = FileAuthorities.load(authority)
    copied = pickle.loads(pickle.dumps(context))  # noqa: S301 - our own
    plain = ssl.create_default_context(cafile=authority)
    for one in (context, copied):
        assert one.get_ca_certs() == plain.get_ca_certs()
        assert (one.verify_mode, one.check_hostname) == (plain.verify_mode, plain.check_hostname)
        assert (one.verify_flags, one.options, one.minimum_version) == (
            plain.verify_flags,
            plain.options,
            plain.minimum_version,
        )


# Of a command: signals to its group, and kill -9.


def start_command(sandbox: Sandbox, folder: Path) -> "subprocess.Popen[str]":
    account = {
        "AIOSIPCDR_BASE_URL": sandbox.base_url,
        "AIOSIPCDR_API_KEY": sandbox.api_key,
        "AIOSIPCDR_API_SECRET": sandbox.api_secret,
    }
    span = ["--start", str(FIRST), "--end", str(LAST + timedelta(days=1)), "--tz", "UTC"]
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-m", "aiosipcdr", "export", *span, "--daily", "--processes", "2", "--rate", "500"),
            *("--output", str(folder / "calls.csv")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **account},
    )


@on_linux
@pytest.mark.parametrize("name", ["SIGINT", *some(["SIGKILL", "SIGTERM"], every=2)])
def test_a_signal_ends_the_command_and_all_its_processes(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    gate = Gate(3)
    with Sandbox(calls=CALLS, months_back=None, middlewares=[gate.middleware]) as sandbox:
        command = start_command(sandbox, tmp_path)
        while not gate.held:
            assert command.poll() is None, command.communicate()
            time.sleep(0.005)
        workers = workers_of(command.pid)
        assert len(workers) == 2
        # Ctrl-C does not reach them, however young they are.
        assert {os.getsid(worker) for worker in workers} == workers
        if name == "SIGKILL":
            os.kill(command.pid, number)
        else:
            os.killpg(command.pid, number)  # as a terminal and systemd do
        out, err = command.communicate(timeout=60)
        assert command.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[name], err
        deadline = time.monotonic() + 60
        while any(map(is_running, workers)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(map(is_running, workers))
        gate.opened.set()
    assert out == ""
    assert "Traceback" not in err
    if name != "SIGKILL":
        assert "to resume, run: aiosipcdr export" in err
    assert contents(tmp_path) == {}


@pytest.mark.skipif(not ALL, reason="three processes more")
def test_the_command_shows_each_day_and_returns_them_in_order(tmp_path: Path) -> None:
    with Sandbox(calls=CALLS, months_back=None) as sandbox:
        command = start_command(sandbox, tmp_path)
        out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (0, ""), err
    for day in DAYS:
        assert "certified complete: 2 windows, 4 pages, 5 requests in " in err or "certified complete" in err
        assert f"written to {tmp_path}/calls-{day}.csv" in err
    assert len(contents(tmp_path)) == 3
