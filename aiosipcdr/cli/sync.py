"""`aiosipcdr sync`: a table of a database, kept equal to the vendor's list.

Stdout carries only the result, with `--json`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, log_line
from aiosipcdr.cli.exit_codes import Exit, Terminated
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_json, print_notice
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, resolve_settings
from aiosipcdr.cli.timerange import parse_length, parse_time, parse_zone, read_phone
from aiosipcdr.model.errors import OutageError, SipCdrError
from aiosipcdr.model.sync import OnVanished, SyncReport

__all__ = ["sync"]

_RESUME = "what was committed is right; to go on, run the same command again"


@Parameter(name="*", group="Query")
@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls of the table.

    Attributes:
        since: Begin of the table, needed by the first run: 2026-10-01, 2026-10-01T08:30:00 or
            2026-10-01T08:30:00+08:00. An earlier time than before extends the table.
        lookback: How far before now changes are looked for: 36h, 3d or 2w; longer than your longest call.
        deep: Read the whole lookback, also where the counts are unchanged: finds amounts that were rated again.
        tz: Time zone of a time without an offset: Asia/Shanghai, UTC, +08:00.
        group: Only calls of this phone group (sipGroupName, exact).
        phone: Only calls of this phone (phoneName, exact).
        phone_file: Instead of phone, a file with the name in its first line, or "-" for stdin: arguments are visible to
            other users of this machine.
    """

    since: str | None = None
    lookback: str = "3d"
    deep: bool = False
    tz: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    group: str | None = None
    phone: str | None = None
    phone_file: Path | None = None


@Parameter(name="*", group="Table")
@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """The table.

    Attributes:
        to: The database, as in SQLAlchemy: sqlite:///relative.db, sqlite:////absolute.db, duckdb:///file, delta:///folder
            or postgresql://user@host:port/database. Without a password: use PGPASSWORD or ~/.pgpass.
        table: The name of the table.
        schema: The schema of the table.
        on_vanished: What to do about rows that the vendor no longer lists: mark them, delete them, or keep them.
        allow_mass_vanish: Accept that more than 20 rows, and more than a tenth, of a span of time vanish.
        dry_run: Compare and report; write nothing.
    """

    to: str
    table: str = "calls"
    schema: str | None = None
    on_vanished: OnVanished = "mark"
    allow_mass_vanish: bool = False
    dry_run: bool = False


def sync(
    *,
    table: TableOptions,
    calls: Calls = Calls(),
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
    log_json: bool = False,
) -> int:
    """Make a table of a database equal to the vendor's list; run it every morning with the same arguments.

    Args:
        table: The table.
        calls: Its calls.
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        json: Print the result as JSON on stdout.
        log_json: Log to stderr, one JSON object per line, instead of a progress bar and a summary.
    """
    _refuse_password(table.to)
    phone = read_phone(calls.phone, calls.phone_file)
    since = _parse_since(calls)
    lookback = parse_length("--lookback", calls.lookback)
    settings = resolve_settings(account)
    bar = FetchProgress("syncing", wanted=not log_json)
    progress: EventLog | FetchProgress = EventLog() if log_json else bar
    client = build_client(settings, pace, progress, network=network, proof=proof)

    async def run() -> SyncReport:
        async with client:
            return await client.sync(
                table.to,
                since=since,
                lookback=lookback,
                deep=calls.deep,
                on_vanished=table.on_vanished,
                table=table.table,
                schema=table.schema,
                sip_group_name=calls.group,
                phone_name=phone,
                time_field=time_field_of(proof, settings),
                dry_run=table.dry_run,
                allow_mass_vanish=table.allow_mass_vanish,
            )

    try:
        with progress:
            report = run_to_end(run())
    except (SipCdrError, KeyboardInterrupt, Terminated) as error:
        if not isinstance(error, SipCdrError) or error.retryable or isinstance(error, OutageError):
            error.add_note(_RESUME)
        raise
    if log_json:
        log_line("synced", report=report.facts())
    else:
        print_notice(str(report))
    if json:
        print_json(report.facts())
    return _exit_code(report)


def _refuse_password(url: str) -> None:
    from aiosipcdr.sync.targets import Location

    if Location.of(url).has_password:
        msg = (
            "--to holds a password: arguments are visible to every user of this machine and are kept in the shell's"
            " history. Leave it out, and set PGPASSWORD in the environment or write it to ~/.pgpass; if it was real,"
            " change it"
        )
        raise UsageError(msg)


def _parse_since(calls: Calls) -> datetime | None:
    zone = None if calls.tz is None else parse_zone(calls.tz)
    return None if calls.since is None else parse_time("--since", calls.since, zone)


def _exit_code(report: SyncReport) -> Exit:
    if report.unproven:
        return Exit.INCOMPLETE
    return Exit.UNREADABLE if report.quarantined or report.faulty_fields else Exit.DONE
