"""A request for a range: its query, its deadline and its errors.

Independent of frameworks. Messages of these errors are for the requester: they reveal nothing about the service or the
vendor.
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
"""The query parameters that `read_query` reads."""

# A month of a zone with daylight saving may be an hour longer than its days (in the past two).
_CLOCK_CHANGE = timedelta(hours=2)


class RequestError(Exception):
    """A request cannot be answered; the message is for the requester.

    Attributes:
        status: Status of the response.
        retry_after: Seconds for its header `Retry-After`; `None` leaves it out.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: float | None = None


class BadRequestError(RequestError, ValueError):
    """The range or a filter is invalid."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DeadlineExceededError(RequestError, TimeoutError):
    """The deadline of the request passed."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class HttpVersionError(RequestError):
    """With this version of HTTP the requester could not distinguish a cut response from a complete one."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


class RangeQuery(TypedDict):
    """A range and a filter, as keyword arguments of `CdrClient.stream`, `fetch_all`, `count` and `export`.

    There is no `phone_name`: it may be a phone number, and URLs are written to access logs.

    Attributes:
        start: Begin of the range, aware.
        end: End of the range, aware, not before `start`.
        sip_group_name: Only calls of this group; `None` for all.
    """

    start: datetime
    end: datetime
    sip_group_name: str | None


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Check the names of a query string's parameters, one for each occurrence.

    An ignored misspelt or unsupported filter would return everyone's calls; of a repeated parameter, two readers may
    use different values.

    Raises:
        BadRequestError: A name is not in `known`, or occurs twice.
    """
    for name, times in Counter(given).items():
        if name not in known:
            raise BadRequestError(f"unknown query parameter {_safe_name(name)}; use {', '.join(sorted(known))}")
        if times > 1:
            raise BadRequestError(f"{name} is given {times} times; give it once")


def read_query(
    start: str | None, end: str | None, sip_group_name: str | None = None, *, max_range: timedelta | None = None
) -> RangeQuery:
    """Return the query of the values in a query string; `None` is a missing one.

    Times are ISO 8601 with an offset. A plus sign that was not escaped, and so arrives as a blank, is restored.

    Raises:
        BadRequestError: A time is missing, invalid or without an offset, the end is not after the start, the range is
            wider than `max_range`, or the filter is empty.
    """
    times = {name: _read_time(name, text) for name, text in (("start", start), ("end", end))}
    try:
        TimeWindow.of(times["start"], times["end"])
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    if times["start"] == times["end"]:
        raise BadRequestError("start and end are the same instant; for a whole day, use the start of the next as end")
    if max_range is not None and _width(**times) > max_range:
        raise BadRequestError(f"the range is too wide; request at most {_format_span(max_range)} at a time")
    try:
        Filters.of(sip_group_name)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    return RangeQuery(start=times["start"], end=times["end"], sip_group_name=sip_group_name)


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """Limit the block to `seconds`, for responses in one piece; `None` is no limit.

        async with deadline(30):
            records = await client.fetch_all(**query)

    Raises:
        DeadlineExceededError: The time is over.
    """
    if seconds is not None:
        check_seconds("seconds", seconds)
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():  # a timeout of the block itself
            raise
        raise deadline_error(seconds) from None


def deadline_error(seconds: float | None) -> DeadlineExceededError:
    """Return the error of a request whose `seconds` are over."""
    return DeadlineExceededError(f"no response within {seconds:g} s; request a shorter range, or try again later")


def _width(start: datetime, end: datetime) -> timedelta:
    # By local time, if that is less: a month in which clocks are set back counts like any other.
    width = end - start
    on_the_wall = end.replace(tzinfo=None) - start.replace(tzinfo=None)
    return on_the_wall if timedelta() < width - on_the_wall <= _CLOCK_CHANGE else width


def _format_span(span: timedelta) -> str:
    return f"{span.days} days" if not span % timedelta(days=1) else f"{span.total_seconds():g} seconds"


def _safe_name(name: str) -> str:
    # An untrusted name: cut, and with unusual characters replaced.
    return "".join(character if character.isalnum() or character in "_-." else "?" for character in name[:40])


def _read_time(name: str, text: str | None) -> datetime:
    advice = "use for example 2026-10-01T00:00:00Z or 2026-10-01T08:00:00%2B08:00 (a plus sign in a URL is %2B)"
    if text is None:
        raise BadRequestError(f"{name} is missing; {advice}")
    try:
        time = datetime.fromisoformat(re.sub(r"(?<=T)(\S+) (\d\d:?\d\d)$", r"\1+\2", text))
    except ValueError:
        raise BadRequestError(f"{name} is not an ISO 8601 time; {advice}") from None
    if time.utcoffset() is None:
        raise BadRequestError(f"{name} has no offset; {advice}")
    return time
