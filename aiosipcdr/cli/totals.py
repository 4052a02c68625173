"""`aiosipcdr totals`: calls, seconds and money by group, as a table, CSV or JSON.

From exported files, or straight from a range. Sums are exact, and money is added neither across currencies nor across
fields.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from aiosipcdr.analytics import Dimension, MoneyRow, TrafficMetrics, TrafficSummary, summarize
from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, log_line, warn
from aiosipcdr.cli.exit_codes import Exit, exit_code_for
from aiosipcdr.cli.exported_files import ExportedFile, describe_proofs, find_files, overlapping
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_grid, print_json, print_notice, write_stdout
from aiosipcdr.cli.progress import FetchProgress, waiting
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_range, parse_zone, read_phone
from aiosipcdr.export.formats.spreadsheet import spreadsheet_text
from aiosipcdr.model.money import SUMMED_FIELDS, describe_unit, unit_of
from aiosipcdr.model.report import FetchReport

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["totals"]

_DIMENSIONS: dict[str, Dimension] = {
    "group": "sip_group_name",
    "phone": "phone_name",
    "destination": "code",
    "currency": "currency",
    "ending": "termination_code",
    "day": "day",
    "hour": "hour",
    "weekday": "weekday",
}
_OF_TIME = {"day", "hour", "weekday"}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@Parameter(name="*", group="Output")
@dataclass(frozen=True, kw_only=True)
class _Form:
    """Form of the result.

    Attributes:
        csv: Print CSV instead of a table: exact sums, durations in seconds.
        spreadsheet: Print CSV for spreadsheets: no formula is evaluated, and no name becomes a number or a date.
        json: Print JSON, with the proof: exact sums as text, durations in seconds.
    """

    csv: bool = False
    spreadsheet: bool = False
    json: bool = False


@dataclass
class _Source:
    """What was summed, and its proof."""

    summary: TrafficSummary
    reports: list[tuple[str | None, FetchReport]] = field(default_factory=list)
    files: list[ExportedFile] = field(default_factory=list)

    @property
    def all_reports(self) -> list[FetchReport]:
        of_files = [file.manifest.as_report() for file in self.files if file.manifest is not None]
        return [report for _, report in self.reports] + of_files

    @property
    def certified(self) -> bool | None:
        known = all(file.manifest is not None for file in self.files)
        if not all(report.certified for report in self.all_reports) or self.counts_twice:
            return False
        return True if known and self.counts_twice is not None else None

    @cached_property
    def counts_twice(self) -> bool | None:
        """Whether files of one account may hold the same calls; `None` if nothing says whether it is one account."""
        overlaps = [is_same_account for _, _, is_same_account in overlapping(self.files)]
        return any(overlaps) or (None if overlaps else False)


def totals(
    *files: Path,
    by: str = "currency",
    span: Range = Range(),  # noqa: B008 - frozen
    form: Annotated[_Form, Parameter()] = _Form(),
    sidecars: Path | None = None,
    allow_incomplete: bool = False,
    on_out_of_range: Literal["raise", "skip"] = "raise",
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    log_json: bool = False,
) -> int:
    """Print calls, seconds and sums of money by group: of exported files, or of a range.

    Money is never added across currencies. Exit codes are those of "export": of the files' manifests, or of the range.

    Args:
        files: Exported files in any format; folders, for all files in them and in their subfolders; or patterns in
            quotes. Without files, a range is fetched.
        by: What to group by, separated by commas: group, phone, destination, currency, ending, day, hour, weekday. The
            last three are those of the time zone tz.
        span: The query.
        form: The form of the result.
        sidecars: The folder of the manifests, if they are not in the folders of the files.
        allow_incomplete: Also sum a range whose completeness cannot be verified (exit code 3).
        on_out_of_range: What to do if the range begins before the vendor's retention: raise an error, or skip that part
            (exit code 3).
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        log_json: Log to stderr, one JSON object per line, instead of a progress bar and a summary.
    """
    names = _read_names(by)
    if span.tz is None and (timed := [name for name in names if name in _OF_TIME]):
        raise UsageError(f"--by {timed[0]} needs a time zone; add --tz, for example --tz Asia/Shanghai or --tz UTC")
    if sum([form.csv or form.spreadsheet, form.json]) > 1:
        raise UsageError("--csv and --json exclude each other; use one of them")
    zone = parse_zone(span.tz or "UTC")
    summary = TrafficSummary(by=[tuple(_DIMENSIONS[name] for name in names)], tz=zone, billing=False, hints=False)
    if files:
        source = _sum_files(files, sidecars, span, summary, log_json=log_json)
    else:
        query = {"allow_incomplete": allow_incomplete, "on_out_of_range": on_out_of_range}
        source = _sum_range(span, summary, query, (account, network, proof, pace), log_json=log_json)
    if form.json:
        print_json(_as_json(source, names, span.tz))
    elif form.csv or form.spreadsheet:
        write_stdout(_as_csv(source.summary, names, spreadsheet=form.spreadsheet))
    else:
        _show(source.summary, names)
    return Exit.INCOMPLETE if source.counts_twice else exit_code_for(source.all_reports)


def _read_names(by: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in by.split(",")))
    for name in names:
        if name not in _DIMENSIONS:
            raise UsageError(f"--by has an unknown name; use names of {', '.join(_DIMENSIONS)}, separated by commas")
    return names


def _sum_files(
    files: Sequence[Path], sidecars: Path | None, span: Range, summary: TrafficSummary, *, log_json: bool
) -> _Source:
    if span.is_given:
        raise UsageError("files and a range exclude each other; leave one of them out")
    if span.group or span.phone or span.phone_file:
        raise UsageError("--group and --phone select calls of a range; with files, use --by group or --by phone")
    found = find_files(files, sidecars)
    for file in found:
        with waiting(f"reading {file.path.name}"):
            summary.update(summarize(file.path, summary.by, tz=summary.tz, billing=False, hints=False))
    for sentence in describe_proofs(found):
        if log_json:
            log_line("files", proof=sentence)
        else:
            print_notice(sentence)
    return _Source(summary, files=found)


def _sum_range(
    span: Range,
    summary: TrafficSummary,
    query: dict[str, Any],
    options: tuple[Account, Network, Proof, Pace],
    *,
    log_json: bool,
) -> _Source:
    account, network, proof, pace = options
    now = datetime.now(UTC)
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    if not span.is_given:
        raise UsageError(
            "FILES are missing; add exported files, or a range: --start and --end, --last 24h, --month 2026-10"
        )
    start, end = parse_range(span, now)
    settings = resolve_settings(account)
    query = query | {"phone_name": span.phone, "time_field": time_field_of(proof, settings)}
    seconds = int((end - start).total_seconds()) * len(span.groups)
    progress: EventLog | FetchProgress = EventLog() if log_json else FetchProgress("fetching", seconds)
    client = build_client(settings, pace, progress, network=network, proof=proof)
    source = _Source(summary)

    async def fetch(client: "CdrClient") -> None:
        async with client:
            for group in span.groups:
                async with client.stream(start, end, sip_group_name=group, **query) as stream:
                    async for batch in stream.batches():
                        summary.add(batch)
                source.reports.append((group, stream.report))

    with progress:
        run_to_end(fetch(client))
    for group, report in source.reports:
        if not log_json:
            print_notice(str(report) if group is None else f"{group}: {report}")
    if not summary.total.attempts and (reason := explain_no_calls(span, start, now)) is not None:
        warn(reason, log_json=log_json)
    return source


def _as_json(source: _Source, names: Sequence[str], tz: str | None) -> dict[str, Any]:
    summary = source.summary
    result: dict[str, Any] = {"by": list(names), "tz": tz, "certified": source.certified}
    if source.files:
        result["files"] = [_file_facts(file) for file in source.files]
    else:
        result["reports"] = [{"group": group, **report.facts()} for group, report in source.reports]
    result["rows"] = [
        dict(zip(names, key, strict=True)) | _facts(one) for key, one in summary.table(*summary.by[0]).items()
    ]
    result["total"] = _facts(summary.total)
    return result


def _file_facts(file: ExportedFile) -> dict[str, Any]:
    report = None if file.manifest is None else file.manifest.as_report()
    return {
        "file": str(file.path),
        "certified": file.certified,
        "quarantined": report and report.quarantined,
        "faulty_fields": report and report.faulty_fields,
    }


def _facts(metrics: TrafficMetrics) -> dict[str, Any]:
    money = [
        {"field": row.field, "currency": row.currency, "unit": unit_of(row.field), "sum": _plain(row)}
        for row in metrics.money()
    ]
    return {**_counts(metrics), "money": money}


def _counts(metrics: TrafficMetrics) -> dict[str, int]:
    return {
        "calls": metrics.attempts,
        "answered": metrics.answered,
        "seconds": metrics.seconds,
        "charged_seconds": metrics.charged_seconds,
    }


def _plain(row: MoneyRow) -> str:
    return format(row.amount, "f")


def _as_csv(summary: TrafficSummary, names: Sequence[str], *, spreadsheet: bool) -> bytes:
    guard = spreadsheet_text if spreadsheet else str
    # Without a column of currencies, each has a column of its own.
    columns = [(row.field, row.currency) for row in summary.total.money()]
    heads = [_column(*column) for column in columns]
    if "currency" in names:
        heads = [*SUMMED_FIELDS]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*names, *_counts(summary.total), *map(guard, heads)])
    for key, metrics in summary.table(*summary.by[0]).items():
        sums = {(row.field, row.currency): _plain(row) for row in metrics.money()}
        if "currency" in names:
            money = [next((text for (name, _), text in sums.items() if name == one), None) for one in SUMMED_FIELDS]
        else:
            money = [sums.get(column) for column in columns]
        cells = [guard(part) if isinstance(part, str) else part for part in key]
        writer.writerow([*cells, *_counts(metrics).values(), *money])
    return (b"\xef\xbb\xbf" if spreadsheet else b"") + text.getvalue().encode()


def _column(name: str, currency: str | None) -> str:
    return name if currency is None else f"{name}_{currency}"


def _show(summary: TrafficSummary, names: Sequence[str]) -> None:
    heads = [*names, "calls", "answered", "minutes", "charged min", *SUMMED_FIELDS]
    groups = summary.table(*summary.by[0])
    rows = [
        [*map(_cell, names, key), *_figures(metrics, with_unit="currency" not in names)]
        for key, metrics in groups.items()
    ]
    total = ["total", *[""] * (len(names) - 1), *_figures(summary.total, with_unit=True)]
    settled = any(row.field == "settle_pay" for row in summary.total.money())
    if not settled:
        heads, rows, total = heads[:-1], [row[:-1] for row in rows], total[:-1]
    print_grid(heads, rows, total, texts=len(names))


def _cell(name: str, value: str | int | date | None) -> str:
    if name == "weekday" and isinstance(value, int):
        return _WEEKDAYS[value]
    return "(none)" if value is None else str(value)


def _figures(metrics: TrafficMetrics, *, with_unit: bool) -> Iterator[str]:
    share = "" if metrics.asr is None else f" ({metrics.asr:.1%})"
    yield f"{metrics.attempts:,}"
    yield f"{metrics.answered:,}{share}"
    yield f"{metrics.seconds / 60:,.1f}"
    yield f"{metrics.charged_seconds / 60:,.1f}"
    for name in SUMMED_FIELDS:
        sums = [row for row in metrics.money() if row.field == name]
        yield "\n".join(f"{row.amount:,f}" + (f" {_unit(row)}" if with_unit else "") for row in sums)


def _unit(row: MoneyRow) -> str:
    if row.field == "settle_pay":
        return f"({describe_unit(row.field, row.currency).partition(', ')[2]})"
    return row.currency or "(no currency)"
