"""A sandbox in a process of its own, for as long as a command needs one.

Ends only the process that it started. That process holds our end of its stdin
open: should we be killed, it ends by itself.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import anyio
import msgspec

from aiosipcdr.cli.exit_codes import CommandError

__all__ = ["Place", "sandbox_process"]

_PATIENCE = 5.0
# The same package as ours, wherever the current folder is.
_PATHS = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sandbox listens and what it holds: the line that `sandbox --json` prints."""

    base_url: str
    api_key: str
    api_secret: str
    start: datetime
    end: datetime

    def __repr__(self) -> str:
        """Leave the credentials out."""
        return f"Place({self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("base_url", self.base_url)]


@asynccontextmanager
async def sandbox_process(*options: str) -> AsyncIterator[Place]:
    """Run `aiosipcdr sandbox` with `options` while the block runs.

    Raises:
        CommandError: it does not start.
    """
    from aiosipcdr.sandbox.process import plan_environment

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "aiosipcdr", "sandbox", "--json", "--until-stdin-closes"),
        *options,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**plan_environment(), "PYTHONPATH": os.pathsep.join(_PATHS)},
        start_new_session=True,  # Ctrl-C is ours: the run ends first, then the sandbox
    )
    try:
        yield await _hear(process)
    finally:
        await _end(process)


async def _hear(process: asyncio.subprocess.Process) -> Place:
    line = await process.stdout.readline() if process.stdout else b""
    try:
        return msgspec.json.decode(line, type=Place)
    except msgspec.DecodeError:
        msg = "the sandbox did not start: try python3 -m aiosipcdr sandbox to see why"
        raise CommandError(msg) from None


async def _end(process: asyncio.subprocess.Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.stdin is not None:
            process.stdin.close()
        for stop in (None, process.terminate, process.kill):
            if stop is not None and process.returncode is None:
                stop()
            with anyio.move_on_after(_PATIENCE):
                await process.wait()
                return
