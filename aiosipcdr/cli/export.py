"""`aiosipcdr export`: every call of a range, as a file or on stdout.

Must never leave a file that is not whole, and never print anything but the
calls (or, with `--json`, the result) on stdout.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio.to_thread
from cyclopts import Parameter

from aiosipcdr.cli.connection import Pace, build_client
from aiosipcdr.cli.exits import Exit
from aiosipcdr.cli.output import print_json, report_facts, tell
from aiosipcdr.cli.progress import FetchProgress
from aiosipcdr.cli.running import run_to_end
from aiosipcdr.cli.settings import Account, resolve_settings
from aiosipcdr.cli.timerange import Range, parse_range
from aiosipcdr.cli.usage import UsageError
from aiosipcdr.errors import IncompleteExportError, StorageError
from aiosipcdr.export import check_target, choose_format, encode_lines
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import FetchReport

__all__ = ["export"]

_STDOUT = Path("-")


def export(
    *,
    span: Range,
    output: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["ndjson"] | None = None,  # noqa: A002 - the option's name
    overwrite: bool = False,
    allow_incomplete: bool = False,
    on_out_of_range: Literal["raise", "skip"] = "raise",
    account: Account = Account(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Write every call of a range: all of them, or no file.

    Args:
        span: The query.
        output: The file to write, ending in .ndjson or .jsonl; - for stdout.
        format: The format, where the file's name does not tell.
        overwrite: Replace the file if it exists.
        allow_incomplete: Write what there is even if it cannot be proven complete (exit code 3).
        on_out_of_range: What to do where the range begins before what the vendor keeps: stop, or skip that part
            (exit code 3).
        account: The account.
        pace: The pace.
        json: Print the result as JSON on stdout.
    """
    start, end = parse_range(span)
    to_stdout = output == _STDOUT
    if to_stdout and json:
        msg = "--output - and --json both want stdout: give --output a file"
        raise UsageError(msg)
    if not to_stdout:
        choose_format(output, format)
        check_target(output, overwrite)
    # Where the calls scroll over the same terminal, a bar would be drawn across them.
    wanted = not (to_stdout and sys.stdout.isatty())
    progress = FetchProgress("fetching", TimeWindow.of(start, end), wanted=wanted)
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
                    await anyio.to_thread.run_sync(partial(_write_stdout, batch), abandon_on_cancel=True)
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
    tell(str(report) + ("" if to_stdout else f"; written to {output}"))
    return Exit.DONE if report.certified else Exit.INCOMPLETE


def _write_stdout(records: Sequence[CallDetailRecord]) -> None:
    # Past sys.stdout's own buffer, so that nothing is left to flush when the reader goes away.
    rest = memoryview(encode_lines(records))
    try:
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"stdout cannot be written: {error.strerror}"
        raise StorageError(msg) from None
