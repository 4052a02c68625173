"""What an error is as an answer over HTTP: a status, a problem document (RFC 9457), `Retry-After` where it is known.

Pure: plans answers, sends none.  Must never quote the text of an error of the
client: that speaks to whoever runs this service, not to whoever calls it.
"""

import logging
import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from aiosipcdr.integrations.range_request import RequestError
from aiosipcdr.model.errors import (
    AuthenticationError,
    ClientStateError,
    ClockSkewError,
    ExportConflictError,
    IncompleteRangeError,
    InvalidQueryError,
    OutageError,
    OutOfTimeRangeError,
    ProtocolError,
    RequestTimeoutError,
    RestrictedAddressError,
    ServerFaultError,
    SipCdrError,
    StorageError,
    ThrottledError,
    TransportError,
    VendorError,
)
from aiosipcdr.model.windows import ArgumentError

__all__ = [
    "ANSWERED",
    "PROBLEM_HEADERS",
    "PROBLEM_MEDIA_TYPE",
    "AnsweredError",
    "Problem",
    "log_problem",
    "plan_invalid",
    "plan_problem",
]

AnsweredError = SipCdrError | RequestError | ArgumentError
ANSWERED: tuple[type[SipCdrError], type[RequestError], type[ArgumentError]] = (SipCdrError, RequestError, ArgumentError)
"""The errors that `plan_problem` knows an answer for."""

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = logging.getLogger("aiosipcdr.integrations")

# What the caller asked for is the caller's to mend (4xx).  That the vendor refuses this service is
# not: no 401, 403 or 429, which would blame the caller for our credentials, address or haste.
_BY_KIND: dict[type[SipCdrError], tuple[HTTPStatus, str]] = {
    OutOfTimeRangeError: (HTTPStatus.UNPROCESSABLE_ENTITY, "part of the range is older than what the vendor keeps"),
    InvalidQueryError: (HTTPStatus.UNPROCESSABLE_ENTITY, "the vendor refuses the query: check the filter"),
    ThrottledError: (HTTPStatus.SERVICE_UNAVAILABLE, "the vendor asks for fewer requests: ask again later"),
    OutageError: (HTTPStatus.SERVICE_UNAVAILABLE, "the vendor does not answer at the moment: ask again later"),
    RequestTimeoutError: (HTTPStatus.GATEWAY_TIMEOUT, "the vendor did not answer in time"),
    AuthenticationError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the credentials of this service"),
    RestrictedAddressError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the address of this service"),
    ClockSkewError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the clock of this service"),
    ServerFaultError: (HTTPStatus.BAD_GATEWAY, "a fault on the vendor's side"),
    VendorError: (HTTPStatus.BAD_GATEWAY, "the vendor refuses the request"),
    TransportError: (HTTPStatus.BAD_GATEWAY, "the vendor cannot be reached"),
    ProtocolError: (HTTPStatus.BAD_GATEWAY, "the vendor's answer is not what it may be"),
    IncompleteRangeError: (
        HTTPStatus.BAD_GATEWAY,
        "the range could not be proven complete: the vendor's counts and its records do not agree",
    ),
    ClientStateError: (HTTPStatus.SERVICE_UNAVAILABLE, "this service is not ready, or is about to stop"),
    ExportConflictError: (HTTPStatus.CONFLICT, "the file exists, or is being written"),
    StorageError: (HTTPStatus.INSUFFICIENT_STORAGE, "this service cannot store the file"),
    SipCdrError: (HTTPStatus.INTERNAL_SERVER_ERROR, "the calls could not be fetched"),
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that tells what went wrong: `facts` are the members of the document."""

    status: int
    facts: dict[str, Any]
    headers: dict[str, str]

    @property
    def body(self) -> bytes:
        """The document, JSON."""
        return msgspec.json.encode(self.facts)


def plan_problem(error: AnsweredError) -> Problem:
    """Return the answer for `error`.

    Its document has `title`, `status`, `detail` and `error` (the name of the
    class); where they are known also `vendor_status`, `available_from` (the
    oldest start that the vendor accepts) and `report` (of a range that could
    not be proven).
    """
    status, detail = _classify(error)
    facts: dict[str, Any] = {
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "error": type(error).__name__,
    }
    headers = dict(PROBLEM_HEADERS)
    if isinstance(error, SipCdrError) and error.status is not None:
        facts["vendor_status"] = error.status
    if not isinstance(error, ArgumentError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, OutOfTimeRangeError) and error.available_from is not None:
        facts["available_from"] = error.available_from
    if isinstance(error, IncompleteRangeError):
        facts["report"] = error.report.facts()
    return Problem(status=int(status), facts=facts, headers=headers)


def plan_invalid(faults: Iterable[tuple[Iterable[object], str]]) -> Problem:
    """Return the answer for a request that a framework refused: where each fault is, and what it is.

    What was sent is not repeated.
    """
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    reported = "; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in faults)
    facts = {"title": status.phrase, "status": int(status), "detail": reported, "error": "RequestValidationError"}
    return Problem(status=int(status), facts=facts, headers=dict(PROBLEM_HEADERS))


def log_problem(error: AnsweredError, problem: Problem) -> None:
    """Tell whoever runs this service what its callers are not told, unless their call alone is to blame."""
    if isinstance(error, SipCdrError) and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("answered %d: %s: %s", problem.status, type(error).__name__, error)


def _classify(error: AnsweredError) -> tuple[HTTPStatus, str]:
    if isinstance(error, ArgumentError):
        return HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
    if isinstance(error, RequestError):
        return error.status, str(error)
    return next(_BY_KIND[kind] for kind in type(error).__mro__ if kind in _BY_KIND)
