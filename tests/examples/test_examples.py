"""The examples: services in processes of their own, over HTTP; jobs in a process or in this one."""

import asyncio
import csv
import io
import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from unittest import mock
from urllib.parse import urlencode

import polars as pl
import pytest
from aiohttp import ClientSession, TCPConnector

from aiosipcdr.sandbox import Fault, Sandbox
from tests.gates import Gate
from tests.selection import some
from tests.system_parts import require

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SERVICES = ("fastapi_app", "aiohttp_app")
TENANTS = "tenants_app"
JOBS = ("nightly", "notebook", "plots")
PROCESSES = "processes"
DJANGO = "django_app"
FEEDS = ("feed_aiohttp", "feed_fastapi")
RECORDS = 4_500


@pytest.fixture(scope="module")
def gate() -> Gate:
    """Let all requests through, until a test says that they shall be held back."""
    return Gate(10**9)


@pytest.fixture(scope="module")
def sandbox(gate: Gate) -> Iterator[Sandbox]:
    with Sandbox(records=RECORDS, middlewares=[gate.middleware]) as running:
        yield running


def environment(sandbox: Sandbox | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIOSIPCDR_")}
    kept["PYTHONPATH"] = str(ROOT)
    if sandbox is not None:
        kept["AIOSIPCDR_BASE_URL"] = sandbox.base_url
        kept["AIOSIPCDR_API_KEY"] = sandbox.api_key
        kept["AIOSIPCDR_API_SECRET"] = sandbox.api_secret
    return kept


class Ended(NamedTuple):
    """What a job ended with."""

    returncode: int
    stdout: str
    stderr: str


def run(name: str, folder: Path, *arguments: str, sandbox: Sandbox | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment(sandbox),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def run_here(name: str, folder: Path, *arguments: str, sandbox: Sandbox | None = None) -> Ended:
    """Run a job in this process, as if it were started in `folder`."""
    root, code = logging.getLogger(), 0
    handlers, level = [*root.handlers], root.level
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, environment(sandbox), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.chdir(folder)
        patch.syspath_prepend(EXAMPLES)
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        root.handlers[:] = []
        try:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def served(name: str, *arguments: str, sandbox: Sandbox | None = None) -> Iterator[tuple[str, list[str]]]:
    """Run a service while the block runs; give its address and what it has said until it was ready."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-u", str(EXAMPLES / f"{name}.py"), "--port", "0", *arguments],
        env=environment(sandbox),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0], said
                break
        else:
            pytest.fail("".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=240)
    assert "Traceback" not in rest, rest


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[str]:
    """Run each service in its turn, for the calls of `sandbox`; give its address."""
    with served(request.param, sandbox=sandbox) as (address, _):
        yield address


def asking(sandbox: Sandbox, part: int = 0, parts: int = 1) -> str:
    span = (sandbox.end - sandbox.start) / parts
    start = sandbox.start + part * span
    return urlencode({"start": start.isoformat(), "end": (start + span).isoformat()})


async def test_a_service_counts_and_sends_both_formats(service: str, sandbox: Sandbox) -> None:
    async with ClientSession(service) as browser:
        async with browser.get(f"/count?{asking(sandbox)}") as answer:
            assert await answer.json() == {"count": RECORDS}
        async with browser.get(f"/calls.ndjson?{asking(sandbox)}") as answer:
            *calls, last = [json.loads(line) async for line in answer.content]
        async with browser.get(f"/calls.csv?{asking(sandbox)}") as answer:
            rows = list(csv.DictReader(io.StringIO(await answer.text(), newline="")))
        async with browser.get("/calls.csv?start=2026-10-01") as answer:
            assert answer.status == 422
    assert last["report"]["certified"] is True
    ids = sorted(sandbox.voice_ids())
    assert ids == sorted(call["voice_id"] for call in calls) == sorted(row["voice_id"] for row in rows)


async def test_a_service_stops_fetching_for_a_caller_who_hangs_up(service: str, sandbox: Sandbox, gate: Gate) -> None:
    sandbox.reset_stats()
    gate.held, gate.free = 0, 30  # enough for the first window, of the fifty that the whole range takes
    try:
        async with ClientSession(service) as browser, asyncio.timeout(60):
            answer = await browser.get(f"/calls.ndjson?{asking(sandbox)}")
            assert await answer.content.readline()
            await gate.reached()
            answer.close()
            await gate.left()
            assert gate.held <= 8  # those that were on their way, and none after them
    finally:
        gate.free = 10**9


async def test_two_hundred_callers_at_once_get_their_calls_from_one_client(service: str, sandbox: Sandbox) -> None:
    sandbox.reset_stats()

    async def read(browser: ClientSession, part: int) -> set[str]:
        async with browser.get(f"/calls.ndjson?{asking(sandbox, part, 200)}") as answer:
            *calls, last = [json.loads(line) async for line in answer.content]
            assert last["report"]["certified"] is True
            return {call["voice_id"] for call in calls}

    async with ClientSession(service, connector=TCPConnector(limit=0)) as browser:
        got = await asyncio.gather(*(read(browser, part) for part in range(200)))
    assert set.union(*got) == set(sandbox.voice_ids())
    assert sandbox.stats.requests >= 200
    assert sandbox.stats.peak_in_flight <= 8


async def test_csv_for_people_is_an_option_of_a_service(service: str, sandbox: Sandbox) -> None:
    async with (
        ClientSession(service) as browser,
        browser.get(f"/calls.csv?{asking(sandbox, 0, 200)}&spreadsheet=true") as answer,
    ):
        assert (await answer.read()).startswith(b"\xef\xbb\xbfvoice_id,")


@pytest.mark.parametrize("name", some(FEEDS, every=2))  # both of them: test_feeds.py
async def test_a_feed_shows_made_up_calls_as_they_arrive_and_ends_at_once(name: str) -> None:
    with served(name, "--sandbox", "--every", "0.05") as (address, _):
        async with asyncio.timeout(60), ClientSession(address) as browser, browser.get("/changes") as answer:
            assert await answer.content.readline() == b"event: reset\n"
            while await answer.content.readline() != b"event: added\n":
                pass


@pytest.mark.needs("package:django")
async def test_a_synchronous_service_shares_one_client_between_its_threads(sandbox: Sandbox) -> None:
    sandbox.reset_stats()
    with served(DJANGO, sandbox=sandbox) as (address, _):
        async with ClientSession(address) as browser:

            async def read(part: int) -> list[dict[str, object]]:
                async with browser.get(f"/calls.ndjson?{asking(sandbox, part, 4)}") as answer:
                    assert answer.status == 200
                    return [json.loads(line) async for line in answer.content]

            parts = await asyncio.gather(*(read(part) for part in range(4)))
            assert all(report["report"] for *_, report in parts)
            assert {call["voice_id"] for *calls, _ in parts for call in calls} == set(sandbox.voice_ids())
            async with browser.get(f"/count?{asking(sandbox)}") as answer:
                assert await answer.json() == {"count": RECORDS}
            async with browser.get("/count?start=2026-10-01") as answer:
                assert answer.status == 422
    assert sandbox.stats.peak_in_flight <= 4


async def test_a_tenant_sees_the_calls_of_its_group_alone() -> None:
    with served(TENANTS, "--sandbox") as (address, said):
        start, end = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", "".join(said))
        tokens = dict(re.findall(r"^(\S+): Authorization: (Bearer \S+)$", "".join(said), re.MULTILINE))
        assert len(tokens) == 2
        async with ClientSession(address) as browser:

            async def ask(path: str, token: str | None = None, **more: str) -> tuple[int, str]:
                headers = {} if token is None else {"Authorization": token}
                async with browser.get(path, params={"start": start, "end": end, **more}, headers=headers) as answer:
                    return answer.status, await answer.text()

            for refused in (None, "Bearer ", "Bearer of-nobody", "Basic eDp5"):
                assert await ask("/calls.ndjson", refused) == (401, '{"detail":"Unauthorized"}')
            for group, token in tokens.items():
                for more in ({}, {"sip_group_name": group}):
                    status, text = await ask("/calls.ndjson", token, **more)
                    *calls, last = map(json.loads, text.splitlines())
                    assert (status, last["report"]["certified"]) == (200, True)
                    assert {call["sip_group_name"] for call in calls} == {group}
                status, text = await ask("/calls.csv", token)
                rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
                assert {row["sip_group_name"] for row in rows} == {group}
                assert (await ask("/calls.ndjson", token, sip_group_name="another"))[0] == 403
                assert (await ask("/calls.ndjson", token, phone_name="447700900123"))[0] == 422


def test_the_nightly_job_writes_a_day_once(tmp_path: Path, sandbox: Sandbox) -> None:
    day = sandbox.start.date()
    for reported in ("certified complete", "exists"):
        result = run_here("nightly", tmp_path, "--day", str(day), "--extension", ".ndjson", sandbox=sandbox)
        assert result.returncode == 0, result.stderr
        assert reported in result.stderr
    path = tmp_path / f"calls-{day}.ndjson"
    assert sorted(tmp_path.iterdir()) == [path, path.with_name(f"{path.name}.manifest.json")]
    ids = [json.loads(line)["voice_id"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert 0 < len(ids) < RECORDS
    assert set(ids) <= set(sandbox.voice_ids())


def test_the_nightly_job_writes_nothing_that_is_not_proven(tmp_path: Path) -> None:
    with Sandbox(records=150, days=1, wrong_total=2) as sandbox:
        arguments = ("--day", str(sandbox.start.date()), "--extension", ".ndjson")
        result = run_here("nightly", tmp_path, *arguments, sandbox=sandbox)
        assert result.returncode == 3, result.stderr
        assert "NOT certified" in result.stderr
        assert not list(tmp_path.glob("*.ndjson"))


@pytest.mark.parametrize("record", [{"callee": "447700900123"}, {"voiceId": "1", "rate": "?"}])
def test_the_nightly_job_says_by_its_exit_code_that_something_could_not_be_read(
    tmp_path: Path, record: dict[str, str]
) -> None:
    with Sandbox(records=20, days=1) as sandbox:
        sandbox.add_rows([json.dumps(record).encode()], at=sandbox.start + timedelta(hours=1))
        arguments = ("--day", str(sandbox.start.date()), "--extension", ".ndjson")
        result = run_here("nightly", tmp_path, *arguments, sandbox=sandbox)
    assert result.returncode == 4, result.stderr
    assert "WARNING" in result.stderr
    assert "447700900123" not in result.stderr


def test_the_nightly_job_reports_a_refusal_without_a_traceback(tmp_path: Path) -> None:
    with Sandbox(records=1, faults=[Fault("code", code=-2)]) as sandbox:
        result = run("nightly", tmp_path, "--extension", ".csv", sandbox=sandbox)
    assert result.returncode == 1
    assert "this address is not allowed" in result.stderr
    began, ended, reported = result.stderr.splitlines()
    assert "INFO run 1 started" in began
    assert "INFO run 1 ended with RestrictedAddressError" in ended
    assert "ERROR" in reported
    assert not list(tmp_path.glob("*.csv"))


def test_one_command_starts_each_example_on_made_up_calls(tmp_path: Path) -> None:
    def start(name: str) -> str:
        with served(name, "--sandbox") as (_, said):
            return "".join(said)

    with ThreadPoolExecutor() as pool:  # they have nothing to do with each other
        services = [pool.submit(start, name) for name in some(SERVICES, every=2)]
        night = run_here("nightly", tmp_path, "--sandbox")
        book = run_here("notebook", tmp_path, "--sandbox")
        for service in services:
            start_of_calls, end = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", service.result())
            assert start_of_calls < end
    assert night.returncode == 0, night.stderr
    assert "certified complete" in night.stderr
    (path,) = tmp_path.glob("calls-*.parquet")
    assert len(pl.read_parquet(path)) > 0
    assert book.returncode == 0, book.stderr
    assert "certified complete" in book.stdout
    assert "sales-us" in book.stdout  # of polars
    assert "EUR" in book.stdout  # of DuckDB


def test_the_charts_are_those_of_the_documentation(tmp_path: Path) -> None:
    require("package:matplotlib")
    drawn = run("plots", tmp_path, "--sandbox")
    assert drawn.returncode == 0, drawn.stderr
    assert "5,000 of 5,000 calls, certified complete" in drawn.stdout
    for name in ("calls-by-day.svg", "cost-by-hour.svg"):
        picture = (tmp_path / name).read_text(encoding="utf-8")
        assert picture.count("<path") > 20
        assert (ROOT / "docs" / "pictures" / name).stat().st_size == pytest.approx(len(picture), rel=0.2)


def test_processes_write_every_call_into_exactly_one_file(tmp_path: Path) -> None:
    result = run(PROCESSES, tmp_path, "--sandbox", "--rows", "2500", "--rate", "1000")
    assert result.returncode == 0, result.stderr
    assert len(re.findall("certified complete", result.stdout)) == 2
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["part-00000.parquet", "part-00001.parquet"]
    ids = [voice_id for path in files for voice_id in pl.read_parquet(path)["voice_id"]]
    assert len(ids) == len(set(ids)) == 5_000


def test_without_an_account_an_example_names_the_variables(tmp_path: Path) -> None:
    result = run("aiohttp_app", tmp_path)
    assert result.returncode == 1
    assert "not set: AIOSIPCDR_BASE_URL" in result.stderr
    assert "--sandbox" in result.stderr
    assert "Traceback" not in result.stderr


def test_every_example_is_run_here_and_names_its_command() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")} - {
        "change_hub",
        "sandboxed",
        "spark_delta",
        "spark_lake",
    }  # tests/spark
    assert scripts == {*SERVICES, *FEEDS, TENANTS, DJANGO, *JOBS, PROCESSES}
    for name in scripts:
        page = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert f"    python3 examples/{name}.py --sandbox\n" in page
