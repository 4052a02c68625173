"""Ctrl-C and SIGTERM end a run as a cancellation does: nothing is left, and the client can be used again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import pairs

PROGRAM = """
import asyncio, os, signal, sys
from aiosipcdr import CdrClient
from aiosipcdr.sandbox import Sandbox

def strike(event):
    if event.kind == "request_answered" and event.page == 2:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, hook=strike) as client:
        try:
            if sys.argv[2] == "stream":
                async with client.stream(sandbox.start, sandbox.end) as stream:
                    async for record in stream:
                        pass
            else:
                await client.fetch_all(sandbox.start, sandbox.end)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            print("left", len(left), "open", await client.count(sandbox.start, sandbox.end))

with Sandbox(records=600, latency=0.005) as sandbox:
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("ending", "method"),
    pairs([("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "CancelledError")], ["fetch_all", "stream"]),
)
def test_a_signal_ends_a_run_and_leaves_nothing(ending: tuple[str, str], method: str) -> None:
    signal, ends = ending
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, signal, method],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    # The client is as good as new while the run's cancellation is on its way out.
    assert done.stdout.splitlines() == ["left 0 open 600", ends], done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
