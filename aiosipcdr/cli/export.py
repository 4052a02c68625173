"""`aiosipcdr export`: every call of a range, written to a file, to one file per day, or to stdout.

A file appears when it is complete. Stdout carries only the calls or, with `--json`, the result.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, warn
from aiosipcdr.cli.exit_codes import Exit, Terminated
from aiosipcdr.cli.export_run import STDOUT, ExportRun, JournalReporter, Masking, Result
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_json
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.resume_hint import resume_command
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, read_private, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_length, parse_range, parse_zone, read_phone
from aiosipcdr.export import (
    ExportPaths,
    check_file_mode,
    choose_format,
    choose_mask,
    open_encoder,
)
from aiosipcdr.export.paths import PLACEHOLDER, DayFile, day_paths
from aiosipcdr.model.errors import (
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    StorageError,
)
from aiosipcdr.model.query import IfExists
from aiosipcdr.model.windows import Day, days_of

__all__ = ["export"]

_MAX_CLOCK_ERROR = timedelta(days=1)

GROUP = "{group}"
"""The placeholder for the group's name in the path of its file."""

# Separators of paths, control characters, hidden and parent folders, and the other placeholder.
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|^\.|\{date\}")

Formats = Literal["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet", "xlsx"]


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
    processes: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
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
        output: The file to write, ending in .ndjson, .jsonl or .csv (each also with .gz or .zst), in .parquet, or in
            .xlsx for Excel, with dates in the time zone tz (UTC by default); or "-" for NDJSON on stdout. With {group}
            in it, each --group gets a file of its own.
        file_options: The file.
        daily: Write one file per day of the time zone in the range: calls-2026-10-01.csv, or with {date} anywhere in
            the path, as in lake/dt={date}/calls.parquet. Finished days are skipped, days so young that calls may still
            be added are written again, and days that the vendor has deleted are left out.
        recheck: With --daily: count finished days that ended within this time, for example 7d, again (one request per
            day), and write them again if the vendor now counts more calls.
        processes: With --daily: write so many days at the same time, each in a process of its own, for machines with
            several cores. They share --rate and --concurrency.
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
    outputs = _plan_outputs(span, output, quarantine)
    _check(output, file_options, quarantine, daily=daily, json=json)
    length = _check_daily(span, output, recheck, daily=daily, processes=processes)
    settings = resolve_settings(account)
    zone = parse_zone(span.tz or "UTC")
    # The vendor's clock decides which of the last days have begun.
    days = _plan_days(start, min(end, now + _MAX_CLOCK_ERROR), zone) if daily else []
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

    def export_group(group: str | None, path: Path) -> list[Result]:
        files = [DayFile(day, day_paths(path, day.date, sidecars)) for day in days]
        target = ExportPaths.sidecar_path(path) if sidecars is None else ExportPaths.apart(path, sidecars)
        spans = [(file.paths, file.day.start, file.day.end) for file in files] if daily else [(target, start, end)]
        # On a terminal that shows the calls, a progress bar would be drawn over them.
        wants_bar = not log_json and not (path == STDOUT and sys.stdout.isatty())
        seconds = sum((last - first).total_seconds() for _, first, last in spans)
        bar = FetchProgress("fetching", int(seconds), wanted=wants_bar)
        progress: EventLog | FetchProgress = EventLog() if log_json else bar
        journal_reporter = JournalReporter(progress, log_json=log_json)
        run = ExportRun(
            client=build_client(settings, pace, journal_reporter, network=network, proof=proof),
            query={
                "sip_group_name": group,
                "phone_name": span.phone,
                "allow_incomplete": allow_incomplete,
                "on_out_of_range": on_out_of_range,
                "time_field": time_field_of(proof, settings),
            },
            file_settings=file_settings,
            bar=bar,
            journal_reporter=journal_reporter,
            log_json=log_json,
        )
        for paths, first, last in [] if restart else spans:
            journal_reporter.add_journal(paths, first, last)
        if path == STDOUT:
            work = run.to_stdout(start, end, masking, quarantine, overwrite=overwrite)
        elif daily:
            work = run.to_days(files, zone, path, length, processes=processes)
        else:
            work = run.to_file(start, end, target, zone, is_relative=span.is_relative)
        try:
            with progress:
                return run_to_end(work)
        except BaseException as error:
            if json and isinstance(error, IncompleteRangeError):
                print_json({"output": None, **error.report.facts()})
            journals = [paths.journal for paths, _, _ in spans if paths.journal.exists()]
            command = resume_command(start, end, keep_range=daily)
            if journals and not isinstance(error, ExportConflictError | JournalDamagedError):
                error.add_note(f"progress saved in {journals[0]}; to resume, run: {command}")
            elif (daily or len(outputs) > 1) and isinstance(error, KeyboardInterrupt | Terminated):
                what = "days" if daily else "files"
                error.add_note(f"finished {what} are skipped; to resume, run: {command}")
            raise

    results = [result for group, path in outputs for result in export_group(group, path)]
    _warn_of_nothing(results, explain_no_calls(span, start, now), log_json=log_json)
    if json:
        is_single = not daily and len(outputs) == 1
        print_json(results[0].facts() if is_single else {"files": [result.facts() for result in results]})
    return _exit_code(results)


def _plan_outputs(span: Range, output: Path, quarantine: Path | None) -> list[tuple[str | None, Path]]:
    """Return the file of each group: a file is the certified result of one query."""
    if GROUP not in str(output):
        if len(span.groups) > 1 and output != STDOUT:
            raise UsageError(
                f"a file holds the calls of one group; put {GROUP} into --output for a file per group, as in"
                f" calls-{GROUP}.csv, or use --output -"
            )
        if len(span.groups) > 1 and quarantine is not None:
            raise UsageError("--quarantine holds the records of one group; export each group by itself")
        return [(group, output) for group in span.groups]
    named = [group for group in span.groups if group is not None]
    if not named:
        raise UsageError(f"--output has {GROUP}, which needs --group; add --group for each file")
    if any(_UNSAFE.search(group) for group in named):
        raise UsageError(f"a group's name cannot be part of a file name; export it by itself, without {GROUP}")
    return [(group, Path(str(output).replace(GROUP, group))) for group in named]


def _check_daily(span: Range, output: Path, recheck: str | None, *, daily: bool, processes: int) -> timedelta:
    if PLACEHOLDER in str(output) and not daily:
        raise UsageError(f"--output has {PLACEHOLDER}, which needs --daily; add --daily and --tz")
    if daily and span.tz is None:
        raise UsageError("--daily needs a time zone; add --tz, for example --tz Asia/Shanghai or --tz UTC")
    if processes > 1 and not daily:
        raise UsageError("--processes writes several days at the same time; add --daily")
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
    try:
        choose_mask(key)
    except ValueError:
        msg = f"{key_file} holds no valid key; write at least 16 bytes of random data to it"
        raise UsageError(msg) from None
    return key


def _check(output: Path, file_options: FileOptions, quarantine: Path | None, *, daily: bool, json: bool) -> None:
    # Before credentials are read and requests are sent.
    if sys.stdout is None and (json or output == STDOUT):
        msg = "stdout is closed; redirect it to a file or a pipe"
        raise StorageError(msg)
    if quarantine is not None and output != STDOUT:
        msg = "--quarantine needs --output -; an export to a file has a quarantine file of its own"
        raise UsageError(msg)
    if output != STDOUT:
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
