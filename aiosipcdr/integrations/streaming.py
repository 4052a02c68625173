"""Streaming of a range as an HTTP response, whose end shows whether it is complete.

Independent of frameworks, which provide a `ResponseWriter`. An incomplete response never ends normally, and fetching
stops when the requester disconnects.

    NDJSON      The last line is {"report": ...}; without it, the response is incomplete. If possible, an incomplete
                one ends with {"problem": ...}; then the connection is cut.
    CSV         The connection of an incomplete response is cut before the last chunk, which HTTP libraries report as an
                error. Where a cut cannot be guaranteed, `buffer_response` builds the whole response, to be sent with
                its length.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, Protocol

import anyio
import msgspec

from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.export import Encoder, encode_rows, open_encoder
from aiosipcdr.integrations.problems import log_problem, plan_problem
from aiosipcdr.integrations.range_request import HttpVersionError, RequestError, deadline_error
from aiosipcdr.model.arguments import check_seconds
from aiosipcdr.model.errors import ClientStateError, IncompleteRangeError, ProtocolError, SipCdrError
from aiosipcdr.model.report import CompleteWindow, describe_unreadable

__all__ = [
    "HEADERS",
    "MEDIA_TYPES",
    "START_WITHIN",
    "ClientDisconnectedError",
    "ResponseCutError",
    "ResponseWriter",
    "TextFormat",
    "buffer_response",
    "stream_response",
]

TextFormat = Literal["ndjson", "csv"]

MEDIA_TYPES: dict[TextFormat, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}

# Phone numbers must not be cached; nginx must not buffer the response; and browsers must not interpret a caller ID as
# HTML.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}

START_WITHIN = 5.0
"""Seconds after which a response begins, even without any data yet."""

_BATCH_RECORDS = 250  # records: about 150 KB, which block the event loop for about a millisecond
_PROBLEM_SECONDS = 1.0
_MAX_BUFFERED_BYTES = 64 * 1024 * 1024


class ResponseCutError(Exception):
    """A response that had begun is incomplete; raised so that neither server nor middleware ends it normally."""


class ClientDisconnectedError(Exception):
    """The requester has closed the connection."""


class ResponseWriter(Protocol):
    """A writer of one response; each method but `wait_disconnected` may raise `ClientDisconnectedError`."""

    detects_cut: bool
    """Whether the requester can distinguish a cut response from a complete one: from HTTP/1.1 on."""

    async def begin(self) -> None:
        """Send the status and the headers."""

    async def write(self, data: bytes) -> None:
        """Send `data`; return when there is room for more."""

    async def wait_disconnected(self) -> None:
        """Return when the requester has closed the connection."""


async def stream_response(
    stream: CdrStream,
    text: TextFormat,
    writer: ResponseWriter,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - its effect differs before and after the response has begun
    start_within: float = START_WITHIN,
    spreadsheet: bool = False,
) -> bool:
    """Read `stream` and write it to `writer` as it arrives; the framework must end the response if it is complete.

    The response begins with the first window, or after `start_within` seconds: earlier errors can still be answered
    with a status of their own.

    Args:
        stream: A stream that was not entered yet; it is closed in any case.
        text: The format.
        writer: The writer of the response; a slow requester slows down fetching.
        timeout: Seconds for everything; `None` for no limit.
        start_within: See above; 0 begins at once.
        spreadsheet: Write CSV for spreadsheets: ids stay unchanged, no formula is evaluated.

    Returns:
        Whether the response is complete; if not, the requester has disconnected.

    Raises:
        SipCdrError: An error before the response began.
        RequestError: Before the response began, the deadline passed, or the requester cannot detect a cut response.
        ResponseCutError: An error after the response began; the connection must be closed without ending the response.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    if text == "csv" and not writer.detects_cut:
        raise HttpVersionError("CSV over HTTP/1.0 could be cut unnoticed; use HTTP/1.1 (check the proxy's settings)")
    delivery = _Delivery(stream, text, writer, spreadsheet=spreadsheet)
    try:
        return await delivery.send_within(timeout, start_within)
    except ClientDisconnectedError:
        return False
    except ResponseCutError:
        raise
    except Exception as error:
        if not delivery.has_begun:
            raise
        why = type(error).__name__
        if isinstance(error, SipCdrError | RequestError):
            await delivery.send_problem(error)
            why = f"{why}: {error}"  # messages of other exceptions might quote calls
        raise ResponseCutError(f"the response was cut: {why}") from error


async def buffer_response(
    stream: CdrStream,
    text: TextFormat,
    writer: ResponseWriter,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as in `stream_response`
    spreadsheet: bool = False,
) -> bytes | None:
    """Read `stream` and return the whole response, to be sent with its length, so that a cut is always detected.

    Arguments as in `stream_response`; of `writer` only `wait_disconnected` is used.

    Returns:
        The response, or `None` if the requester has disconnected.

    Raises:
        SipCdrError: An error; `ClientStateError` for a response of more than 64 MiB.
        RequestError: The deadline passed.
    """
    buffer = _BufferedWriter(writer)
    try:
        is_complete = await stream_response(
            stream, text, buffer, timeout=timeout, start_within=0, spreadsheet=spreadsheet
        )
    except ResponseCutError as cut:
        if isinstance(cut.__cause__, SipCdrError | RequestError):
            raise cut.__cause__ from None
        raise
    return b"".join(buffer.pieces) if is_complete else None


class _BufferedWriter:
    """A `ResponseWriter` that buffers the response."""

    detects_cut = True

    def __init__(self, writer: ResponseWriter) -> None:
        self.wait_disconnected = writer.wait_disconnected
        self.pieces: list[bytes] = []
        self._size = 0

    async def begin(self) -> None:
        pass

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _MAX_BUFFERED_BYTES:
            raise ClientStateError(
                "a CSV response of more than 64 MiB can only be streamed; call install_error_handlers(app), start the"
                " application with client_lifespan, or put ResponseGuard around it"
            )
        self.pieces.append(data)


class _Delivery:
    """The delivery of one response, and its progress."""

    def __init__(self, stream: CdrStream, text: TextFormat, writer: ResponseWriter, *, spreadsheet: bool) -> None:
        self._stream = stream
        self._text = text
        self._writer = writer
        self._spreadsheet = spreadsheet and text == "csv"
        self.has_begun = False

    async def send_within(self, timeout: float | None, start_within: float) -> bool:  # noqa: ASYNC109 - see `stream_response`
        with anyio.move_on_after(timeout) as limit:
            async with _cancel_on_disconnect(self._writer, limit), self._stream:
                await self._send(start_within)
                return True
        if limit.deadline > anyio.current_time():
            return False  # cancelled, as the requester has disconnected
        raise deadline_error(timeout)

    async def _send(self, start_within: float) -> None:
        encoder = open_encoder(self._text, spreadsheet=self._spreadsheet)
        windows = aiter(self._stream.windows())
        window: CompleteWindow | None = None
        is_read = False
        with anyio.move_on_after(start_within):
            # Safe to cancel: a window is taken in one step, when it is there.
            window = await anext(windows, None)
            is_read = True
        self.has_begun = True
        await self._writer.begin()
        if head := encoder.begin():
            await self._writer.write(head)
        if not is_read:
            window = await anext(windows, None)
        while window is not None:
            await self._send_window(window, encoder)
            window = await anext(windows, None)
        await self._end(encoder)

    async def _send_window(self, window: CompleteWindow, encoder: Encoder) -> None:
        records = window.records
        while records:
            # Not assigned to a variable: the locals in a traceback would show phone numbers.
            await self._writer.write(encoder.encode(encode_rows(records[:_BATCH_RECORDS])))
            del records[:_BATCH_RECORDS]  # written records need no memory while a slow requester reads
            await asyncio.sleep(0)  # a fast requester must not block the others

    async def _end(self, encoder: Encoder) -> None:
        report = self._stream.report
        if self._text == "csv" and report.quarantined and report.is_complete:
            raise ProtocolError(f"{describe_unreadable(report)}, which CSV cannot express; use NDJSON")
        if self._text == "csv" and not report.certified:
            raise IncompleteRangeError(
                "not certified, which CSV cannot express; use NDJSON for ranges with gaps", report=report
            )
        if tail := encoder.finish():
            await self._writer.write(tail)
        if self._text == "ndjson":
            await self._writer.write(_line(report=report.facts()))

    async def send_problem(self, error: SipCdrError | RequestError) -> None:
        problem = plan_problem(error)
        log_problem(error, problem)
        if self._text == "ndjson":
            # The requester may have stopped reading: then the problem is not sent.
            with suppress(ClientDisconnectedError), anyio.move_on_after(_PROBLEM_SECONDS):
                await self._writer.write(_line(problem=problem.facts))


@asynccontextmanager
async def _cancel_on_disconnect(writer: ResponseWriter, limit: anyio.CancelScope) -> AsyncIterator[None]:
    # Cancels `limit` when the requester disconnects.
    async def watch() -> None:
        await writer.wait_disconnected()
        limit.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({watcher})


def _line(**fact: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fact) + b"\n"
