"""Responses made to fill the memory: a process needs hardly more than for an ordinary run."""

import json
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

import aiosipcdr
from aiosipcdr.sandbox import Fault, Sandbox
from tests.selection import ALL, some

MOST = 64 * 2**20

FAULTS = {
    "bomb": Fault("bomb", size=(256 if ALL else 160) * 2**20),
    "announced": Fault("large"),
    "endless": Fault("endless"),
    "nested": Fault("http", body="[" * 10**6, times=2),
}
PROGRAM = """
    import asyncio, re, resource, sys
    sys.path.insert(0, sys.argv[1])
    from datetime import datetime
    from pathlib import Path
    from aiosipcdr import CdrClient, ProtocolError, RetryPolicy

    async def main():
        start, end = map(datetime.fromisoformat, sys.argv[5:7])
        async with CdrClient(*sys.argv[2:5], retry=RetryPolicy(base=0.001)) as client:
            try:
                await client.fetch_all(start, end)
            except ProtocolError:
                print("refused", end=" ")
        if (status := Path("/proc/self/status")).exists():
            # On Linux ru_maxrss is no less than what the parent had when it started this process.
            print(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1])
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    asyncio.run(main())
"""


def peak(sandbox: Sandbox) -> tuple[str, int]:
    """Return what came of a run in a process of its own, and its largest resident size in bytes."""
    secrets = [sandbox.base_url, sandbox.api_key, sandbox.api_secret]
    times = [sandbox.start.isoformat(), sandbox.end.isoformat()]
    place = str(Path(aiosipcdr.__file__).parent.parent)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), place, *secrets, *times]
    *came, size = subprocess.run(command, check=True, timeout=240, capture_output=True, text=True).stdout.split()  # noqa: S603
    return " ".join(came), int(size) * (1 if sys.platform == "darwin" else 1024)


@cache
def ordinary() -> int:
    """Return the largest resident size in bytes of a run without a fault."""
    with Sandbox(records=500) as sandbox:
        came, size = peak(sandbox)
    assert came == ""
    return size


@pytest.mark.skipif(sys.platform == "win32", reason="the resident size is not available there")
@pytest.mark.parametrize("fault", some(FAULTS, every=2))
def test_an_answer_without_measure_takes_a_bounded_amount_of_memory(fault: str) -> None:
    with Sandbox(records=500) as sandbox:
        sandbox.add_faults(FAULTS[fault])
        came, size = peak(sandbox)
    assert came == "refused"
    assert size - ordinary() < MOST, json.dumps({"ordinary": ordinary(), "peak": size})
