"""Parquet: zstd, row groups of exactly 65,536 calls, the query in the file's own metadata.

Optional: needs pyarrow.  Must never open a file, and never hold more than one
row group: what pyarrow writes is handed on at once.
"""

import io
from collections.abc import Sequence
from typing import Any

from aiosipcdr.arrow import BATCH_ROWS, SCHEMA_VERSION, load_pyarrow, record_batch, schema
from aiosipcdr.export.encoders import Metadata
from aiosipcdr.protocol.records import CallDetailRecord

__all__ = ["ParquetEncoder"]

# Every call has its own: a dictionary of them would only be built to be given up.
_UNIQUE = {"voice_id", "recording_file_id"}


class ParquetEncoder:
    """An `Encoder` of the columns of `aiosipcdr.arrow.schema`.

    Row groups are cut by count, whatever the batches, so that batch boundaries
    leave no trace.  Records wait as Arrow columns, some 250 bytes each.
    """

    __slots__ = ("_groups", "_metadata", "_pyarrow", "_rows", "_schema", "_sink", "_waiting", "_writer")

    def __init__(self, metadata: Metadata | None = None) -> None:
        """Prepare to write; `metadata` goes into the file beside `aiosipcdr.schema_version`.

        Raises:
            ImportError: the extra `arrow` is not installed; the text says what to install.
        """
        self._pyarrow: Any = load_pyarrow()
        import pyarrow.parquet  # noqa: F401 - loaded here, so that nothing is missing later

        self._metadata = Metadata(metadata or {})
        self._metadata["aiosipcdr.schema_version"] = str(SCHEMA_VERSION)
        self._sink = _Sink()
        self._writer: Any = None
        self._schema: Any = schema()
        self._waiting: list[Any] = []
        self._groups = 0
        self._rows = 0

    def begin(self) -> bytes:
        """Return the magic number."""
        self._writer = self._pyarrow.parquet.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=[name for name in self._schema.names if name not in _UNIQUE],
            write_page_checksum=True,
        )
        self._writer.add_key_value_metadata(self._metadata)
        return self._sink.take()

    def encode(self, records: Sequence[CallDetailRecord]) -> bytes:
        """Return the row groups that `records` have filled; the rest of them waits."""
        start = 0
        while start < len(records):
            part = records[start : start + BATCH_ROWS - self._rows]
            self._waiting.append(record_batch(part))
            self._rows += len(part)
            start += len(part)
            if self._rows == BATCH_ROWS:
                self._write_group()
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the last row group, which may be smaller, and the footer."""
        if self._rows or not self._groups:  # some readers fail over a file without any
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        # In one piece: where a column's pieces end would show in its pages.
        table = self._pyarrow.Table.from_batches(self._waiting, self._schema).combine_chunks()
        self._waiting.clear()
        self._rows = 0
        self._groups += 1
        self._writer.write_table(table, row_group_size=BATCH_ROWS)


class _Sink(io.RawIOBase):
    """A file to pyarrow; keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        size = len(data)
        self._held += data
        self._place += size
        return size

    def tell(self) -> int:
        return self._place

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken
