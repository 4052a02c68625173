"""Shortages of this machine are reported as such, not as an outage: each in a process with real limits."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aiosipcdr.sandbox import Sandbox

pytest.importorskip("resource")

CHILD = """
    import asyncio, os, resource, sys, threading
    from datetime import datetime
    from aiosipcdr import CdrClient, RetryPolicy, SipCdrError
    from tests.inside import limit_of

    base_url, key, secret, start, end = sys.argv[1:]
    retry = RetryPolicy(base=0.01, cap=0.05, budget={budget})

    def take_descriptors(left):
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for one in taken[:left]:
                os.close(one)
            return taken[left:]

    async def main():
        try:
            async with CdrClient({base_url}, key, secret, retry=retry, concurrency=8) as client:
                taken = {shortage}
                try:
                    records = await client.fetch_all(datetime.fromisoformat(start), datetime.fromisoformat(end))
                    print(len(records), limit_of(client).current)
                finally:
                    for one in taken:
                        os.close(one)
        except SipCdrError as error:
            threading.stack_size(0)  # asyncio.run wants a thread at its end
            print(type(error).__name__, error.local, error)

    asyncio.run(main())
"""


def run(sandbox: Sandbox, shortage: str, *, base_url: str = "base_url", budget: int = 500) -> str:
    program = textwrap.dedent(CHILD).format(shortage=shortage, base_url=base_url, budget=budget)
    account = (sandbox.base_url, sandbox.api_key, sandbox.api_secret)
    asked = (sandbox.start.isoformat(), sandbox.end.isoformat())
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program, *account, *asked],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fetch_uses_as_many_connections_as_there_are_descriptors() -> None:
    with Sandbox(records=3_000, latency=0.02) as sandbox:
        calls, places = run(sandbox, "take_descriptors(2)").split()
        assert calls == "3000"
        assert int(places) < 8
        assert sandbox.stats.peak_in_flight <= 2


def test_without_any_descriptor_it_says_so_and_no_budget_hides_it() -> None:
    with Sandbox(records=10) as sandbox:
        reported = run(sandbox, "take_descriptors(0)", budget=0)
        assert reported.startswith("TransportError True")
        assert "ulimit -n" in reported
        assert sandbox.stats.requests == 0


def test_without_a_thread_to_look_up_a_name_it_says_so() -> None:
    # No thread can get a stack of 4 GiB.
    shortage = """(resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)), threading.stack_size(4 << 30), ())[-1]"""
    with Sandbox(records=10) as sandbox:
        reported = run(sandbox, shortage, base_url='"https://cdr.invalid/v3/voice"')
    assert reported.startswith("TransportError True")
    assert "no more threads" in reported
