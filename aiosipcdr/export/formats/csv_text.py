"""CSV: RFC 4180 with a line of names first, lossless unless it is meant for a spreadsheet.

Money stands in plain notation, times are ISO 8601 with their offset, absent is
an empty field (no record holds an empty text).  Pure: must never open a file.
"""

import csv
import io
from collections.abc import Iterable
from operator import attrgetter

from aiosipcdr.export.formats.spreadsheet import spreadsheet_text
from aiosipcdr.export.render import ROW_FIELDS, read_texts
from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS

__all__ = ["CsvEncoder"]

_MAY_BE_MISREAD = frozenset(ROW_FIELDS) - {*MONEY_FIELDS, *TIME_FIELDS, *DURATION_FIELDS}
_columns = [(name, attrgetter(name)) for name in ROW_FIELDS]
# By it Excel knows UTF-8.
_BOM = b"\xef\xbb\xbf"


class CsvEncoder:
    r"""An `Encoder`: UTF-8, commas, lines ended by `\r\n`, quotes only where a field needs them."""

    __slots__ = ("_spreadsheet",)

    def __init__(self, *, spreadsheet: bool = False) -> None:
        """Write for programs; with `spreadsheet`, as `aiosipcdr.export.formats.spreadsheet` has it."""
        self._spreadsheet = spreadsheet

    def begin(self) -> bytes:
        """Return the line of names, behind a byte order mark where it is for a spreadsheet."""
        return (_BOM if self._spreadsheet else b"") + _lines([ROW_FIELDS])

    def encode(self, rows: bytes) -> bytes:
        """Return a line for each of `rows`."""
        read = read_texts(rows)
        return _lines(zip(*[self._column(name, list(map(get, read))) for name, get in _columns], strict=True))

    def finish(self) -> bytes:
        """Return nothing: the last line is ended already."""
        return b""

    def _column(self, name: str, values: list[str | None]) -> Iterable[str | None]:
        if self._spreadsheet and name in _MAY_BE_MISREAD:
            known = {text: text and spreadsheet_text(text) for text in set(values)}
            return map(known.__getitem__, values)
        return values


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
