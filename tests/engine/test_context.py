"""Context variables: a run's hook, credentials and requests see those of the caller who started it."""

import asyncio
import sys
from collections import Counter
from contextvars import ContextVar

import pytest

from aiosipcdr import CdrClient
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials
from tests.client.conftest import END, START, RawServer, paged
from tests.clients import client_of

TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")
TENANTS = ("anna", "berta", "clara", "dora")


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_every_event_of_a_run_is_heard_in_the_context_of_its_caller(concurrency: int, *, eager: bool) -> None:
    if eager and (sys.version_info < (3, 12) or type(asyncio.get_running_loop()).__module__.startswith("uvloop")):
        pytest.skip("eager tasks came with Python 3.12, and uvloop's differ between its versions")
    heard: dict[int, Counter[str]] = {}

    def hook(event: Event) -> None:
        heard.setdefault(event.run, Counter())[TENANT.get()] += 1

    async def fetch(tenant: str) -> None:
        TENANT.set(tenant)
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 1_000

    async with (
        Sandbox(records=1_000, latency=0.001) as sandbox,
        client_of(sandbox, concurrency=concurrency, hook=hook) as client,
    ):
        sandbox.answer_next(0, -18, 0, -15, 0, -18)
        if eager:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
        try:
            await asyncio.gather(*(fetch(tenant) for tenant in TENANTS))
        finally:
            asyncio.get_running_loop().set_task_factory(None)
    assert sorted(tenant for reported in heard.values() for tenant in reported) == sorted(TENANTS)


async def test_credentials_are_those_of_the_caller_whose_request_is_sent() -> None:
    async def count(tenant: str, size: int) -> None:
        TENANT.set(tenant)
        await client.fetch_page(START, END, size=size)

    async with RawServer([paged(500)]) as server:
        ask = lambda: Credentials(f"key-{TENANT.get()}", "secret")  # noqa: E731
        async with CdrClient(server.base_url, ask, concurrency=2) as client:
            for _ in range(5):
                await asyncio.gather(*(count(tenant, size) for size, tenant in enumerate(TENANTS, 10)))
    assert len(server.seen) == 20
    for seen in server.seen:
        assert seen.header("Api-Key") == f"key-{TENANTS[seen.asked['size'] - 10]}"


async def test_a_stream_read_by_another_task_keeps_the_context_in_which_it_began() -> None:
    heard: Counter[tuple[EventKind, str]] = Counter()
    async with (
        Sandbox(records=300) as sandbox,
        client_of(sandbox, hook=lambda event: heard.update([(event.kind, TENANT.get())])) as client,
    ):
        stream = client.stream(sandbox.start, sandbox.end)

        async def read() -> int:
            TENANT.set("reader")
            return len([record async for record in stream])

        async def leave() -> None:
            TENANT.set("leaver")
            await stream.__aexit__(None, None, None)

        TENANT.set("owner")
        await stream.__aenter__()
        assert await asyncio.create_task(read()) == 300
        await asyncio.create_task(leave())
    assert {tenant for _, tenant in heard} == {"owner"}
    assert {kind for kind, _ in heard} >= {EventKind.RUN_STARTED, EventKind.WINDOW_COMPLETE, EventKind.RUN_FINISHED}


async def test_context_set_by_a_hook_at_the_start_stays_with_the_run() -> None:
    heard: set[str] = set()

    def hook(event: Event) -> None:
        if event.kind is EventKind.RUN_STARTED:
            TENANT.set(f"run {event.run}")
        heard.add(f"{TENANT.get()} of {event.run}")

    async with Sandbox(records=300) as sandbox, client_of(sandbox, hook=hook) as client:
        for _ in range(2):
            await client.fetch_all(sandbox.start, sandbox.end)
    assert TENANT.get() == "nobody"
    assert len(heard) == 2
    assert all(text.split(" of ")[0] == f"run {text.split(' of ')[1]}" for text in heard)
