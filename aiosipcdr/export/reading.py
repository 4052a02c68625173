"""Exported files, read back: a few columns of them, row by row, in bounded memory.

Reads what the encoders write, and must never write anything.
"""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from msgspec.structs import astuple

from aiosipcdr.arrow import load_pyarrow
from aiosipcdr.errors import ExportError
from aiosipcdr.export.compressed import load_zstd
from aiosipcdr.protocol.records import TIME_FIELDS

__all__ = ["read_columns", "read_lines"]

_BLOCK = 1024 * 1024
_LINES = 4_096
_LARGEST_FIELD = 64 * 1024 * 1024
# A row holds at most what one answer held, 8 MiB by default; as JSON in a field of CSV or NDJSON, quotes count twice.
_LARGEST_LINE = 32 * 1024 * 1024


def read_columns(path: Path, format_name: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns for each row of a file, `None` where there is none.

    In text formats they are texts as they stand; in Parquet what pyarrow makes
    of them, times as microseconds since 1970.

    Args:
        path: the file.
        format_name: its format, as `choose_format` names it.
        names: the columns.

    Raises:
        ImportError: an extra is missing; the text says what to install.
        ExportError: the file cannot be read as one of its format.
    """
    try:
        if format_name == "parquet":
            yield from _read_parquet(path, names)
            return
        text, _, compression = format_name.partition(".")
        with path.open("rb") as file:
            plain = _decompress(file, compression)
            yield from (_read_csv if text == "csv" else _read_ndjson)(plain, names)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - each decompressor and reader has errors of its own
        if isinstance(error, OSError) and error.errno is not None:
            raise ExportError(f"{path} cannot be read: {os.strerror(error.errno)}") from None
        raise ExportError(f"{path} cannot be read as {format_name}: it is damaged, or another format") from None


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file, each with its end, in bounded memory.

    Raises:
        ExportError: a line is longer than any that an export writes.
    """
    while line := file.readline(_LARGEST_LINE + 1):
        if len(line) > _LARGEST_LINE:
            raise ExportError("a line is longer than any that an export writes")
        yield line


def _decompress(file: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if compression == "zst":
        return cast("BinaryIO", load_zstd().open(file))
    return file


def _read_ndjson(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    row = msgspec.defstruct("_Columns", [(name, str | None) for name in names], gc=False)
    decode = msgspec.json.Decoder(row).decode_lines
    while lines := file.readlines(_BLOCK):
        yield from map(astuple, decode(b"".join(lines)))


def _read_csv(file: BinaryIO, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    before = csv.field_size_limit(_LARGEST_FIELD)  # of the whole process: put back in the end
    try:
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            rows = csv.reader(text, strict=True)
            head = next(rows, [])
            places = [head.index(name) for name in names]
            for row in rows:
                if len(row) != len(head):
                    raise ValueError(len(row))
                yield tuple(row[place] or None for place in places)
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    load_pyarrow()
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        batches: Iterable[Any] = file.iter_batches(batch_size=_LINES, columns=list(names))
        for batch in batches:
            # Times as numbers: some that Arrow can hold lie beyond Python's calendar.
            columns = [batch[name].cast("int64") if name in TIME_FIELDS else batch[name] for name in names]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)
