"""The reader of a part in another process, as a job queue would start it: it gets bytes, and knows nothing else."""

import asyncio
import pickle
from typing import NamedTuple

from aiosipcdr import CallDetailRecord, FetchReport, RangePart
from aiosipcdr.client import CdrClient
from aiosipcdr.model.query import OutOfRange
from tests.clients import QUICK


class PartRead(NamedTuple):
    """What a part owns, and its proof."""

    records: list[CallDetailRecord]
    report: FetchReport


def read_part(account: tuple[str, str, str], pickled: bytes, on_out_of_range: OutOfRange = "raise") -> PartRead:
    """Read a part with a client of its own."""
    part: RangePart = pickle.loads(pickled)  # noqa: S301 - the test's own
    return asyncio.run(_read(account, part, on_out_of_range))


async def _read(account: tuple[str, str, str], part: RangePart, on_out_of_range: OutOfRange) -> PartRead:
    async with (
        CdrClient(*account, retry=QUICK) as client,
        client.stream(part=part, on_out_of_range=on_out_of_range) as stream,
    ):
        records = [record async for record in stream]
    return PartRead(records, stream.report)
