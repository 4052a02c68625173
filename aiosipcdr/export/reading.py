"""Reader of exported files: some columns, row by row, in bounded memory.

A file may be hostile: an oversized row is refused before it fills the memory, however well it compresses. Writes
nothing.
"""

import csv
import errno
import gzip
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from msgspec.structs import astuple

from aiosipcdr.export.formats.compressed import load_zstd
from aiosipcdr.export.reading_excel import read_excel
from aiosipcdr.model.arrow import load_pyarrow
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import DURATION_FIELDS, TIME_FIELDS

__all__ = ["open_plain", "read_columns", "read_lines"]

_BLOCK = 1024 * 1024
_BATCH_ROWS = 4_096
# A row holds at most one response, 8 MiB by default, and quotes double in CSV.
_MAX_ROW_BYTES = 17 * 1024 * 1024
# Overhead of a line within a field; few fields have more than one.
_LINE_OVERHEAD = 100
# Per column of a row group, in Parquet.
_MAX_COLUMN_BYTES = 64 * 1024 * 1024
_MAX_FOOTER_BYTES = 16 * 1024 * 1024
# 8 MiB, as a power of two; exports need 2 MiB.
_ZSTD_WINDOW = 23


def open_plain(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a plain file for reading; a pipe or a device is refused without waiting for it.

    Raises:
        ExportError: It is a pipe, a device, ...
        OSError: It cannot be opened, or is a folder.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise ExportError(f"{path} cannot be read: it is not a plain file; pass the path of an exported file")


def read_columns(path: Path, format_name: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns for each row of a file; missing values are `None`.

    In text formats the values are the texts as stored, but durations in NDJSON are ints; in Parquet what pyarrow
    returns, times as microseconds since 1970.

    Args:
        path: The file.
        format_name: Its format, a result of `choose_format`.
        names: The columns.

    Raises:
        ImportError: An extra is missing; the message says what to install.
        ExportError: The file cannot be read in its format.
    """
    try:
        with open_plain(path) as file:
            if format_name == "parquet":
                yield from _read_parquet(file, names)
                return
            if format_name == "xlsx":
                yield from read_excel(file, names, max_row_bytes=_MAX_ROW_BYTES)
                return
            text, _, compression = format_name.partition(".")
            plain = _decompress(file, compression)
            yield from (_read_csv if text == "csv" else _read_ndjson)(plain, names)
    except (ImportError, ExportError):
        raise
    except Exception as error:  # noqa: BLE001 - each decompressor and parser has exceptions of its own
        if isinstance(error, OSError) and error.errno is not None:
            raise ExportError(f"{path} cannot be read: {os.strerror(error.errno)}") from None
        raise ExportError(
            f"{path} cannot be read as {format_name}: it is damaged or has another format; export it again"
        ) from None


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file, each with its line end, in bounded memory.

    Raises:
        ValueError: A line is longer than any that an export writes.
    """
    while line := file.readline(_MAX_ROW_BYTES + 1):
        if len(line) > _MAX_ROW_BYTES:
            raise ValueError(len(line))
        yield line


def _decompress(file: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if compression == "zst":
        zstd = load_zstd()
        return cast("BinaryIO", zstd.open(file, options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}))
    return file


def _read_ndjson(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    kinds = [(name, int | None if name in DURATION_FIELDS else str | None) for name in names]
    row = msgspec.defstruct("_Columns", kinds, gc=False)
    decode = msgspec.json.Decoder(row).decode_lines
    for lines in _blocks_of(read_lines(file)):
        yield from map(astuple, decode(lines))


def _blocks_of(lines: Iterator[bytes]) -> Iterator[bytes]:
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield b"".join(block)
            block.clear()
            size = 0
    yield b"".join(block)


class _RowLines:
    """The lines of a file as text; raises if one row has too many."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._lines = read_lines(file)
        self._encoding = "utf-8-sig"

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.size += len(line) + _LINE_OVERHEAD
            if self.size > _MAX_ROW_BYTES:
                raise ValueError(self.size)
            yield line.decode(self._encoding)
            self._encoding = "utf-8"


def _read_csv(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    before = csv.field_size_limit(_MAX_ROW_BYTES)  # process-wide: restored at the end
    try:
        lines = _RowLines(file)
        rows = csv.reader(lines, strict=True)
        header = next(rows, [])
        indexes = [header.index(name) for name in names]
        for row in rows:
            lines.size = 0
            if len(row) != len(header):
                raise ValueError(len(row))
            yield tuple(row[index] or None for index in indexes)
    finally:
        csv.field_size_limit(before)


def _read_parquet(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    load_pyarrow()
    import pyarrow.parquet

    limits = {"thrift_string_size_limit": _MAX_FOOTER_BYTES, "thrift_container_size_limit": _MAX_FOOTER_BYTES}
    with pyarrow.parquet.ParquetFile(file, **limits) as parquet:
        _check_sizes(parquet.metadata, names)
        batches: Iterable[Any] = parquet.iter_batches(batch_size=_BATCH_ROWS, columns=list(names))
        for batch in batches:
            # Times as integers: Arrow holds some beyond Python's calendar.
            columns = [batch[name].cast("int64") if name in TIME_FIELDS else batch[name] for name in names]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _check_sizes(metadata: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - pyarrow has no types
    # Before anything is decompressed: a small file can declare a column of any size.
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            if column.path_in_schema in names and column.total_uncompressed_size > _MAX_COLUMN_BYTES:
                raise ValueError(column.total_uncompressed_size)
