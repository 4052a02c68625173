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

from datetime import datetime
from enum import IntEnum, unique

from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CallDetailRecords, FetchReport

__all__ = [
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
