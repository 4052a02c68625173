"""A range in several processes: each reads parts of it, and all together keep to one rate.

    python3 examples/processes.py --sandbox

writes a Parquet file for each part of a month of generated calls into the current folder; without `--sandbox` for the
account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. Every call is in exactly one file. A part
that fails does not disturb the others, and can be read again alone.

Exit codes: 0 every part is certified, 1 a part could not be read.

Needs: pip install "aiosipcdr[arrow]"
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from sandboxed import sandbox_in_environment

from aiosipcdr import FetchReport, RangePart, RateServer, RemoteRate, SipCdrError
from aiosipcdr.blocking import BlockingCdrClient


def read_part(part: RangePart, folder: Path, rate: RemoteRate) -> FetchReport:
    """Write the file of a part. Runs in another process, which gets these arguments and the environment."""
    unfinished = folder / f"part-{part.index:05}.unfinished"
    with BlockingCdrClient.from_env(rate=rate) as client, client.stream(part=part) as stream:
        batches = stream.arrow_batches()
        if (first := next(batches, None)) is not None:
            with pq.ParquetWriter(unfinished, first.schema) as writer:
                writer.write_batch(first)
                for batch in batches:
                    writer.write_batch(batch)
            unfinished.rename(unfinished.with_suffix(".parquet"))  # only now, when the part is proven complete
    return stream.report


def read_range(start: datetime, end: datetime, options: argparse.Namespace) -> bool:
    """Cut the range, let the processes read its parts, and return whether all of them are certified."""
    # "spawn": a forked child would inherit threads and connections.
    processes = ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn"))
    with RateServer(options.rate) as server, processes:
        with BlockingCdrClient.from_env(rate=server.handle) as client:
            parts = client.plan_parts(start, end, rows=options.rows)
        futures = [processes.submit(read_part, part, options.folder, server.handle) for part in parts]
        is_complete = True
        for part, future in zip(parts, futures, strict=True):
            try:
                report = future.result()
            except SipCdrError as error:
                is_complete = False
                print(f"part {part.index + 1} of {part.parts} failed: {error}", file=sys.stderr)
            else:
                is_complete = is_complete and report.certified
                print(f"part {part.index + 1} of {part.parts}: {report}")
    return is_complete


def main() -> int:
    """Read the arguments and the last thirty days."""
    parser = argparse.ArgumentParser(description="A range in several processes.")
    parser.add_argument("--sandbox", action="store_true", help="fetch generated calls")
    parser.add_argument("--processes", type=int, default=2, help="how many processes read")
    parser.add_argument("--rows", type=int, default=50_000, help="about how many calls a part has")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, of all processes together")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files go")
    options = parser.parse_args()
    with sandbox_in_environment(wanted=options.sandbox) as sandbox:
        end = datetime.now(UTC) if sandbox is None else sandbox.end
        start = end - timedelta(days=30) if sandbox is None else sandbox.start
        return 0 if read_range(start, end, options) else 1


if __name__ == "__main__":
    sys.exit(main())
