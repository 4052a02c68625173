"""A Parquet lake with a folder for each day, written by Spark.

    python3 examples/spark_lake.py --sandbox

writes a month of generated calls into `lake/day=2026-10-01/...`; without `--sandbox` the range of `--start` and `--end`
for the account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET, which executors on other machines
need in their environment, too. Run it again for other days, or for the same ones: a day that is read is replaced as a
whole, other days stay as they are. Days are those of `--time-field`, which must be the time that the vendor filters on:
by another one, calls of a neighbouring day would be read, and replace that day.

Needs: pip install "aiosipcdr[spark]", and Java 17
"""

import argparse
import os
import sys
from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as everybody names it
from sandboxed import sandbox_in_environment

from aiosipcdr.integrations.spark import SipCdrDataSource


def write_days(spark: SparkSession, start: datetime, end: datetime, options: argparse.Namespace) -> None:
    """Write the calls from `start` to before `end`, by days of the session's time zone."""
    calls = (
        spark.read.format("sipcdr")
        .option("start", start.isoformat())
        .option("end", end.isoformat())
        .option("timeField", options.time_field)
        .option("rows", options.rows)
        .option("rate", options.rate)
        .load()
    )
    time_or_error = F.coalesce(options.time_field, F.raise_error(F.lit(f"a call without {options.time_field}")))
    days = calls.withColumn("day", F.to_date(time_or_error))
    days.write.partitionBy("day").mode("overwrite").parquet(str(options.folder))


def main() -> None:
    """Read the arguments, start Spark and write."""
    parser = argparse.ArgumentParser(description="A Parquet lake, written by Spark.")
    parser.add_argument("--sandbox", action="store_true", help="fetch generated calls")
    parser.add_argument("--start", type=datetime.fromisoformat, help="midnight of the first day, with an offset")
    parser.add_argument("--end", type=datetime.fromisoformat, help="midnight after the last day, with an offset")
    parser.add_argument("--tz", default="Asia/Shanghai", help="the time zone of the days")
    parser.add_argument("--time-field", default="submit_time", help="the time that the vendor filters on")
    parser.add_argument("--rows", type=int, default=50_000, help="about how many calls a task reads")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, of all tasks together")
    parser.add_argument("--folder", type=Path, default=Path("lake"), help="where the files go")
    options = parser.parse_args()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # has aiosipcdr; Spark would take python3 of PATH
    with sandbox_in_environment(wanted=options.sandbox) as sandbox:
        start, end = (options.start, options.end) if sandbox is None else (sandbox.start, sandbox.end)
        if start is None or end is None:
            parser.error("name the range with --start and --end")
        zone = ZoneInfo(options.tz)
        if sandbox is None and any(bound.astimezone(zone).time() != time.min for bound in (start, end)):
            parser.error("--start and --end must be midnights of --tz: a part of a day would replace the whole day")
        spark = SparkSession.builder.appName("calls").getOrCreate()
        spark.conf.set("spark.sql.session.timeZone", options.tz)
        spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")  # other days stay
        spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")  # not INT96
        spark.dataSource.register(SipCdrDataSource)
        write_days(spark, start, end, options)
        written = spark.read.parquet(str(options.folder))
        print(f"{written.count():,} calls of {written.select('day').distinct().count()} days in {options.folder}")


if __name__ == "__main__":
    main()
