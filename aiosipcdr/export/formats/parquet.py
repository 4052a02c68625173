"""Parquet: zstd, row groups of exactly 65,536 calls, the query in the file's own metadata.

Optional: needs pyarrow, which reads the rows by itself.  Must never open a
file, and never hold more than one row group: what pyarrow writes is handed on
at once.
"""

import io
from typing import Any

from aiosipcdr.export.formats.encoders import Metadata
from aiosipcdr.export.render import LIST_FIELDS, are_lists
from aiosipcdr.model.arrow import BATCH_ROWS, SCHEMA_VERSION, load_pyarrow, schema
from aiosipcdr.model.records import TIME_FIELDS

__all__ = ["ParquetEncoder"]

# Nearly every call has its own: a dictionary of them is built to be given up, and the file is a fifth larger for it.
_UNIQUE = {"voice_id", "recording_file_id", "callee", *TIME_FIELDS}

_PIECE_ROWS = 8_192


class ParquetEncoder:
    """An `Encoder` of the columns of `aiosipcdr.model.arrow.schema`.

    Row groups are cut by count, and laid out in pieces that are cut by count,
    whatever the batches, so that batch boundaries leave no trace.  Rows wait as
    Arrow columns, some 300 bytes each.
    """

    __slots__ = (
        "_as_told",
        "_groups",
        "_known_alone",
        "_metadata",
        "_no_escapes",
        "_pieces",
        "_pool",
        "_pyarrow",
        "_rows",
        "_schema",
        "_sink",
        "_waiting",
        "_writer",
    )

    def __init__(self, metadata: Metadata | None = None) -> None:
        """Prepare to write; `metadata` goes into the file beside `aiosipcdr.schema_version`.

        Raises:
            ImportError: the extra `arrow` is not installed; the text says what to install.
        """
        pa: Any = load_pyarrow()
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401 - loaded here, so that nothing is missing later

        self._pyarrow = pa
        # The default one keeps what was freed, twice what is in use.
        self._pool: Any = pa.system_memory_pool()
        self._metadata = Metadata(metadata or {})
        self._metadata["aiosipcdr.schema_version"] = str(SCHEMA_VERSION)
        self._sink = _Sink()
        self._writer: Any = None
        self._schema: Any = schema()
        self._known_alone = pa.json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="error")
        self._no_escapes = pa.csv.ParseOptions(double_quote=False)
        self._as_told = pa.csv.ConvertOptions(
            column_types=self._schema,
            include_columns=self._schema.names,
            null_values=["null"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._waiting: list[Any] = []
        self._rows = 0
        self._pieces: list[Any] = []
        self._groups = 0

    def begin(self) -> bytes:
        """Return the magic number."""
        self._writer = self._pyarrow.parquet.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=[name for name in self._schema.names if name not in _UNIQUE],
            # They rise from call to call: their differences take half the room, and less to compress.
            column_encoding=dict.fromkeys(TIME_FIELDS, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )
        self._writer.add_key_value_metadata(self._metadata)
        return self._sink.take()

    def encode(self, rows: bytes) -> bytes:
        """Return the row groups that `rows` have filled; the rest of them waits."""
        if rows:
            table = self._read(rows)
            while table.num_rows:
                part = table.slice(0, _PIECE_ROWS - self._rows)
                table = table.slice(part.num_rows)
                self._waiting.append(part)
                self._rows += part.num_rows
                if self._rows == _PIECE_ROWS:
                    self._end_piece()
                if len(self._pieces) * _PIECE_ROWS == BATCH_ROWS:
                    self._write_group()
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the last row group, which may be smaller, and the footer."""
        if self._rows:
            self._end_piece()
        if not self._pieces and not self._groups:
            # Some readers fail over a file without any.  Only then: to make an array, pyarrow imports pandas.
            self._pieces.append(self._schema.empty_table())
        if self._pieces:
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _read(self, rows: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types
        pa = self._pyarrow
        # In one block: a row must not lie across two of them.
        block = {"use_threads": False, "block_size": len(rows) + 1}
        if are_lists(rows):
            # Nothing in them is escaped, so they are CSV, which costs a third of what JSON does.
            options = pa.csv.ReadOptions(column_names=LIST_FIELDS, **block)
            read = pa.csv.read_csv(pa.BufferReader(rows), options, self._no_escapes, self._as_told, self._pool)
        else:
            options = pa.json.ReadOptions(**block)
            read = pa.json.read_json(pa.BufferReader(rows), options, self._known_alone, self._pool)
        # Which columns may be null was lost on the way.
        return pa.Table.from_arrays(read.columns, schema=self._schema)

    def _end_piece(self) -> None:
        # Where a column's pieces end may show in its pages; in one go, a whole group would be held twice.
        self._pieces.append(self._pyarrow.concat_tables(self._waiting).combine_chunks(self._pool))
        self._waiting.clear()
        self._rows = 0

    def _write_group(self) -> None:
        table = self._pyarrow.concat_tables(self._pieces)
        self._pieces.clear()
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
