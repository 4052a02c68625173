"""The blocking client: the methods of the async one, for threads, notebooks, signals and forks."""

import asyncio
import gc
import inspect
import os
import pickle
import pydoc
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr import (
    CdrClient,
    ClientSettings,
    ClientStateError,
    RateServer,
    SipCdrError,
)
from aiosipcdr.blocking import BlockingCdrClient, BlockingCdrStream, _iterable
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import QUICK
from tests.gates import Gate
from tests.selection import some

SANDBOX = {"records": 2_500}
ROOT = Path(__file__).resolve().parents[1]
NUMBER = "+12125550123"


def blocking_client(sandbox: Sandbox, **settings: Any) -> BlockingCdrClient:  # noqa: ANN401 - the client's own
    account = sandbox.base_url, sandbox.api_key, sandbox.api_secret
    return BlockingCdrClient(*account, **({"retry": QUICK} | settings))


def play(program: str, sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    account = sandbox.base_url, sandbox.api_key, sandbox.api_secret
    variables = ("AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET")
    span = sandbox.start.isoformat(), sandbox.end.isoformat()
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", program, *span, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **dict(zip(variables, account, strict=True))},
    )


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aiosipcdr-client")]


# The surface is that of CdrClient.


def public(client: type) -> dict[str, Any]:
    return {name: getattr(client, name) for name in vars(client) if not name.startswith("_")}


def test_every_public_member_of_the_client_is_here() -> None:
    assert set(public(BlockingCdrClient)) == set(public(CdrClient)) - {"aclose"} | {"close"}


@pytest.mark.parametrize("name", sorted(set(public(CdrClient)) - {"open", "aclose", "from_env"}))
def test_a_method_takes_the_same_arguments_and_says_so(name: str) -> None:
    own, other = getattr(BlockingCdrClient, name), getattr(CdrClient, name)
    if isinstance(other, property):
        assert isinstance(own, property)
        return
    assert not inspect.iscoroutinefunction(own)
    assert inspect.signature(own).parameters == inspect.signature(other).parameters
    assert own.__doc__
    assert "await " not in own.__doc__
    assert "async " not in own.__doc__
    shown = pydoc.plain(pydoc.render_doc(own))
    assert all(parameter in shown for parameter in inspect.signature(other).parameters)


def test_the_constructor_takes_the_same_settings_except_a_session() -> None:
    own, other = (inspect.signature(client).parameters for client in (BlockingCdrClient, CdrClient))
    assert own == other
    assert set(ClientSettings.__annotations__) <= set(own)
    with pytest.raises(ValueError, match="session belongs to an event loop"):
        BlockingCdrClient("https://example.com", "key", "secret", session=object())  # type: ignore[arg-type]


# Every method returns what the async one returns.


def test_every_method_returns_what_the_async_client_returns(sandbox: Sandbox, tmp_path: Path) -> None:
    span = sandbox.start, sandbox.end

    async def ask() -> tuple[Any, ...]:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
            records = await client.fetch_all(*span)
            windows = [one.window for one in records.report.window_reports]
            return (
                [*records],
                await client.count(*span),
                await client.recount(windows),
                await client.fetch_page(*span, 2, 50),
                await client.plan_parts(*span, rows=1_000),
            )

    with blocking_client(sandbox) as client:
        records = client.fetch_all(*span)
        windows = [one.window for one in records.report.window_reports]
        parts = client.plan_parts(*span, rows=1_000)
        answers = (
            [*records],
            client.count(*span),
            client.recount(windows),
            client.fetch_page(*span, 2, 50),
            parts,
        )
        assert answers == asyncio.run(ask())
        assert records.report.certified
        client.ping()
        with client.stream(*span) as stream:
            assert isinstance(stream, BlockingCdrStream)
            assert [*stream] == [*records]
        assert stream.report.certified
        with client.stream(*span) as stream:
            assert [record for batch in stream.batches() for record in batch] == [*records]
        with client.stream(*span) as stream:
            assert sum(len(window.records) for window in stream.windows()) == stream.report.unique == 2_500
        owned = []
        for part in parts:
            with client.stream(part=part) as stream:
                owned += [record.voice_id for record in stream]
        assert sorted(owned) == sorted(sandbox.voice_ids())
        report = client.export(*span, tmp_path / "calls.ndjson")
        assert (report.unique, len((tmp_path / "calls.ndjson").read_bytes().splitlines())) == (2_500, 2_500)
        first = sandbox.start.date()
        seen: list[Any] = []
        days = client.export_days(first, first, "Asia/Shanghai", tmp_path / "{date}.csv", on_day=seen.append)
        assert days.days == seen
        assert client.clock_offset is not None
        assert client.proxy_host == ""
        assert client.ssl_context is None
        assert "open" in repr(client)
    assert "closed" in repr(client)
    assert threads() == []


def test_from_env_builds_a_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
    with BlockingCdrClient.from_env(concurrency=2) as client:
        assert client.count(sandbox.start, sandbox.end) == 2_500
    monkeypatch.delenv("AIOSIPCDR_API_KEY")
    with pytest.raises(ValueError, match="AIOSIPCDR_API_KEY"):
        BlockingCdrClient.from_env()


def test_errors_and_their_facts_reach_the_caller(sandbox: Sandbox) -> None:
    with blocking_client(sandbox) as client:
        with pytest.raises(ValueError, match="naive"):
            client.fetch_all(datetime(2026, 1, 1), datetime(2026, 1, 2))  # noqa: DTZ001 - the point
        with pytest.raises(TypeError, match="nonsense"):
            client.count(sandbox.start, sandbox.end, nonsense=1)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="part"):
            client.stream(sandbox.start, sandbox.end, part=object())  # type: ignore[call-overload]
    sandbox.add_faults(Fault("http", status=503, times=100))
    with blocking_client(sandbox) as client:
        with pytest.raises(SipCdrError) as caught:
            client.fetch_all(sandbox.start, sandbox.end)
        assert caught.value.status == 503
    sandbox.reset()


def test_a_traceback_shows_the_engine_and_no_argument(sandbox: Sandbox) -> None:
    sandbox.add_faults(Fault("code", code=-1, times=100))
    with blocking_client(sandbox) as client, pytest.raises(SipCdrError) as caught:
        client.fetch_all(sandbox.start, sandbox.end, phone_name=NUMBER)
    sandbox.reset()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert frames[0].f_code.co_name == "test_a_traceback_shows_the_engine_and_no_argument"
    assert any("engine" in frame.f_code.co_filename for frame in frames[1:])
    assert not any(NUMBER in repr(frame.f_locals) for frame in frames[1:])


def test_hooks_see_the_context_of_the_caller_and_must_not_call_the_client(sandbox: Sandbox) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: set[str] = set()
    refused: list[BaseException] = []

    def hook(_event: object) -> None:
        seen.add(tenant.get())
        try:
            client.count(sandbox.start, sandbox.end)
        except ClientStateError as error:
            refused.append(error)

    with blocking_client(sandbox, hook=hook) as client:
        tenant.set("acme")
        assert client.count(sandbox.start, sandbox.end) == 2_500
    assert seen == {"acme"}
    assert "call the client in another thread" in str(refused[0])


def test_threads_share_one_client_and_its_limit(sandbox: Sandbox) -> None:
    start, end = sandbox.start, sandbox.start + (sandbox.end - sandbox.start) / 5
    with blocking_client(sandbox, concurrency=3, page_size=20) as client, ThreadPoolExecutor(6) as pool:
        counts = {*pool.map(lambda _: len(client.fetch_all(start, end)), range(6))}
        assert counts == {client.count(start, end)}
    assert min(counts) > 100
    assert sandbox.stats.peak_in_flight <= 3


def test_a_shared_rate_works_in_the_thread_of_the_client(sandbox: Sandbox) -> None:
    with RateServer(200) as server, blocking_client(sandbox, rate=server.handle) as client:
        assert client.count(sandbox.start, sandbox.end) == 2_500
    gc.collect()


async def test_the_blocking_client_works_in_the_thread_of_a_running_loop(sandbox: Sandbox) -> None:
    with blocking_client(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        assert sum(1 for _ in stream) == 2_500


def test_any_async_context_manager_of_the_client_becomes_one_with_a_line(sandbox: Sandbox) -> None:
    class Client(BlockingCdrClient):
        @_iterable(CdrClient.stream)
        def read(self) -> None: ...

    with Client(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        with client.read(sandbox.start, sandbox.end) as items:
            assert sum(1 for _ in items) == 2_500
        assert items.report.certified
        with pytest.raises(AttributeError):
            _ = items.nonsense
        with pytest.raises(ValueError, match="naive"):
            client.read(datetime(2026, 1, 1), datetime(2026, 1, 2))  # noqa: DTZ001 - the point


# State.


def test_a_client_is_open_once_at_a_time_and_may_be_opened_again(sandbox: Sandbox) -> None:
    client = blocking_client(sandbox)
    with pytest.raises(ClientStateError, match="not open: use `with BlockingCdrClient"):
        client.count(sandbox.start, sandbox.end)
    for _ in range(2):
        assert client.open() is client
        with pytest.raises(ClientStateError, match="already open"):
            client.open()
        assert client.count(sandbox.start, sandbox.end) == 2_500
        client.close()
        client.close()
    assert threads() == []
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(client)


def test_a_stream_is_read_once_and_may_be_left_early(sandbox: Sandbox) -> None:
    with blocking_client(sandbox) as client:
        stream = client.stream(sandbox.start, sandbox.end)
        with pytest.raises(ClientStateError, match="enter the stream first"):
            iter(stream)
        with stream:
            assert next(iter(stream)).voice_id
            with pytest.raises(ClientStateError, match="read once"):
                stream.batches()
        assert client.count(sandbox.start, sandbox.end) == 2_500


def test_closing_the_client_ends_waiting_calls_of_other_threads() -> None:
    gate = Gate(0)
    with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox, ThreadPoolExecutor(1) as pool:
        client = blocking_client(sandbox).open()
        waiting = pool.submit(client.count, sandbox.start, sandbox.end)
        while not gate.held:
            time.sleep(0.002)
        client.close()
        with pytest.raises(ClientStateError, match="closed"):
            waiting.result(30)
    assert threads() == []


# Signals and forks, in processes of their own.

INTERRUPTED = """
import os, signal, sys, threading
from datetime import datetime
from aiosipcdr import ClientStateError
from aiosipcdr.blocking import BlockingCdrClient

start, end = map(datetime.fromisoformat, sys.argv[1:3])

def strike(event):
    if event.kind == "request_answered" and event.page == 2:
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))

class Ended(BaseException):
    pass

def terminate(*_):
    raise Ended

signal.signal(signal.SIGTERM, terminate)

def read(client, method):
    if method == "fetch_all":
        client.fetch_all(start, end)
        return
    with client.stream(start, end) as stream:
        records = iter(stream)
        try:
            list(records)
        finally:
            try:
                print(len(list(records)))  # what came first may be lost with the interrupted wait
            except ClientStateError as error:
                print(error)

for method in sys.argv[4:]:
    try:
        with BlockingCdrClient.from_env(hook=strike, concurrency=1) as client:
            try:
                read(client, method)
            finally:
                print("open", client.count(start, end), "runs", len(client._client._session.running._runs))
    except (KeyboardInterrupt, Ended) as error:
        print(type(error).__name__, [thread.name for thread in threading.enumerate()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("signal", "error"), some([("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "Ended")], every=2))
def test_a_signal_cancels_the_request_and_leaves_nothing(signal: str, error: str, sandbox: Sandbox) -> None:
    done = play(INTERRUPTED, sandbox, signal, "fetch_all", "stream")
    lost = "the wait for the next item was interrupted, or another thread waits for it: open another stream"
    left = ["open 2500 runs 0", f"{error} ['MainThread']"]
    assert done.stdout.splitlines() == [*left, lost, *left], done.stderr
    assert done.stderr == ""


FORKED = """
import gc, os, sys
from datetime import datetime
from aiosipcdr import ClientStateError
from aiosipcdr.blocking import BlockingCdrClient

start, end = map(datetime.fromisoformat, sys.argv[1:3])
with BlockingCdrClient.from_env(concurrency=2) as client:
    with client.stream(start, end) as stream:
        reader = iter(stream)
        next(reader)
        child = os.fork()
        if child == 0:
            for use in (lambda: next(reader) and list(reader), lambda: client.count(start, end), client.ping):
                try:
                    use()
                except ClientStateError as error:
                    print(error, flush=True)
            with BlockingCdrClient.from_env() as own:
                print(own.count(start, end), flush=True)
            if sys.argv[3] == "leave":
                stream.__exit__(None, None, None)
                client.close()
            del client, stream, reader
            gc.collect()
            sys.exit(7)  # with the teardown of the interpreter
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 1 + len(list(reader)), stream.report.retries)
    print(client.count(start, end))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("way", some(["exit", "leave"], every=2))
def test_a_fork_is_noticed_and_the_parent_goes_on(way: str, sandbox: Sandbox) -> None:
    done = play(FORKED, sandbox, way)
    told = "the client was opened in another process: open one after the fork"
    assert done.stdout.splitlines() == [told, told, told, "2500", "7 2500 0", "2500"], done.stderr
    assert done.stderr == ""
