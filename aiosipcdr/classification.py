"""The one table that says what a status is, the vendor's and HTTP's, and what to tell a person about it.

Builds errors, raises none.  The vendor's words are foreign text: they are
cleaned before they stand in one.
"""

import re
from http import HTTPStatus

from aiosipcdr.errors import (
    AuthenticationError,
    ClockSkewError,
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    RedirectError,
    RestrictedAddressError,
    ServerFaultError,
    SipCdrError,
    StatusCode,
    ThrottledError,
    TransportError,
    VendorError,
)

__all__ = ["clean_words", "http_error", "vendor_error"]

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
