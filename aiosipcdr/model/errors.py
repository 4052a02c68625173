"""The error tree; `classification` says which of them a status is.

Errors carry facts, never policy: whether and when to try again is decided in
`policy/`.  No text here holds a key, a secret, a signature or a phone number.

    SipCdrError
    ├── ClientStateError (RuntimeError)     closed, not open, another loop or process
    ├── TransportError (ConnectionError)    the request or its answer was lost on the way
    │   ├── RequestTimeoutError (TimeoutError)
    │   ├── TlsError
    │   ├── RedirectError
    │   └── OutageError                     budget or stall deadline spent
    ├── ProtocolError (ValueError)          not what the endpoint may answer
    │   ├── ResponseTooLargeError
    │   ├── SchemaMismatchError
    │   └── FilterIgnoredError
    ├── VendorError                       the vendor refused: .status .reason
    │   ├── AuthenticationError
    │   ├── RestrictedAddressError
    │   ├── ClockSkewError
    │   ├── ThrottledError
    │   ├── InvalidQueryError
    │   ├── OutOfTimeRangeError
    │   └── ServerFaultError
    ├── IncompleteRangeError               .report .records
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
    "UNSTEADY",
    "UNTOLD_APART",
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
    """The vendor's status codes (the page's table, with two seen on sibling endpoints)."""

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
    """Anything that this package raises by itself.

    Attributes:
        status: the vendor's status code (zero or negative) or the HTTP status (100 and up), where there was one.
        reason: the vendor's own words, cleaned: at most 200 characters, long runs of digits masked.
        window: the span of time that was asked for, where one request is to blame.
        page: the page of that window.
        retryable: whether the same request may succeed later.
        retry_after: seconds that the vendor asked to wait, where it did.
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
        """Keep the facts; the text is `message` with the place behind it."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.window = window
        self.page = page
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        """Say what happened, and where in the range."""
        message = str(self.args[0]) if self.args else ""
        if self.window is None:
            return message
        place = f"window {self.window}" if self.page is None else f"window {self.window}, page {self.page}"
        return f"{message} ({place})"


class ClientStateError(SipCdrError, RuntimeError):
    """The client is closed, not yet open, or used in another event loop or process."""


class TransportError(SipCdrError, ConnectionError):
    """The request did not arrive, or its answer did not come back whole.

    Attributes:
        resolved: whether DNS gave an address for the host's name.
        exists: false where DNS says that the name does not exist.
        connected: whether a connection to the host was made.
        local: whether this machine lacks what a request needs: file descriptors, threads or memory. Fewer connections
            are used then, and such errors never count as an outage of the vendor.
        stale: whether a connection that was used before ended before a byte of the answer came, as idle ones do when
            the other side has closed them.
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
    """A certificate or a host name was refused, by either side, or the server does not speak TLS.

    Never downgraded, and retried at most once. The text gives the reason of the verification.
    """

    retryable = False


class InsecureTlsWarning(UserWarning):
    """The client's `ssl_context` does not verify certificates or host names."""


class RedirectError(TransportError):
    """The server answered with a redirect; it is never followed, since the signature would travel with it."""

    retryable = False


class OutageError(TransportError):
    """The vendor answers so badly that going on would only add load."""

    retryable = False


class ProtocolError(SipCdrError, ValueError):
    """The answer is not one that the endpoint may give.

    Attributes:
        is_foreign: whether it does not look like the endpoint's at all: no HTTP, or something else than JSON.
    """

    is_foreign: bool = False


class ResponseTooLargeError(ProtocolError):
    """An answer exceeded the cap on its size."""


class SchemaMismatchError(ProtocolError):
    """Most records, or most values of a column of times or money, cannot be read; the text names the columns."""


class FilterIgnoredError(ProtocolError):
    """Records came back that the asked filter excludes: the sum of such an export would be wrong."""


class VendorError(SipCdrError):
    """The vendor understood the request and refused it: see `status` and `reason`."""


class AuthenticationError(VendorError):
    """Key or secret are not accepted, or the user is locked.  Never retried: it may lock the account."""


class RestrictedAddressError(VendorError):
    """This machine's address is not on the account's list."""


class ClockSkewError(VendorError):
    """The vendor finds the timestamp too old or too new: this machine's clock is off.

    `offset` is the measured difference in seconds (theirs minus ours) where it is known.
    """

    retryable = True
    offset: float | None = None

    def __str__(self) -> str:
        """Say by how much, where it is known."""
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
    """The vendor refuses a parameter: a filter's value, most likely."""


class OutOfTimeRangeError(VendorError):
    """Part of the range is older than what the vendor keeps (the last two months).

    `available_from` is the oldest start that the vendor accepted, where it was looked for.
    """

    available_from: datetime | None = None


class ServerFaultError(VendorError):
    """A fault on the vendor's side."""

    retryable = True


class IncompleteRangeError(SipCdrError):
    """The range could not be proven complete.

    `report` tells which windows fall short, `records` holds what was read
    (for a stream: what had not been handed over yet).
    """

    def __init__(
        self,
        message: str = "",
        *,
        report: FetchReport | None = None,
        records: CallDetailRecords | None = None,
        window: TimeWindow | None = None,
    ) -> None:
        """Keep the report and the records."""
        super().__init__(message, window=window)
        self.report: FetchReport = report if report is not None else FetchReport()
        self.records: CallDetailRecords = records if records is not None else CallDetailRecords(report=self.report)


class ExportError(SipCdrError, OSError):
    """A file could not be written."""

    def __str__(self) -> str:
        """Skip OSError's own text, which wants an errno."""
        return SipCdrError.__str__(self)


class ExportConflictError(ExportError):
    """The target exists, or another export is at work on it."""


class JournalDamagedError(ExportError):
    """The journal beside the target was changed by something else."""


class StorageError(ExportError):
    """The disk is full, read-only or gone."""


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
    HTTPStatus.NO_CONTENT: (ProtocolError, "an answer without content"),
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


# Where the kind of error alone does not tell.
_RETRYABLE: dict[int, bool] = {
    HTTPStatus.NO_CONTENT: True,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: False,
}


def vendor_error(status: int, reason: str | None, *, retry_after: float | None = None) -> VendorError:
    """Return the error for an answer whose `status` is not 0; an unknown code is kept as it is."""
    kind, hint = _BY_STATUS.get(status, (VendorError, "the vendor refused the request with an unknown code"))
    reason = clean_words(reason)
    said = f': "{reason}"' if reason else ""
    return kind(f"status {status}{said}: {hint}", status=status, reason=reason, retry_after=retry_after)


def http_error(
    status: int, *, retry_after: float | None = None, code: int | None = None, reason: str | None = None
) -> SipCdrError:
    """Return the error for an answer whose HTTP `status` is not 200.

    Args:
        status: the HTTP status.
        retry_after: seconds that the answer asks to wait.
        code: the vendor's own status, where the body told one.
        reason: the vendor's words beside it.
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
        # The vendor's own word says more than HTTP's; above all that a login was refused.
        return vendor_error(code, reason, retry_after=retry_after)
    kind, hint = _BY_HTTP_STATUS.get(status, (ProtocolError, "not an answer of this endpoint: check base_url"))
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None:
        kind, hint = ThrottledError, "the service asks for patience"
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
    """Return foreign words fit for a terminal and a log: 200 characters at most, numbers masked, `None` for nothing."""
    if words is None:
        return None
    # They may quote a phone number, or a terminal's escape codes.  Cut before they are cleaned, which takes a while;
    # what is left of a number that was cut in two is not recognised as one, and goes.
    is_cut = len(words) > _LONGEST_READ
    printable = "".join([character if character.isprintable() else " " for character in words[:_LONGEST_READ]])
    cleaned = re.sub(_PRIVATE, "***", printable)
    return (cleaned[:-_LONGEST_REASON] if is_cut else cleaned).strip()[:_LONGEST_REASON] or None


CHANGING: Final = "rows are changing"
UNSTEADY: Final = "rows are changing or the vendor's total is wrong"
END_UNSEEN: Final = "the vendor gives no page size with which to check that it counts all of them"
IDENTICAL: Final = "the vendor lists {:,} identical rows, which cannot be told from rows that it sent twice"
UNTOLD_APART: Final = "some records have no readable voiceId and cannot be told apart"


def describe_refused_page(window: TimeWindow, page: int, *, size: int) -> InvalidQueryError:
    """Return the error that ends a run because the vendor refuses a page that its own total promises.

    Args:
        window: the narrowest window in which that happens.
        page: its number.
        size: the records of a page.
    """
    advice = "ask for larger pages (page_size), or " if size < LARGEST_SIZE else ""
    return _refused_page(
        window,
        page,
        ", and the window is too narrow to be cut: the vendor reads no page so deep;"
        f" {advice}take what there is with allow_incomplete=True",
    )


def describe_refused_single_page(window: TimeWindow, page: int) -> InvalidQueryError:
    """Return the error for a page above the first that was asked for alone and refused.

    Args:
        window: what was asked for.
        page: its number.
    """
    return _refused_page(
        window,
        page,
        ": the vendor reads no page so deep, or none behind the last; ask for a shorter range, or use fetch_all",
    )


def _refused_page(window: TimeWindow, page: int, why: str) -> InvalidQueryError:
    status = StatusCode.PARAMETER
    return InvalidQueryError(f"page {page} was refused (status {status}){why}", status=status, window=window, page=page)


def describe_shortfall(
    window: TimeWindow, unique: int, total: int, why: str, report: FetchReport
) -> IncompleteRangeError:
    """Return the error that ends a run whose `window` could not be proven.

    Args:
        window: where the counts and the calls do not agree.
        unique: the distinct calls that were read in it.
        total: how many the vendor counts.
        why: what may be the cause, as said above.
        report: of the run.
    """
    what = f"{unique:,} distinct calls were read where the vendor counts {total:,}"
    if unique == total:
        what = f"{unique:,} distinct calls were read, and the vendor's answers differ on how many there are"
    return IncompleteRangeError(
        f"not provable as complete: {what}; {why}: try again later, or take it as it is with allow_incomplete=True",
        window=window,
        report=report,
    )
