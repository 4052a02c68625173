"""The fixture with the oldest pytest and pluggy that it supports: `nox -s old_pytest` runs it in its own folder."""

import asyncio

import pytest

from aiosipcdr import CallDetailRecords, CdrClient
from aiosipcdr.sandbox import Fault, Sandbox, UnusedFaultsError


def fetch(sandbox: Sandbox) -> CallDetailRecords:
    async def run() -> CallDetailRecords:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
            return await client.fetch_all(sandbox.start, sandbox.end)

    return asyncio.run(run())


@pytest.mark.cdr_sandbox(records=20, faults=[Fault("reset")])
def test_a_fault_strikes(cdr_sandbox: Sandbox) -> None:
    records = fetch(cdr_sandbox)
    assert len(records) == 20
    assert records.report.retries == 1


@pytest.mark.xfail(strict=True, raises=UnusedFaultsError)
@pytest.mark.cdr_sandbox(records=20, faults=[Fault("reset", page=9)])
def test_a_fault_that_never_strikes_fails_a_test_that_passes(cdr_sandbox: Sandbox) -> None:
    assert len(fetch(cdr_sandbox)) == 20


@pytest.mark.xfail(strict=True, raises=KeyError)
@pytest.mark.cdr_sandbox(records=20, faults=[Fault("reset", page=9)])
def test_a_test_that_fails_keeps_its_own_error(cdr_sandbox: Sandbox) -> None:
    raise KeyError(len(cdr_sandbox.voice_ids()))


def test_nothing_is_left_of_other_tests(cdr_sandbox: Sandbox) -> None:
    assert cdr_sandbox.stats.requests == 0
    assert len(cdr_sandbox.voice_ids()) == 1_000
