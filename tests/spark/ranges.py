"""Reading a range of the sandbox with Spark, and the truth to compare it with."""

from decimal import Decimal
from typing import Any, NamedTuple

from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.sandbox import Sandbox


class Sums(NamedTuple):
    """What is compared of a large range."""

    rows: int
    calls: int
    cost: Decimal


def truth(sandbox: Sandbox) -> Sums:
    """What the sandbox has: its rows and ids, and the amounts in its own records."""
    rows = sandbox.rows()
    cost = sum((Decimal(str(row["cost"])) for row in rows if row.get("cost") not in (None, "")), Decimal())
    return Sums(len(rows), len({row["voiceId"] for row in rows}), cost)


def sums(frame: Any) -> Sums:
    """The same of a data frame."""
    return Sums(*frame.selectExpr("count(*)", "count(distinct voice_id)", "sum(cost)").first())


def read(spark: Any, sandbox: Sandbox, **options: object) -> Any:
    """Return the data frame of the sandbox's range."""
    reader = spark.read.format("sipcdr").option("start", sandbox.start.isoformat())
    reader = reader.option("end", sandbox.end.isoformat())
    for name, value in options.items():
        reader = reader.option(name, value)
    return reader.load()


def open_client(sandbox: Sandbox) -> BlockingCdrClient:
    """Return a client of the sandbox's account."""
    return BlockingCdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret)
