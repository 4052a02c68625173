"""Parquet: zstd, row groups of exactly 65,536 calls, the query in the file's own metadata.

Optional: needs pyarrow, which reads the rows by itself.  Must never open a
file, and never hold more than one row group: what pyarrow writes is handed on
at once.
"""

import io
from typing import Any

from aiosipcdr.arrow import BATCH_ROWS, SCHEMA_VERSION, load_pyarrow, schema
from aiosipcdr.export.encoders import Metadata
from aiosipcdr.export.rows import EXTRA

__all__ = ["ParquetEncoder"]

# Every call has its own: a dictionary of them would only be built to be given up.
_UNIQUE = {"voice_id", "recording_file_id"}


class ParquetEncoder:
    """An `Encoder` of the columns of `aiosipcdr.arrow.schema`, and of `extra`.

    Row groups are cut by count, whatever the batches, so that batch boundaries
    leave no trace.  Rows wait as Arrow columns, some 300 bytes each.
    """

    __slots__ = ("_groups", "_metadata", "_pyarrow", "_rows", "_schema", "_sink", "_waiting", "_writer")

    def __init__(self, metadata: Metadata | None = None) -> None:
        """Prepare to write; `metadata` goes into the file beside `aiosipcdr.schema_version`.

        Raises:
            ImportError: the extra `arrow` is not installed; the text says what to install.
        """
        pa: Any = load_pyarrow()
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401 - loaded here, so that nothing is missing later

        self._pyarrow = pa
        self._metadata = Metadata(metadata or {})
        self._metadata["aiosipcdr.schema_version"] = str(SCHEMA_VERSION)
        self._sink = _Sink()
        self._writer: Any = None
        self._schema: Any = schema().append(pa.field(EXTRA, pa.string()))
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

    def encode(self, rows: bytes) -> bytes:
        """Return the row groups that `rows` have filled; the rest of them waits."""
        if rows:
            table = self._read(rows)
            while table.num_rows:
                part = table.slice(0, BATCH_ROWS - self._rows)
                table = table.slice(part.num_rows)
                self._waiting.append(part)
                self._rows += part.num_rows
                if self._rows == BATCH_ROWS:
                    self._write_group()
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the last row group, which may be smaller, and the footer."""
        if self._rows or not self._groups:  # some readers fail over a file without any
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _read(self, rows: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types
        json = self._pyarrow.json
        # In one block: a row must not lie across two of them.
        table = json.read_json(
            io.BytesIO(rows),
            read_options=json.ReadOptions(use_threads=False, block_size=len(rows) + 1),
            parse_options=json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="error"),
        )
        return table.cast(self._schema)  # which columns may be null is lost on the way

    def _write_group(self) -> None:
        # An empty table only where it is needed: making an array, pyarrow imports pandas if there is one.
        waiting = self._waiting or [self._schema.empty_table()]
        # In one piece: where a column's pieces end would show in its pages.
        table = self._pyarrow.concat_tables(waiting).combine_chunks()
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
