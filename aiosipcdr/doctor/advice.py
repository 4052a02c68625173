"""What the outcome of a request means for a person: one line for each check, and what to do.

Judges only, asks nothing. Each check depends on those before it: what could
not be checked is told as skipped, with the reason. Must never show a secret
or a number.
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
"""Every check, in the order in which they depend on each other."""

_AGREEING = 2.0
"""Seconds: `Date` is told in whole ones."""
_TOLERABLE = 60.0
"""Seconds: what the vendor tolerates is not documented, and a clock that NTP keeps is never that far off."""
_SOON = 14


@unique
class State(StrEnum):
    """What became of a check."""

    GOOD = "good"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line: what was checked, how it stands, and what to do."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Handshake:
    """What a TLS handshake told: the version and the end of the certificate, or why it failed."""

    version: str = ""
    expires: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Contact:
    """What one signed request and its circumstances told.

    Attributes:
        host: The vendor's host, without a port.
        secure: Whether it is asked over https.
        error: What the request ended with; `None` where it was answered.
        offset: Seconds by which the vendor's clock is ahead, where the last answer told.
        lookup: Why the name was not found, in the system's words.
        handshake: Another handshake with it, where one was made.
        proxy: The proxy on the way, empty for none.
    """

    host: str
    secure: bool
    error: SipCdrError | None = None
    offset: float | None = None
    lookup: str | None = None
    handshake: Handshake | None = None
    proxy: str = ""


def judge_contact(contact: Contact, now: datetime) -> list[Check]:
    """Return the checks from dns to address, as far as one request tells; the first that is wrong ends the list."""
    error = contact.error
    checks = [_judge_dns(contact)]
    if isinstance(error, TransportError) and not isinstance(error, TlsError | RedirectError):
        if error.resolved:
            checks.append(Check("connection", State.WRONG, _say(error)))
        return checks
    checks.append(Check("connection", State.GOOD, f"{contact.host} takes connections"))
    checks.append(_judge_tls(contact, now))
    if isinstance(error, TlsError):
        return checks
    refused = isinstance(error, AuthenticationError | RestrictedAddressError | ClockSkewError)
    if error is None or refused:
        checks.append(Check("endpoint", State.GOOD, "what answers is the vendor's endpoint"))
    else:
        checks.append(Check("endpoint", State.WRONG, _endpoint_text(error)))
    if isinstance(error, ProtocolError | RedirectError):
        return checks
    checks.append(_judge_clock(contact))
    if error is None or refused:
        checks += _judge_login(error)
    return checks


def judge_range(reported: int | SipCdrError, span: str, *, filtered: bool) -> Check:
    """Say whether the range can be had.

    Args:
        reported: How many calls the vendor counts in it, or what the question ended with.
        span: The range, in words.
        filtered: Whether a group or a phone was asked for.
    """
    if isinstance(reported, OutOfTimeRangeError):
        since = f" is kept from {reported.available_from.isoformat()} on" if reported.available_from else " is not kept"
        return Check("range", State.WRONG, f"{span}{since}: begin later, or export with --on-out-of-range skip")
    if isinstance(reported, SipCdrError):
        return Check("range", State.WRONG, f"{span}: {_say(reported)}")
    hint = ": names of groups and phones are matched exactly" if filtered and not reported else ""
    return Check("range", State.GOOD, f"{counted(reported, 'call', 'calls')} in {span}{hint}")


def skip_rest(checks: Iterable[Check]) -> list[Check]:
    """Return every check in its order: those that are not among `checks` as skipped, for what went wrong before."""
    done = {check.name: check for check in checks}
    complete, reason = [], "not told by the answer"
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
        return Check("dns", State.WRONG, f"{host} cannot be found{reason}: check --base-url and this machine's DNS")
    if _is_address(host):
        return Check("dns", State.SKIPPED, f"{host} is an address: nothing to look up")
    return Check("dns", State.GOOD, f"{host} is found")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _judge_tls(contact: Contact, now: datetime) -> Check:
    shaken = contact.handshake
    if isinstance(contact.error, TlsError):
        reason = f" ({shaken.problem})" if shaken and shaken.problem else ""
        return Check("tls", State.WRONG, f"{_say(contact.error)}{reason}")
    if not contact.secure:
        return Check("tls", State.SKIPPED, "plain http, as is allowed to loopback alone")
    if shaken is None or shaken.problem is not None:
        return Check("tls", State.GOOD, "the certificate is trusted")
    text = f"{shaken.version}, the certificate is trusted"
    if shaken.expires is not None:
        days = (shaken.expires - now).days
        until = f" until {shaken.expires.astimezone(UTC):%Y-%m-%d}"
        text += f"{until}, {days} days from now: ask the vendor to renew it" if days < _SOON else until
    return Check("tls", State.GOOD, text)


def _endpoint_text(error: SipCdrError) -> str:
    if isinstance(error, OutOfTimeRangeError):
        return "the last hour is refused as out of the time range: is this machine's clock right?"
    return _say(error)


def _say(error: SipCdrError) -> str:
    # Without the window of the question, which nobody has asked for.
    return str(error.args[0]) if error.args else type(error).__name__


def _judge_clock(contact: Contact) -> Check:
    offset, refused = contact.offset, isinstance(contact.error, ClockSkewError)
    if offset is None:
        if refused:
            text = "the vendor refuses this machine's time, and tells none itself (no Date): set the clock by NTP"
            return Check("clock", State.WRONG, text)
        text = "not checked: the answers tell no time (no Date); keep this machine's clock by NTP"
        return Check("clock", State.SKIPPED, text)
    if abs(offset) < _AGREEING and not refused:
        return Check("clock", State.GOOD, "this machine's clock agrees with the vendor's")
    if abs(offset) < _AGREEING:
        text = "the clocks agree, and yet the time is refused: something delays requests on their way, a proxy perhaps"
        return Check("clock", State.WRONG, text)
    direction = "behind" if offset > 0 else "ahead of"
    text = f"this machine's clock is {abs(offset):,.0f} s {direction} the vendor's: set it by NTP"
    if abs(offset) < _TOLERABLE and not refused:
        return Check("clock", State.GOOD, f"{text} (it is accepted as it is)")
    made_up = "" if refused else " (the client makes up for it where the vendor refuses it)"
    return Check("clock", State.WRONG, text + made_up)


def _judge_login(error: SipCdrError | None) -> list[Check]:
    if error is None:
        return [
            Check("credentials", State.GOOD, "key and secret are accepted"),
            Check("address", State.GOOD, "this machine's address is accepted"),
        ]
    if isinstance(error, AuthenticationError):
        text = f"{_say(error)}; tried once, since a refused login that is tried again may lock the account"
        return [Check("credentials", State.WRONG, text)]
    if isinstance(error, RestrictedAddressError):
        not_told = Check("credentials", State.SKIPPED, "not told: the address was refused first")
        return [not_told, Check("address", State.WRONG, _say(error))]
    return []
