"""`aiosipcdr follow`: changes of the vendor's list as lines of JSON on stdout, until it is ended.

A line is acknowledged when it was written: after a kill the last ones may be repeated, with the same key.
"""

import asyncio
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog
from aiosipcdr.cli.exit_codes import Exit, Terminated
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_notice, write_stdout
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, resolve_settings
from aiosipcdr.cli.timerange import parse_length, parse_time, parse_zone, read_phone
from aiosipcdr.display import escape_json
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.changes import Change
from aiosipcdr.model.errors import ExportError, SipCdrError
from aiosipcdr.model.report import describe_unreadable
from aiosipcdr.model.sync import SyncReport

if TYPE_CHECKING:
    from aiosipcdr.analytics import TrafficMetrics
    from aiosipcdr.sync.feed.feed import ChangeFeed

__all__ = ["follow"]

_MOST_GROUPS = 10_000
_PAUSE = 1.0


@Parameter(name="*", group="Query")
@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls to follow.

    Attributes:
        since: Begin of the feed: 2026-10-01, 2026-10-01T08:30:00 or 2026-10-01T08:30:00+08:00; by default now. A
            checkpoint goes on where it is.
        every: Seconds between two polls.
        lookback: How far before now changes are looked for: 36h, 3d or 2w; longer than your longest call.
        deep_every: How often each call of the lookback is read again: finds amounts that were rated again.
        tz: Time zone of a time without an offset: Asia/Shanghai, UTC, +08:00.
        group: Only calls of this phone group (sipGroupName, exact).
        phone: Only calls of this phone (phoneName, exact).
        phone_file: Instead of phone, a file with the name in its first line, or "-" for stdin: arguments are visible to
            other users of this machine.
    """

    since: str | None = None
    every: Annotated[float, Parameter(validator=Number(gt=0, lte=86_400))] = 60.0
    lookback: str = "6h"
    deep_every: str = "6h"
    tz: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    group: str | None = None
    phone: str | None = None
    phone_file: Path | None = None


def follow(
    *,
    calls: Calls = Calls(),
    checkpoint: Path | None = None,
    once: bool = False,
    metrics: bool = False,
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    log_json: bool = False,
) -> int:
    """Print calls that are added, change or vanish, as lines of JSON, until Ctrl-C.

    Args:
        calls: The calls.
        checkpoint: A file with what was printed; the same command goes on from there, after a kill, too.
        once: End when everything up to now was printed, for cron.
        metrics: Print calls, ASR, ACD and PDD of each destination (code) and minute in which calls ended, instead of
            changes. A line is printed again when late calls arrive; the last one counts. Not with a checkpoint.
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        log_json: Log to stderr, one JSON object per line.
    """
    if metrics and checkpoint is not None:
        # The calls of a minute that were counted before a restart would be missing from its line.
        raise UsageError("--metrics counts calls in memory and needs all of them: leave out --checkpoint, use --since")
    phone = read_phone(calls.phone, calls.phone_file)
    zone = None if calls.tz is None else parse_zone(calls.tz)
    settings = resolve_settings(account)
    options: dict[str, Any] = {
        "since": None if calls.since is None else parse_time("--since", calls.since, zone),
        "every": calls.every,
        "lookback": parse_length("--lookback", calls.lookback),
        "deep_every": parse_length("--deep-every", calls.deep_every),
        "checkpoint": checkpoint,
        "once": once,
        "sip_group_name": calls.group,
        "phone_name": phone,
        "time_field": time_field_of(proof, settings),
    }
    reporter = _Reporter(EventLog() if log_json else _say)
    client = build_client(settings, pace, reporter, network=network, proof=proof)
    minutes = MinuteMetrics() if metrics else None

    async def run() -> SyncReport | None:
        async with client, client.follow(**options) as feed:
            if minutes is None:
                async for change in feed:
                    await _print(change.to_json())
            else:
                await _print_metrics(feed, minutes)
            return feed.last_poll

    try:
        report = run_to_end(run())
    except (SipCdrError, KeyboardInterrupt, Terminated) as error:
        if checkpoint is not None and not isinstance(error, ExportError):
            error.add_note("to go on, run the same command again")
        raise
    if report is not None and report.unproven:
        return Exit.INCOMPLETE
    return Exit.UNREADABLE if reporter.has_unreadable else Exit.DONE


class _Reporter:
    """An event hook that passes events on, and remembers whether something could not be read in any poll."""

    def __init__(self, hook: Callable[[Event], object]) -> None:
        self._hook = hook
        self.has_unreadable = False

    def __call__(self, event: Event, /) -> None:
        if event.report is not None and describe_unreadable(event.report):
            self.has_unreadable = True
        self._hook(event)


class MinuteMetrics:
    """Metrics of the calls of each destination and minute, for the newest minutes.

    A call belongs to the minute of its `hangup_time`, or of its `submit_time` if it has none, in UTC. A changed call
    is counted as it was first. Late calls of minutes that are older than the newest ones are left out.
    """

    def __init__(self) -> None:
        """Start without calls."""
        self._groups: dict[tuple[datetime, str], TrafficMetrics] = {}
        self._touched: set[tuple[datetime, str]] = set()
        self._last_dropped: tuple[datetime, str] | None = None

    def add(self, change: Change) -> None:
        """Count an added call."""
        from aiosipcdr.analytics import TrafficMetrics

        record = change.record
        time = record.hangup_time or record.submit_time
        if change.kind != "added" or time is None:
            return
        group = time.astimezone(UTC).replace(second=0, microsecond=0), record.code or ""
        if group not in self._groups and self._last_dropped is not None and group <= self._last_dropped:
            return  # counted anew, it would replace the line of all its calls
        self._groups.setdefault(group, TrafficMetrics()).add(record)
        self._touched.add(group)

    def take_lines(self) -> list[str]:
        """Return a line for each group to which calls were added since the last time, oldest first."""
        touched, self._touched = sorted(self._touched), set()
        lines = []
        for minute, code in touched:
            group = self._groups[minute, code]
            facts = {
                "minute": minute.isoformat(),
                "code": code or None,
                "calls": group.attempts,
                "answered": group.answered,
                "asr": None if group.asr is None else round(group.asr, 4),
                "acd": None if group.acd is None else round(group.acd, 1),
                "pdd": group.pdd(),
            }
            lines.append(msgspec.json.encode(facts).decode())
        for group_key in sorted(self._groups)[:-_MOST_GROUPS]:
            del self._groups[group_key]
            self._last_dropped = group_key
        return lines


async def _print_metrics(feed: "ChangeFeed", minutes: MinuteMetrics) -> None:
    step: asyncio.Future[Change] | None = None
    number = 0
    try:
        while True:
            step = step or asyncio.ensure_future(anext(feed))
            # A second without a change: the poll has ended.
            await asyncio.wait([step], timeout=_PAUSE)
            if step.done():
                minutes.add(step.result())
                step = None
                number += 1
            if step is not None or number % _MOST_GROUPS == 0:
                await _print(*minutes.take_lines())
    except StopAsyncIteration:
        await _print(*minutes.take_lines())
    finally:
        if step is not None and not step.done():
            step.cancel()
            await asyncio.wait([step])


async def _print(*lines: str) -> None:
    for line in lines:
        await _wait_for_room()
        write_stdout(f"{escape_json(line)}\n".encode())


async def _wait_for_room() -> None:
    # A pipe whose reader is slow would block the event loop, and with it SIGTERM. A writable pipe takes a line at once.
    with suppress(OSError, ValueError, AttributeError):  # not a descriptor, or on Windows: write, and wait there
        descriptor = sys.stdout.fileno()
        while not select.select((), (descriptor,), (), 0)[1]:
            await anyio.wait_writable(descriptor)


def _say(event: Event) -> None:
    if event.kind is EventKind.FEED_WAITING and event.delay is not None:
        print_notice(f"aiosipcdr: {event.error}: polling again in {event.delay:.0f} s")
    elif event.kind is EventKind.FEED_RESUMED:
        print_notice("aiosipcdr: the feed goes on")
    elif event.report is not None and (unreadable := describe_unreadable(event.report)):
        print_notice(f"aiosipcdr: warning: {unreadable}")
    elif event.kind is EventKind.FEED_GAP:
        print_notice(
            f"aiosipcdr: warning: left out {event.window}: its calls were deleted by the vendor, or are unproven"
        )
