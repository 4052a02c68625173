"""One run of `aiosipcdr export`: to a file, to one file per day or to stdout, with messages on stderr."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread

from aiosipcdr.cli.event_log import log_line, warn
from aiosipcdr.cli.exit_codes import Exit, exit_code_for
from aiosipcdr.cli.output import print_notice, write_stdout
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.display import escape_json
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import (
    ExportPaths,
    StreamQuarantine,
    choose_mask,
    encode_rows,
    read_manifest,
    read_span,
    shape_quarantined,
)
from aiosipcdr.export.paths import DayFile
from aiosipcdr.model.report import CompleteWindow, DayReport, FetchReport, describe_unreadable
from aiosipcdr.model.windows import TimeWindow

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient


__all__ = ["STDOUT", "ExportRun", "JournalReporter", "Masking", "Result"]

STDOUT = Path("-")
_MAX_DAYS_NAMED = 3

Masking = Literal["mask"] | bytes | None
Span = tuple[str | None, str | None]


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

    async def to_file(
        self, start: datetime, end: datetime, paths: ExportPaths, zone: TimeZone, *, is_relative: bool
    ) -> list[Result]:
        """Write one file."""
        path = paths.target
        async with self.client:
            fetched = await self.client.export(
                start, end, path, **self.query, **self.file_settings, relative=is_relative, tz=zone
            )
        # The manifest also counts what the file's format could not hold.
        report = read_manifest(paths.manifest).as_report()
        is_new = self.journal_reporter.has_started
        is_logged = is_new and report.faulty_fields == fetched.faulty_fields
        if self.log_json and not is_logged and (unreadable := describe_unreadable(report)):
            warn(f"{path}: {unreadable}", log_json=True)
        self.notify(f"{report}; written to {path}" if is_new else f"{path} is {_describe_finished(report)}")
        return [Result(path=path, report=report, outcome="written" if is_new else "unchanged")]

    async def to_days(
        self, files: Sequence[DayFile], zone: TimeZone, output: Path, recheck: timedelta, *, processes: int = 1
    ) -> list[Result]:
        """Write one file per day, oldest first; return their results in this order."""
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
                    first,
                    last,
                    zone,
                    output,
                    **self.query,
                    **self.file_settings,
                    recheck=recheck,
                    on_day=record,
                    processes=processes,
                )
        results.sort(key=lambda result: result.day or date.min)
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
        return [Result(path=STDOUT, report=stream.report)]


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
