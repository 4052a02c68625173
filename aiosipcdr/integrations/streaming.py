"""A range on its way to a caller: bytes from the first window on, and an end that tells whether they are all.

Knows no framework: those hand in a `Caller`.  Must never end an answer well
that is not proven, and must never go on fetching for a caller who has gone.

    NDJSON      the last line is {"report": ...}: without it, the answer is broken.  Where there is
                time for it, a broken one ends with {"problem": ...}; then the connection is cut.
    CSV         the connection is cut before the last chunk: clients call that an error.  Where a cut
                could not be guaranteed, `collect` makes the whole answer first, to be sent with its length.
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
from aiosipcdr.integrations.range_request import HttpVersionError, RequestError, too_late
from aiosipcdr.model.arguments import check_seconds
from aiosipcdr.model.errors import ClientStateError, IncompleteRangeError, ProtocolError, SipCdrError
from aiosipcdr.model.report import CompleteWindow, describe_unreadable

__all__ = [
    "HEADERS",
    "MEDIA_TYPES",
    "START_WITHIN",
    "AnswerCutError",
    "Caller",
    "CallerGoneError",
    "Text",
    "collect",
    "deliver",
]

Text = Literal["ndjson", "csv"]

MEDIA_TYPES: dict[Text, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}

# Phone numbers belong into no cache; nginx would collect what should start at once; and no browser
# may take a caller's ID for HTML.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}

START_WITHIN = 5.0
"""Seconds after which an answer begins, even if nothing is there yet."""

_PIECE = 250  # records: about 150 KB, and a millisecond in which no other caller has a turn
_LAST_WORDS = 1.0
_MOST_COLLECTED = 64 * 1024 * 1024


class AnswerCutError(Exception):
    """An answer that had begun cannot be ended well; raised so that no server and no middleware does."""


class CallerGoneError(Exception):
    """The caller has closed the connection."""


class Caller(Protocol):
    """Who waits for an answer, as a framework knows them; each method but `gone` may raise `CallerGoneError`."""

    is_told_of_the_end: bool
    """Whether a connection that is cut looks other than one that has ended: from HTTP/1.1 on."""

    async def begin(self) -> None:
        """Send the status and the headers."""

    async def write(self, data: bytes) -> None:
        """Send `data`; return when there is room for more."""

    async def gone(self) -> None:
        """Return when the caller has closed the connection."""


async def deliver(
    stream: CdrStream,
    text: Text,
    caller: Caller,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - it ends otherwise before and after the beginning
    start_within: float = START_WITHIN,
    spreadsheet: bool = False,
) -> bool:
    """Read `stream` and write it to `caller` as it comes; the framework is to end the answer if it is whole.

    The answer begins with the first window, or after `start_within` seconds:
    what goes wrong before can still be told by a status.

    Args:
        stream: a range that was not entered yet; it is left in any case, with nothing under way.
        text: the format.
        caller: who is to get it; their slowness slows the fetching.
        timeout: seconds for everything, `None` for no limit.
        start_within: see above; 0 begins at once.
        spreadsheet: write CSV for Excel and its like: ids stay whole, no text starts a formula.

    Returns:
        Whether the answer is whole; if not, the caller has gone.

    Raises:
        SipCdrError: what went wrong before the answer began.
        CallError: likewise: the deadline struck, or the caller could not tell a broken end.
        AnswerCutError: what went wrong later; the connection must be closed without an end.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    if text == "csv" and not caller.is_told_of_the_end:
        raise HttpVersionError("CSV over HTTP/1.0 could break off unnoticed: use HTTP/1.1 (a proxy may be set to 1.0)")
    delivery = _Delivery(stream, text, caller, spreadsheet=spreadsheet)
    try:
        return await delivery.send_within(timeout, start_within)
    except CallerGoneError:
        return False
    except AnswerCutError:
        raise
    except Exception as error:
        if not delivery.has_begun:
            raise
        why = type(error).__name__
        if isinstance(error, SipCdrError | RequestError):
            await delivery.say_why(error)
            why = f"{why}: {error}"  # the text of another one might quote calls
        raise AnswerCutError(f"the answer was cut: {why}") from error


async def collect(
    stream: CdrStream,
    text: Text,
    caller: Caller,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as in `deliver`
    spreadsheet: bool = False,
) -> bytes | None:
    """Read `stream` and return the whole answer, to be sent with its length: no middleware can shorten that unnoticed.

    Arguments as in `deliver`; of `caller` only `gone` is used.

    Returns:
        The answer, or `None` if the caller has gone.

    Raises:
        SipCdrError: what went wrong; `ClientStateError` for an answer of more than 64 MiB.
        CallError: the deadline struck.
    """
    kept = _Kept(caller)
    try:
        is_whole = await deliver(stream, text, kept, timeout=timeout, start_within=0, spreadsheet=spreadsheet)
    except AnswerCutError as cut:
        if isinstance(cut.__cause__, SipCdrError | RequestError):
            raise cut.__cause__ from None
        raise
    return b"".join(kept.pieces) if is_whole else None


class _Kept:
    """A `Caller` who keeps what comes, for somebody else who may go."""

    is_told_of_the_end = True

    def __init__(self, caller: Caller) -> None:
        self.gone = caller.gone
        self.pieces: list[bytes] = []
        self._size = 0

    async def begin(self) -> None:
        pass

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _MOST_COLLECTED:
            raise ClientStateError(
                "a CSV answer of more than 64 MiB can only be streamed: call install_error_handlers(app), start the"
                " application with client_lifespan, or put AnswerGuard around it"
            )
        self.pieces.append(data)


class _Delivery:
    """One answer; knows how far it has come."""

    def __init__(self, stream: CdrStream, text: Text, caller: Caller, *, spreadsheet: bool) -> None:
        self._stream = stream
        self._text = text
        self._caller = caller
        self._spreadsheet = spreadsheet and text == "csv"
        self.has_begun = False

    async def send_within(self, timeout: float | None, start_within: float) -> bool:  # noqa: ASYNC109 - see `deliver`
        with anyio.move_on_after(timeout) as limit:
            async with _attended(self._caller, limit), self._stream:
                await self._send(start_within)
                return True
        if limit.deadline > anyio.current_time():
            return False  # ended by the caller, who has gone
        raise too_late(timeout)

    async def _send(self, start_within: float) -> None:
        encoder = open_encoder(self._text, spreadsheet=self._spreadsheet)
        windows = aiter(self._stream.windows())
        window: CompleteWindow | None = None
        is_read = False
        with anyio.move_on_after(start_within):
            # It may be given up midway: a window is taken in one step, when it is there.
            window = await anext(windows, None)
            is_read = True
        self.has_begun = True
        await self._caller.begin()
        if head := encoder.begin():
            await self._caller.write(head)
        if not is_read:
            window = await anext(windows, None)
        while window is not None:
            await self._send_window(window, encoder)
            window = await anext(windows, None)
        await self._end(encoder)

    async def _send_window(self, window: CompleteWindow, encoder: Encoder) -> None:
        records = window.records
        while records:
            # The bytes have no name here: a traceback with locals would show numbers.
            await self._caller.write(encoder.encode(encode_rows(records[:_PIECE])))
            del records[:_PIECE]  # a slow caller need not keep all of them in memory
            await asyncio.sleep(0)  # a fast one must not keep the others waiting

    async def _end(self, encoder: Encoder) -> None:
        report = self._stream.report
        if self._text == "csv" and report.quarantined and report.is_complete:
            raise ProtocolError(f"{describe_unreadable(report)}, which CSV cannot say: use NDJSON")
        if self._text == "csv" and not report.certified:
            raise IncompleteRangeError(
                "not certified, which CSV cannot say: use NDJSON for ranges with gaps", report=report
            )
        if tail := encoder.finish():
            await self._caller.write(tail)
        if self._text == "ndjson":
            await self._caller.write(_line(report=report.facts()))

    async def say_why(self, error: SipCdrError | RequestError) -> None:
        problem = plan_problem(error)
        log_problem(error, problem)
        if self._text == "ndjson":
            # The caller may have stopped to read: then there are no last words.
            with suppress(CallerGoneError), anyio.move_on_after(_LAST_WORDS):
                await self._caller.write(_line(problem=problem.facts))


@asynccontextmanager
async def _attended(caller: Caller, limit: anyio.CancelScope) -> AsyncIterator[None]:
    # Cancels `limit` as soon as the caller has gone.
    async def watch() -> None:
        await caller.gone()
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
