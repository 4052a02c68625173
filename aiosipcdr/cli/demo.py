"""`aiosipcdr demo`: a full export from a sandbox, with figures.

After an interruption the same command resumes: the sandbox generates the same calls. Replaces no file but its own
`aiosipcdr-demo.ndjson`.
"""

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.exit_codes import CommandError, Terminated, exit_code_for
from aiosipcdr.cli.output import print_json
from aiosipcdr.cli.progress import FetchProgress, waiting
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Settings
from aiosipcdr.cli.summary import Figures, figures_as_json, show_figures
from aiosipcdr.export import ExportPaths, check_target, choose_format, open_encoder, read_facts
from aiosipcdr.model.report import FetchReport

__all__ = ["demo"]

_OWN_FILE = Path("aiosipcdr-demo.ndjson")


def demo(
    *,
    records: Annotated[int, Parameter(validator=Number(gte=0))] = 100_000,
    output: Path | None = None,
    overwrite: bool = False,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 8,
    json: bool = False,
) -> int:
    """Start a sandbox, fetch all its calls over HTTP, write a file and show the result.

    The sandbox is a separate process on a free loopback port and ends with the demo.

    Args:
        records: Number of calls in the sandbox.
        output: The file to write; by default aiosipcdr-demo.ndjson in this folder, which is replaced
            if it exists.
        overwrite: Also replace an existing file named by --output.
        concurrency: Maximum number of concurrent requests.
        json: Print the result as JSON instead of a table.
    """
    target = _OWN_FILE if output is None else output
    format_name = choose_format(target)
    open_encoder(format_name)
    overwrite = overwrite or output is None
    journal = ExportPaths.sidecar_path(target).journal
    if not journal.exists():
        check_target(target, overwrite)
    try:
        report, seconds = run_to_end(_run(records, target, Pace(concurrency=concurrency), overwrite=overwrite))
    except (KeyboardInterrupt, Terminated) as interruption:
        if journal.exists():
            interruption.add_note(f"progress saved in {journal}; to resume, run the same command")
        raise
    figures = Figures(report=report, file=read_facts(target, format_name), seconds=seconds)
    if json:
        print_json(figures_as_json(figures, target))
    else:
        show_figures(figures, target)
    return exit_code_for([report])


async def _run(records: int, target: Path, pace: Pace, *, overwrite: bool) -> tuple[FetchReport, float]:
    from aiosipcdr.sandbox import SandboxProcess

    async with AsyncExitStack() as stack:
        with waiting(f"generating {records:,} calls in a sandbox"):
            process = SandboxProcess(records=records, path="temp", account="demo")
            try:
                sandbox = await stack.enter_async_context(process)
            except RuntimeError:
                msg = "the sandbox did not start; run python3 -m aiosipcdr sandbox to see why"
                raise CommandError(msg) from None
        settings = Settings(base_url=sandbox.base_url, api_key=sandbox.api_key, api_secret=sandbox.api_secret)
        progress = stack.enter_context(FetchProgress("fetching", int((sandbox.end - sandbox.start).total_seconds())))
        client = await stack.enter_async_context(build_client(settings, pace, progress))
        began = time.perf_counter()
        report = await client.export(sandbox.start, sandbox.end, target, overwrite=overwrite)
        # After a resume, the report includes the time of the earlier runs.
        return report, max(report.elapsed, time.perf_counter() - began)
