"""Checks of an account, derived from the outcome of requests: one line each, with advice.

Sends nothing. Each check depends on those before it; one that could not be made is reported as skipped, with the
reason. Shows no secret and no phone number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from ipaddress import ip_address

from aiosipcdr.model.errors import (
    AuthenticationError,
    ClockSkewError,
    OutOfTimeRangeError,
    ProtocolError,
    RedirectError,
    RestrictedAddressError,
    SipCdrError,
    TlsError,
    TransportError,
)
from aiosipcdr.model.report import counted

__all__ = ["CHECKS", "Check", "Contact", "Handshake", "State", "judge_contact", "judge_range", "skip_rest"]

CHECKS = ("settings", "dns", "connection", "tls", "endpoint", "clock", "credentials", "address", "range")
"""All checks, in the order in which they depend on each other."""

_AGREEING = 2.0
"""Seconds by which clocks may differ and still agree, since `Date` has whole seconds."""
_TOLERABLE = 60.0
"""Seconds; the vendor's tolerance is not documented, and a clock set by NTP never differs that much."""
_SOON = 14
"""Days before the expiry of a certificate in which the check mentions it."""


@unique
class State(StrEnum):
    """The result of a check."""

    GOOD = "good"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line: the check, its result, and what to do."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Handshake:
    """The result of a TLS handshake: version and expiry of the certificate, or why it failed."""

    version: str = ""
    expires: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Contact:
    """The result of one signed request, with further facts about the connection.

    Attributes:
        host: The vendor's host, without a port.
        secure: Whether the scheme is https.
        error: The error of the request; `None` if it succeeded.
        offset: Seconds by which the vendor's clock is ahead; `None` if the last response had no time.
        lookup: Why the host name could not be resolved, in the system's words.
        handshake: A separate TLS handshake, if one was made.
        proxy: The proxy; empty for none.
    """

    host: str
    secure: bool
    error: SipCdrError | None = None
    offset: float | None = None
    lookup: str | None = None
    handshake: Handshake | None = None
    proxy: str = ""


def judge_contact(contact: Contact, now: datetime) -> list[Check]:
    """Return the checks from dns to address that one request allows; the list ends at the first that fails."""
    error = contact.error
    checks = [_judge_dns(contact)]
    if isinstance(error, TransportError) and not isinstance(error, TlsError | RedirectError):
        if error.resolved:
            checks.append(Check("connection", State.WRONG, _say(error)))
        return checks
    checks.append(Check("connection", State.GOOD, f"{contact.host} accepts connections"))
    checks.append(_judge_tls(contact, now))
    if isinstance(error, TlsError):
        return checks
    refused = isinstance(error, AuthenticationError | RestrictedAddressError | ClockSkewError)
    if error is None or refused:
        checks.append(Check("endpoint", State.GOOD, "the server is the vendor's endpoint"))
    else:
        checks.append(Check("endpoint", State.WRONG, _endpoint_text(error)))
    if isinstance(error, ProtocolError | RedirectError):
        return checks
    checks.append(_judge_clock(contact))
    if error is None or refused:
        checks += _judge_login(error)
    return checks


def judge_range(reported: int | SipCdrError, span: str, *, filtered: bool) -> Check:
    """Return the check of whether the range can be fetched.

    Args:
        reported: The vendor's number of calls in the range, or the error.
        span: The range as text.
        filtered: Whether the query has a filter for a group or a phone.
    """
    if isinstance(reported, OutOfTimeRangeError):
        since = f" is kept from {reported.available_from.isoformat()} on" if reported.available_from else " is not kept"
        return Check("range", State.WRONG, f"{span}{since}; begin later, or export with --on-out-of-range skip")
    if isinstance(reported, SipCdrError):
        return Check("range", State.WRONG, f"{span}: {_say(reported)}")
    hint = "; names of groups and phones are matched exactly" if filtered and not reported else ""
    return Check("range", State.GOOD, f"{counted(reported, 'call', 'calls')} in {span}{hint}")


def skip_rest(checks: Iterable[Check]) -> list[Check]:
    """Return all checks in order; those that are missing in `checks` as skipped, because of an earlier failure."""
    done = {check.name: check for check in checks}
    complete, reason = [], "not checked: the response does not show it"
    for name in CHECKS:
        check = done.pop(name, None) or Check(name, State.SKIPPED, reason)
        if check.state is State.WRONG:
            reason = f"not checked: depends on {name}"
        complete.append(check)
    return [*complete, *done.values()]


def _judge_dns(contact: Contact) -> Check:
    error, host = contact.error, contact.host
    if isinstance(error, TransportError) and not error.resolved:
        if contact.proxy:
            return Check("dns", State.WRONG, _say(error))
        reason = f" ({contact.lookup})" if contact.lookup else ""
        return Check("dns", State.WRONG, f"{host} cannot be resolved{reason}; check --base-url and this machine's DNS")
    if _is_address(host):
        return Check("dns", State.SKIPPED, f"{host} is an IP address, nothing to resolve")
    return Check("dns", State.GOOD, f"{host} can be resolved")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _judge_tls(contact: Contact, now: datetime) -> Check:
    handshake = contact.handshake
    if isinstance(contact.error, TlsError):
        reason = f" ({handshake.problem})" if handshake and handshake.problem else ""
        return Check("tls", State.WRONG, f"{_say(contact.error)}{reason}")
    if not contact.secure:
        return Check("tls", State.SKIPPED, "plain http, which is allowed for loopback only")
    if handshake is None or handshake.problem is not None:
        return Check("tls", State.GOOD, "the certificate is trusted")
    text = f"{handshake.version}, the certificate is trusted"
    if handshake.expires is not None:
        days = (handshake.expires - now).days
        until = f" until {handshake.expires.astimezone(UTC):%Y-%m-%d}"
        text += f"{until}, {days} days from now; ask the vendor to renew it" if days < _SOON else until
    return Check("tls", State.GOOD, text)


def _endpoint_text(error: SipCdrError) -> str:
    if isinstance(error, OutOfTimeRangeError):
        return "the last hour is refused as out of the time range; check this machine's clock"
    return _say(error)


def _say(error: SipCdrError) -> str:
    # Without the window of the error: it belongs to the doctor's own request.
    return str(error.args[0]) if error.args else type(error).__name__


def _judge_clock(contact: Contact) -> Check:
    offset, refused = contact.offset, isinstance(contact.error, ClockSkewError)
    if offset is None:
        if refused:
            text = "the vendor refuses this machine's time and does not report its own (no Date); set the clock by NTP"
            return Check("clock", State.WRONG, text)
        text = "not checked: responses have no time (no Date); set this machine's clock by NTP"
        return Check("clock", State.SKIPPED, text)
    if abs(offset) < _AGREEING and not refused:
        return Check("clock", State.GOOD, "this machine's clock agrees with the vendor's")
    if abs(offset) < _AGREEING:
        text = "the clocks agree, but the time is refused; check for something that delays requests, such as a proxy"
        return Check("clock", State.WRONG, text)
    direction = "behind" if offset > 0 else "ahead of"
    text = f"this machine's clock is {abs(offset):,.0f} s {direction} the vendor's; set it by NTP"
    if abs(offset) < _TOLERABLE and not refused:
        return Check("clock", State.GOOD, f"{text} (it is still accepted)")
    remark = "" if refused else " (the client corrects it if the vendor refuses it)"
    return Check("clock", State.WRONG, text + remark)


def _judge_login(error: SipCdrError | None) -> list[Check]:
    if error is None:
        return [
            Check("credentials", State.GOOD, "key and secret are accepted"),
            Check("address", State.GOOD, "this machine's address is accepted"),
        ]
    if isinstance(error, AuthenticationError):
        text = f"{_say(error)}; tried only once, since repeated refused logins may lock the account"
        return [Check("credentials", State.WRONG, text)]
    if isinstance(error, RestrictedAddressError):
        skipped = Check("credentials", State.SKIPPED, "not checked: the address was refused first")
        return [skipped, Check("address", State.WRONG, _say(error))]
    return []
