"""Exported files, read back: a few columns of them, row by row, in bounded memory.

A file may come from elsewhere and be made to harm its reader: a row is refused
before it fills the memory, however well it compresses.  Writes nothing.
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
from aiosipcdr.model.arrow import load_pyarrow
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import DURATION_FIELDS, TIME_FIELDS

__all__ = ["open_plain", "read_columns", "read_lines"]

_BLOCK = 1024 * 1024
_LINES = 4_096
# A row holds at most what one answer held, 8 MiB by default, and quotes count twice in it.
_LARGEST_ROW = 17 * 1024 * 1024
# What a line in a field takes besides its bytes: few fields have more than one.
_COST_OF_LINE = 100
# Of a column of a row group, in Parquet.
_LARGEST_COLUMN = 64 * 1024 * 1024
_LARGEST_FOOTER = 16 * 1024 * 1024
# 8 MiB, as a power of two; what exports write needs 2 MiB.
_ZSTD_WINDOW = 23


def open_plain(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a plain file for reading, whoever made it; a pipe or a device is not waited for.

    Raises:
        ExportError: it is a pipe, a device, ...
        OSError: it cannot be opened, or is a folder.
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
    raise ExportError(f"{path} cannot be read: it is not a plain file")


def read_columns(path: Path, format_name: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns for each row of a file, `None` where there is none.

    In text formats they are texts as they stand, but durations in NDJSON are
    ints; in Parquet what pyarrow makes of them, times as microseconds since 1970.

    Args:
        path: the file.
        format_name: its format, as `choose_format` names it.
        names: the columns.

    Raises:
        ImportError: an extra is missing; the text says what to install.
        ExportError: the file cannot be read as one of its format.
    """
    try:
        with open_plain(path) as file:
            if format_name == "parquet":
                yield from _read_parquet(file, names)
                return
            text, _, compression = format_name.partition(".")
            plain = _decompress(file, compression)
            yield from (_read_csv if text == "csv" else _read_ndjson)(plain, names)
    except (ImportError, ExportError):
        raise
    except Exception as error:  # noqa: BLE001 - each decompressor and reader has errors of its own
        if isinstance(error, OSError) and error.errno is not None:
            raise ExportError(f"{path} cannot be read: {os.strerror(error.errno)}") from None
        raise ExportError(f"{path} cannot be read as {format_name}: it is damaged, or another format") from None


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file, each with its end, in bounded memory.

    Raises:
        ValueError: a line is longer than any that an export writes.
    """
    while line := file.readline(_LARGEST_ROW + 1):
        if len(line) > _LARGEST_ROW:
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
    """The lines of a file as text, as long as those of one row are not too many."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._lines = read_lines(file)
        self._encoding = "utf-8-sig"

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.size += len(line) + _COST_OF_LINE
            if self.size > _LARGEST_ROW:
                raise ValueError(self.size)
            yield line.decode(self._encoding)
            self._encoding = "utf-8"


def _read_csv(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    before = csv.field_size_limit(_LARGEST_ROW)  # of the whole process: put back in the end
    try:
        lines = _RowLines(file)
        rows = csv.reader(lines, strict=True)
        head = next(rows, [])
        places = [head.index(name) for name in names]
        for row in rows:
            lines.size = 0
            if len(row) != len(head):
                raise ValueError(len(row))
            yield tuple(row[place] or None for place in places)
    finally:
        csv.field_size_limit(before)


def _read_parquet(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    load_pyarrow()
    import pyarrow.parquet

    limits = {"thrift_string_size_limit": _LARGEST_FOOTER, "thrift_container_size_limit": _LARGEST_FOOTER}
    with pyarrow.parquet.ParquetFile(file, **limits) as parquet:
        _check_sizes(parquet.metadata, names)
        batches: Iterable[Any] = parquet.iter_batches(batch_size=_LINES, columns=list(names))
        for batch in batches:
            # Times as numbers: some that Arrow can hold lie beyond Python's calendar.
            columns = [batch[name].cast("int64") if name in TIME_FIELDS else batch[name] for name in names]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _check_sizes(metadata: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - pyarrow has no types
    # Before anything is unpacked: a small file can claim a column of any size.
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema in names and column.total_uncompressed_size > _LARGEST_COLUMN:
                raise ValueError(column.total_uncompressed_size)
