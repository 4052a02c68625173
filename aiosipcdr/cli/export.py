"""`aiosipcdr export`: every call of a range, as a file, a file for each day, or on stdout.

Must never leave a file that is not whole, and never print anything but the
calls (or, with `--json`, the result) on stdout.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from cyclopts import Parameter

from aiosipcdr.cli.connection import Pace, build_client
from aiosipcdr.cli.daily import DayFile, Wanted, decide_day, plan_days
from aiosipcdr.cli.event_log import EventLog, warn
from aiosipcdr.cli.exits import Exit, Terminated, judge_reports
from aiosipcdr.cli.invocation import resume_command
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_json, tell, write_stdout
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.running import run_to_end
from aiosipcdr.cli.settings import Account, Settings, read_private, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_range, parse_zone, read_phone
from aiosipcdr.cli.usage import UsageError
from aiosipcdr.display import escape_json
from aiosipcdr.errors import (
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    OutOfTimeRangeError,
    StorageError,
)
from aiosipcdr.export import (
    JOURNAL,
    MANIFEST,
    StreamQuarantine,
    beside,
    choose_format,
    choose_mask,
    encode_rows,
    numbers_of,
    open_encoder,
    read_manifest,
    shape_quarantined,
)
from aiosipcdr.protocol.signing import Credentials
from aiosipcdr.report import CompleteWindow, FetchReport

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["export"]

_STDOUT = Path("-")
_LARGEST_CLOCK_ERROR = timedelta(days=1)

Masking = Literal["mask"] | bytes | None
Formats = Literal["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet"]


@Parameter(name="*", group="File")
@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the file looks like.

    Attributes:
        format: The format, where the file's name does not tell.
        spreadsheet: Write CSV for people: Excel shows long ids whole and starts no formula.
        mask_numbers: Show no more of phone numbers than a country code and the last two digits.
        pseudonym_key_file: Write a pseudonym for each phone number instead, made with the key in this file: 16 bytes at
            least. Nobody but its owner may read it (chmod 600).
    """

    format: Formats | None = None
    spreadsheet: bool = False
    mask_numbers: bool = False
    pseudonym_key_file: Path | None = None


def export(
    *,
    span: Range = Range(),  # noqa: B008 - frozen
    output: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    shape: Shape = Shape(),
    daily: bool = False,
    overwrite: bool = False,
    restart: bool = False,
    allow_incomplete: bool = False,
    on_out_of_range: Literal["raise", "skip"] = "raise",
    quarantine: Path | None = None,
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
    log_json: bool = False,
) -> int:
    """Write every call of a range: all of them, or no file.

    Args:
        span: The query.
        output: The file to write, ending in .ndjson, .jsonl or .csv (each also with .gz or .zst behind) or in
            .parquet; or "-" for NDJSON on stdout.
        shape: The file.
        daily: Write a file for each day of the time zone that the range touches, calls-2026-10-01.csv or where the
            name says {date}. Finished days are skipped, days so young that calls may still be added are written again.
        overwrite: Replace the file if it exists.
        restart: Delete what an earlier run to the same file has left, whatever was asked for, and begin anew.
        allow_incomplete: Write what there is even if it cannot be proven complete (exit code 3).
        on_out_of_range: What to do where the range begins before what the vendor keeps: stop, or skip that part
            (exit code 3).
        quarantine: With "--output -": the file for records without a readable id, one JSON object a line. Other outputs
            have theirs beside them.
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        json: Print the result as JSON on stdout.
        log_json: Tell on stderr what happens, one JSON object a line, instead of a bar and a summary.
    """
    now = datetime.now(UTC)
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    start, end = parse_range(span, now)
    masking = _masking(shape)
    _check(output, shape, quarantine, daily=daily, json=json)
    if daily and span.tz is None:
        msg = "--daily writes the days of a time zone: add --tz, for example --tz Asia/Shanghai or --tz UTC"
        raise UsageError(msg)
    settings = resolve_settings(account)
    files: Sequence[DayFile] = [DayFile(start.date(), start, end, output)]
    if daily:
        # Which of the last ones have begun is for the vendor's clock to say.
        files = plan_days(start, end, parse_zone(span.tz or "UTC"), output, now + _LARGEST_CLOCK_ERROR)
    time_field = time_field_of(proof, settings)
    wanted = _wanted(span, output, shape, masking, settings)._replace(time_field=time_field)
    todo = [(file, decide_day(file, wanted) if daily else "write") for file in files]
    # Where the calls scroll over the same terminal, a bar would be drawn across them.
    shown = not log_json and not (output == _STDOUT and sys.stdout.isatty())
    seconds = sum((file.end - file.start).total_seconds() for file, what in todo if what != "skip")
    bar = FetchProgress("fetching", int(seconds), wanted=shown)
    progress: EventLog | FetchProgress = EventLog() if log_json else bar
    asked = {
        "sip_group_name": span.group,
        "phone_name": span.phone,
        "allow_incomplete": allow_incomplete,
        "on_out_of_range": on_out_of_range,
        "time_field": time_field,
    }
    formed = {"format": shape.format, "spreadsheet": shape.spreadsheet, "mask_numbers": masking, "adjacent": daily}
    client = build_client(settings, pace, progress, network=network, proof=proof)
    run = Run(
        client=client,
        asked=asked,
        formed=formed,
        overwrite=overwrite,
        restart=restart,
        daily=daily,
        say=(lambda _: None) if log_json else tell,
    )
    for file, what in todo:
        if what != "skip" and not restart and beside(file.path, JOURNAL).exists():
            run.say(f"{file.path}: going on where an earlier run ended")
    work = run.to_stdout(start, end, masking, quarantine) if output == _STDOUT else run.to_files(todo)
    try:
        with progress:
            results = run_to_end(work)
    except BaseException as error:
        if json and isinstance(error, IncompleteRangeError):
            print_json({"output": None, **error.report.facts()})
        kept = [file.path for file in files if beside(file.path, JOURNAL).exists()]
        again = resume_command(start, end, keep_words=daily)
        if kept and not isinstance(error, ExportConflictError | JournalDamagedError):
            error.add_note(f"what was read is kept in {beside(kept[0], JOURNAL)}, to go on: {again}")
        elif daily and isinstance(error, KeyboardInterrupt | Terminated):
            error.add_note(f"finished days are skipped, to go on: {again}")
        raise
    _warn_of_nothing(results, explain_no_calls(span, start, now), log_json=log_json)
    if json:
        print_json(results[0].facts() if not daily else {"files": [result.facts() for result in results]})
    return _exit_code(results)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a file; no report: it was finished already."""

    path: Path
    report: FetchReport | None
    is_short: bool = False
    """It is not complete, and cannot be any more."""

    @property
    def exit_code(self) -> Exit:
        """The exit code that this file alone would have."""
        if self.is_short:
            return Exit.INCOMPLETE
        return judge_reports([] if self.report is None else [self.report])

    def facts(self) -> dict[str, Any]:
        """Return it for a program."""
        if self.report is None:
            return {"output": str(self.path), "skipped": True} | ({"certified": False} if self.is_short else {})
        return {"output": str(self.path), **self.report.facts()}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A client that is about to be opened, and what all files of a command have in common."""

    client: "CdrClient"
    asked: dict[str, Any]
    formed: dict[str, Any]
    overwrite: bool
    restart: bool
    daily: bool
    say: Callable[[str], None]

    async def to_files(self, todo: Sequence[tuple[DayFile, str]]) -> list[Result]:
        """Write one file after the other; what is wrong with one is told at the end, when the others are there.

        A file that is there is never replaced by one with a gap, for the vendor
        keeps less each day.
        """
        results, problem = [], None
        async with self.client:
            for file, what in todo:
                if self.daily and not await self._has_begun(file):
                    continue
                if what == "skip":
                    self.say(f"{file.path} is finished already")
                    results.append(Result(path=file.path, report=None))
                    continue
                again = what == "write again"
                asked = self.asked | {"on_out_of_range": "raise"} if again else self.asked
                try:
                    await self.client.export(
                        file.start,
                        file.end,
                        file.path,
                        overwrite=self.overwrite or again,
                        restart=self.restart,
                        **asked,
                        **self.formed,
                    )
                except (IncompleteRangeError, ExportConflictError) as error:
                    problem = problem or error
                    continue
                except OutOfTimeRangeError:
                    if not again:
                        raise
                    self.say(f"{file.path} stays as it is: the vendor keeps no more all of its calls")
                    results.append(Result(path=file.path, report=None, is_short=True))
                    continue
                # The manifest knows what the file's format could not hold, too.
                report = read_manifest(beside(file.path, MANIFEST)).as_report()
                self.say(f"{report}; written to {file.path}")
                results.append(Result(path=file.path, report=report))
        if problem is not None:
            raise problem
        return results

    async def _has_begun(self, day: DayFile) -> bool:
        if day.start < datetime.now(UTC):
            return True
        if self.client.clock_offset is None:
            await self.client.ping()
        return day.start < datetime.now(UTC) + timedelta(seconds=self.client.clock_offset or 0.0)

    async def to_stdout(
        self, start: datetime, end: datetime, masking: Masking, quarantine: Path | None
    ) -> list[Result]:
        """Write NDJSON to stdout while the calls come, and records without a readable id to `quarantine`."""
        aside = None if quarantine is None else StreamQuarantine(quarantine, overwrite=self.overwrite)
        mask = choose_mask(masking)
        assert not isinstance(mask, ValueError)  # noqa: S101 - checked with the arguments
        with aside or nullcontext():
            async with self.client, self.client.stream(start, end, **self.asked) as stream:
                async for window in stream.windows():
                    if aside is not None:
                        aside.write(shape_quarantined(window.quarantined, mask))
                    # Given up on when cancelled: whoever reads the pipe may never read on.
                    await anyio.to_thread.run_sync(partial(_write_stdout, window, mask), abandon_on_cancel=True)
        report = stream.report
        lost = aside is None and report.quarantined
        self.say(f"{report}; to keep the records without a readable id, add --quarantine FILE" if lost else str(report))
        return [Result(path=_STDOUT, report=stream.report)]


def _warn_of_nothing(results: Sequence[Result], reason: str | None, *, log_json: bool) -> None:
    is_empty = all(result.report is not None and not result.report.unique for result in results)
    if is_empty and reason is not None:
        warn(reason, log_json=log_json)


def _exit_code(results: Sequence[Result]) -> Exit:
    codes = {result.exit_code for result in results}
    return next((code for code in (Exit.INCOMPLETE, Exit.UNREADABLE) if code in codes), Exit.DONE)


def _masking(shape: Shape) -> Masking:
    key_file = shape.pseudonym_key_file
    if key_file is None:
        return "mask" if shape.mask_numbers else None
    if shape.mask_numbers:
        msg = "--mask-numbers and --pseudonym-key-file exclude each other: give one of them"
        raise UsageError(msg)
    key = read_private(key_file).rstrip(b"\r\n")
    if isinstance(choose_mask(key), ValueError):
        msg = f"{key_file} holds no key: write 16 bytes at least, that nobody can guess"
        raise UsageError(msg)
    return key


def _check(output: Path, shape: Shape, quarantine: Path | None, *, daily: bool, json: bool) -> None:
    # Before the credentials are read and anything is asked.
    if sys.stdout is None and (json or output == _STDOUT):
        msg = "stdout is closed: there is nowhere to write the result"
        raise StorageError(msg)
    if quarantine is not None and output != _STDOUT:
        msg = "--quarantine goes with --output -: any other output has its quarantine beside it"
        raise UsageError(msg)
    if output != _STDOUT:
        open_encoder(choose_format(output, shape.format), spreadsheet=shape.spreadsheet)
        return
    if json:
        msg = "--output - and --json both want stdout: give --output a file"
        raise UsageError(msg)
    if shape.spreadsheet or shape.format not in (None, "ndjson"):
        msg = "--output - is NDJSON: give --output a file for anything else"
        raise UsageError(msg)
    if daily:
        msg = "--daily writes a file for each day: give --output a file"
        raise UsageError(msg)


def _wanted(span: Range, output: Path, shape: Shape, masking: Masking, settings: Settings) -> Wanted:
    return Wanted(
        format="ndjson" if output == _STDOUT else choose_format(output, shape.format),
        spreadsheet=shape.spreadsheet,
        numbers=numbers_of(masking),
        group=span.group,
        credentials=Credentials(settings.api_key, settings.api_secret),
        phone=span.phone,
    )


def _write_stdout(window: CompleteWindow, mask: Callable[[str], str] | None) -> None:
    # Past sys.stdout's own buffer, so that nothing is left to flush when the reader goes away.
    rows = encode_rows(window.records, mask)
    if sys.stdout.isatty():  # the vendor's texts must not command the terminal
        rows = escape_json(rows.decode()).encode()
    write_stdout(rows)
