"""One rate for several clients and processes: real sockets, wrong keys, dead clients, servers that are gone."""

import asyncio
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiosipcdr import ClientStateError, RateLimiter, RatePolicy, RateServer, RemoteRate, TransportError
from aiosipcdr import rates as rates_module
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import client_of
from tests.selection import ALL

SANDBOX = {"records": 250}
KEY = "0123456789abcdef-not-a-secret"

CHILD = """
import asyncio, sys, time
from aiosipcdr import RemoteRate

async def main():
    rate, sent, todo = RemoteRate(sys.argv[1], key_file=sys.argv[2]), [], list(range(int(sys.argv[3])))

    async def work():
        while todo:
            todo.pop()
            await rate.acquire()
            sent.append(time.monotonic())

    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(work() for _ in range(8)))
    await rate.aclose()
    print(*sent, flush=True)

asyncio.run(main())
"""

FORKED = """
import asyncio, os, sys
from aiosipcdr import RateServer

async def acquire(rate):
    await rate.acquire()
    await rate.aclose()

with RateServer(100) as server:
    if (child := os.fork()) == 0:
        sys.exit(7)  # leaves the context, and runs the finalizers
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    asyncio.run(acquire(server.handle))
    print("served")
"""


def start(server: RateServer, requests: int) -> "subprocess.Popen[str]":
    address, key_file = server.address, str(server.handle._key_file)
    child = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-c", textwrap.dedent(CHILD), address, key_file, str(requests)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.fixture
def key_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_RATE_KEY", KEY)


async def acquire_once(limiter: RemoteRate) -> None:
    await limiter.acquire()
    await limiter.aclose()


async def test_clients_of_one_loop_take_turns_in_one_rate(sandbox: Sandbox) -> None:
    async with (
        RateServer(RatePolicy(200)) as server,
        client_of(sandbox, rate=server.handle) as one,
        client_of(sandbox, rate=server.handle) as other,
    ):
        found = await asyncio.gather(*(each.fetch_all(sandbox.start, sandbox.end) for each in (one, other)))
        assert [len(records) for records in found] == [250, 250]
        assert "127.0.0.1:" in repr(server)
    assert repr(server) == "<RateServer not running>"


async def test_requests_leave_no_faster_than_the_rate() -> None:
    loop = asyncio.get_running_loop()
    sent: list[float] = []

    async def work(limiter: RemoteRate) -> None:
        for _ in range(5):
            await limiter.acquire()
            sent.append(loop.time())

    async with RateServer(100) as server:
        limiters = server.handle, server.handle
        await asyncio.gather(*(work(limiter) for limiter in limiters for _ in range(2)))
        for limiter in limiters:
            await limiter.aclose()
    # The first and the last slot are at least nineteen intervals apart; each may be used a little late.
    assert max(sent) - min(sent) >= 19 * 0.0105 - 0.05


def test_a_server_in_a_thread_serves_processes_and_survives_a_kill() -> None:
    with RateServer(RatePolicy(500)) as server:
        children = [start(server, requests) for requests in (10_000, 40)]
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        victim, survivor = children
        victim.kill()
        victim.communicate()
        out, _ = survivor.communicate(timeout=60)
        assert len(out.split()) == 40
        assert survivor.returncode == 0


@pytest.mark.skipif(not ALL, reason="ten seconds; measures wall-clock time")
def test_three_processes_share_thirty_requests_a_second() -> None:
    with RateServer(30) as server:
        children = [start(server, requests) for requests in (240, 30, 30)]
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        each = [sorted(map(float, child.communicate(timeout=120)[0].split())) for child in children]
    sent = sorted(at for one in each for at in one)
    rate = (len(sent) - 1) / (sent[-1] - sent[0])
    busiest = max(sum(at <= other < at + 1 for other in sent) for at in sent)
    assert len(sent) == 300
    assert busiest <= 30
    assert rate >= 27, (rate, busiest)


async def test_a_wrong_key_is_an_error_that_says_so(tmp_path: Path, sandbox: Sandbox) -> None:
    wrong = tmp_path / "key"
    wrong.write_text("another key of enough length")
    wrong.chmod(0o600)
    async with RateServer(100) as server:
        rate = RemoteRate(server.address, key_file=wrong)
        with pytest.raises(TransportError, match="has another key: give both sides the same key_file") as caught:
            await rate.acquire()
        assert not caught.value.retryable
        async with client_of(sandbox, rate=rate) as client:
            with pytest.raises(TransportError, match="has another key"):
                await client.ping()
        assert sandbox.stats.requests == 0
        await acquire_once(server.handle)  # others are not disturbed


@pytest.mark.usefixtures("key_in_environment")
async def test_a_server_that_does_not_know_the_key_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RateServer(100) as server:
        real = rates_module._prove
        # Both sides run in this process: the client computes the right proof, the server sends another one.
        provers = iter([real, real, lambda *_: "0" * 64, real])

        def prove(*words: Any) -> Any:  # noqa: ANN401 - of the real one
            return next(provers)(*words)

        monkeypatch.setattr(rates_module, "_prove", prove)
        with pytest.raises(TransportError, match="has another key"):
            await RemoteRate(server.address).acquire()


@pytest.mark.usefixtures("key_in_environment")
async def test_strangers_are_cut_off() -> None:
    async with RateServer(100) as server:
        host, port = server.address.rsplit(":", 1)
        for nonsense in (b"x" * 10_000, b"GET / HTTP/1.1\r\n\r\n", b"7\n", b"\xff\xfe \xff\n", b"a b c\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            with suppress(ConnectionError):
                writer.write(nonsense)
                assert (await reader.read()).split(b"\n")[1:] in ([b""], [b"refused", b""])
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await acquire_once(server.handle)


@pytest.mark.usefixtures("key_in_environment")
async def test_a_server_that_is_gone_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setattr(rates_module, "_PAUSES", (0.0, 0.01))
    async with RateServer(RatePolicy(100, burst=3)) as server:
        rate = server.handle
        await rate.acquire()
    with pytest.raises(
        TransportError, match=r"no rate server answers at 127\.0\.0\.1:.*start RateServer before"
    ) as caught:
        await rate.acquire()
    assert caught.value.retryable
    async with client_of(sandbox, rate=rate) as client:
        with pytest.raises(TransportError, match="no rate server answers"):
            await client.fetch_all(sandbox.start, sandbox.end)


@pytest.mark.usefixtures("key_in_environment")
async def test_a_server_that_was_restarted_is_found_again() -> None:
    async with RateServer(RatePolicy(100)) as server:
        rate, address = server.handle, server.address
        await rate.acquire()
    async with RateServer(RatePolicy(100), port=int(address.rsplit(":", 1)[1])) as restarted:
        await rate.acquire()
        assert restarted.address == address
        await rate.aclose()


@pytest.mark.usefixtures("key_in_environment")
async def test_those_who_wait_when_the_server_ends_get_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "_PAUSES", (0.0, 0.01))
    async with RateServer(RatePolicy(0.001)) as server:
        rate = server.handle
        await rate.acquire()
        waiting = [asyncio.create_task(rate.acquire()) for _ in range(3)]
        await asyncio.sleep(0.05)
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, TransportError)


@pytest.mark.usefixtures("key_in_environment")
async def test_a_cancelled_wait_leaves_the_connection_to_others_and_closing_ends_it() -> None:
    before = len(asyncio.all_tasks())
    async with RateServer(RatePolicy(5)) as server:
        rate = server.handle
        await rate.acquire()
        waiting = [asyncio.create_task(rate.acquire()) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await rate.aclose()  # of one client, while a request of another one waits
        await waiting[1]
        rest = asyncio.create_task(rate.acquire())
        await asyncio.sleep(0.01)
        rest.cancel()
        await asyncio.sleep(0)
        await rate.aclose()
        assert rate._links[asyncio.get_running_loop()]._streams is None
        assert len(asyncio.all_tasks()) == before


@pytest.mark.usefixtures("key_in_environment")
async def test_a_handle_pickles_without_the_key() -> None:
    async with RateServer(RatePolicy(100)) as server:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            data = pickle.dumps(server.handle, protocol)
            assert KEY.encode() not in data
            copied = pickle.loads(data)  # noqa: S301 - our own
            await acquire_once(copied)
        assert KEY not in repr(server) + repr(server.handle) + str(vars(server.handle))


async def test_a_key_is_passed_itself_and_is_pickled_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIOSIPCDR_RATE_KEY", raising=False)
    async with RateServer(100, key=KEY.encode()) as server:
        for limiter in (server.handle, RemoteRate(server.address, key=KEY.encode())):
            await acquire_once(limiter)
            with pytest.raises(TypeError, match="hand the address on"):
                pickle.dumps(limiter)
            assert KEY not in repr(limiter) + str(vars(limiter))
        with pytest.raises(TransportError, match="has another key"):
            await RemoteRate(server.address, key=b"another key of enough length").acquire()
        assert KEY not in repr(server) + str(vars(server))
    with pytest.raises(ValueError, match="write at least 16 bytes") as caught:
        RateServer(100, key=b"short")
    assert "short" not in str(caught.value)


@pytest.mark.usefixtures("key_in_environment")
async def test_no_traceback_shows_the_key() -> None:
    async with RateServer(100) as server:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its text is the system's
            await RateServer(100, port=int(server.address.rsplit(":", 1)[1])).__aenter__()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert len(frames) > 1
    assert not any(KEY in f"{frame.f_locals!r} {vars(frame.f_locals.get('self', object))!r}" for frame in frames)


async def test_without_a_key_a_random_one_exists_as_long_as_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIOSIPCDR_RATE_KEY", raising=False)
    monkeypatch.setattr(rates_module, "_PAUSES", (0.0,))
    async with RateServer(100) as server:
        handle = server.handle
        key_file = Path(str(handle._key_file))
        file = await anyio.Path(key_file).stat()
        folder = await anyio.Path(key_file.parent).stat()
        other = RateServer(100, port=int(server.address.rsplit(":", 1)[1]))
        with pytest.raises(OSError, match=r"address already in use|\d"):
            await other.__aenter__()
        assert other._remove_key is None
    assert file.st_size == 64
    if os.name != "nt":
        assert (file.st_mode & 0o777, folder.st_mode & 0o777) == (0o600, 0o700)
    assert not await anyio.Path(key_file.parent).exists()
    with pytest.raises(TransportError, match="the server has ended"):
        await handle.acquire()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_exits_leaves_server_and_key_to_the_parent() -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.stdout.split(), done.stderr) == (["7", "served"], "")


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
async def test_a_key_that_others_can_read_or_that_is_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    with pytest.raises(ValueError, match="readable by others"):
        await RateServer(100, key_file=path).__aenter__()
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ValueError, match="at least 16 bytes"):
        await RateServer(100, key_file=path).__aenter__()
    with pytest.raises(ValueError, match="AIOSIPCDR_RATE_KEY"):
        await RemoteRate("127.0.0.1:9").acquire()


@pytest.mark.usefixtures("key_in_environment")
def test_an_address_of_others_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    RateServer(100, host="0.0.0.0")  # noqa: S104 - not started
    monkeypatch.delenv("AIOSIPCDR_RATE_KEY")
    with pytest.raises(ValueError, match="not loopback"):
        RateServer(100, host="0.0.0.0")  # noqa: S104 - refused


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":7300", "host:", "host:port", "host:-1", None, 7300])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="host and port"):
        RemoteRate(address)


@pytest.mark.usefixtures("key_in_environment")
async def test_a_server_is_used_with_with_and_once() -> None:
    server = RateServer(100)
    with pytest.raises(ClientStateError, match="not running"):
        _ = server.handle
    async with server:
        with pytest.raises(ClientStateError, match="running already"):
            await server.__aenter__()
        with pytest.raises(OSError, match=r"address already in use|\d"):
            await RateServer(100, port=int(server.address.rsplit(":", 1)[1])).__aenter__()
    async with server:  # again
        await acquire_once(server.handle)


class Turnstile:
    """A limiter of a user: counts, waits, and fails when it shall."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.let_in = 0
        self.fails = fails

    async def acquire(self) -> None:
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.let_in += 1


async def test_any_object_with_an_async_acquire_is_asked_before_each_request(sandbox: Sandbox) -> None:
    limiter = Turnstile()
    assert isinstance(limiter, RateLimiter)
    sandbox.add_faults(Fault("http", status=503, times=2))
    async with client_of(sandbox, rate=limiter) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    assert records.report.retries == 2
    assert limiter.let_in == records.report.requests == sandbox.stats.requests


async def test_exceptions_of_a_limiter_end_the_run_unchanged(sandbox: Sandbox) -> None:
    failure = LookupError("no pace today")
    async with client_of(sandbox, rate=Turnstile(failure)) as client:
        with pytest.raises(LookupError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        assert caught.value is failure
    assert sandbox.stats.requests == 0


async def test_a_request_that_waited_for_its_turn_still_waits_for_a_throttling_vendor(sandbox: Sandbox) -> None:
    sandbox.add_faults(Fault("http", status=429, headers={"Retry-After": "1"}, times=1))
    limiter = Turnstile()
    async with client_of(sandbox, rate=limiter) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    assert records.report.certified
    assert sandbox.stats.requests == records.report.requests <= limiter.let_in


@pytest.mark.usefixtures("key_in_environment")
async def test_a_server_leases_the_rate_of_a_limiter() -> None:
    limiter = Turnstile()
    async with RateServer(limiter) as server:
        handle = server.handle
        await asyncio.gather(*(handle.acquire() for _ in range(7)))
        await handle.aclose()
    assert limiter.let_in == 7


@pytest.mark.parametrize("rate", ["fast", True, object(), asyncio.Event(), [30]])
def test_other_rates_are_refused(rate: Any, sandbox: Sandbox) -> None:  # noqa: ANN401 - wrong on purpose
    for build in (RateServer, lambda rate: client_of(sandbox, rate=rate)):
        with pytest.raises(ValueError, match="rate must be a number of requests a second, a RatePolicy, or an object"):
            build(rate)


@pytest.mark.parametrize("rate", [0, -1, inf])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="requests_per_second"):
        RateServer(rate)
    with pytest.raises(ValueError, match="rate is missing"):
        RateServer(None)  # type: ignore[arg-type]


def test_a_lock_is_no_limiter() -> None:
    with pytest.raises(ValueError, match="async acquire"):
        RateServer(threading.Semaphore())  # type: ignore[arg-type]
