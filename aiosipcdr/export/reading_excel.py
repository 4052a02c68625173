"""Reader of exported Excel workbooks: some columns, row by row, in bounded memory.

Reads what `aiosipcdr.export.formats.excel` writes, not what Excel saves. A file may be hostile: the archive's
directory, each row and the header are bounded, and a document type, which could define entities, is refused.
"""

import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from typing import Any, BinaryIO, Final
from xml.parsers import expat

from aiosipcdr.export.formats.excel import EPOCH, EXACT, REPEATED_STYLE, SHEET, find_zone
from aiosipcdr.model.records import MONEY_FIELDS, TIME_FIELDS

__all__ = ["read_excel"]

_BLOCK = 64 * 1024
_MAX_DIRECTORY = 64 * 1024
_END = struct.Struct("<4s4H2LH")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_HEADER = re.compile(r"(\w+)(?: \((.+)\))?").fullmatch
_CELL = re.compile("([A-Z]{1,2})[0-9]{1,7}").fullmatch
_STRINGS: Final = "xl/sharedStrings.xml"
_MAX_STRINGS = 64 * 1024


def read_excel(file: BinaryIO, names: Sequence[str], *, max_row_bytes: int) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns for each row, as texts; missing values are `None`.

    Times are in ISO 8601 with the offset of the header's zone.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, ...: It is not a workbook that an export wrote.
    """
    _check_directory(file)
    with zipfile.ZipFile(file) as archive, archive.open(SHEET) as sheet:
        rows = _Rows(_read_strings(archive), max_row_bytes)
        header: dict[str, str] = {}
        zone: TimeZone | None = None
        while block := sheet.read(_BLOCK):
            for row in rows.feed(block):
                if header:
                    yield tuple([_value(row, header, name, zone) for name in names])
                    continue
                for letters, (text, _) in row.items():
                    name, in_zone = _split_header(text)
                    header[name] = letters
                    zone = zone if in_zone is None else find_zone(in_zone)
                if zone is None or not {*names} <= header.keys():
                    raise ValueError("header")
        rows.end()
        if not header:
            raise ValueError("no rows")


def _split_header(text: str) -> tuple[str, str | None]:
    found = _HEADER(text)
    if found is None:
        raise ValueError("header")
    return found[1], found[2]


def _value(row: dict[str, tuple[str, bool]], header: dict[str, str], name: str, zone: TimeZone | None) -> str | None:
    if name in MONEY_FIELDS and (exact := row.get(header[name + EXACT])) is not None:
        return exact[0]
    cell = row.get(header[name])
    if cell is None:
        return None
    text, is_repeated = cell
    if name not in TIME_FIELDS or "T" in text:
        return text
    days, part = divmod(float(text), 1)
    naive = EPOCH + timedelta(days=days, microseconds=round(part * 86_400_000_000))
    return naive.replace(tzinfo=zone, fold=int(is_repeated)).isoformat()


def _check_directory(file: BinaryIO) -> None:
    # The directory is read at once: ours is small, and nothing follows it.
    file.seek(max(0, file.seek(0, 2) - _END.size))
    signature, *_, size, _, _ = _END.unpack(file.read())
    if signature != b"PK\x05\x06" or size > _MAX_DIRECTORY:
        raise ValueError("directory")


def _read_strings(archive: zipfile.ZipFile) -> list[str]:
    """Return the shared texts, which are those of the header."""
    with archive.open(_STRINGS) as file:
        text = file.read(_MAX_STRINGS)
    rows = _Rows([], _MAX_STRINGS)
    rows.feed(text)
    rows.end()
    return rows.strings


class _Rows:
    """A parser of XML that keeps the cells of complete rows; also of shared texts."""

    def __init__(self, strings: list[str], max_row_bytes: int) -> None:
        self.strings = strings
        self._max_row_bytes = max_row_bytes
        self._size = 0
        self._complete: list[dict[str, tuple[str, bool]]] = []
        self._row: dict[str, tuple[str, bool]] = {}
        self._cell: dict[str, str] = {}
        self._texts: list[str] | None = None
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._take

    def feed(self, block: bytes) -> list[dict[str, tuple[str, bool]]]:
        """Return the rows that `block` completes: the text of each cell, by its column, and whether it is repeated."""
        # A tag is read whole before its handler is called: its size is bounded, too.
        self._size += len(block)
        if self._size > self._max_row_bytes + _BLOCK:
            raise ValueError("row")
        self._parser.Parse(block)
        complete, self._complete = self._complete, []
        return complete

    def end(self) -> None:
        """Check that the document is complete."""
        self._parser.Parse(b"", True)  # noqa: FBT003 - positional only

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._row = {}
            self._size = 0
        elif name == "c":
            self._cell = attributes
        elif name in {"v", "t"}:
            self._texts = []

    def _take(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)

    def _end(self, name: str) -> None:
        if name == "row":
            self._complete.append(self._row)
            self._row = {}
        elif name in {"v", "t"} and self._texts is not None:
            text, self._texts = "".join(self._texts), None
            if name == "t":
                text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
            if not self._cell:
                self.strings.append(text)
                return
            kind, place = self._cell.get("t"), _CELL(self._cell["r"])
            if place is None:
                raise ValueError("cell")
            value = self.strings[int(text)] if kind == "s" else text
            self._row[place[1]] = value, self._cell.get("s") == str(REPEATED_STYLE)


def _refuse(*_: object) -> None:
    raise ValueError("document type")
