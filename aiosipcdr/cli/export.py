"""`aiosipcdr export`: every call of a range, written to a file, to one file per day, or to stdout.

A file appears when it is complete. Stdout carries only the calls or, with `--json`, the result.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from cyclopts import Parameter

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, log_line, warn
from aiosipcdr.cli.exit_codes import Exit, Terminated, exit_code_for
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_json, print_notice, write_stdout
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.resume_hint import resume_command
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, read_private, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_length, parse_range, parse_zone, read_phone
from aiosipcdr.display import escape_json
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import (
    ExportPaths,
    IfExists,
    StreamQuarantine,
    check_file_mode,
    choose_format,
    choose_mask,
    encode_rows,
    open_encoder,
    read_manifest,
    read_span,
    shape_quarantined,
)
from aiosipcdr.export.days import PLACEHOLDER, DayFile, day_paths
from aiosipcdr.model.errors import (
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    StorageError,
)
from aiosipcdr.model.report import CompleteWindow, DayReport, FetchReport, describe_unreadable
from aiosipcdr.model.windows import Day, TimeWindow, days_of

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["export"]

_STDOUT = Path("-")
_MAX_CLOCK_ERROR = timedelta(days=1)
_MAX_DAYS_NAMED = 3

Masking = Literal["mask"] | bytes | None
Span = tuple[str | None, str | None]
Formats = Literal["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet"]


@Parameter(name="*", group="File")
@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Form and permissions of the file.

    Attributes:
        format: The format; by default the file extension selects it.
        spreadsheet: Write CSV for spreadsheets: Excel keeps long ids unchanged and evaluates no formula.
        mask_numbers: Mask phone numbers except for the country code and the last two digits.
        pseudonym_key_file: Replace each phone number by a pseudonym, made with the key in this file: at least 16 bytes.
            The file must be readable only by its owner (chmod 600).
        mode: The mode of the file and its manifest, for example 0640 in a shared folder; 0600 by default.
        no_lock: Do not lock the journal: for file systems without locks, if no other export writes to the file.
    """

    format: Formats | None = None
    spreadsheet: bool = False
    mask_numbers: bool = False
    pseudonym_key_file: Path | None = None
    mode: str | None = None
    no_lock: bool = False


def export(
    *,
    span: Range = Range(),  # noqa: B008 - frozen
    output: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    file_options: FileOptions = FileOptions(),
    daily: bool = False,
    recheck: str | None = None,
    if_exists: IfExists = "verify",
    overwrite: bool = False,
    sidecars: Path | None = None,
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
    """Write every call of a range to a file: all of them, or no file.

    Args:
        span: The query.
        output: The file to write, ending in .ndjson, .jsonl or .csv (each also with .gz or .zst) or in .parquet; or
            "-" for NDJSON on stdout.
        file_options: The file.
        daily: Write one file per day of the time zone in the range: calls-2026-10-01.csv, or with {date} anywhere in
            the path, as in lake/dt={date}/calls.parquet. Finished days are skipped, days so young that calls may still
            be added are written again, and days that the vendor has deleted are left out.
        recheck: With --daily: count finished days that ended within this time, for example 7d, again (one request per
            day), and write them again if the vendor now counts more calls.
        if_exists: What to do with an existing file: verify (keep it if it is the certified result of the same query,
            write it again if it is provisional or incomplete, refuse any other), replace it, or fail.
        overwrite: The same as --if-exists replace.
        sidecars: The folder for manifest, quarantine and journal; by default the folder of the file. Files of the same
            name in several folders need one each.
        restart: Discard the progress of an earlier run to the same file, whatever its query, and start over.
        allow_incomplete: Write the calls even if completeness cannot be verified (exit code 3).
        on_out_of_range: What to do if the range begins before the vendor's retention: raise an error, or skip that part
            (exit code 3).
        quarantine: With "--output -": the file for records without a readable id, one JSON object per line. Exports to
            files have their own.
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        json: Print the result as JSON on stdout.
        log_json: Log to stderr, one JSON object per line, instead of a progress bar and a summary.
    """
    now = datetime.now(UTC)
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    start, end = parse_range(span, now)
    masking = _choose_masking(file_options)
    _check(output, file_options, quarantine, daily=daily, json=json)
    length = _check_daily(span, output, recheck, daily=daily)
    settings = resolve_settings(account)
    zone = parse_zone(span.tz or "UTC")
    # The vendor's clock decides which of the last days have begun.
    days = _plan_days(start, min(end, now + _MAX_CLOCK_ERROR), zone) if daily else []
    files = [DayFile(day, day_paths(output, day.date, sidecars)) for day in days]
    target = ExportPaths.sidecar_path(output) if sidecars is None else ExportPaths.apart(output, sidecars)
    spans = [(file.paths, file.day.start, file.day.end) for file in files] if daily else [(target, start, end)]
    all_paths = [paths for paths, _, _ in spans]
    # On a terminal that shows the calls, a progress bar would be drawn over them.
    wants_bar = not log_json and not (output == _STDOUT and sys.stdout.isatty())
    seconds = sum((file.day.end - file.day.start).total_seconds() for file in files) or (end - start).total_seconds()
    bar = FetchProgress("fetching", int(seconds), wanted=wants_bar)
    progress: EventLog | FetchProgress = EventLog() if log_json else bar
    query = {
        "sip_group_name": span.group,
        "phone_name": span.phone,
        "allow_incomplete": allow_incomplete,
        "on_out_of_range": on_out_of_range,
        "time_field": time_field_of(proof, settings),
    }
    file_settings = {
        "format": file_options.format,
        "spreadsheet": file_options.spreadsheet,
        "mask_numbers": masking,
        "if_exists": _choose_existing(if_exists, overwrite=overwrite),
        "restart": restart,
        "sidecars": sidecars,
        "mode": _parse_mode(file_options.mode),
        "lock": not file_options.no_lock,
    }
    journal_reporter = JournalReporter(progress, log_json=log_json)
    run = ExportRun(
        client=build_client(settings, pace, journal_reporter, network=network, proof=proof),
        query=query,
        file_settings=file_settings,
        bar=bar,
        journal_reporter=journal_reporter,
        log_json=log_json,
    )
    is_relative = bool(span.last or span.yesterday)
    for paths, first, last in [] if restart else spans:
        journal_reporter.add_journal(paths, first, last)
    if output == _STDOUT:
        work = run.to_stdout(start, end, masking, quarantine, overwrite=overwrite)
    elif daily:
        work = run.to_days(files, zone, output, length)
    else:
        work = run.to_file(start, end, target, is_relative=is_relative)
    try:
        with progress:
            results = run_to_end(work)
    except BaseException as error:
        if json and isinstance(error, IncompleteRangeError):
            print_json({"output": None, **error.report.facts()})
        journals = [paths.journal for paths in all_paths if paths.journal.exists()]
        command = resume_command(start, end, keep_range=daily)
        if journals and not isinstance(error, ExportConflictError | JournalDamagedError):
            error.add_note(f"progress saved in {journals[0]}; to resume, run: {command}")
        elif daily and isinstance(error, KeyboardInterrupt | Terminated):
            error.add_note(f"finished days are skipped; to resume, run: {command}")
        raise
    _warn_of_nothing(results, explain_no_calls(span, start, now), log_json=log_json)
    if json:
        print_json(results[0].facts() if not daily else {"files": [result.facts() for result in results]})
    return _exit_code(results)


def _check_daily(span: Range, output: Path, recheck: str | None, *, daily: bool) -> timedelta:
    if PLACEHOLDER in str(output) and not daily:
        raise UsageError(f"--output has {PLACEHOLDER}, which needs --daily; add --daily and --tz")
    if daily and span.tz is None:
        raise UsageError("--daily needs a time zone; add --tz, for example --tz Asia/Shanghai or --tz UTC")
    if recheck is None:
        return timedelta(0)
    if not daily:
        raise UsageError("--recheck counts finished days again; add --daily")
    return parse_length("--recheck", recheck)


def _choose_existing(if_exists: IfExists, *, overwrite: bool) -> IfExists:
    if overwrite and if_exists == "fail":
        raise UsageError("--overwrite and --if-exists fail exclude each other; use one of them")
    return "replace" if overwrite else if_exists


def _plan_days(start: datetime, end: datetime, zone: TimeZone) -> list[Day]:
    try:
        return list(days_of(start, end, zone))
    except OverflowError:
        raise UsageError("the range includes the last day of the calendar; choose an earlier --end") from None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome for one file.

    Attributes:
        path: The file.
        report: The report in its manifest; `None`: there is no file.
        outcome: What was done: see `DayOutcome`.
        day: Its date, if it is one of several.
    """

    path: Path
    report: FetchReport | None
    outcome: str = "written"
    day: date | None = None

    @property
    def exit_code(self) -> Exit:
        """The exit code for this file alone."""
        if self.report is None:
            return Exit.DONE
        code = exit_code_for([self.report])
        # The gap of a finished day was reported when it was written; repeating the code every night would hide others.
        is_known = self.day is not None and self.outcome in {"unchanged", "expired"} and code is Exit.INCOMPLETE
        return Exit.DONE if is_known else code

    def facts(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        facts = {} if self.report is None else self.report.facts()
        return {"output": str(self.path), "outcome": self.outcome, **facts}


class JournalReporter:
    """An event hook that passes events on, and reports at the start of a run whether it resumes an earlier one.

    Not before: the journal may be refused.
    """

    def __init__(self, hook: Callable[[Event], object], *, log_json: bool) -> None:
        self._hook = hook
        self._log_json = log_json
        self._journals: dict[Span, tuple[Path, Span | None]] = {}
        self.has_started: bool = False

    def add_journal(self, paths: ExportPaths, start: datetime, end: datetime) -> None:
        """Remember an existing journal, before the range is exported."""
        if paths.journal.exists():
            self._journals[_span(TimeWindow.of(start, end))] = (paths.target, read_span(paths.journal))

    def __call__(self, event: Event, /) -> None:
        """Report the journal when a run starts; pass `event` on."""
        if event.kind is EventKind.RUN_STARTED and event.window is not None:
            self.has_started = True
            self._report_journal(_span(event.window), resumed=bool(event.records))
        self._hook(event)

    def _report_journal(self, span: Span, *, resumed: bool) -> None:
        target, before = self._journals.get(span, (None, None))
        if resumed and target is not None:
            if not self._log_json:
                print_notice(f"{target}: resuming an earlier run")
        elif before is not None and before != span:
            warn(f"{target}: discarding an unfinished export of an earlier range", log_json=self._log_json)
        else:  # no journal, or a run that only counts
            return
        del self._journals[span]


def _span(window: TimeWindow) -> Span:
    return window.start.astimezone(UTC).isoformat(), window.end.astimezone(UTC).isoformat()


@dataclass(frozen=True, kw_only=True)
class ExportRun:
    """The client of a command, before it is opened, and the settings that all files have in common."""

    client: "CdrClient"
    query: dict[str, Any]
    file_settings: dict[str, Any]
    bar: FetchProgress
    journal_reporter: JournalReporter
    log_json: bool

    def notify(self, sentence: str) -> None:
        """Print a message for a person; the log has it as an event."""
        if not self.log_json:
            print_notice(sentence)

    async def to_file(self, start: datetime, end: datetime, paths: ExportPaths, *, is_relative: bool) -> list[Result]:
        """Write one file."""
        path = paths.target
        async with self.client:
            await self.client.export(start, end, path, **self.query, **self.file_settings, relative=is_relative)
        # The manifest also counts what the file's format could not hold.
        report = read_manifest(paths.manifest).as_report()
        if not self.journal_reporter.has_started:
            self.notify(f"{path} is {_describe_finished(report)}")
            return [Result(path=path, report=report, outcome="unchanged")]
        self.notify(f"{report}; written to {path}")
        return [Result(path=path, report=report)]

    async def to_days(self, files: Sequence[DayFile], zone: TimeZone, output: Path, recheck: timedelta) -> list[Result]:
        """Write one file per day, oldest first."""
        results: list[Result] = []

        def record(day: DayReport) -> None:
            path = Path(day.path)
            report = day.report if day.report is None else read_manifest(_find_manifest(files, day)).as_report()
            results.append(Result(path=path, report=report, outcome=day.outcome, day=day.date))
            if self.log_json:
                facts = {} if report is None else {"report": report.facts()}
                log_line("file", output=str(path), date=str(day.date), outcome=day.outcome, **facts)
            self._report_day(day, report)
            if day.outcome != "written":
                length = next(file.day.end - file.day.start for file in files if file.day.date == day.date)
                self.bar.state.exclude(int(length.total_seconds()))

        if files:
            first, last = files[0].day.date, files[-1].day.date
            async with self.client:
                await self.client.export_days(
                    first, last, zone, output, **self.query, **self.file_settings, recheck=recheck, on_day=record
                )
        expired = [result for result in results if result.report is None]
        if expired:
            self.notify(f"no file for {_name_days(expired)}: the vendor has already deleted calls of these days")
        return results

    def _report_day(self, day: DayReport, report: FetchReport | None) -> None:
        match day.outcome:
            case "unchanged":
                if report is not None:
                    self.notify(f"{day.path} is {_describe_finished(report)}")
            case "shrunk":
                counts = "" if day.count is None else f" ({day.count:,})"
                advice = "the file was kept; to replace it, add --if-exists replace"
                warn(f"{day.path}: the vendor now counts fewer calls{counts}; {advice}", log_json=self.log_json)
            case "expired":
                if report is not None:
                    sentence = f"{day.path} was kept: the vendor has already deleted some of this day's calls"
                    warn(f"{sentence}, and the file is not final", log_json=self.log_json)
            case _:
                verb = "written to" if day.outcome == "written" else "rewritten to"
                self.notify(f"{report}; {verb} {day.path}")

    async def to_stdout(
        self, start: datetime, end: datetime, masking: Masking, quarantine: Path | None, *, overwrite: bool
    ) -> list[Result]:
        """Write NDJSON to stdout as the calls arrive, and records without a readable id to `quarantine`."""
        quarantine_file = None if quarantine is None else StreamQuarantine(quarantine, overwrite=overwrite)
        mask = choose_mask(masking)
        assert not isinstance(mask, ValueError)  # noqa: S101 - checked with the arguments
        with quarantine_file or nullcontext():
            async with self.client, self.client.stream(start, end, **self.query) as stream:
                async for window in stream.windows():
                    if quarantine_file is not None:
                        quarantine_file.write(shape_quarantined(window.quarantined, mask))
                    # Abandoned when cancelled: the reader of the pipe may have stopped reading.
                    await anyio.to_thread.run_sync(partial(_write_stdout, window, mask), abandon_on_cancel=True)
        report = stream.report
        lost = quarantine_file is None and report.quarantined
        self.notify(
            f"{report}; to keep the records without a readable id, add --quarantine FILE" if lost else str(report)
        )
        return [Result(path=_STDOUT, report=stream.report)]


def _warn_of_nothing(results: Sequence[Result], reason: str | None, *, log_json: bool) -> None:
    is_empty = all(result.report is not None and not result.report.unique for result in results)
    if is_empty and reason is not None:
        warn(reason, log_json=log_json)


def _exit_code(results: Sequence[Result]) -> Exit:
    codes = {result.exit_code for result in results}
    return next((code for code in (Exit.INCOMPLETE, Exit.UNREADABLE) if code in codes), Exit.DONE)


def _parse_mode(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        mode = int(text, 8)
        check_file_mode(mode)
    except ValueError:
        raise UsageError("--mode must be one of 0600, 0640, 0644, 0660 and 0664") from None
    return mode


def _choose_masking(file_options: FileOptions) -> Masking:
    key_file = file_options.pseudonym_key_file
    if key_file is None:
        return "mask" if file_options.mask_numbers else None
    if file_options.mask_numbers:
        msg = "--mask-numbers and --pseudonym-key-file exclude each other; use one of them"
        raise UsageError(msg)
    key = read_private(key_file).rstrip(b"\r\n")
    if isinstance(choose_mask(key), ValueError):
        msg = f"{key_file} holds no valid key; write at least 16 bytes of random data to it"
        raise UsageError(msg)
    return key


def _check(output: Path, file_options: FileOptions, quarantine: Path | None, *, daily: bool, json: bool) -> None:
    # Before credentials are read and requests are sent.
    if sys.stdout is None and (json or output == _STDOUT):
        msg = "stdout is closed; redirect it to a file or a pipe"
        raise StorageError(msg)
    if quarantine is not None and output != _STDOUT:
        msg = "--quarantine needs --output -; an export to a file has a quarantine file of its own"
        raise UsageError(msg)
    if output != _STDOUT:
        open_encoder(choose_format(output, file_options.format), spreadsheet=file_options.spreadsheet)
        return
    if json:
        msg = "--output - and --json both write to stdout; use --output FILE"
        raise UsageError(msg)
    if file_options.spreadsheet or file_options.format not in (None, "ndjson"):
        msg = "--output - writes NDJSON only; use --output FILE for another format"
        raise UsageError(msg)
    if daily:
        msg = "--daily writes one file per day; use --output FILE"
        raise UsageError(msg)


def _describe_finished(report: FetchReport) -> str:
    words = "already complete" if report.is_complete else "finished, with a gap"
    unreadable = describe_unreadable(report)
    return f"{words}, with {unreadable}" if unreadable else words


def _find_manifest(files: Sequence[DayFile], day: DayReport) -> Path:
    return next(file.paths.manifest for file in files if file.day.date == day.date)


def _name_days(results: Sequence[Result]) -> str:
    names = [str(result.day) for result in results]
    return ", ".join(names) if len(names) <= _MAX_DAYS_NAMED else f"{names[0]} to {names[-1]} ({len(names)} days)"


def _write_stdout(window: CompleteWindow, mask: Callable[[str], str] | None) -> None:
    # Unbuffered, so that nothing is left to flush when the reader closes the pipe.
    rows = encode_rows(window.records, mask)
    if sys.stdout.isatty():  # the vendor's texts could hold terminal control sequences
        rows = escape_json(rows.decode()).encode()
    write_stdout(rows)
