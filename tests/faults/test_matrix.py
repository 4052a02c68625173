"""Every row of the table of faults with every method: the exact error, requests and leftovers."""

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import http_parser
from rich.pretty import pretty_repr

from aiosipcdr import CdrClient, FetchReport, IncompleteRangeError, SipCdrError
from aiosipcdr.sandbox import Fault, Sandbox, SandboxConfig
from aiosipcdr.sandbox.config import FIXED
from tests.clients import QUICK
from tests.faults.conftest import Watching
from tests.faults.matrix import ELSEWHERE, ROWS
from tests.faults.shapes import CALLS, CLEAN, PAGE_SIZE, Outcome, Row
from tests.inside import is_working
from tests.selection import some
from tests.watch import END, PHONE, START, Watch

PURE_PYTHON = http_parser.HttpResponseParser is http_parser.HttpResponseParserPy

TIMEOUT = 30.0


class Result(NamedTuple):
    content: object
    report: FetchReport | None


async def fetch_page(client: CdrClient, _folder: Path) -> Result:
    return Result(await client.fetch_page(START, END, size=PAGE_SIZE, phone_name=PHONE), None)


async def fetch_all(client: CdrClient, _folder: Path) -> Result:
    records = await client.fetch_all(START, END, phone_name=PHONE)
    return Result(list(records), records.report)


async def stream(client: CdrClient, _folder: Path) -> Result:
    async with client.stream(START, END, phone_name=PHONE) as stream:
        return Result([record async for record in stream], stream.report)


async def export(client: CdrClient, folder: Path) -> Result:
    target = folder / "calls.ndjson"
    report = await client.export(START, END, target, overwrite=True, phone_name=PHONE)
    # The values of unknown fields are in a column of their own; everything else is as without them.
    rows = [msgspec.json.decode(line) for line in target.read_bytes().splitlines()]
    return Result([{**row, "extra": None} for row in rows], report)


METHODS: dict[str, Callable[[CdrClient, Path], Awaitable[Result]]] = {
    method.__name__: method for method in (fetch_page, fetch_all, stream, export)
}


def outcome_of(row: Row, method: str) -> Outcome:
    whole, page = (row.python, row.python_page) if PURE_PYTHON and row.python is not None else (row.whole, row.page)
    return page if page is not None and method == "fetch_page" else whole


def strikes_of(row: Row, outcome: Outcome, method: str) -> int:
    """How often the last fault strikes: at every request, unless the row says how often."""
    if method == "fetch_page" and row.faults and row.faults[-1].page not in {None, 1}:
        return 0
    first = sum(fault.times for fault in row.faults[:-1])
    return outcome.requests - first if row.strikes is None else row.strikes


def script(row: Row, strikes: int) -> list[Fault]:
    if not row.faults or not strikes:
        return []
    return [*row.faults[:-1], msgspec.structs.replace(row.faults[-1], times=strikes)]


@asynccontextmanager
async def running_out(sandbox: Sandbox) -> AsyncIterator[None]:
    """Let the time of each request that is struck run out, and of no other: the loop's clock leaps ahead.

    A timeout that is short enough to be sat out also ends requests that a slow machine has not sent yet.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop's timers do not look at loop.time")
    true_time, ahead = loop.time, 0.0

    async def leap() -> None:
        nonlocal ahead
        before = 0
        while True:
            if (left := sum(fault.times for fault in sandbox.faults_left)) < before:
                await asyncio.sleep(0.1)  # for what comes of the answer, if anything does
                for _ in range(int(TIMEOUT) + 2):  # aiohttp rounds up
                    ahead += 1  # in steps: a leap would pass for a machine that stood still
                    await asyncio.sleep(0.001)
            before = left
            await asyncio.sleep(0.001)

    loop.time = lambda: true_time() + ahead  # type: ignore[method-assign]
    leaping = asyncio.create_task(leap())
    try:
        yield
    finally:
        leaping.cancel()
        await asyncio.wait({leaping})
        loop.time = true_time  # type: ignore[method-assign]


async def play(
    watch: Watch, row: Row, method: str, faults: list[Fault], folder: Path
) -> tuple[Result | None, Exception | None, int]:
    """Fetch through `faults`; then once more, with the same client and without."""
    sandbox, run = watch.sandbox, METHODS[method]
    retry = msgspec.structs.replace(QUICK, attempts=2 if row.impatient else 6)
    result, error = None, None
    settings = {"retry": retry, "page_size": PAGE_SIZE, "timeout": TIMEOUT, **row.settings}
    async with running_out(sandbox) if row.impatient else nullcontext(), watch.client(**settings) as client:
        if row.warm:
            assert await client.count(START, END, phone_name=PHONE) == CALLS
        sandbox.reset_stats()
        sandbox.add_faults(*faults)
        try:
            result = await run(client, folder)
        except Exception as caught:  # noqa: BLE001 - the test checks its exact class
            error = caught
        requests = sandbox.stats.requests
        assert sandbox.faults_left == []
        assert not is_working(client)
        sandbox.reset_stats()
        sandbox.change(**{name: getattr(SandboxConfig(), name) for name in row.config.keys() - FIXED - {"calls"}})
        again = await run(client, folder)
        if not row.config:
            assert sandbox.stats.requests == CLEAN[method]
        if result is not None and not outcome_of(row, method).others:
            assert result.content == again.content
            assert result.report is None or result.report.certified
    return result, error, requests


def check_report(watch: Watch, row: Row, report: FetchReport, **expected: object) -> None:
    shown = {name: getattr(report, name) for name in expected}
    assert shown == expected, row.name
    watch.check(f"{report!r} {report!s} {msgspec.json.encode(report).decode()} {pretty_repr(report)}")


def cases(rows: Sequence[Row]) -> Iterator[Any]:
    """Pair rows and methods; an export reads what `stream` reads, so one row of each number is enough for it."""
    numbers: set[int] = set()
    for row in rows:
        for method in METHODS:
            if method != "export" or row.number not in numbers:
                yield pytest.param(row, method, id=f"{row.number}: {row.name}"[:60] + f"-{method}")
        numbers.add(row.number)


def may_pass() -> list[Any]:
    """Leave out faults that end before they could pass: those of a page that is not checked."""
    harmless = {row.name for row in ROWS if PURE_PYTHON and row.python is not None and row.python.error is None}
    paired = list(cases([row for row in ROWS if row.passes and row.name not in harmless]))
    return [case for case in paired if strikes_of(case.values[0], outcome_of(*case.values), case.values[1]) > 1]


# The methods are neighbours: each so many of the pairs is every row, with one method or two.
@pytest.mark.parametrize(("row", "method"), some(cases(ROWS), every=3))
async def test_a_permanent_fault_ends_as_in_the_table(
    watching: Watching, row: Row, method: str, tmp_path: Path
) -> None:
    outcome = outcome_of(row, method)
    faults = script(row, strikes_of(row, outcome, method))
    async with watching(**row.config) as watch:
        result, error, requests = await play(watch, row, method, faults, tmp_path)
        assert type(error) is (outcome.error or type(None)), repr(error)
        assert requests == outcome.requests
        if error is not None:
            assert isinstance(error, SipCdrError)
            facts = (error.status, error.retryable, error.retry_after)
            assert facts == (outcome.status, outcome.retryable, outcome.retry_after)
            assert isinstance(error, IncompleteRangeError) or error.window is not None
            assert error.__context__ is None or error.__suppress_context__
            watch.check_error(error)
        elif result is not None and result.report is not None:
            expected = {"requests": requests, "retries": 0, "certified": True, "unique": CALLS}
            check_report(watch, row, result.report, **(expected | dict(outcome.report)))


@pytest.mark.parametrize(("row", "method"), some(may_pass(), every=9))
async def test_a_fault_that_passes_in_time_leaves_no_trace_in_the_records(
    watching: Watching, row: Row, method: str, tmp_path: Path
) -> None:
    outcome = outcome_of(row, method)
    strikes = strikes_of(row, outcome, method) - 1
    async with watching(**row.config) as watch:
        result, error, requests = await play(watch, row, method, script(row, strikes), tmp_path)
        assert error is None, repr(error)
        assert requests == CLEAN[method] + strikes
        assert result is not None
        if result.report is not None:
            # A page that the plan rejects is requested again: that is no retry.
            retries = strikes if outcome.retryable else 0
            check_report(watch, row, result.report, requests=requests, retries=retries, certified=True, quarantined=0)


def test_every_row_of_the_matrix_is_played_or_proven_elsewhere() -> None:
    played = {row.number for row in ROWS}
    assert sorted([*played, *ELSEWHERE]) == list(range(1, 88))
    for path in {place.partition("::")[0] for place in ELSEWHERE.values()}:
        tree = ast.parse((Path(__file__).parents[2] / path).read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert {place for place in ELSEWHERE.values() if place.startswith(path)} <= {
            f"{path}::{name}" for name in tests
        }
