"""`aiosipcdr report`: costs and traffic of exported files, or of a range, as one HTML page.

The page appears when it is complete, and says whether its calls are certified.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aiosipcdr.analytics import REPORT_GROUPINGS, Certificate, Grouping, Verdict, summarize, write_report
from aiosipcdr.analytics.report import check_report
from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, log_line, warn
from aiosipcdr.cli.exit_codes import Exit, exit_code_for
from aiosipcdr.cli.exported_files import find_files
from aiosipcdr.cli.options import Network, Proof, time_field_of
from aiosipcdr.cli.output import print_json, print_notice
from aiosipcdr.cli.progress import FetchProgress, waiting
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, find_credentials, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_range, parse_zone, read_phone
from aiosipcdr.export import check_file_mode
from aiosipcdr.model.report import FetchReport, counted

__all__ = ["report"]


_VERDICTS: dict[Verdict, str] = {
    "certified": "certified complete",
    "provisional": "certified complete, but provisional",
    "unknown": "certificate unknown",
    "not certified": "NOT certified",
}


@Parameter(name="*", group="Page")
@dataclass(frozen=True, kw_only=True)
class _Page:
    """Contents and permissions of the page.

    Attributes:
        compare: With a range: also fetch the period before, of as many months or days, to compare with.
        compare_with: With files: an exported file, or a folder of them, of the period before, to compare with; repeat
            it for several.
        title: The heading.
        show_numbers: Show phone numbers and names of phones, which are masked otherwise.
        overwrite: Also replace a file that is no report; an earlier report is replaced anyway.
        mode: The mode of the page, for example 0640 in a shared folder; 0600 by default.
    """

    compare: bool = False
    compare_with: tuple[Path, ...] = ()
    title: str = "Calls and costs"
    show_numbers: bool = False
    overwrite: bool = False
    mode: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `write_report` and `CdrClient.report` that they share."""
        mode = None if self.mode is None else _parse_mode(self.mode)
        return {
            "title": self.title,
            "show_numbers": self.show_numbers,
            "overwrite": self.overwrite,
            "mode": mode,
        }


def report(
    *files: Path,
    output: Path,
    span: Range = Range(),  # noqa: B008 - frozen
    page: Annotated[_Page, Parameter()] = _Page(),
    sidecars: Path | None = None,
    allow_incomplete: bool = False,
    on_out_of_range: Literal["raise", "skip"] = "raise",
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
    log_json: bool = False,
) -> int:
    """Write costs and traffic of exported files, or of a range, as one HTML page.

    The page needs no network, no script and no other file. Its certificate is that of the files' manifests, or of the
    range. With the account's credentials the manifests' signatures are checked, too.

    Exit codes are those of "export"; files without a manifest, of which nothing is known, count as done.

    Args:
        files: Exported files in any format; folders, for all files in them and in their subfolders; or patterns in
            quotes. Without files, a range is fetched.
        output: The page to write, for example october.html. An earlier report there is replaced.
        span: The query. With files, only the time zone is used: that of days and hours; by default that of the files'
            queries.
        page: The page.
        sidecars: The folder of the manifests, if they are not in the folders of the files.
        allow_incomplete: Also write the page of a range whose completeness cannot be verified (exit code 3).
        on_out_of_range: What to do if the range begins before the vendor's retention: raise an error, or skip that part
            (exit code 3).
        account: The account.
        network: The network.
        proof: The proof.
        pace: The pace.
        json: Print the result as JSON on stdout.
        log_json: Log to stderr, one JSON object per line, instead of a progress bar and a summary.
    """
    if files:
        result = _of_files(files, output, span, page, sidecars=sidecars, account=account)
    else:
        query = {"allow_incomplete": allow_incomplete, "on_out_of_range": on_out_of_range}
        result = _of_range(output, span, page, query, (account, network, proof, pace), log_json=log_json)
    if json:
        print_json({"output": str(output), **result.facts})
    if log_json:
        log_line("page", output=str(output))
    else:
        print_notice(f"{result.sentence}; written to {output}")
    return result.code


@dataclass(frozen=True)
class _Result:
    """What was written: a sentence and the facts about it, and the exit code."""

    sentence: str
    facts: dict[str, Any]
    code: Exit


def _of_files(
    given: Sequence[Path], output: Path, span: Range, page: _Page, *, sidecars: Path | None, account: Account
) -> _Result:
    if span.is_given:
        raise UsageError("files and a range exclude each other; leave one of them out")
    if span.group or span.phone or span.phone_file:
        raise UsageError("--group and --phone select calls of a range; leave them out, or export that group")
    if page.compare:
        raise UsageError("--compare is for a range; with files, name those of the period before with --compare-with")
    check_report(output, overwrite=page.overwrite, mode=page.settings["mode"])
    credentials = find_credentials(account)
    files = [file.path for file in find_files(given, sidecars)]
    files_before = [file.path for file in find_files(page.compare_with, sidecars)]
    if output.resolve() in {file.resolve() for file in (*files, *files_before)}:
        raise UsageError(f"--output {output} is one of the files to read; choose another name")
    with waiting(f"reading {counted(len(files) + len(files_before), 'file', 'files')}"):
        certificate = Certificate.of_files(files, sidecars=sidecars, credentials=credentials)
        zone = _zone_of(certificate) if span.tz is None else parse_zone(span.tz)
        groupings: tuple[Grouping, ...] = (*REPORT_GROUPINGS, "phone_name") if page.show_numbers else REPORT_GROUPINGS
        summary = summarize(files, by=groupings, tz=zone)
        before = certificate_before = None
        if files_before:
            certificate_before = Certificate.of_files(files_before, sidecars=sidecars, credentials=credentials)
            before = summarize(files_before, by=(), tz=zone, billing=False, hints=False)
        write_report(
            summary,
            output,
            certificate=certificate,
            before=before,
            certificate_before=certificate_before,
            **page.settings,
        )
    certificate = certificate.compared_with(summary.total.attempts)
    verdict = _VERDICTS[certificate.verdict]
    sentence = f"{summary.total.attempts:,} calls of {counted(len(files), 'file', 'files')}, {verdict}"
    facts = {
        "calls": summary.total.attempts,
        "verdict": certificate.verdict,
        "certified": certificate.verdict in {"certified", "provisional"},
        "reasons": certificate.reasons,
        "notes": certificate.notes,
        "files": [str(file) for file in files],
    }
    code = Exit.INCOMPLETE if certificate.verdict == "not certified" else Exit.DONE
    if certificate.is_unreadable and (code is Exit.DONE or certificate.is_complete):
        code = Exit.UNREADABLE
    details = "".join(f"; {text.rstrip('.')}" for text in (*certificate.reasons, *certificate.notes))
    return _Result(sentence + details, facts, code)


def _of_range(
    output: Path,
    span: Range,
    page: _Page,
    query: dict[str, Any],
    options: tuple[Account, Network, Proof, Pace],
    *,
    log_json: bool,
) -> _Result:
    if not span.is_given:
        raise UsageError(
            "FILES are missing; add exported files, or a range: --start and --end, --last 24h, --month 2026-10"
        )
    if page.compare_with:
        raise UsageError("--compare-with is for files; with a range use --compare")
    account, network, proof, pace = options
    now = datetime.now(UTC)
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    start, end = parse_range(span, now)
    group = span.single_group()
    settings = resolve_settings(account)
    seconds = int((end - start).total_seconds()) * (2 if page.compare else 1)
    progress: EventLog | FetchProgress = EventLog() if log_json else FetchProgress("fetching", seconds)
    client = build_client(settings, pace, progress, network=network, proof=proof)

    async def fetch() -> FetchReport:
        async with client:
            return await client.report(
                start,
                end,
                output,
                tz=None if span.tz is None else parse_zone(span.tz),
                compare=page.compare,
                sip_group_name=group,
                phone_name=span.phone,
                time_field=time_field_of(proof, settings),
                **query,
                **page.settings,
            )

    with progress:
        found = run_to_end(fetch())
    if not found.unique and (reason := explain_no_calls(span, start, now)) is not None:
        warn(reason, log_json=log_json)
    return _Result(str(found), found.facts(), exit_code_for([found]))


def _zone_of(certificate: Certificate) -> TimeZone:
    """Return the zone of the files' queries, unless its offset changes within them."""
    start, end = certificate.start, certificate.end
    if start is None or end is None or start.tzinfo is None or start.utcoffset() != end.utcoffset():
        return UTC
    return start.tzinfo


def _parse_mode(text: str) -> int:
    try:
        mode = int(text, 8)
        check_file_mode(mode)
    except ValueError:
        raise UsageError("--mode must be one of 0600, 0640, 0644, 0660 and 0664") from None
    return mode
