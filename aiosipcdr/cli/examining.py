"""The questions of `aiosipcdr doctor`: one request, the range, and the probe where it is asked for.

Asks and gathers; what the answers mean is for `diagnosis` and the findings to
say. Must never send another request after a refused login: it may lock the
account.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from ssl import SSLContext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiosipcdr.cli.diagnosis import Check, Contact, judge_contact, judge_range
from aiosipcdr.cli.reachability import fetch_handshake, fetch_lookup_problem
from aiosipcdr.errors import SipCdrError, TransportError
from aiosipcdr.events import Event, EventKind
from aiosipcdr.protocol.probing import Probe, ProbeFacts
from aiosipcdr.protocol.windows import TimeWindow

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["Asked", "Tally", "check_account", "fetch_contact", "probe_account"]

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A range with its filters, as the caller gave them."""

    start: datetime
    end: datetime
    group: str | None = None
    phone: str | None = None

    def __repr__(self) -> str:
        """Leave the filters out: a phone's name may be a number."""
        return f"Asked({self.start.isoformat()}, {self.end.isoformat()})"


class Tally:
    """An event hook that counts requests, and how often the vendor asked for patience."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.requests: int = 0
        self.throttled: int = 0

    def __call__(self, event: Event, /) -> None:
        """Count `event`."""
        self.requests += event.kind is EventKind.REQUEST_SENT
        self.throttled += event.kind is EventKind.THROTTLED


async def check_account(client: "CdrClient", base_url: str, asked: Asked) -> list[Check]:
    """Return the checks from dns on, as far as they can be made; `client` is open."""
    contact = await fetch_contact(client, base_url)
    checks = judge_contact(contact, datetime.now(UTC))
    if contact.error is None:
        checks.append(await _check_range(client, asked))
    return checks


async def fetch_contact(client: "CdrClient", base_url: str) -> Contact:
    """Ask for a count of the last hour; find out more where the error is short."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    secure, error = parts.scheme == "https", None
    lookup = handshake = None
    try:
        await client.ping()
    except SipCdrError as refused:
        error = refused
    way = client._transport  # noqa: SLF001 - how the client gets there
    resolved = not isinstance(error, TransportError) or error.resolved
    if not resolved and not way.proxy_host:
        lookup = await fetch_lookup_problem(host, port)
    elif resolved and secure and not way.proxy_host:  # this machine need not be able to reach the vendor itself
        handshake = await fetch_handshake(host, port, way.ssl if isinstance(way.ssl, SSLContext) else None)
    return Contact(
        host=host,
        secure=secure,
        error=error,
        offset=client.clock_offset,
        lookup=lookup,
        handshake=handshake,
        proxy=way.proxy_host,
    )


async def probe_account(client: "CdrClient", tally: Tally, rate: float, window: TimeWindow | None = None) -> ProbeFacts:
    """Ask what the vendor does not document.

    Args:
        client: An open client.
        tally: Its hook.
        rate: To how many requests a second it keeps.
        window: Where to look first; `None`: the last day.

    Raises:
        SipCdrError: A question met an error that answers nothing.
    """
    before = tally.throttled
    probe = Probe(datetime.now(UTC), window)
    await client._ask(probe)  # noqa: SLF001 - a plan like those of the client's own methods
    probe.facts.date_sent = client.clock_offset is not None
    probe.facts.rate = rate
    probe.facts.throttled = tally.throttled - before
    return probe.facts


async def _check_range(client: "CdrClient", asked: Asked) -> Check:
    told: int | SipCdrError
    try:
        told = await client.count(asked.start, asked.end, sip_group_name=asked.group, phone_name=asked.phone)
    except SipCdrError as error:
        told = error
    span = f"{asked.start.isoformat()} to {asked.end.isoformat()}"
    return judge_range(told, span, filtered=asked.group is not None or asked.phone is not None)
