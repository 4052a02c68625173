"""A look inside an open client, for what cannot be seen from outside: the only tests that know its private names."""
# ruff: noqa: ASYNC110 - waiting for the engine is polling

import asyncio

import aiohttp

from aiosipcdr import CdrClient
from aiosipcdr.engine.engine import Engine
from aiosipcdr.events import EventHook
from aiosipcdr.http.transport import Transport
from aiosipcdr.policy.clock import ClockOffset
from aiosipcdr.policy.concurrency import AdaptiveLimit


def engine_of(client: CdrClient) -> Engine:
    """Return the engine of an open client."""
    assert client._session.running is not None
    return client._session.running


def transport_of(client: CdrClient) -> Transport:
    """Return what a client sends with."""
    return client._session.transport


def session_of(client: CdrClient) -> aiohttp.ClientSession | None:
    """Return the session of a client, while it is open."""
    return client._session.transport._session


def signing_offset_of(client: CdrClient) -> ClockOffset:
    """Return the estimate of the vendor's clock that requests are signed with."""
    return engine_of(client)._retries.clock


def set_hook(client: CdrClient, hook: EventHook) -> None:
    """Replace the hook that hears of completed windows, while the client is open."""
    client._session.hook = hook


def limit_of(client: CdrClient) -> AdaptiveLimit:
    """Return the limit of requests that may be under way."""
    return engine_of(client)._retries.limit


def has_timer(client: CdrClient) -> bool:
    """Tell whether the engine will wake up by itself."""
    return engine_of(client)._timer is not None


def blocked_until(client: CdrClient) -> float:
    """Return the instant before which nothing is sent, in the event loop's time."""
    return engine_of(client)._pacer._blocked_until


def is_working(client: CdrClient) -> bool:
    """Tell whether a run or a request is under way."""
    engine = engine_of(client)
    return bool(engine._runs or engine._workers)


def check_idle(client: CdrClient) -> None:
    """Fail unless nothing is under way, waits for its time, or holds memory."""
    engine = engine_of(client)
    assert not engine._workers
    assert not engine._runs
    assert not engine._later, "requests wait that belong to no run"
    assert engine._timer is None
    assert client._fetcher.quota.runs == client._fetcher.quota._held == 0


async def until_waiting(client: CdrClient, requests: int = 1) -> list[float]:
    """Return the seconds that requests will wait, once so many do and nothing else is under way."""
    engine = engine_of(client)
    while engine._workers or len(engine._later) < requests:
        await asyncio.sleep(0.001)
    now = asyncio.get_running_loop().time()
    return sorted(until - now for until, _, _ in engine._later)


def pass_time(client: CdrClient) -> None:
    """Send now what waits for its time."""
    engine = engine_of(client)
    now = asyncio.get_running_loop().time()
    engine._later[:] = [(now, number, job) for _, number, job in engine._later]
    engine.wake()
