"""Errors, and their mapping from the status codes of the vendor and of HTTP.

Errors carry facts; `policy/` decides whether and when a request is sent again. No text contains a key, a secret, a
signature or a phone number.

    SipCdrError
    ├── ClientStateError (RuntimeError)     closed, not open, another loop or process
    ├── TransportError (ConnectionError)    the request or its answer was lost
    │   ├── RequestTimeoutError (TimeoutError)
    │   ├── TlsError
    │   ├── RedirectError
    │   └── OutageError                     budget or stall deadline spent
    ├── ProtocolError (ValueError)          the response is not one of this endpoint
    │   ├── ResponseTooLargeError
    │   ├── SchemaMismatchError
    │   └── FilterIgnoredError
    ├── VendorError                         the vendor refused the request: .status .reason
    │   ├── AuthenticationError
    │   ├── RestrictedAddressError
    │   ├── ClockSkewError
    │   ├── ThrottledError
    │   ├── InvalidQueryError
    │   ├── OutOfTimeRangeError
    │   └── ServerFaultError
    ├── IncompleteRangeError                completeness cannot be verified: .report .records
    └── ExportError (OSError)
        ├── ExportConflictError             target exists, journal of another query, locked
        ├── JournalDamagedError
        └── StorageError
"""

import re
from datetime import datetime
from enum import IntEnum, unique
from http import HTTPStatus
from typing import Final

from aiosipcdr.model.records import LARGEST_SIZE
from aiosipcdr.model.report import CallDetailRecords, FetchReport
from aiosipcdr.model.windows import TimeWindow

__all__ = [
    "CHANGING",
    "END_UNSEEN",
    "IDENTICAL",
    "INDISTINGUISHABLE",
    "UNSTEADY",
    "AuthenticationError",
    "ClientStateError",
    "ClockSkewError",
    "ExportConflictError",
    "ExportError",
    "FilterIgnoredError",
    "IncompleteRangeError",
    "InsecureTlsWarning",
    "InvalidQueryError",
    "JournalDamagedError",
    "OutOfTimeRangeError",
    "OutageError",
    "ProtocolError",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RestrictedAddressError",
    "SchemaMismatchError",
    "ServerFaultError",
    "SipCdrError",
    "StatusCode",
    "StorageError",
    "ThrottledError",
    "TlsError",
    "TransportError",
    "VendorError",
    "clean_words",
    "describe_refused_page",
    "describe_refused_single_page",
    "describe_shortfall",
    "http_error",
    "vendor_error",
]


@unique
class StatusCode(IntEnum):
    """The vendor's status codes.

    Source: the table of the vendor's page "Inquire Phone Records By Batch", and the pages of sibling endpoints for
    `USER_LOCKED` and `TOO_FREQUENT`.
    """

    SUCCESS = 0
    AUTHENTICATION = -1
    RESTRICTED_ADDRESS = -2
    USER_LOCKED = -13  # sibling endpoints
    TOO_FREQUENT = -15  # a sibling endpoint
    TIMESTAMP_EXPIRED = -16
    SERVER_FAULT = -18  # "port program unusual"
    PARAMETER = -22
    OUT_OF_TIME_RANGE = -25


class SipCdrError(Exception):
    """Base class of the errors of this package.

        try:
            records = await client.fetch_all(start, end)
        except SipCdrError as error:
            print(error, error.status, error.retryable)

    Attributes:
        status: The vendor's status code (zero or negative) or the HTTP status (100 and above); `None` without one.
        reason: The vendor's own words, sanitized: at most 200 characters, long runs of digits masked.
        window: The window of the failed request; `None` if no single request is to blame.
        page: The page of that window.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that the vendor asked to wait; `None` if it did not.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        reason: str | None = None,
        window: TimeWindow | None = None,
        page: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep the facts; the text is `message`, followed by window and page."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.window = window
        self.page = page
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        """Return the message with window and page."""
        message = str(self.args[0]) if self.args else ""
        if self.window is None:
            return message
        place = f"window {self.window}" if self.page is None else f"window {self.window}, page {self.page}"
        return f"{message} ({place})"


class ClientStateError(SipCdrError, RuntimeError):
    """The client is closed, not yet open, or used in another event loop or process."""


class TransportError(SipCdrError, ConnectionError):
    """The request did not reach the vendor, or its answer was not received completely.

    Attributes:
        resolved: Whether DNS returned an address for the host name.
        exists: False if DNS says that the host name does not exist.
        connected: Whether a connection to the host was made.
        local: Whether this machine is out of file descriptors, threads or memory. Fewer connections are used then, and
            such errors do not count as an outage of the vendor.
        stale: Whether a reused connection ended before the first byte of the response, as idle connections do that the
            other side has closed.
    """

    retryable = True
    resolved: bool = True
    exists: bool = True
    connected: bool = True
    local: bool = False
    stale: bool = False


class RequestTimeoutError(TransportError, TimeoutError):
    """One request took longer than the client's `timeout`."""


class TlsError(TransportError):
    """Either side refused a certificate or host name, or the server does not speak TLS.

    The connection is never downgraded, and retried at most once. The text has the reason of the verification.
    """

    retryable = False


class InsecureTlsWarning(UserWarning):
    """The client's `ssl_context` does not verify certificates or host names."""


class RedirectError(TransportError):
    """The server answered with a redirect. It is not followed: the signature would be sent to the new address."""

    retryable = False


class OutageError(TransportError):
    """The vendor has failed for so long, or so often, that more requests would only add load."""

    retryable = False


class ProtocolError(SipCdrError, ValueError):
    """The answer is not one that the endpoint documents.

    Attributes:
        is_foreign: Whether the answer is from something else than the endpoint: not HTTP, or not JSON.
    """

    is_foreign: bool = False


class ResponseTooLargeError(ProtocolError):
    """An answer is larger than the client's `max_response_bytes`."""


class SchemaMismatchError(ProtocolError):
    """Most records, or most values of a time or money field, cannot be read; the text names the fields."""


class FilterIgnoredError(ProtocolError):
    """The vendor returned records that the filters exclude, so sums of the result would be wrong."""


class VendorError(SipCdrError):
    """The vendor refused the request: see `status` and `reason`."""


class AuthenticationError(VendorError):
    """Key or secret are wrong, or the user is locked. Never retried: that may lock the account."""


class RestrictedAddressError(VendorError):
    """This machine's address is not on the account's list."""


class ClockSkewError(VendorError):
    """The vendor refused the timestamp as too old or too new: this machine's clock is off.

    Attributes:
        offset: The vendor's clock minus this machine's, in seconds; `None` if unknown.
    """

    retryable = True
    offset: float | None = None

    def __str__(self) -> str:
        """Return the message with the offset, if it is known."""
        if self.offset is None:
            return super().__str__()
        if abs(self.offset) < 1:
            return f"{super().__str__()}; the clocks agree: something delays requests on their way"
        direction = "behind" if self.offset > 0 else "ahead of"
        return f"{super().__str__()}; this machine's clock is {abs(self.offset):,.0f} s {direction} the vendor's"


class ThrottledError(VendorError):
    """The vendor asks for fewer requests."""

    retryable = True


class InvalidQueryError(VendorError):
    """The vendor refused a parameter, most likely the value of a filter."""


class OutOfTimeRangeError(VendorError):
    """The vendor has deleted a part of the range: it keeps the last two months.

    Attributes:
        available_from: The oldest start that the vendor accepted, aware; `None` if it was not searched for.
    """

    available_from: datetime | None = None


class ServerFaultError(VendorError):
    """The vendor's server failed."""

    retryable = True


class IncompleteRangeError(SipCdrError):
    """Completeness of the range cannot be verified.

        except IncompleteRangeError as error:
            affected = [one.window for one in error.report.window_reports if not one.certified]

    Attributes:
        report: The report of the run; it lists the affected windows.
        records: What was read; of a stream, what had not been delivered yet.
    """

    def __init__(
        self,
        message: str = "",
        *,
        report: FetchReport | None = None,
        records: CallDetailRecords | None = None,
        window: TimeWindow | None = None,
    ) -> None:
        """Keep report and records."""
        super().__init__(message, window=window)
        self.report: FetchReport = report if report is not None else FetchReport()
        self.records: CallDetailRecords = records if records is not None else CallDetailRecords(report=self.report)


class ExportError(SipCdrError, OSError):
    """A file or a table could not be written."""

    def __str__(self) -> str:
        """Return the message without OSError's errno."""
        return SipCdrError.__str__(self)


class ExportConflictError(ExportError):
    """The target exists, another export or sync is writing it, or it belongs to another query."""


class JournalDamagedError(ExportError):
    """The journal beside the target was changed by something else."""


class StorageError(ExportError):
    """The disk is full, read-only or not available, or a database failed."""


_BY_STATUS: dict[int, tuple[type[VendorError], str]] = {
    StatusCode.AUTHENTICATION: (AuthenticationError, "authentication refused: check the API key and secret"),
    StatusCode.RESTRICTED_ADDRESS: (
        RestrictedAddressError,
        "this address is not allowed: add it to the account's list at the vendor",
    ),
    StatusCode.USER_LOCKED: (AuthenticationError, "the account is locked: ask the vendor"),
    StatusCode.TOO_FREQUENT: (ThrottledError, "queried too frequently"),
    StatusCode.TIMESTAMP_EXPIRED: (ClockSkewError, "timestamp refused: check this machine's clock (NTP)"),
    StatusCode.SERVER_FAULT: (ServerFaultError, "a fault on the vendor's side"),
    StatusCode.PARAMETER: (InvalidQueryError, "a parameter was refused: check the filters and the range"),
    StatusCode.OUT_OF_TIME_RANGE: (
        OutOfTimeRangeError,
        "the range is older than what the vendor keeps (the last two months)",
    ),
}

_NO_ENDPOINT = "no such endpoint: check the path of base_url, which ends in /v3/voice"

_BY_HTTP_STATUS: dict[int, tuple[type[SipCdrError], str]] = {
    HTTPStatus.UNAUTHORIZED: (AuthenticationError, "authentication refused: check the API key and secret"),
    HTTPStatus.FORBIDDEN: (
        RestrictedAddressError,
        "access forbidden: this address or request is blocked by the vendor or by a firewall before it",
    ),
    HTTPStatus.NO_CONTENT: (ProtocolError, "a response without content"),
    HTTPStatus.NOT_FOUND: (ProtocolError, _NO_ENDPOINT),
    HTTPStatus.METHOD_NOT_ALLOWED: (ProtocolError, _NO_ENDPOINT),
    HTTPStatus.TOO_MANY_REQUESTS: (ThrottledError, "queried too frequently"),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (TransportError, "the proxy wants credentials: put them into `proxy`"),
    HTTPStatus.REQUEST_TIMEOUT: (ServerFaultError, "the server gave up waiting for the request"),
    HTTPStatus.CONFLICT: (ServerFaultError, "the server refuses for the moment"),
    HTTPStatus.TOO_EARLY: (ServerFaultError, "the server refuses for the moment"),
    HTTPStatus.INTERNAL_SERVER_ERROR: (ServerFaultError, "a fault on the vendor's side"),
    HTTPStatus.BAD_GATEWAY: (ServerFaultError, "a fault on the vendor's side"),
    HTTPStatus.SERVICE_UNAVAILABLE: (ServerFaultError, "the service is unavailable"),
    HTTPStatus.GATEWAY_TIMEOUT: (ServerFaultError, "a fault on the vendor's side"),
}


# Exceptions from what the class of the error says.
_RETRYABLE: dict[int, bool] = {
    HTTPStatus.NO_CONTENT: True,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: False,
}


def vendor_error(status: int, reason: str | None, *, retry_after: float | None = None) -> VendorError:
    """Return the error for a response whose `status` is not 0; an unknown code is kept."""
    kind, hint = _BY_STATUS.get(status, (VendorError, "the vendor refused the request with an unknown code"))
    reason = clean_words(reason)
    said = f': "{reason}"' if reason else ""
    return kind(f"status {status}{said}: {hint}", status=status, reason=reason, retry_after=retry_after)


def http_error(
    status: int, *, retry_after: float | None = None, code: int | None = None, reason: str | None = None
) -> SipCdrError:
    """Return the error for a response whose HTTP `status` is not 200.

    Args:
        status: The HTTP status.
        retry_after: Seconds that the response asks to wait.
        code: The vendor's own status, if the body has one.
        reason: The vendor's words beside that status.
    """
    if status in range(300, 400):
        return RedirectError(
            f"HTTP {status}: redirects are never followed, since they would carry the signature elsewhere; set base_url"
            " to the address that answers",
            status=status,
        )
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    if code in _BY_STATUS and (
        not _BY_STATUS[code][0].retryable or (status < HTTPStatus.INTERNAL_SERVER_ERROR and not throttled)
    ):
        # The vendor's status says more than HTTP's, above all that a login was refused.
        return vendor_error(code, reason, retry_after=retry_after)
    kind, hint = _BY_HTTP_STATUS.get(status, (ProtocolError, "not a response of this endpoint: check base_url"))
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None:
        kind, hint = ThrottledError, "the service is throttling requests"
    reason = clean_words(reason)
    said = "" if code is None else f" (status {code})" if reason is None else f' (status {code}: "{reason}")'
    wish = "" if retry_after is None else f"; it asks to wait {retry_after:,.0f} s"
    return kind(
        f"HTTP {status}{said}: {hint}{wish}",
        status=status,
        reason=reason,
        retry_after=retry_after,
        retryable=_RETRYABLE.get(status),
    )


# Long runs of digits may be phone numbers, 32 hexadecimal digits a signature.
_PRIVATE = r"[0-9a-fA-F]{32,}|\d(?:[\W_]{0,4}\d){5,}"
_LONGEST_REASON = 200
_LONGEST_READ = 2_000


def clean_words(words: str | None) -> str | None:
    """Return vendor text sanitized for terminals and logs: at most 200 characters, numbers masked; `None` if empty."""
    if words is None:
        return None
    # The text may contain a phone number or escape codes. It is cut first, since cleaning is slow; the end goes, too,
    # as half a number would not be recognised there.
    is_cut = len(words) > _LONGEST_READ
    printable = "".join([character if character.isprintable() else " " for character in words[:_LONGEST_READ]])
    cleaned = re.sub(_PRIVATE, "***", printable)
    return (cleaned[:-_LONGEST_REASON] if is_cut else cleaned).strip()[:_LONGEST_REASON] or None


CHANGING: Final = "rows are changing"
UNSTEADY: Final = "rows are changing or the vendor's total is wrong"
END_UNSEEN: Final = "the vendor offers no page size that could verify its count"
IDENTICAL: Final = "the vendor lists {:,} identical rows, which look like rows that were sent twice"
INDISTINGUISHABLE: Final = "some records have no readable voiceId and cannot be distinguished"


def describe_refused_page(window: TimeWindow, page: int, *, size: int) -> InvalidQueryError:
    """Return the error for a page that the vendor refuses although its own total includes it.

    Args:
        window: The narrowest window in which that happens.
        page: The number of the page.
        size: Records per page.
    """
    advice = "ask for larger pages (page_size), or " if size < LARGEST_SIZE else ""
    return _refused_page(
        window,
        page,
        ", and the window is too narrow to be split: the vendor serves no page that deep;"
        f" {advice}accept an incomplete result with allow_incomplete=True",
    )


def describe_refused_single_page(window: TimeWindow, page: int) -> InvalidQueryError:
    """Return the error for a single page after the first that the vendor refused.

    Args:
        window: The window of the request.
        page: The number of the page.
    """
    return _refused_page(
        window,
        page,
        ": the vendor serves no page that deep, or none after the last; shorten the range, or use fetch_all",
    )


def _refused_page(window: TimeWindow, page: int, why: str) -> InvalidQueryError:
    status = StatusCode.PARAMETER
    return InvalidQueryError(f"page {page} was refused (status {status}){why}", status=status, window=window, page=page)


def describe_shortfall(
    window: TimeWindow, unique: int, total: int, why: str, report: FetchReport
) -> IncompleteRangeError:
    """Return the error that ends a run with a window that cannot be proven complete.

    Args:
        window: The window in which counts and calls differ.
        unique: Distinct calls that were read in it.
        total: Calls that the vendor counts in it.
        why: The likely cause, one of the texts above.
        report: The report of the run.
    """
    what = f"{unique:,} distinct calls were read where the vendor counts {total:,}"
    if unique == total:
        what = f"{unique:,} distinct calls were read, and the vendor's responses differ in their counts"
    return IncompleteRangeError(
        f"completeness cannot be verified: {what}; {why}: try again later, or accept an incomplete result with"
        " allow_incomplete=True",
        window=window,
        report=report,
    )
