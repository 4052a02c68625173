"""A forked child that leaves contexts of its parent touches no socket, file or selector of the parent's."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aiosipcdr.sandbox import Sandbox
from tests.client.conftest import END, START, page
from tests.http.test_transport import authority, http, peer, serving

__all__ = ["authority"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROLOGUE = """
    import asyncio, gc, os, ssl, sys, warnings
    from datetime import datetime
    from aiosipcdr import CdrClient, RetryPolicy
    from aiosipcdr.events import EventKind

    base_url, key, secret, start, end, more = sys.argv[1:]
    start, end = datetime.fromisoformat(start), datetime.fromisoformat(end)
    ONCE = RetryPolicy(attempts=1)
    child = None

    class Child(Exception):
        pass

    def fork():
        global child
        child = os.fork()
        if child == 0:
            raise Child
        _, status = os.waitpid(child, 0)
        assert status == 0, status

    def run(main):
        async def guarded():
            try:
                await main()
            except Child:
                gc.collect()
                os._exit(0)
            finally:
                if child == 0:
                    os._exit(9)
        asyncio.run(guarded())
"""

STREAM = """
    async def main():
        async with CdrClient(base_url, key, secret, retry=ONCE, concurrency=2) as client:
            await client.count(start, end)
            async with client.stream(start, end) as stream:
                reader = aiter(stream)
                await anext(reader)
                fork()
                print(1 + len([record async for record in reader]), stream.report.retries)
            print(await client.count(start, end))

    run(main)
"""

COUNT = """
    async def main():
        context = ssl.create_default_context(cafile=more)
        async with CdrClient(base_url, key, secret, retry=ONCE, ssl_context=context) as client:
            print(await client.count(start, end))
            fork()
            print(await client.count(start, end))

    run(main)
"""

EXPORT = """
    def hook(event):
        if event.kind is EventKind.WINDOW_COMPLETE and child is None:
            fork()

    async def main():
        async with CdrClient(base_url, key, secret, retry=ONCE, hook=hook) as client:
            print((await client.export(start, end, more)).unique)

    run(main)
"""


def play(program: str, *arguments: str) -> list[str]:
    code = textwrap.dedent(PROLOGUE) + textwrap.dedent(program)
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def account(sandbox: Sandbox) -> list[str]:
    asked = (sandbox.start.isoformat(), sandbox.end.isoformat())
    return [sandbox.base_url, sandbox.api_key, sandbox.api_secret, *asked]


def test_a_stream_goes_on_in_the_parent() -> None:
    with Sandbox(records=3_000) as sandbox:
        assert play(STREAM, *account(sandbox), "") == ["3000", "0", "3000"]


def test_an_export_goes_on_in_the_parent(tmp_path: Path) -> None:
    with Sandbox(records=3_000) as sandbox:
        target = tmp_path / "calls.ndjson"
        assert play(EXPORT, *account(sandbox), str(target)) == ["3000"]
        assert len(target.read_text(encoding="utf-8").splitlines()) == 3_000


async def test_a_tls_connection_stays_open_in_the_parent(authority: Path) -> None:
    async with peer(http(page(total=7)), keep=True, context=serving(authority)) as here:
        base_url = here.url.removesuffix("/recordSipQuery")
        arguments = (base_url, "key", "secret", START.isoformat(), END.isoformat(), str(authority))
        assert await asyncio.to_thread(play, COUNT, *arguments) == ["7", "7"]
        assert (here.connections, len(here.heads)) == (1, 2)
