"""Errors as HTTP responses: a status, a problem document (RFC 9457), and `Retry-After` where it is known.

Pure functions. Messages of the client's errors are not repeated: they are for the operator of the service, not for its
users.
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
    "HANDLED_ERRORS",
    "PROBLEM_HEADERS",
    "PROBLEM_MEDIA_TYPE",
    "HandledError",
    "Problem",
    "log_problem",
    "plan_invalid",
    "plan_problem",
]

HandledError = SipCdrError | RequestError | ArgumentError
HANDLED_ERRORS: tuple[type[SipCdrError], type[RequestError], type[ArgumentError]] = (
    SipCdrError,
    RequestError,
    ArgumentError,
)
"""The errors that `plan_problem` converts."""

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = logging.getLogger("aiosipcdr.integrations")

# An invalid request is the requester's error (4xx). A refusal by the vendor is not: 401, 403 or 429 would blame the
# requester for the service's credentials, address or request rate.
_BY_KIND: dict[type[SipCdrError], tuple[HTTPStatus, str]] = {
    OutOfTimeRangeError: (HTTPStatus.UNPROCESSABLE_ENTITY, "part of the range is older than the vendor's retention"),
    InvalidQueryError: (HTTPStatus.UNPROCESSABLE_ENTITY, "the vendor refuses the query; check the filter"),
    ThrottledError: (HTTPStatus.SERVICE_UNAVAILABLE, "the vendor throttles requests; try again later"),
    OutageError: (HTTPStatus.SERVICE_UNAVAILABLE, "the vendor does not respond at the moment; try again later"),
    RequestTimeoutError: (HTTPStatus.GATEWAY_TIMEOUT, "the vendor did not respond in time"),
    AuthenticationError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the credentials of this service"),
    RestrictedAddressError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the address of this service"),
    ClockSkewError: (HTTPStatus.BAD_GATEWAY, "the vendor does not accept the clock of this service"),
    ServerFaultError: (HTTPStatus.BAD_GATEWAY, "the vendor reports a server error"),
    VendorError: (HTTPStatus.BAD_GATEWAY, "the vendor refuses the request"),
    TransportError: (HTTPStatus.BAD_GATEWAY, "the vendor cannot be reached"),
    ProtocolError: (HTTPStatus.BAD_GATEWAY, "the vendor's response is invalid"),
    IncompleteRangeError: (
        HTTPStatus.BAD_GATEWAY,
        "completeness of the range cannot be verified: the vendor's counts and its records differ",
    ),
    ClientStateError: (HTTPStatus.SERVICE_UNAVAILABLE, "this service is not ready, or is shutting down"),
    ExportConflictError: (HTTPStatus.CONFLICT, "the file exists, or is being written"),
    StorageError: (HTTPStatus.INSUFFICIENT_STORAGE, "this service cannot store the file"),
    SipCdrError: (HTTPStatus.INTERNAL_SERVER_ERROR, "the calls could not be fetched"),
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error response: `facts` are the members of the problem document."""

    status: int
    facts: dict[str, Any]
    headers: dict[str, str]

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self.facts)


def plan_problem(error: HandledError) -> Problem:
    """Return the response for `error`.

    Its document has `title`, `status`, `detail` and `error` (the name of the class), and where they are known
    `vendor_status`, `available_from` (the earliest start that the vendor accepts) and `report` (of a range that is not
    certified).
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
    """Return the response for a request that the framework refused, from the location and the message of each fault.

    Values of the request are not repeated.
    """
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    reported = "; ".join(f"{'.'.join(map(str, location))}: {text}" for location, text in faults)
    facts = {"title": status.phrase, "status": int(status), "detail": reported, "error": "RequestValidationError"}
    return Problem(status=int(status), facts=facts, headers=dict(PROBLEM_HEADERS))


def log_problem(error: HandledError, problem: Problem) -> None:
    """Log the error for the operator of the service, unless only the request is to blame."""
    if isinstance(error, SipCdrError) and problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("answered %d: %s: %s", problem.status, type(error).__name__, error)


def _classify(error: HandledError) -> tuple[HTTPStatus, str]:
    if isinstance(error, ArgumentError):
        return HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
    if isinstance(error, RequestError):
        return error.status, str(error)
    return next(_BY_KIND[kind] for kind in type(error).__mro__ if kind in _BY_KIND)
