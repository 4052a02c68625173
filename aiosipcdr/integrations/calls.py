"""One call of a caller over HTTP: the range that it asks for, its deadline, and what can be wrong with it.

Knows no framework.  The texts of the errors here are for the caller: they must
never tell anything of this service or of the vendor.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import TypedDict

from aiosipcdr.arguments import check_filters, check_seconds
from aiosipcdr.protocol.windows import TimeWindow

__all__ = ["BadCallError", "CallError", "CallQuery", "CallTimeoutError", "HttpVersionError", "deadline", "read_query"]


class CallError(Exception):
    """A call cannot be answered as it was made; `status` is that of the answer, the text is for the caller."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class BadCallError(CallError, ValueError):
    """The range or a filter cannot be meant."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class CallTimeoutError(CallError, TimeoutError):
    """The deadline of the call struck."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class HttpVersionError(CallError):
    """Over this version of HTTP, the caller could not tell a broken answer from a whole one."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


class CallQuery(TypedDict):
    """A range and a filter, as keyword arguments of `CdrClient.stream`, `fetch_all`, `count` and `export`.

    `start` and `end` are aware and in order.  There is no `phone_name`: it may
    be a number, and a URL stands in every access log.
    """

    start: datetime
    end: datetime
    sip_group_name: str | None


def read_query(start: str | None, end: str | None, sip_group_name: str | None = None) -> CallQuery:
    """Return what the texts of a query string ask for; `None` is what was left out.

    Times are those of ISO 8601 with an offset.  A plus sign that was not
    escaped, and so arrives as a blank, is taken for what it was.

    Raises:
        BadCallError: a time is missing, unreadable or without offset, the end comes first, or the filter is empty.
    """
    times = {name: _read_time(name, text) for name, text in (("start", start), ("end", end))}
    try:
        TimeWindow.of(times["start"], times["end"])
    except ValueError as error:
        raise BadCallError(str(error)) from None
    filters = check_filters(sip_group_name, None)
    if isinstance(filters, ValueError):
        raise BadCallError(str(filters))
    return CallQuery(start=times["start"], end=times["end"], sip_group_name=sip_group_name)


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """Give the block so many seconds, for calls that are answered in one piece; `None` gives it all the time.

    Raises:
        CallTimeoutError: they are over.
    """
    if seconds is not None:
        check_seconds("seconds", seconds)
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():  # another one, of the block itself
            raise
        raise too_late(seconds) from None


def too_late(seconds: float | None) -> CallTimeoutError:
    """Return the error of a call whose `seconds` are over."""
    return CallTimeoutError(f"not answered within {seconds:g} s: ask for a shorter range, or again later")


def _read_time(name: str, text: str | None) -> datetime:
    advice = "write it as in 2026-10-01T00:00:00Z or 2026-10-01T08:00:00%2B08:00 (a plus sign in a URL is %2B)"
    if text is None:
        raise BadCallError(f"{name} is missing: {advice}")
    try:
        time = datetime.fromisoformat(re.sub(r"(?<=T)(\S+) (\d\d:?\d\d)$", r"\1+\2", text))
    except ValueError:
        raise BadCallError(f"{name} is no time of ISO 8601: {advice}") from None
    if time.utcoffset() is None:
        raise BadCallError(f"{name} has no offset: {advice}")
    return time
