"""Requests of the doctor: name lookup, TLS handshake, login, count and probe; their results as a `Diagnosis`."""

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiosipcdr.doctor.advice import Check, Contact, Handshake, State, judge_contact, judge_range
from aiosipcdr.doctor.diagnosis import Finding, judge_probe, plan_settings
from aiosipcdr.doctor.probe import Probe, ProbeFacts
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.errors import SipCdrError, TransportError
from aiosipcdr.model.windows import TimeWindow

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = [
    "CheckedRange",
    "Diagnosis",
    "RequestCounter",
    "check_account",
    "diagnose",
    "fetch_contact",
    "fetch_handshake",
    "fetch_lookup_problem",
    "probe_account",
]

_TIMEOUT = 10.0
_LATENESS = timedelta(hours=4)  # the client's default


async def fetch_lookup_problem(host: str, port: int) -> str | None:
    """Return why `host` cannot be resolved, in the system's words; `None` if it can."""
    try:
        await asyncio.get_running_loop().getaddrinfo(host, port)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


async def fetch_handshake(host: str, port: int, context: ssl.SSLContext | None = None) -> Handshake:
    """Make a TLS handshake, by default with the system's certificate authorities, and close the connection."""
    context = context or ssl.create_default_context()
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return Handshake(problem=error.verify_message)
    except (OSError, TimeoutError) as error:
        return Handshake(problem=getattr(error, "reason", None) or type(error).__name__)
    try:
        reported: ssl.SSLObject = writer.get_extra_info("ssl_object")
        end = (reported.getpeercert() or {}).get("notAfter")
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None
        return Handshake(version=reported.version() or "", expires=expires)
    finally:
        writer.transport.abort()


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class CheckedRange:
    """A range with its filters."""

    start: datetime
    end: datetime
    group: str | None = None
    phone: str | None = None

    def __repr__(self) -> str:
        """Hide the filters: a phone's name may be a phone number."""
        return f"CheckedRange({self.start.isoformat()}, {self.end.isoformat()})"


class RequestCounter:
    """An event hook that counts requests and throttled ones."""

    def __init__(self) -> None:
        self.requests: int = 0
        self.throttled: int = 0

    def __call__(self, event: Event, /) -> None:
        """Count `event`."""
        self.requests += event.kind is EventKind.REQUEST_SENT
        self.throttled += event.kind is EventKind.THROTTLED


@dataclass(kw_only=True)
class Diagnosis:
    """Result of checking and probing an account.

    Attributes:
        checks: The checks that were made, in the order of `CHECKS`.
        findings: The findings of the probe; empty without one.
        settings: Arguments of the library that follow from the findings.
        requests: Number of requests of the probe.
    """

    checks: list[Check]
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    requests: int = 0


async def diagnose(
    client: "CdrClient",
    base_url: str,
    asked: CheckedRange,
    tally: RequestCounter,
    *,
    rate: float | None,
    window: TimeWindow | None,
) -> Diagnosis:
    """Check an account, and probe what the vendor does not document.

    Args:
        client: An open client.
        base_url: Its address.
        asked: The range to count.
        tally: The hook of `client`.
        rate: Max requests per second of the client; `None` for no probe.
        window: The range to probe first; `None` for the last day.
    """
    found = Diagnosis(checks=await check_account(client, base_url, asked))
    if rate is None or found.checks[-1].name != "range":  # the login was not accepted
        return found
    before = tally.requests
    try:
        facts = await probe_account(client, tally, rate, window)
    except SipCdrError as error:
        found.checks.append(Check("probe", State.WRONG, str(error)))
    else:
        found.findings = judge_probe(facts)
        found.settings = plan_settings(facts, lateness=_LATENESS)
    found.requests = tally.requests - before
    return found


async def check_account(client: "CdrClient", base_url: str, asked: CheckedRange) -> list[Check]:
    """Return the checks from "dns" to "range" that can be made; `client` must be open."""
    contact = await fetch_contact(client, base_url)
    checks = judge_contact(contact, datetime.now(UTC))
    if contact.error is None:
        checks.append(await _check_range(client, asked))
    return checks


async def fetch_contact(client: "CdrClient", base_url: str) -> Contact:
    """Ping the vendor; if that fails, look up the host name or make a TLS handshake to find the cause."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    secure, error = parts.scheme == "https", None
    lookup = handshake = None
    try:
        await client.ping()
    except SipCdrError as refused:
        error = refused
    resolved = not isinstance(error, TransportError) or error.resolved
    if not resolved and not client.proxy_host:
        lookup = await fetch_lookup_problem(host, port)
    elif resolved and secure and not client.proxy_host:  # with a proxy this machine may not reach the vendor directly
        handshake = await fetch_handshake(host, port, client.ssl_context)
    return Contact(
        host=host,
        secure=secure,
        error=error,
        offset=client.clock_offset,
        lookup=lookup,
        handshake=handshake,
        proxy=client.proxy_host,
    )


async def probe_account(
    client: "CdrClient", tally: RequestCounter, rate: float, window: TimeWindow | None = None
) -> ProbeFacts:
    """Test undocumented properties of the account.

    Args:
        client: An open client.
        tally: Its hook.
        rate: Its max requests per second.
        window: The range to probe first; `None` for the last day.

    Raises:
        SipCdrError: An error that does not answer a question of the probe.
    """
    before = tally.throttled
    probe = Probe(datetime.now(UTC), window)
    await client.run_plan(probe)
    probe.facts.date_sent = client.clock_offset is not None
    probe.facts.rate = rate
    probe.facts.throttled = tally.throttled - before
    return probe.facts


async def _check_range(client: "CdrClient", asked: CheckedRange) -> Check:
    reported: int | SipCdrError
    try:
        reported = await client.count(asked.start, asked.end, sip_group_name=asked.group, phone_name=asked.phone)
    except SipCdrError as error:
        reported = error
    span = f"{asked.start.isoformat()} to {asked.end.isoformat()}"
    return judge_range(reported, span, filtered=asked.group is not None or asked.phone is not None)
