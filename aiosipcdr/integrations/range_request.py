"""One call of a caller over HTTP: the range that it asks for, its deadline, and what can be wrong with it.

Knows no framework.  The texts of the errors here are for the caller: they must
never tell anything of this service or of the vendor.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypedDict

from aiosipcdr.model.arguments import check_seconds
from aiosipcdr.model.query import Filters
from aiosipcdr.model.windows import TimeWindow

__all__ = [
    "RANGE_NAMES",
    "BadRequestError",
    "DeadlineExceededError",
    "HttpVersionError",
    "RangeQuery",
    "RequestError",
    "check_names",
    "deadline",
    "read_query",
]

RANGE_NAMES = frozenset({"start", "end", "sip_group_name"})
"""The parameters of a query string that `read_query` takes."""

# A month of a zone with daylight saving may be an hour longer than its days (two in the past).
_CLOCK_CHANGE = timedelta(hours=2)


class RequestError(Exception):
    """A call cannot be answered as it was made; `status` is that of the answer, the text is for the caller."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: float | None = None


class BadRequestError(RequestError, ValueError):
    """The range or a filter cannot be meant."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DeadlineExceededError(RequestError, TimeoutError):
    """The deadline of the call struck."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class HttpVersionError(RequestError):
    """Over this version of HTTP, the caller could not tell a broken answer from a whole one."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


class RangeQuery(TypedDict):
    """A range and a filter, as keyword arguments of `CdrClient.stream`, `fetch_all`, `count` and `export`.

    `start` and `end` are aware and in order.  There is no `phone_name`: it may
    be a number, and a URL stands in every access log.
    """

    start: datetime
    end: datetime
    sip_group_name: str | None


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Check the names of a query string's parameters, one for each time that it stands there.

    A misspelt or unsupported filter that is ignored would answer with everybody's calls, and of one that stands there
    twice, two readers may take a different one.

    Raises:
        BadCallError: A name is not one of `known`, or stands there twice.
    """
    for name, times in Counter(given).items():
        if name not in known:
            raise BadRequestError(f"unknown query parameter: {_shown(name)}; known are {', '.join(sorted(known))}")
        if times > 1:
            raise BadRequestError(f"{name} is given {times} times")


def read_query(
    start: str | None, end: str | None, sip_group_name: str | None = None, *, max_range: timedelta | None = None
) -> RangeQuery:
    """Return what the texts of a query string ask for; `None` is what was left out.

    Times are those of ISO 8601 with an offset.  A plus sign that was not
    escaped, and so arrives as a blank, is taken for what it was.

    Raises:
        BadCallError: a time is missing, unreadable or without offset, the end does not come after the start, the range
            is wider than `max_range`, or the filter is empty.
    """
    times = {name: _read_time(name, text) for name, text in (("start", start), ("end", end))}
    try:
        TimeWindow.of(times["start"], times["end"])
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    if times["start"] == times["end"]:
        raise BadRequestError("start and end are the same instant: for a whole day, let end be the start of the next")
    if max_range is not None and _width(**times) > max_range:
        raise BadRequestError(f"the range is too wide: ask for {_shown_span(max_range)} at most at a time")
    try:
        Filters.of(sip_group_name)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    return RangeQuery(start=times["start"], end=times["end"], sip_group_name=sip_group_name)


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


def too_late(seconds: float | None) -> DeadlineExceededError:
    """Return the error of a call whose `seconds` are over."""
    return DeadlineExceededError(f"not answered within {seconds:g} s: ask for a shorter range, or again later")


def _width(start: datetime, end: datetime) -> timedelta:
    # By the clock on the wall where that is less: a month in which clocks are set back is no longer than others.
    width = end - start
    on_the_wall = end.replace(tzinfo=None) - start.replace(tzinfo=None)
    return on_the_wall if timedelta() < width - on_the_wall <= _CLOCK_CHANGE else width


def _shown_span(span: timedelta) -> str:
    return f"{span.days} days" if not span % timedelta(days=1) else f"{span.total_seconds():g} seconds"


def _shown(name: str) -> str:
    # A name from outside: cut, and without what could be more than a name.
    return "".join(character if character.isalnum() or character in "_-." else "?" for character in name[:40])


def _read_time(name: str, text: str | None) -> datetime:
    advice = "write it as in 2026-10-01T00:00:00Z or 2026-10-01T08:00:00%2B08:00 (a plus sign in a URL is %2B)"
    if text is None:
        raise BadRequestError(f"{name} is missing: {advice}")
    try:
        time = datetime.fromisoformat(re.sub(r"(?<=T)(\S+) (\d\d:?\d\d)$", r"\1+\2", text))
    except ValueError:
        raise BadRequestError(f"{name} is no time of ISO 8601: {advice}") from None
    if time.utcoffset() is None:
        raise BadRequestError(f"{name} has no offset: {advice}")
    return time
