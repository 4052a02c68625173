"""Clients for tests: quick retries, and another wall clock or other random numbers where a test needs them."""
# ruff: noqa: ANN401 - the constructor's own settings

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.engine.engine import seams
from aiosipcdr.sandbox import Sandbox, SandboxProcess

QUICK: Final = RetryPolicy(base=0.001, throttle_base=0.001, cap=0.002)
"""The usual policy, with waits that no test notices."""

QUICK_TWICE: Final = replace(QUICK, attempts=2)


def client_of(sandbox: Sandbox | SandboxProcess, **settings: Any) -> CdrClient:
    """Return a client for the account of `sandbox` that repeats failed requests quickly."""
    return CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, **({"retry": QUICK} | settings))


class ShiftedClock:
    """A wall clock that is `ahead` seconds ahead of this machine's; a test may change that at any time."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def open_with(
    client: CdrClient,
    *,
    wall_clock: Callable[[], float] = time.time,
    draw: Callable[[], float] = random.random,
) -> AsyncIterator[CdrClient]:
    """Open `client` with another wall clock or other random numbers."""
    with seams(wall_clock=wall_clock, draw=draw):
        await client.open()
    try:
        yield client
    finally:
        await client.aclose()
