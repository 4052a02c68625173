"""Which format a file has, and the encoder that writes it.

Decides by names alone: must never touch a file, and loads an optional package
only for the format that needs it.
"""

from os import PathLike
from pathlib import Path
from typing import get_args

from aiosipcdr.export.formats.compressed import CompressedEncoder, GzipCompressor, zstd_compressor
from aiosipcdr.export.formats.csv_text import CsvEncoder
from aiosipcdr.export.formats.encoders import Encoder, Metadata
from aiosipcdr.export.formats.ndjson import NdjsonEncoder
from aiosipcdr.export.formats.parquet import ParquetEncoder
from aiosipcdr.model.query import ExportFormat

__all__ = ["FORMATS", "choose_format", "has_format", "open_encoder"]

FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
"""The names of all formats that can be written."""

_BY_ENDING = {f".{name}": name for name in FORMATS} | {
    ".jsonl": "ndjson",
    ".jsonl.gz": "ndjson.gz",
    ".jsonl.zst": "ndjson.zst",
}
_COMPRESSIONS = (".gz", ".zst")


def choose_format(path: str | PathLike[str], format: str | None = None) -> str:  # noqa: A002 - the public name
    """Return the name of the format to write: `format` where given, else by the ending of `path`.

    A `format` of plain text, "ndjson" or "csv", is compressed where `path` ends in .gz or .zst.

    Raises:
        ValueError: the format or the ending is not one that can be written.
    """
    name = str(path).lower()
    if format is not None:
        if format not in FORMATS:
            msg = f"unknown format {format!r}: {', '.join(FORMATS)} can be written"
            raise ValueError(msg)
        compressed = next((format + ending for ending in _COMPRESSIONS if name.endswith(ending)), None)
        return compressed if compressed in FORMATS else format
    for ending, chosen in _BY_ENDING.items():
        if name.endswith(ending):
            return chosen
    msg = (
        "the name of the file does not tell a format that can be written: let it end in .ndjson or .jsonl,"
        " .csv (each also with .gz or .zst behind) or .parquet, or name the format with format="
    )
    raise ValueError(msg)


def has_format(path: Path) -> bool:
    """Say whether the name of a file ends as that of a format does."""
    return path.name.lower().endswith(tuple(_BY_ENDING))


def open_encoder(
    name: str,
    *,
    spreadsheet: bool = False,
    metadata: Metadata | None = None,
) -> Encoder:
    """Return a new encoder of the format that `choose_format` named.

    May load an optional package, which takes a moment: call it in a worker
    thread where the event loop must not wait.

    Args:
        name: the format.
        spreadsheet: write CSV for Excel and its like.
        metadata: names and values that a format with room for them (Parquet) takes along.

    Raises:
        ImportError: an extra is missing; the text says what to install.
        ValueError: `spreadsheet` is asked of another format than CSV.
    """
    if spreadsheet and not name.startswith("csv"):
        msg = f"only CSV can be written for a spreadsheet, not {name}"
        raise ValueError(msg)
    if name == "parquet":
        return ParquetEncoder(metadata)
    text, _, compression = name.partition(".")
    encoder: Encoder = CsvEncoder(spreadsheet=spreadsheet) if text == "csv" else NdjsonEncoder()
    if compression:
        return CompressedEncoder(encoder, GzipCompressor() if compression == "gz" else zstd_compressor())
    return encoder
