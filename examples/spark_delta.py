"""A Delta table that follows the calls: a stream of Spark, merged with delta-rs.

    python3 examples/spark_delta.py --sandbox

merges a month of generated calls into the table `calls`; without `--sandbox` those since `--start` of the account in
AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. It reads what is older than `--lateness`, then ends; run
again, it goes on from its checkpoint. Killed at any moment, it loses and doubles nothing: rows that are there already
are not inserted again. The key of a row is `voice_id` and its contents, since the legs of a transferred call share the
id.

Needs: pip install "aiosipcdr[spark]" "deltalake>=1.0", and Java 17. No jar of Delta is needed.
"""

import argparse
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as everybody names it
from sandboxed import sandbox_in_environment

from aiosipcdr.integrations.spark import SipCdrDataSource


def merge_batch(folder: str, frame: DataFrame, _number: int) -> None:
    """Merge a micro-batch, in the driver: as Arrow, it is about 400 bytes a call."""
    batch = frame.withColumn("row_key", F.sha2(F.to_json(F.struct("*")), 256)).toArrow()
    table = DeltaTable.create(folder, schema=batch.schema, mode="ignore")
    (
        table.merge(
            batch,
            predicate="kept.voice_id = new.voice_id and kept.row_key = new.row_key",
            source_alias="new",
            target_alias="kept",
        )
        .when_not_matched_insert_all()
        .execute()
    )


def follow(spark: SparkSession, start: datetime, options: argparse.Namespace) -> None:
    """Merge all calls from `start` on that are older than the lateness."""
    reader = spark.readStream.format("sipcdr").option("start", start.isoformat()).option("rate", options.rate)
    calls = reader.option("lateness", options.lateness).option("maxRowsPerTrigger", options.rows).load()
    writer = calls.writeStream.foreachBatch(partial(merge_batch, str(options.folder.resolve())))
    writer = writer.option("checkpointLocation", f"{options.folder}-checkpoint")
    writer.trigger(availableNow=True).start().awaitTermination()


def main() -> None:
    """Read the arguments, start Spark and merge."""
    parser = argparse.ArgumentParser(description="A Delta table that follows the calls.")
    parser.add_argument("--sandbox", action="store_true", help="fetch generated calls")
    parser.add_argument("--start", type=datetime.fromisoformat, help="begin of the table, with an offset")
    parser.add_argument("--lateness", default="4h", help="how old a call must be; longer than your longest call")
    parser.add_argument("--rows", type=int, default=500_000, help="about how many calls are merged at once")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, of all tasks together")
    parser.add_argument("--folder", type=Path, default=Path("calls"), help="where the table is")
    options = parser.parse_args()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # has aiosipcdr; Spark would take python3 of PATH
    with sandbox_in_environment(wanted=options.sandbox) as sandbox:
        start = options.start if sandbox is None else sandbox.start
        if start is None:
            parser.error("name the begin of the table with --start")
        spark = SparkSession.builder.appName("calls").getOrCreate()
        spark.dataSource.register(SipCdrDataSource)
        follow(spark, start, options)
        table = DeltaTable(str(options.folder.resolve()))
        print(f"{table.count():,} calls in {options.folder}, version {table.version()}")


if __name__ == "__main__":
    main()
