"""A nightly job: yesterday's calls in a file, proven complete, or no file.

    python3 examples/nightly.py --sandbox

writes calls-YYYY-MM-DD.parquet (or the format that `--extension` selects) into the
current folder; without `--sandbox` for the account in AIOSIPCDR_BASE_URL,
AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. A file that exists is kept, and an
interrupted export is resumed, so the job may run at any time and as often as you
like. With cron, six hours after midnight, when the longest call of the day has
ended:

    0 6 * * *  cd /srv/calls && python3 nightly.py

Exit codes: 0 the file exists, 4 the file exists but some records or values could not be read, 3 the day could not be
proven complete, 1 any other failure.

Needs: pip install "aiosipcdr[arrow]"
"""

import argparse
import asyncio
import logging
import sys
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path

from sandboxed import sandbox_in_environment

from aiosipcdr import CdrClient, IncompleteRangeError, SipCdrError

DONE, FAILED, INCOMPLETE, UNREADABLE = 0, 1, 3, 4

# The account's day. A zone with daylight saving: zoneinfo.ZoneInfo("Europe/Vienna").
ZONE = timezone(timedelta(hours=8))

log = logging.getLogger("nightly")


async def fetch_day(day: date, folder: Path, extension: str) -> int:
    """Write the file of `day`, unless it exists; return the exit code."""
    start = datetime.combine(day, time(), ZONE)
    end = datetime.combine(day + timedelta(days=1), time(), ZONE)
    path = folder / f"calls-{day}{extension}"
    if path.exists():
        log.info("%s exists", path)
        return DONE
    try:
        async with CdrClient.from_env() as client:
            report = await client.export(start, end, path, adjacent=True)
    except IncompleteRangeError as error:
        log.error("%s was not written: %s", path, error.report)  # noqa: TRY400 - the report says more than a traceback
        return INCOMPLETE
    except SipCdrError as error:
        log.error("%s was not written: %s", path, error)  # noqa: TRY400 - likewise
        return FAILED
    log.info("%s: %s", path, report)
    return UNREADABLE if report.quarantined or report.faulty_fields else DONE


def main() -> int:
    """Read the arguments and export the day."""
    parser = argparse.ArgumentParser(description="Yesterday's calls in a file.")
    parser.add_argument("--sandbox", action="store_true", help="fetch generated calls")
    parser.add_argument("--day", type=date.fromisoformat, help="another day than yesterday: 2026-10-01")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the file goes")
    parser.add_argument("--extension", default=".parquet", help=".parquet, .ndjson, .csv, .csv.gz ...")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with sandbox_in_environment(wanted=options.sandbox) as sandbox:
        now = datetime.now(ZONE) if sandbox is None else sandbox.end
        day = options.day or (now - timedelta(days=1)).date()
        return asyncio.run(fetch_day(day, options.folder, options.extension))


if __name__ == "__main__":
    sys.exit(main())
