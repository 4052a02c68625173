"""Random calls, random faults within what a client bears, random concurrency: the records of a run without faults."""
# ruff: noqa: ANN401 - a fault's and the constructor's own settings

import asyncio
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiosipcdr import CallDetailRecords
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import client_of
from tests.selection import some

# Each of them passes when the page is asked for again; none takes time to be noticed.
PASSING: list[dict[str, Any]] = [
    *({"kind": kind} for kind in ("reset", "close", "cut", "cut-chunked", "cut-head", "cut-unframed")),
    *({"kind": kind} for kind in ("cut-gzip", "corrupt-gzip", "garbage", "huge-head", "many-heads", "long")),
    *({"kind": kind, "reset": True} for kind in ("cut", "cut-chunked", "cut-head")),
    *({"kind": "code", "code": code} for code in (-15, -16, -18)),
    *({"kind": "http", "status": status} for status in (200, 204, 408, 409, 425, 429, 500, 502, 503, 504)),
    {"kind": "http", "status": 503, "headers": {"Retry-After": "0"}},
    {"kind": "http", "body": "<html>"},
    {"kind": "http", "body": '{"status":"0","data":null}'},
    {"kind": "edit", "suffix": "x"},
    {"kind": "edit", "data": {"total": None}},
    {"kind": "edit", "data": {"current": 999}},
]

# At most two at one page and attempt each: what a page bears of any kind. Together they stay below the budget.
strikes = st.lists(
    st.tuples(st.sampled_from(PASSING), st.integers(1, 8), st.integers(1, 2), st.booleans()),
    max_size=12,
    unique_by=lambda strike: strike[1:],
)


@cache
def ids(records: int, order: str) -> list[str]:
    with Sandbox(records=records, order=order) as sandbox:
        return sandbox.voice_ids()


async def fetch(records: int, order: str, faults: list[Fault], **how: Any) -> tuple[CallDetailRecords, int]:
    sandbox = Sandbox(records=records, order=order, seed=7)
    async with sandbox, client_of(sandbox, **how) as client:
        sandbox.add_faults(*faults)
        found = await client.fetch_all(sandbox.start, sandbox.end)
        assert found.report.requests == sandbox.stats.requests
        # A page that there is not, or that was not asked for so often, is met by no fault.
        struck = len(faults) - len(sandbox.faults_left)
        sandbox.reset()  # they need not strike
        return found, struck


@given(
    records=st.integers(0, 400),
    order=st.sampled_from(["newest", "oldest", "scattered"]),
    page_size=st.integers(20, 100),
    concurrency=st.integers(1, 16),
    strikes=strikes,
)
@settings(max_examples=settings().max_examples * 4 // 5, print_blob=True)
def test_random_faults_change_no_record_and_no_order(
    records: int,
    order: str,
    page_size: int,
    concurrency: int,
    strikes: list[tuple[dict[str, Any], int, int, bool]],
) -> None:
    faults = [Fault(**what, page=page, attempt=attempt, control=control) for what, page, attempt, control in strikes]

    async def both() -> None:
        true, _ = await fetch(records, order, [], page_size=page_size, concurrency=1)
        found, struck = await fetch(records, order, faults, page_size=page_size, concurrency=concurrency)
        assert list(found) == list(true)
        assert found.report.certified
        assert len(found) == records
        # Whatever struck had to be asked for again.
        assert found.report.requests >= true.report.requests + struck

    asyncio.run(both())


@pytest.mark.parametrize("what", some(PASSING, every=2), ids=str)
async def test_each_of_these_faults_strikes_and_passes(what: dict[str, Any]) -> None:
    true, _ = await fetch(250, "newest", [])
    found, struck = await fetch(250, "newest", [Fault(**what, page=2, attempt=1)])
    assert struck == 1
    assert list(found) == list(true)
    assert found.report.certified
    assert found.report.requests == true.report.requests + 1
