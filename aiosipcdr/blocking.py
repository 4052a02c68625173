"""The client for synchronous code: the methods of `CdrClient` without `await`.

An open client runs an event loop in a thread of its own, so it also works where a loop is running already (notebooks).
A new method of `CdrClient` is added as one line of `BlockingCdrClient`.
"""

import inspect
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial, wraps
from operator import attrgetter
from threading import Lock
from types import TracebackType
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from aiosipcdr.client import CdrClient, ClientSettings
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.loop_thread import LoopThread
from aiosipcdr.model.errors import ClientStateError
from aiosipcdr.model.privacy import hide_arguments
from aiosipcdr.model.query import OutOfRange
from aiosipcdr.model.records import CallDetailRecord, TimeField
from aiosipcdr.model.report import CallDetailRecords, CompleteWindow, FetchReport
from aiosipcdr.proof.parts import RangePart
from aiosipcdr.wire.signing import Credentials, CredentialsSource

__all__ = ["BlockingCdrClient", "BlockingCdrStream", "BlockingIterable"]

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
T_co = TypeVar("T_co", covariant=True)

_END: Final = object()


class _Source(Protocol[T_co]):
    """What a method of `CdrClient` returns for `async with` and `async for`."""

    async def __aenter__(self) -> AsyncIterable[T_co]: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None: ...


class BlockingIterable(Generic[T]):
    """An async context manager of the client, for `with` and `for`; its other attributes are those of the original."""

    def __init__(self, call: Callable[..., Any], finish: Callable[..., None], source: _Source[T]) -> None:
        """Wrap `source`, whose coroutines `call` runs, and `finish` the last one."""
        self._call = call
        self._finish = finish
        self._source = source

    def __enter__(self) -> Self:
        """Start it."""
        self._call(self._source.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it and wait until its requests have stopped."""
        self._finish(partial(self._source.__aexit__, kind, error, traceback))

    def __iter__(self) -> Iterator[T]:
        """Return an iterator over the items."""
        return self._read(aiter(cast("AsyncIterable[T]", self._source)))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of the original
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def _read(self, items: AsyncIterator[U]) -> Iterator[U]:
        return _Reader(self._call, items, lambda item: (item,))


class _Reader(Generic[U, V]):
    """Iterator over the parts of an async iterator's items.

    Not a generator: that would look finished after an error. A wait that was interrupted may have taken an item with
    it, so the iterator ends with an error then.
    """

    __slots__ = ("_call", "_has_ended", "_is_waiting", "_parts", "_split", "_step")

    def __init__(self, call: Callable[..., Any], items: AsyncIterator[U], split: Callable[[U], Iterable[V]]) -> None:
        async def step() -> Any:  # noqa: ANN401 - an item or the end
            return await anext(items, _END)

        self._call = call
        self._step = step
        self._split = split
        self._parts: Iterator[V] = iter(())
        self._is_waiting = self._has_ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> V:
        while True:
            for part in self._parts:
                return part
            if self._has_ended:
                raise StopIteration
            if self._is_waiting:
                raise ClientStateError(
                    "the wait for the next item was interrupted, or another thread waits for it: open another stream"
                )
            self._is_waiting = True
            try:
                item = self._call(self._step)
            except Exception:
                self._is_waiting = False
                raise
            self._has_ended = item is _END
            if not self._has_ended:
                self._parts = iter(self._split(item))
            self._is_waiting = False


class BlockingCdrStream(BlockingIterable[CallDetailRecord]):
    """The calls of a range, oldest window first; a context manager that is read once.

        with client.stream(start, end) as stream:
            for record in stream:
                print(record.voice_id)
        print(stream.report)

    See `CdrStream`. While the caller works on a window, the client fetches the next ones, within limits.
    """

    _source: CdrStream

    @property
    def report(self) -> FetchReport:
        """The report as of now; final after the last record."""
        return self._source.report

    def windows(self) -> Iterator[CompleteWindow]:
        """Return an iterator over the windows, each with its report and its quarantined records.

        For example:

            for window in stream.windows():
                print(window.window, window.report.certified)
        """
        return self._read(self._source.windows())

    def batches(self) -> Iterator[CallDetailRecords]:
        """Return an iterator over the records of each window; empty windows are skipped.

        For example:

            for batch in stream.batches():
                store(batch)
        """
        return self._read(self._source.batches())

    def arrow_batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Return an iterator over the records of each window as a `pyarrow.RecordBatch`; empty windows are skipped.

        For example:

            for batch in stream.arrow_batches(["voice_id", "cost", "currency"]):
                writer.write_batch(batch)

        Args:
            columns: See `CdrStream.arrow_batches`.
        """
        return self._read(self._source.arrow_batches(columns))

    def __iter__(self) -> Iterator[CallDetailRecord]:
        """Return an iterator over the records."""
        # One call into the loop for each window.
        return _Reader(self._call, self._source.windows(), attrgetter("records"))


class _Method(Generic[P, T]):
    """A method as type checkers see it; at run time it is a plain function."""

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate["BlockingCdrClient", P], T]: ...

    @overload
    def __get__(self, client: "BlockingCdrClient", owner: type) -> Callable[P, T]: ...

    def __get__(self, client: object, owner: type) -> Any:
        raise NotImplementedError


def _blocking(
    method: Callable[Concatenate[CdrClient, P], Coroutine[Any, Any, T]],
) -> Callable[[Callable[..., None]], _Method[P, T]]:
    """Replace a method without a body by `method`, which waits for its result."""

    @wraps(method)
    def call(self: "BlockingCdrClient", *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - those of `method`
        try:
            return self._call(partial(method, self._client, *args, **kwargs))
        except BaseException as error:
            error.__traceback__ = _skip_own_frames(error.__traceback__)
            raise  # a bare `raise` adds no frame

    _describe(call, method)
    return lambda _: cast("_Method[P, T]", call)


def _iterable(
    method: Callable[Concatenate[CdrClient, P], _Source[T]],
) -> Callable[[Callable[..., None]], _Method[P, BlockingIterable[T]]]:
    """Do the same for `method` whose result is for `async with` and `async for`; this one is for `with` and `for`."""

    @wraps(method)
    def open_it(self: "BlockingCdrClient", *args: Any, **kwargs: Any) -> BlockingIterable[T]:  # noqa: ANN401 - those of `method`
        async def plan() -> _Source[T]:
            return method(self._client, *args, **kwargs)

        try:
            return BlockingIterable(self._call, self._finish, self._call(plan))
        except BaseException as error:
            error.__traceback__ = _skip_own_frames(error.__traceback__)
            raise  # a bare `raise` adds no frame

    _describe(open_it, method)
    return lambda _: cast("_Method[P, BlockingIterable[T]]", open_it)


def _describe(function: Callable[..., object], source: Callable[..., object]) -> None:
    # Examples and words of the docstring, without what only asynchronous code needs.
    text = (source.__doc__ or "").replace("An async ", "A ").replace("CdrClient.", "BlockingCdrClient.")
    function.__doc__ = re.sub(r"\b(?:await|async) ", "", text)


def _skip_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    # The frames of this module, of the thread and of the portal hold the arguments, which may be phone numbers.
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__"))
        if name.startswith("aiosipcdr.") and name not in (__name__, "aiosipcdr.loop_thread", "aiosipcdr.model.privacy"):
            return traceback
        traceback = traceback.tb_next
    return None


class BlockingCdrClient:
    """Fetches call detail records like `CdrClient`, for code that is not async.

        with BlockingCdrClient.from_env() as client:
            records = client.fetch_all(start, end)
            with client.stream(start, end) as stream:
                for record in stream: ...

    Open it once and share it between threads: all methods that run at the same time share one limit of `concurrency`
    requests. Ctrl-C cancels what the main thread waits for and leaves nothing running. The client belongs to the
    process that opened it: open it after a fork (gunicorn: `post_fork`, Celery: `worker_process_init`).

    Hooks, callables for credentials and limiters are called in the thread of the client's event loop, with the context
    variables of the caller; they must not call the client.

    Args:
        base_url: See `CdrClient`.
        api_key: See `CdrClient`.
        api_secret: See `CdrClient`.
        **settings: The keyword arguments of `CdrClient`, except `session`, which belongs to an event loop.

    Raises:
        ValueError: An argument is invalid.
    """

    @hide_arguments
    def __init__(
        self,
        base_url: str,
        api_key: str | Credentials | CredentialsSource,
        api_secret: str | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        self._use(CdrClient(base_url, api_key, api_secret, **_check(settings)))

    def _use(self, client: CdrClient) -> None:
        self._client = client
        self._loop: LoopThread | None = None
        self._lock = Lock()

    @classmethod
    @hide_arguments  # a proxy's address may hold a password
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Build a client from AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.

            with BlockingCdrClient.from_env(concurrency=16) as client: ...

        Args:
            **settings: See `CdrClient.from_env`.

        Returns:
            A client that is not open yet.

        Raises:
            ValueError: A variable is missing or empty, or an argument is invalid.
        """
        client = cls.__new__(cls)
        client._use(CdrClient.from_env(**_check(settings)))  # noqa: SLF001 - of its own class
        return client

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a client holds credentials and open connections."""
        raise TypeError(
            "a BlockingCdrClient does not pickle: hand the range to the other process and build a client there, with"
            " BlockingCdrClient.from_env() for example"
        )

    def __repr__(self) -> str:
        """Show the address and whether the client is open."""
        client: CdrClient | None = getattr(self, "_client", None)
        return "<BlockingCdrClient, not constructed>" if client is None else f"<Blocking{repr(client)[1:]}"

    @property
    def clock_offset(self) -> float | None:
        """See `CdrClient.clock_offset`."""
        return self._client.clock_offset

    @property
    def proxy_host(self) -> str:
        """See `CdrClient.proxy_host`."""
        return self._client.proxy_host

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """See `CdrClient.ssl_context`."""
        return self._client.ssl_context

    def open(self) -> Self:
        """Open the client and start its thread; `with` does this and `close`.

            client = BlockingCdrClient.from_env().open()

        Raises:
            ClientStateError: The client is open already.
        """
        with self._lock:
            if self._loop is not None:
                self._loop.check()
                raise ClientStateError("the client is already open: share it, or build another one")
            loop = LoopThread("aiosipcdr-client")
            try:
                loop.call(self._client.open)
            except BaseException:
                loop.stop()
                raise
            self._loop = loop
        return self

    def close(self) -> None:
        """End all running methods, close the connections and end the thread; may be called again.

        In a forked child the connections are left to the parent.

            client.close()
        """
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.finish(self._client.aclose)
            finally:
                loop.stop()

    def __enter__(self) -> Self:
        """Open the client."""
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def _call(self, function: Callable[[], Awaitable[T]]) -> T:
        loop = self._loop
        if loop is None:
            raise ClientStateError(
                "the client is not open: use `with BlockingCdrClient(...) as client`, or client.open()"
            )
        return loop.call(function)

    def _finish(self, function: Callable[[], Awaitable[None]]) -> None:
        if self._loop is not None:
            self._loop.finish(function)

    # The methods of `CdrClient`: `_blocking` for a coroutine function, `_iterable` for one that returns an object for
    # `async with` and `async for`. They are no assignments, since type checkers infer those differently.
    @_blocking(CdrClient.fetch_all)
    def fetch_all(self) -> None: ...

    @_blocking(CdrClient.plan_parts)
    def plan_parts(self) -> None: ...

    @_blocking(CdrClient.count)
    def count(self) -> None: ...

    @_blocking(CdrClient.recount)
    def recount(self) -> None: ...

    @_blocking(CdrClient.fetch_page)
    def fetch_page(self) -> None: ...

    @_blocking(CdrClient.ping)
    def ping(self) -> None: ...

    @_blocking(CdrClient.run_plan)
    def run_plan(self) -> None: ...

    @_blocking(CdrClient.export)
    def export(self) -> None: ...

    @_blocking(CdrClient.export_days)
    def export_days(self) -> None: ...

    @_blocking(CdrClient.report)
    def report(self) -> None: ...

    @_blocking(CdrClient.sync)
    def sync(self) -> None: ...

    @overload
    def stream(
        self,
        start: datetime,
        end: datetime,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
    ) -> BlockingCdrStream: ...

    @overload
    def stream(
        self, *, part: RangePart, on_out_of_range: OutOfRange = "raise", allow_incomplete: bool = False
    ) -> BlockingCdrStream: ...

    def stream(self, *args: Any, **kwargs: Any) -> BlockingCdrStream:
        async def plan() -> CdrStream:
            return self._client.stream(*args, **kwargs)

        try:
            return BlockingCdrStream(self._call, self._finish, self._call(plan))
        except BaseException as error:
            error.__traceback__ = _skip_own_frames(error.__traceback__)
            raise  # a bare `raise` adds no frame


def _show_arguments(
    function: Callable[..., object], source: Callable[..., object], *, returns: type | None = None
) -> None:
    """Let `help` and editors show the arguments of `source` for `function`, which passes all of them on."""
    signature = inspect.signature(source).replace(return_annotation=returns)
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__wrapped__ = source  # type: ignore[attr-defined]
    function.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items() if name != "self"
    } | {"return": signature.return_annotation}


_show_arguments(BlockingCdrClient.__init__, CdrClient.__init__)
_show_arguments(BlockingCdrClient.stream, CdrClient.stream, returns=BlockingCdrStream)
_describe(BlockingCdrClient.stream, CdrClient.stream)


def _check(settings: ClientSettings) -> ClientSettings:
    if settings.get("session") is not None:
        raise ValueError(
            "session belongs to an event loop, and this client runs one of its own: leave it out, or use CdrClient"
        )
    return settings
