"""Names of file formats and the encoder of each.

Selects by file name alone; opens no file. Loads an optional package only for the format that needs it.
"""

from datetime import UTC, tzinfo
from os import PathLike
from pathlib import Path
from typing import get_args

from aiosipcdr.export.formats.compressed import CompressedEncoder, GzipCompressor, zstd_compressor
from aiosipcdr.export.formats.csv_text import CsvEncoder
from aiosipcdr.export.formats.encoders import Encoder, Metadata
from aiosipcdr.export.formats.excel import ExcelEncoder
from aiosipcdr.export.formats.ndjson import NdjsonEncoder
from aiosipcdr.export.formats.parquet import ParquetEncoder
from aiosipcdr.model.query import ExportFormat

__all__ = ["FORMATS", "choose_format", "has_format", "open_encoder"]

FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
"""The names of all formats."""

_BY_ENDING = {f".{name}": name for name in FORMATS} | {
    ".jsonl": "ndjson",
    ".jsonl.gz": "ndjson.gz",
    ".jsonl.zst": "ndjson.zst",
}
_COMPRESSIONS = (".gz", ".zst")


def choose_format(path: str | PathLike[str], format: str | None = None) -> str:  # noqa: A002 - the public name
    """Return the name of the format to write: `format` if given, else the one of the file extension.

    The text formats "ndjson" and "csv" are compressed if `path` ends in .gz or .zst.

    Raises:
        ValueError: The format or the extension is unknown.
    """
    name = str(path).lower()
    if format is not None:
        if format not in FORMATS:
            msg = f"unknown format {format!r}; use one of {', '.join(FORMATS)}"
            raise ValueError(msg)
        compressed = next((format + ending for ending in _COMPRESSIONS if name.endswith(ending)), None)
        return compressed if compressed in FORMATS else format
    for ending, chosen in _BY_ENDING.items():
        if name.endswith(ending):
            return chosen
    msg = (
        "cannot infer a format from the file name; pass format=, or use .ndjson, .jsonl, .csv (each also with .gz or"
        " .zst), .parquet or .xlsx"
    )
    raise ValueError(msg)


def has_format(path: Path) -> bool:
    """Return whether the file has the extension of a format."""
    return path.name.lower().endswith(tuple(_BY_ENDING))


def open_encoder(
    name: str,
    *,
    spreadsheet: bool = False,
    metadata: Metadata | None = None,
    zone: tzinfo = UTC,
) -> Encoder:
    """Return a new encoder of the format that `choose_format` returned.

    May import an optional package: call it in a worker thread where the event loop must not wait.

    Args:
        name: The format.
        spreadsheet: Write CSV for Excel and similar programs.
        metadata: Names and values for the file's metadata, in formats that have it (Parquet).
        zone: The time zone of dates, in formats whose dates have none (Excel).

    Raises:
        ImportError: An extra is missing; the message says what to install.
        ValueError: `spreadsheet` with another format than CSV.
    """
    if spreadsheet and not name.startswith("csv"):
        msg = f"spreadsheet output needs CSV, not {name}; use a file name ending in .csv"
        if name == "xlsx":
            msg = "a file ending in .xlsx is for spreadsheets anyway; leave out spreadsheet"
        raise ValueError(msg)
    if name == "parquet":
        return ParquetEncoder(metadata)
    if name == "xlsx":
        return ExcelEncoder(zone)
    text, _, compression = name.partition(".")
    encoder: Encoder = CsvEncoder(spreadsheet=spreadsheet) if text == "csv" else NdjsonEncoder()
    if compression:
        return CompressedEncoder(encoder, GzipCompressor() if compression == "gz" else zstd_compressor())
    return encoder
