"""Checks of a request (signature, timestamp, body, range), and the status code for each violation.

The field names of the API are deliberately repeated here, not shared with the client: a wrong name in the client must
fail.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Annotated, Final, Self

import msgspec

from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.store import Selection
from aiosipcdr.sandbox.time_bounds import earliest

_MAX_RANGE: Final = timedelta(days=31)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", re.ASCII)
_TIMESTAMP: Final = re.compile(rb"\d{1,12}")


class Status(IntEnum):
    """Status codes that the vendor documents, or that were observed from a sibling endpoint."""

    SUCCESS = 0
    AUTHENTICATION = -1
    TOO_FREQUENT = -15
    TIMESTAMP_EXPIRED = -16
    PARAMETER = -22
    OUT_OF_TIME_RANGE = -25


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """A valid request: page `current` of `size` calls of a selection."""

    current: int
    size: int
    selection: Selection


class AccountKeys:
    """The key and secret of a sandbox; the repr hides both."""

    __slots__ = ("api_key", "api_secret")

    def __init__(self, api_key: str, api_secret: str) -> None:
        self.api_key: str = api_key
        self.api_secret: str = api_secret

    @classmethod
    def fresh(cls) -> Self:
        """Return a random pair, recognisable as a sandbox's."""
        return cls(f"sandbox-{secrets.token_hex(8)}", f"sandbox-{secrets.token_hex(16)}")

    @classmethod
    def of(cls, account: str | None) -> Self:
        """Return the pair of an account name, always the same; a random one for None."""
        if account is None:
            return cls.fresh()
        digest = hashlib.sha256(f"sandbox account {account}".encode()).hexdigest()
        return cls(f"sandbox-{digest[:16]}", f"sandbox-{digest[16:48]}")

    def __repr__(self) -> str:
        """Hide both, as for real credentials."""
        return "AccountKeys(...)"

    def signed(self, key: bytes, timestamp: bytes, signature: bytes) -> bool:
        """Return, in constant time, whether these header values are signed with the secret."""
        right = hashlib.md5(key + self.api_secret.encode() + timestamp, usedforsecurity=False).hexdigest()
        same_key = hmac.compare_digest(key, self.api_key.encode())
        same_sign = hmac.compare_digest(signature.lower(), right.encode())
        return same_key and same_sign


class _Params(msgspec.Struct):
    """The API's `params`."""

    strTime: str  # noqa: N815 - the vendor's name
    endTime: str  # noqa: N815 - the vendor's name
    sipGroupName: str | None = None  # noqa: N815 - the vendor's name
    phoneName: str | None = None  # noqa: N815 - the vendor's name


class _Body(msgspec.Struct):
    """The API's request body."""

    current: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    size: Annotated[int, msgspec.Meta(ge=1, le=100)]
    params: _Params


_decode: Final = msgspec.json.Decoder(_Body).decode


def check(
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    credentials: AccountKeys,
    config: SandboxConfig,
    now: float,
    today: float,
) -> RequestQuery | Status:
    """Return the query of a request, or the status that refuses it.

    Args:
        headers: The header lines as received.
        body: The body as received.
        credentials: The accepted credentials.
        config: Tolerance, bounds, filters and retention.
        now: The sandbox's own time (Unix, in seconds), for the timestamp.
        today: The time from which the retention is measured.
    """
    key, timestamp, sign = (_single_header(headers, name) for name in (b"api-key", b"timestamp", b"sign"))
    if key is None or timestamp is None or sign is None:
        return Status.AUTHENTICATION
    if not credentials.signed(key, timestamp, sign):
        return Status.AUTHENTICATION
    if not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > config.tolerance:
        return Status.TIMESTAMP_EXPIRED
    try:
        request = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Status.PARAMETER
    return _plan_query(request, config, today)


def _plan_query(request: _Body, config: SandboxConfig, today: float) -> RequestQuery | Status:
    """Check the size, the range and the filters."""
    if config.refuse_below is not None and request.size < config.refuse_below:
        return Status.PARAMETER
    start, end = _parse_time(request.params.strTime), _parse_time(request.params.endTime)
    if start is None or end is None or start > end or end - start > _MAX_RANGE:
        return Status.PARAMETER
    if start < earliest(config, today):
        return Status.OUT_OF_TIME_RANGE
    applies_filters = config.filters != "ignored"
    selection = Selection(
        since=int(start.timestamp()) + (not config.start_inclusive),
        until=int(end.timestamp()) + config.end_inclusive,
        group=(request.params.sipGroupName or None) if applies_filters else None,
        phone=(request.params.phoneName or None) if applies_filters else None,
        loose=config.filters == "loose",
    )
    return RequestQuery(request.current, request.size, selection)


def _single_header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of a header that occurs exactly once."""
    found = [value for other, value in headers if other.lower() == name]
    return found[0] if len(found) == 1 else None


def _parse_time(text: str) -> datetime | None:
    """Return a time in the format of the vendor's samples (whole seconds and an offset), or None."""
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
