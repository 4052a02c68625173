"""Our own session is closed without a trace; a borrowed one stays as it is, its defaults included."""
# ruff: noqa: ASYNC110 - the constructor's own settings; waiting for the server is polling

import asyncio
import gc
import gzip
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aiosipcdr import AuthenticationError, CdrClient, ClientStateError, RetryPolicy, ServerFaultError, TransportError
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.gates import gather
from tests.inside import session_of, transport_of

if TYPE_CHECKING:
    from tests.client.conftest import Wire


SANDBOX = {"records": 1_500, "latency": 0.002}


async def test_our_own_session_leaves_no_socket_no_task_and_no_warning(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            async with client_of(sandbox) as client:
                await client.fetch_all(sandbox.start, sandbox.end)
            assert asyncio.all_tasks() == before
        del client
        await asyncio.sleep(0)
        gc.collect()
    assert [warning for warning in caught if issubclass(warning.category, ResourceWarning)] == []


async def test_our_own_session_is_closed_by_an_error_too(sandbox: Sandbox) -> None:
    sessions = []
    with pytest.raises(KeyError):  # noqa: PT012
        async with client_of(sandbox) as client:
            sessions.append(session_of(client))
            raise KeyError
    assert sessions[0] is not None
    assert sessions[0].closed
    assert session_of(client) is None


async def test_a_hook_that_raises_at_the_end_keeps_nothing_open(sandbox: Sandbox) -> None:
    def hook(event: Event) -> None:
        if event.kind is EventKind.RUN_FINISHED:
            raise LookupError(event.run)

    before = asyncio.all_tasks()
    client = client_of(sandbox, hook=hook)
    await client.open()
    streams = [client.stream(sandbox.start, sandbox.end) for _ in range(2)]
    for stream in streams:
        await stream.__aenter__()
    session = session_of(client)
    with pytest.raises(LookupError):
        await client.aclose()
    assert session is not None
    assert session.closed
    assert asyncio.all_tasks() == before


async def test_a_client_that_is_closed_while_it_is_cancelled_keeps_nothing_open(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    sessions = []

    async def leave() -> None:
        async with client_of(sandbox) as client:
            sessions.append(session_of(client))
            await client.stream(sandbox.start, sandbox.end).__aenter__()
            inside.set()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    inside = asyncio.Event()
    task = asyncio.create_task(leave())
    await inside.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sessions[0] is not None
    assert sessions[0].closed
    assert asyncio.all_tasks() == before


async def test_a_proxy_that_cannot_be_reached_is_named_without_its_password() -> None:
    settings: dict[str, Any] = {"proxy": "http://user:canary@127.0.0.1:9", "retry": RetryPolicy(attempts=1)}
    async with CdrClient("https://api.example.com", "key", "secret", **settings) as client:
        with pytest.raises(TransportError, match=r"the proxy 127\.0\.0\.1:9 .* check `proxy`") as caught:
            await client.ping()
    assert "canary" not in str(caught.value)


async def test_a_borrowed_session_is_never_closed(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with client_of(sandbox, session=session) as client:
                assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 1_500
            assert not session.closed
        async with CdrClient(sandbox.base_url, sandbox.api_key, "sandbox-wrong", session=session) as client:
            with pytest.raises(AuthenticationError):
                await client.count(sandbox.start, sandbox.end)
        async with client_of(sandbox, session=session) as client, client.stream(sandbox.start, sandbox.end) as stream:
            async for _ in stream:
                break
        assert not session.closed
        async with session.get(sandbox.base_url) as response:
            assert response.status == 404


async def test_a_borrowed_session_that_is_closed_is_named(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        pass
    async with client_of(sandbox, session=session) as client:
        with pytest.raises(ClientStateError, match="session is closed"):
            await client.fetch_all(sandbox.start, sandbox.end)
    assert sandbox.stats.requests == 0


async def test_a_session_that_is_closed_under_a_run_ends_it(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session, client_of(sandbox, session=session, concurrency=2) as client:
        task = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        while not sandbox.stats.requests:
            await asyncio.sleep(0)
        await session.close()
        # What was under way breaks off, and is then found to have no session any more.
        with pytest.raises(ClientStateError, match="session"):
            await task
    assert asyncio.all_tasks() == before


def test_a_session_of_another_event_loop_is_reported_as_such(sandbox: Sandbox) -> None:
    async def begin() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def count() -> None:
        async with client_of(sandbox, session=session) as client:
            await client.count(sandbox.start, sandbox.end)

    with asyncio.Runner() as theirs:
        session = theirs.run(begin())
        with asyncio.Runner() as ours, pytest.raises(ClientStateError, match="another event loop"):
            ours.run(count())
        theirs.run(session.close())


async def test_a_borrowed_session_that_is_closed_is_used_no_more_though_its_connector_is_open(
    sandbox: Sandbox,
) -> None:
    async with aiohttp.TCPConnector() as connector:
        session = aiohttp.ClientSession(connector=connector, connector_owner=False)
        async with client_of(sandbox, session=session) as client:
            assert await client.count(sandbox.start, sandbox.end) == 1_500
            await session.close()
            with pytest.raises(ClientStateError, match="closed"):
                await client.count(sandbox.start, sandbox.end)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"limit": 2}, 2),
        ({"limit": 0, "limit_per_host": 3}, 3),
        ({"limit": 100}, 4),
        ({"limit": 0}, 4),
        ({"limit": 1}, 1),
    ],
    ids=str,
)
async def test_a_borrowed_connectors_limit_is_kept_to(limits: dict[str, int], expected: int) -> None:
    async with (
        Sandbox(records=1_500, middlewares=[gather(expected)]) as sandbox,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as session,  # type: ignore[arg-type]
        client_of(sandbox, session=session, concurrency=4) as client,
    ):
        assert transport_of(client).connections == expected
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 1_500
        assert sandbox.stats.peak_in_flight == expected


async def exploding(_request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    raise AssertionError("the caller's middleware saw our request")


async def test_a_sessions_defaults_cannot_undo_ours(wire: "Wire", monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that aiohttp lets a session decide, decided against us."""
    answers: list[Any] = [
        wire.http(gzip.compress(wire.page([wire.record(1)])), Content_Encoding="gzip"),
        wire.http(b"busy", status="500 Internal Server Error"),
        wire.http(wire.page([wire.record(1), wire.record(2)])),
    ]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with (
        wire.server(answers) as server,
        aiohttp.ClientSession(
            base_url="https://other.example.com/",
            headers={
                "Sign": "theirs",
                "Api-Key": "theirs",
                "Timestamp": "1",
                "Content-Type": "text/plain",
                "Accept-Encoding": "br, zstd",
                "User-Agent": "theirs",
                "Authorization": "Bearer theirs",
                "Content-Encoding": "gzip",
                "Transfer-Encoding": "chunked",
                "Content-Length": "3",
                "Host": "theirs.example.com",
                "X-Theirs": "theirs",
            },
            cookies={"theirs": "1"},
            raise_for_status=True,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=0.000_001),
            middlewares=(exploding,),
            skip_auto_headers={"Content-Type", "User-Agent", "Accept-Encoding"},
            connector=aiohttp.TCPConnector(ssl=False),
            proxy="http://127.0.0.1:9",
            trust_env=True,
            max_line_size=10,
            max_field_size=10,
        ) as session,
        server.client(session=session) as client,
    ):
        assert len((await client.fetch_page(wire.start, wire.end)).records) == 1
        assert len((await client.fetch_page(wire.start, wire.end)).records) == 2
        assert len(server.seen) == 3
        for seen in server.seen:
            assert seen.line == "POST /v3/voice/recordSipQuery HTTP/1.1"
            assert seen.header("Api-Key") == "sandbox-key"
            assert seen.header("Sign") == wire.signature("sandbox-key", "sandbox-secret", seen.header("Timestamp"))
            assert seen.header("Content-Type") == "application/json;charset=UTF-8"
            assert seen.header("Accept-Encoding") == "gzip"
            assert seen.header("User-Agent").startswith("aiosipcdr/")
            assert seen.header("Host").startswith("127.0.0.1:")
            assert "theirs" not in repr(seen)


@pytest.mark.parametrize("auto_decompress", [True, False])
async def test_compressed_answers_are_read_whatever_the_session_would_do(*, auto_decompress: bool) -> None:
    async with (
        Sandbox(records=250, gzip=True) as sandbox,
        aiohttp.ClientSession(auto_decompress=auto_decompress) as session,
        client_of(sandbox, session=session) as client,
    ):
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 250


async def test_a_session_that_raises_for_status_does_not_choose_our_errors(wire: "Wire") -> None:
    answer = wire.http(b"", status="502 Bad Gateway")
    async with (
        wire.server([answer]) as server,
        aiohttp.ClientSession(raise_for_status=True) as session,
        server.client(session=session) as client,
    ):
        with pytest.raises(ServerFaultError) as caught:
            await client.count(wire.start, wire.end)
        assert caught.value.status == 502
        assert len(server.seen) == 8


async def test_two_clients_can_share_one_session(sandbox: Sandbox) -> None:
    async with (
        aiohttp.ClientSession() as session,
        client_of(sandbox, session=session) as one,
        client_of(sandbox, session=session) as other,
    ):
        first, second = await asyncio.gather(
            one.fetch_all(sandbox.start, sandbox.end), other.fetch_all(sandbox.start, sandbox.end)
        )
        assert first == second
        await one.aclose()
        assert await other.count(sandbox.start, sandbox.end) == 1_500
