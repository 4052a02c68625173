"""Parquet: zstd, row groups of exactly 65,536 calls, the query in the file's metadata.

Optional: needs pyarrow, which parses the rows. Opens no file. Holds at most one row group: pyarrow's output is returned
at once.
"""

from typing import Any

from aiosipcdr.export.formats.encoders import Metadata, Sink
from aiosipcdr.export.render import LIST_FIELDS, are_lists
from aiosipcdr.model.arrow import BATCH_ROWS, SCHEMA_VERSION, load_pyarrow, schema
from aiosipcdr.model.records import TIME_FIELDS

__all__ = ["ParquetEncoder"]

# Nearly unique per call: with a dictionary, which pyarrow gives up midway, the file is a fifth larger.
_UNIQUE = {"voice_id", "recording_file_id", "callee", *TIME_FIELDS}

_PIECE_ROWS = 8_192


class ParquetEncoder:
    """An `Encoder` of the columns of `aiosipcdr.model.arrow.schema`.

    Row groups and the pieces in them are cut by row count, so the output does not depend on the batches. Pending rows
    are Arrow columns, about 300 bytes each.
    """

    __slots__ = (
        "_csv_convert_options",
        "_csv_parse_options",
        "_groups",
        "_json_parse_options",
        "_metadata",
        "_pending",
        "_pieces",
        "_pool",
        "_pyarrow",
        "_rows",
        "_schema",
        "_sink",
        "_writer",
    )

    def __init__(self, metadata: Metadata | None = None) -> None:
        """Prepare to write; `metadata` is added to the file together with `aiosipcdr.schema_version`.

        Raises:
            ImportError: The extra `arrow` is not installed; the message says what to install.
        """
        pa: Any = load_pyarrow()
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401 - imported here, so that a missing part fails before the export

        self._pyarrow = pa
        # The default pool keeps freed memory, twice what is in use.
        self._pool: Any = pa.system_memory_pool()
        self._metadata = Metadata(metadata or {})
        self._metadata["aiosipcdr.schema_version"] = str(SCHEMA_VERSION)
        self._sink = Sink()
        self._writer: Any = None
        self._schema: Any = schema()
        self._json_parse_options = pa.json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="error")
        self._csv_parse_options = pa.csv.ParseOptions(double_quote=False)
        self._csv_convert_options = pa.csv.ConvertOptions(
            column_types=self._schema,
            include_columns=self._schema.names,
            null_values=["null"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._pending: list[Any] = []
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
            # Times rise from call to call: delta encoding halves them and compresses faster.
            column_encoding=dict.fromkeys(TIME_FIELDS, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )
        self._writer.add_key_value_metadata(self._metadata)
        return self._sink.take()

    def encode(self, rows: bytes) -> bytes:
        """Return the row groups that `rows` completed; the remaining rows are kept."""
        if rows:
            table = self._read(rows)
            while table.num_rows:
                part = table.slice(0, _PIECE_ROWS - self._rows)
                table = table.slice(part.num_rows)
                self._pending.append(part)
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
            # Some readers fail on a file without row groups. Only then: making an array makes pyarrow import pandas.
            self._pieces.append(self._schema.empty_table())
        if self._pieces:
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _read(self, rows: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types
        pa = self._pyarrow
        # One block: a row must not cross a block boundary.
        block = {"use_threads": False, "block_size": len(rows) + 1}
        if are_lists(rows):
            # Lists have no escapes, so they are valid CSV, which parses three times as fast as JSON.
            options = pa.csv.ReadOptions(column_names=LIST_FIELDS, **block)
            read = pa.csv.read_csv(
                pa.BufferReader(rows), options, self._csv_parse_options, self._csv_convert_options, self._pool
            )
        else:
            options = pa.json.ReadOptions(**block)
            read = pa.json.read_json(pa.BufferReader(rows), options, self._json_parse_options, self._pool)
        # The readers drop which columns may be null.
        return pa.Table.from_arrays(read.columns, schema=self._schema)

    def _end_piece(self) -> None:
        # The ends of a column's chunks show in its pages; combining a whole group at once would hold it twice.
        self._pieces.append(self._pyarrow.concat_tables(self._pending).combine_chunks(self._pool))
        self._pending.clear()
        self._rows = 0

    def _write_group(self) -> None:
        table = self._pyarrow.concat_tables(self._pieces)
        self._pieces.clear()
        self._groups += 1
        self._writer.write_table(table, row_group_size=BATCH_ROWS)
