"""A machine suspended for longer than every deadline: SIGSTOP, as in `docker pause`, a suspend or Cloud Run."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.client.conftest import RawServer, http, page

FROZEN = textwrap.dedent(
    """
    import asyncio, os, signal, sys
    from aiosipcdr import CdrClient, RetryPolicy
    from aiosipcdr.events import EventKind
    from tests.client.conftest import END, START

    def hook(event):
        if event.kind is EventKind.REQUEST_SENT and event.attempt == 1:
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGSTOP)

    async def main():
        retry = RetryPolicy(base=0.001, cap=0.002, deadline=4.0, stall=4.0)
        async with CdrClient(sys.argv[1], "key", "secret", timeout=3.0, retry=retry, hook=hook) as client:
            print(await client.count(START, END))

    asyncio.run(main())
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stopping a process is POSIX's")
async def test_a_freeze_costs_one_free_retry_and_counts_towards_no_deadline() -> None:
    silent = asyncio.Event()
    fault = http(b'{"status":"-18","reason":"busy","data":null}')
    async with RawServer([b"", fault, http(page(total=7))], hold=silent) as server:
        with subprocess.Popen(  # noqa: ASYNC220, S603 - it only starts, and is our own
            [sys.executable, "-c", FROZEN, server.base_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            _, status = await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert len(server.seen) == 1
            await asyncio.to_thread(time.sleep, 6.0)  # longer than timeout, deadline and stall
            silent.set()
            process.send_signal(signal.SIGCONT)
            out, complaints = await asyncio.to_thread(process.communicate)
        assert (out, process.returncode) == ("7\n", 0), complaints
        assert len(server.seen) == 3
