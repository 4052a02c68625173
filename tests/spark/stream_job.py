"""A driver that streams into Parquet files until there is nothing more to read; killed and started again by a test.

Arguments: a JSON object with `settings`, `options`, `out` and `checkpoint`.
"""

import json
import sys

from tests.spark.conftest import start_session

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    spark = start_session("local[2]", order["settings"])
    reader = spark.readStream.format("sipcdr")
    for name, value in order["options"].items():
        reader = reader.option(name, value)
    writer = reader.load().writeStream.format("parquet").option("checkpointLocation", order["checkpoint"])
    query = writer.trigger(availableNow=True).start(order["out"])
    query.awaitTermination()
    print(json.dumps([batch["numInputRows"] for batch in query.recentProgress]))  # noqa: T201 - for the test
    spark.stop()
