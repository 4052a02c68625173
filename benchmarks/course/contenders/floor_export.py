"""The floor of a file: the bare loop, and its calls handed to pyarrow as they are.

Nothing is ordered, checked or kept on the way: what is killed is lost.
"""

from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aiosipcdr.model.arrow import schema
from course.contenders.floor import Call, fetch_pages
from course.task import Outcome, Task

_ROWS = 65_536
_columns = [attrgetter(name) for name in Call.__struct_fields__]


def to_parquet(task: Task) -> Outcome:
    """Read all pages, then write them to a Parquet file."""
    outcome, calls = fetch_pages(task)
    shape = pa.schema([field for field in schema() if field.name != "extra"])
    with pq.ParquetWriter(Path(task.folder) / "floor.parquet", shape) as writer:
        for start in range(0, len(calls), _ROWS):
            part = calls[start : start + _ROWS]
            arrays = [pa.array(list(map(read, part)), field.type) for read, field in zip(_columns, shape, strict=True)]
            writer.write_table(pa.table(arrays, schema=shape))
    return outcome
