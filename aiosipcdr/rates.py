"""One request rate for several processes: a server that leases slots, and the limiter that clients use.

The server hands out slots a fraction of a second ahead, in the order of requests: a process without work takes nothing.
Both sides prove by HMAC that they know a key, which is never sent and is read from a private file or the environment.
What follows is neither encrypted nor signed; it holds numbers only.
"""

import asyncio
import hmac
import inspect
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, cast, runtime_checkable
from weakref import WeakKeyDictionary, finalize

import anyio

from aiosipcdr.loop_thread import LoopThread
from aiosipcdr.model.arguments import check_between, check_kind
from aiosipcdr.model.errors import ClientStateError, TransportError
from aiosipcdr.model.privacy import Secret, hide_arguments
from aiosipcdr.policy.leases import SlotClock, SlotPlanner
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.threads import run_in_thread

__all__ = ["RateLimiter", "RateServer", "RemoteRate"]

_VARIABLE: Final = "AIOSIPCDR_RATE_KEY"
_GREETING: Final = "aiosipcdr-rate-1"
_MIN_KEY: Final = 16
_MAX_KEY: Final = 4096
_MAX_LINE: Final = 4096
_MAX_WANTED: Final = 1000
_HANDSHAKE_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 10.0
# Between attempts to connect: a server may be restarted.
_PAUSES: Final = (0.0, 0.1, 0.4, 1.0)


@runtime_checkable
class RateLimiter(Protocol):
    """Decides when the next request may be sent; `rate=` of `CdrClient` takes one.

        CdrClient.from_env(rate=aiolimiter.AsyncLimiter(30, 1))  # any object with `async acquire()`

    Several requests may wait at the same time. What `acquire` raises ends the run and reaches the caller.
    """

    async def acquire(self) -> None:
        """Return when one request may be sent.

        For example:

            await limiter.acquire()
        """


class RateServer:
    """Leases one request rate to several processes, on this machine or on others.

        with RateServer(30) as server:  # or: async with
            client = CdrClient.from_env(rate=server.handle)  # in as many processes as you like

    In any span of one second, all clients together send at most `rate` requests. To guarantee that, about 95 % of the
    rate is handed out. A slot that is not used within 50 ms is lost, so a client that dies holds nothing back.

    The context manager serves in a thread of its own, the async one in the running event loop.

    Args:
        rate: Requests per second of all clients together, or a `RatePolicy` with a burst; or a limiter of your own,
            which is asked for every request.
        host: The address to listen on. Anything but loopback needs a key.
        port: The port; 0 for a free one.
        key_file: A file with the key, at least 16 bytes, readable only by its owner. Without it, the key in the
            environment variable AIOSIPCDR_RATE_KEY is used; without that, a random key in a private file that exists as
            long as the server.
        key: The key itself instead, for one that both sides derive or get from a vault. `handle` then does not pickle.

    Raises:
        ValueError: An argument is invalid, or there is no key for an address that is not loopback.
    """

    @hide_arguments
    def __init__(
        self,
        rate: RatePolicy | float | RateLimiter,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        key_file: str | os.PathLike[str] | None = None,
        key: bytes | None = None,
    ) -> None:
        pace = check_rate(rate)
        if pace is None:
            raise ValueError("rate is missing: give a number of requests a second, or a RatePolicy")
        self._rate = pace
        check_between("port", port, 0, 65_535)
        check_kind("host", host, str, "an address or a host name")
        self._host, self._port = host, port
        self._key_file = None if key_file is None else os.fspath(key_file)
        self._key = None if key is None else _check_key(key, "the argument key")
        if self._has_no_key and host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"host is not loopback, so clients need to know the key: set {_VARIABLE} or pass key_file")
        self._address = ""
        self._sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None
        self._leases: _Leases | None = None
        self._remove_key: Callable[[], object] | None = None
        self._thread: LoopThread | None = None

    @property
    def address(self) -> str:
        """Host and port of the running server, as in "127.0.0.1:40123"."""
        if not self._address:
            raise ClientStateError("the rate server is not running: use `with RateServer(...) as server`")
        return self._address

    @property
    def handle(self) -> "RemoteRate":
        """The limiter for clients of this server; it pickles, for processes on this machine."""
        key = None if self._key is None else bytes.fromhex(self._key.reveal())
        return RemoteRate(self.address, key_file=self._key_file, key=key)

    @property
    def _has_no_key(self) -> bool:
        return self._key is None and self._key_file is None and _VARIABLE not in os.environ

    async def __aenter__(self) -> Self:
        """Start to serve in the running event loop.

        Raises:
            ClientStateError: The server is running already.
            OSError: The address cannot be used.
            ValueError: The key cannot be used.
        """
        if self._server is not None:
            raise ClientStateError("the rate server is running already: share its handle")
        loop = asyncio.get_running_loop()
        try:
            key = await run_in_thread(self._prepare_key)
            self._leases = leases = _Leases(self._rate)
            self._server = server = await loop.create_server(
                lambda: _Session(key, leases, self._sessions), self._host, self._port
            )
        except BaseException:
            self._forget_key()
            raise
        host, port = server.sockets[0].getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; clients that wait get an error."""
        server, self._server = self._server, None
        self._address = ""
        if server is None or self._leases is None:
            return
        server.close()
        self._leases.close()
        for session in [*self._sessions]:
            session.end()
        with anyio.CancelScope(shield=True):
            await server.wait_closed()
            await run_in_thread(self._forget_key)

    def __enter__(self) -> Self:
        """Start to serve in a thread; see `__aenter__`."""
        thread = LoopThread("aiosipcdr-rate-server")
        try:
            thread.call(self.__aenter__)
        except BaseException:
            thread.stop()
            raise
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; clients that wait get an error. In a forked child, leave the server to the parent."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_here:
            try:
                thread.call(partial(self.__aexit__, kind, error, traceback))
            finally:
                thread.stop()

    def __repr__(self) -> str:
        """Show the address, not the key."""
        return f"<RateServer {self._address or 'not running'}>"

    def _prepare_key(self) -> Secret:
        if self._has_no_key:
            folder = tempfile.mkdtemp(prefix="aiosipcdr-rate-")  # only for this user
            self._remove_key = finalize(self, _remove, folder, os.getpid())
            path = Path(folder, "key")
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(secrets.token_hex(32).encode())
            self._key_file = str(path)
        return self._key or _read_key(self._key_file)

    def _forget_key(self) -> None:
        remove, self._remove_key = self._remove_key, None
        if remove is not None:
            self._key_file = None
            remove()


def _remove(folder: str, process: int) -> None:
    # Also called when a forked child exits, which has not made it.
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


class RemoteRate:
    """Takes its turn in the rate of a `RateServer`; a limiter for `rate=` of `CdrClient`.

        client = CdrClient.from_env(rate=RemoteRate("10.0.0.5:7300"))

    It pickles, and holds no key: each process reads that when it connects. The connection is made with the first
    request and closed with the client. If the server does not answer for two seconds, requests end with a
    `TransportError`.

    Args:
        address: Host and port of the server, see `RateServer.address`.
        key_file: The file with the server's key; without it, the environment variable AIOSIPCDR_RATE_KEY.
        key: The key itself instead. Such a limiter does not pickle: it would take the key along.

    Raises:
        ValueError: The address is not a host and a port, or the key is too short.
    """

    @hide_arguments
    def __init__(
        self, address: str, *, key_file: str | os.PathLike[str] | None = None, key: bytes | None = None
    ) -> None:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isascii() or not port.isdigit():
            raise ValueError('address must be host and port, as in "127.0.0.1:7300"')
        self._address = address
        self._place = host.removeprefix("[").removesuffix("]"), int(port)
        self._key_file = None if key_file is None else os.fspath(key_file)
        self._key = None if key is None else _check_key(key, "the argument key")
        self._links: WeakKeyDictionary[asyncio.AbstractEventLoop, _Link] = WeakKeyDictionary()

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return self._address

    async def acquire(self) -> None:
        """Return when one request may be sent.

            await server.handle.acquire()

        Raises:
            TransportError: The server does not answer, or refuses the key.
            ValueError: There is no key, or others can read its file.
        """
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            link = self._links[loop] = _Link(self._address, self._place, self._key or self._key_file)
        await link.acquire()

    async def aclose(self) -> None:
        """Close the connection of the running event loop, unless requests wait; the next `acquire` opens another one.

        For example:

            await limiter.aclose()
        """
        if (link := self._links.get(asyncio.get_running_loop())) is not None:
            await link.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle address and the name of the key's file, no connection.

        Raises:
            TypeError: The key was passed itself.
        """
        if self._key is not None:
            raise TypeError("a RemoteRate with a key does not pickle: hand the address on, and build another one there")
        return _restore, (self._address, self._key_file)

    def __repr__(self) -> str:
        """Show the address."""
        return f"RemoteRate({self._address!r})"


def _restore(address: str, key_file: str | None) -> RemoteRate:
    return RemoteRate(address, key_file=key_file)


def check_rate(rate: object) -> RatePolicy | RateLimiter | None:
    """Return the policy or the limiter that a caller gave as `rate`.

    Raises:
        ValueError: It is none of the kinds that are allowed.
    """
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        return RatePolicy(rate)
    if rate is None or isinstance(rate, RatePolicy):
        return rate
    # A synchronous acquire, such as that of a lock, would block the event loop.
    if isinstance(rate, RateLimiter) and inspect.iscoroutinefunction(rate.acquire):
        return rate
    raise ValueError(
        "rate must be a number of requests a second, a RatePolicy, or an object with `async acquire()`, not a"
        f" {type(rate).__name__}"
    )


class _Leases:
    """The queue of requests for slots, served in turn."""

    def __init__(self, rate: RatePolicy | RateLimiter) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Session] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._limiter = None if isinstance(rate, RatePolicy) else rate
        self._planner = SlotPlanner(rate) if isinstance(rate, RatePolicy) else None
        self._task: asyncio.Task[None] | None = None

    def add(self, session: "_Session") -> None:
        self._queue.append(session)
        self._serve()

    def remove(self, session: "_Session") -> None:
        with suppress(ValueError):
            self._queue.remove(session)

    def close(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _serve(self) -> None:
        if self._planner is None:
            if self._task is None or self._task.done():
                self._task = self._loop.create_task(self._ask_limiter())
            return
        while self._queue and self._timer is None:
            now = self._loop.time()
            if (wait := self._planner.decide_wait(now)) > 0:
                self._timer = self._loop.call_later(wait, self._on_timer)
                return
            session = self._queue.popleft()
            session.grant(self._planner.lease(session.wanted, now))

    def _on_timer(self) -> None:
        self._timer = None
        self._serve()

    async def _ask_limiter(self) -> None:
        assert self._limiter is not None  # noqa: S101 - there is no planner
        while self._queue:
            await self._limiter.acquire()
            if self._queue:
                self._queue.popleft().grant([0.0])


class _Session(asyncio.Protocol):
    """The server's side of one connection: greeting, proof, then one lease after the other."""

    def __init__(self, key: Secret, leases: _Leases, sessions: "set[_Session]") -> None:
        self._key, self._leases, self._sessions = key, leases, sessions
        self._challenge = secrets.token_hex(32)
        self._rest = b""
        self._is_known = self._is_waiting = False
        self._asked_at = 0.0
        self.wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is no subclass
        self._loop = asyncio.get_running_loop()
        self._sessions.add(self)
        _keep_alive(transport)
        self._deadline = self._loop.call_later(_HANDSHAKE_SECONDS, self._transport.abort)
        self._send(f"{_GREETING} {self._challenge}")

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._deadline.cancel()
        self._sessions.discard(self)
        self._leases.remove(self)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            self._transport.abort()
        for line in lines:
            if self._transport.is_closing():
                return
            words = line.decode("ascii", "ignore").split()
            if self._is_known:
                self._take_request(words)
            else:
                self._take_proof(words)

    def _take_proof(self, words: list[str]) -> None:
        if len(words) != 2 or not hmac.compare_digest(words[1], _prove(self._key, "client", self._challenge, words[0])):  # noqa: PLR2004 - challenge and proof
            self._send("refused")
            self._transport.close()
            return
        self._deadline.cancel()
        self._is_known = True
        self._send(f"welcome {_prove(self._key, 'server', self._challenge, words[0])}")

    def _take_request(self, words: list[str]) -> None:
        if self._is_waiting or len(words) != 1 or not words[0].isdigit():
            self._transport.abort()
            return
        self.wanted = min(int(words[0][:9]), _MAX_WANTED)
        self._asked_at = self._loop.time()
        self._is_waiting = True
        self._leases.add(self)

    def grant(self, offsets: list[float]) -> None:
        self._is_waiting = False
        waited = self._loop.time() - self._asked_at
        self._send(" ".join(f"{number:.6f}" for number in (waited, *offsets)))

    def end(self) -> None:
        self._transport.abort()

    def _send(self, line: str) -> None:
        self._transport.write(f"{line}\n".encode("ascii"))


class _Link:
    """The client's side of one connection, in one event loop; it is made when the first request waits."""

    def __init__(self, address: str, place: tuple[str, int], key: Secret | str | None) -> None:
        self._address, self._place, self._key = address, place, key
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._clock = SlotClock(0.0)
        self._idle: asyncio.TimerHandle | None = None

    async def acquire(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        if self._task is None:
            self._task = self._loop.create_task(self._lease_all())
        await waiter

    async def close(self) -> None:
        if self._has_waiters():  # of another client
            return
        if self._task is not None:  # those that waited were cancelled
            self._task.cancel()
            await asyncio.wait([self._task])
        streams = self._forget()
        if streams is not None:
            with suppress(OSError):
                await streams[1].wait_closed()

    def _forget(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        streams, self._streams = self._streams, None
        if self._idle is not None:
            self._idle.cancel()
        if streams is not None:
            streams[1].close()
        return streams

    def _has_waiters(self) -> bool:
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return bool(self._waiters)

    async def _lease_all(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        problem: BaseException | None = None
        try:
            while self._has_waiters():
                for slot in await self._lease():
                    await asyncio.sleep(max(0.0, slot - self._loop.time()))
                    if SlotClock.is_valid(slot, self._loop.time()) and self._has_waiters():
                        self._waiters.popleft().set_result(None)
        except BaseException as error:
            problem = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            if problem is None:
                self._idle = self._loop.call_later(_IDLE_SECONDS, self._forget)
            else:
                self._forget()
                self._fail(problem)

    def _fail(self, problem: BaseException) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if waiter.done():
                continue
            if isinstance(problem, TransportError):  # each its own, since a traceback is kept in it
                waiter.set_exception(TransportError(str(problem), retryable=problem.retryable))
            elif isinstance(problem, Exception):
                waiter.set_exception(type(problem)(*problem.args))
            else:
                waiter.cancel()

    async def _lease(self) -> list[float]:
        # A connection that was lost is made anew; the lease that was under way is lost with it.
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            try:
                reader, writer = self._streams or await self._connect()
                sent = self._loop.time()
                wanted = sum(not waiter.done() for waiter in self._waiters)
                writer.write(f"{max(1, wanted)}\n".encode("ascii"))
                waited, *offsets = (float(word) for word in (await _read_line(reader)).split())
                return self._clock.place(offsets, sent=sent, received=self._loop.time(), waited=waited)
            except TransportError:
                raise
            except (OSError, EOFError):
                pass  # try again
            self._forget()
        raise TransportError(
            f"no rate server answers at {self._address}: start RateServer before its clients, and end it after them"
        )

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        key = self._key if isinstance(self._key, Secret) else await run_in_thread(_read_key, self._key)
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            self._streams = reader, writer = await asyncio.open_connection(*self._place, limit=_MAX_LINE * 4)
            _keep_alive(writer.transport)
            greeting, _, challenge = (await _read_line(reader)).partition(" ")
            if greeting != _GREETING:
                raise TransportError(f"no rate server, but something else answers at {self._address}", retryable=False)
            own = secrets.token_hex(32)
            sent = self._loop.time()
            writer.write(f"{own} {_prove(key, 'client', challenge, own)}\n".encode("ascii"))
            verdict, _, proof = (await _read_line(reader)).partition(" ")
            self._clock = SlotClock(self._loop.time() - sent)
        if verdict != "welcome" or not hmac.compare_digest(proof, _prove(key, "server", challenge, own)):
            raise TransportError(
                f"the rate server at {self._address} has another key: give both sides the same key_file or {_VARIABLE}",
                retryable=False,
            )
        return reader, writer


async def _read_line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil()
    except asyncio.LimitOverrunError:
        raise EOFError from None  # nothing that a rate server sends
    return line.decode("ascii", "ignore").strip()


def _prove(key: Secret, role: str, challenge: str, own: str) -> str:
    return hmac.digest(key.reveal().encode(), f"{_GREETING} {role} {challenge} {own}".encode(), "sha256").hex()


@hide_arguments  # its frame holds the key
def _read_key(key_file: str | None) -> Secret:
    if key_file is None:
        key = os.environ.get(_VARIABLE, "").encode("utf-8", "surrogateescape")
        place = f"the environment variable {_VARIABLE}"
    else:
        place = key_file
        try:
            with open(key_file, "rb") as file:  # noqa: PTH123 - the mode of the open file is checked
                mode = os.fstat(file.fileno()).st_mode
                if sys.platform != "win32" and stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise ValueError(f"{key_file} is readable by others, so it is not used; run chmod 600 {key_file}")
                key = file.read(_MAX_KEY)
        except FileNotFoundError:
            raise TransportError(
                f"the rate server's key is not in {key_file}: the server has ended, or runs on another machine"
            ) from None
    return _check_key(key.strip(), place)


@hide_arguments
def _check_key(key: bytes, place: str) -> Secret:
    if not isinstance(key, bytes) or len(key) < _MIN_KEY:
        raise ValueError(f"no key of a rate server in {place}: write at least {_MIN_KEY} bytes of random data to it")
    return Secret(key.hex())


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    # A machine that is gone ends no connection.
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None:
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
