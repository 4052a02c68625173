"""`aiosipcdr export`: every call of a range, as a file or on stdout.

Must never leave a file that is not whole, and never print anything but the
calls (or, with `--json`, the result) on stdout.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio.to_thread
from cyclopts import Parameter

from aiosipcdr.cli.connection import Pace, build_client
from aiosipcdr.cli.event_log import EventLog
from aiosipcdr.cli.exits import Exit
from aiosipcdr.cli.output import print_json, report_facts, tell
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.running import run_to_end
from aiosipcdr.cli.settings import Account, read_private, resolve_settings
from aiosipcdr.cli.timerange import Range, parse_range
from aiosipcdr.cli.usage import UsageError
from aiosipcdr.errors import IncompleteExportError, StorageError
from aiosipcdr.export import (
    check_target,
    choose_format,
    choose_mask,
    encode_lines,
    mask_records,
    open_encoder,
)
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import FetchReport

__all__ = ["export"]

_STDOUT = Path("-")


def export(
    *,
    span: Range = Range(),  # noqa: B008 - frozen
    output: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet"] | None = None,  # noqa: A002 - the option's name
    spreadsheet: bool = False,
    mask_numbers: bool = False,
    pseudonym_key_file: Path | None = None,
    overwrite: bool = False,
    allow_incomplete: bool = False,
    on_out_of_range: Literal["raise", "skip"] = "raise",
    account: Account = Account(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
    log_json: bool = False,
) -> int:
    """Write every call of a range: all of them, or no file.

    Args:
        span: The query.
        output: The file to write, ending in .ndjson, .jsonl or .csv (each also with .gz or .zst behind) or in
            .parquet; or "-" for NDJSON on stdout.
        format: The format, where the file's name does not tell.
        spreadsheet: Write CSV for people: Excel shows long ids whole and starts no formula.
        mask_numbers: Show no more of phone numbers than a country code and the last two digits.
        pseudonym_key_file: Write a pseudonym for each phone number instead, made with the key in this file: 16 bytes at
            least. Nobody but its owner may read it (chmod 600).
        overwrite: Replace the file if it exists.
        allow_incomplete: Write what there is even if it cannot be proven complete (exit code 3).
        on_out_of_range: What to do where the range begins before what the vendor keeps: stop, or skip that part
            (exit code 3).
        account: The account.
        pace: The pace.
        json: Print the result as JSON on stdout.
        log_json: Tell on stderr what happens, one JSON object a line, instead of a bar and a summary.
    """
    start, end = parse_range(span)
    to_stdout = output == _STDOUT
    masking = _masking(pseudonym_key_file, mask_numbers=mask_numbers)
    mask = choose_mask(masking)
    if isinstance(mask, ValueError):
        msg = f"{pseudonym_key_file} holds no key: write 16 bytes at least, that nobody can guess"
        raise UsageError(msg)
    _check(output, format, spreadsheet=spreadsheet, overwrite=overwrite, json=json)
    # Where the calls scroll over the same terminal, a bar would be drawn across them.
    wanted = not (to_stdout and sys.stdout.isatty())
    bar = FetchProgress("fetching", TimeWindow.of(start, end), wanted=wanted and not log_json)
    progress: EventLog | FetchProgress = EventLog() if log_json else bar
    client = build_client(resolve_settings(account), pace, progress)

    async def work() -> FetchReport:
        async with client:
            if not to_stdout:
                return await client.export(
                    start,
                    end,
                    output,
                    format=format,
                    overwrite=overwrite,
                    sip_group_name=span.group,
                    phone_name=span.phone,
                    allow_incomplete=allow_incomplete,
                    on_out_of_range=on_out_of_range,
                    spreadsheet=spreadsheet,
                    mask_numbers=masking,
                )
            async with client.stream(
                start,
                end,
                sip_group_name=span.group,
                phone_name=span.phone,
                allow_incomplete=allow_incomplete,
                on_out_of_range=on_out_of_range,
            ) as stream:
                async for batch in stream.batches():
                    # Given up on when cancelled: whoever reads the pipe may never read on.
                    await anyio.to_thread.run_sync(partial(_write_stdout, batch, mask), abandon_on_cancel=True)
                return stream.report

    try:
        with progress:
            report = run_to_end(work())
    except IncompleteExportError as error:
        if json:
            print_json({"output": None, **report_facts(error.report)})
        raise
    if json:
        print_json({"output": str(output), **report_facts(report)})
    if not log_json:  # the last event holds the report
        tell(str(report) + ("" if to_stdout else f"; written to {output}"))
    return Exit.DONE if report.certified else Exit.INCOMPLETE


def _masking(key_file: Path | None, *, mask_numbers: bool) -> Literal["mask"] | bytes | None:
    if key_file is None:
        return "mask" if mask_numbers else None
    if mask_numbers:
        msg = "--mask-numbers and --pseudonym-key-file exclude each other: give one of them"
        raise UsageError(msg)
    return read_private(key_file).rstrip(b"\r\n")


def _check(output: Path, format_name: str | None, *, spreadsheet: bool, overwrite: bool, json: bool) -> None:
    # Before the credentials are read and anything is asked.
    if output != _STDOUT:
        open_encoder(choose_format(output, format_name), spreadsheet=spreadsheet)
        check_target(output, overwrite)
        return
    if json:
        msg = "--output - and --json both want stdout: give --output a file"
        raise UsageError(msg)
    if spreadsheet or format_name not in (None, "ndjson"):
        msg = "--output - is NDJSON: give --output a file for anything else"
        raise UsageError(msg)


def _write_stdout(records: Sequence[CallDetailRecord], mask: Callable[[str], str] | None) -> None:
    # Past sys.stdout's own buffer, so that nothing is left to flush when the reader goes away.
    rest = memoryview(encode_lines(records if mask is None else mask_records(records, mask)))
    try:
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"stdout cannot be written: {error.strerror}"
        raise StorageError(msg) from None
