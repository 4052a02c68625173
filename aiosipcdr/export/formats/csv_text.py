"""CSV (RFC 4180) with a header line; lossless, except in the variant for spreadsheets.

Amounts are in plain notation, times in ISO 8601 with their offset; missing values are empty fields (no record holds an
empty text). Opens no file.
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
# Excel detects UTF-8 by the byte order mark.
_BOM = b"\xef\xbb\xbf"


class CsvEncoder:
    r"""An `Encoder` of UTF-8 text with commas, lines ending in `\r\n`, and quotes only where a field needs them.

    `spreadsheet` guards texts that a spreadsheet would misread: see `aiosipcdr.export.formats.spreadsheet`.
    """

    __slots__ = ("_spreadsheet",)

    def __init__(self, *, spreadsheet: bool = False) -> None:
        self._spreadsheet = spreadsheet

    def begin(self) -> bytes:
        """Return the header line, with a byte order mark for spreadsheets."""
        return (_BOM if self._spreadsheet else b"") + _lines([ROW_FIELDS])

    def encode(self, rows: bytes) -> bytes:
        """Return one line for each of `rows`."""
        read = read_texts(rows)
        return _lines(zip(*[self._column(name, list(map(get, read))) for name, get in _columns], strict=True))

    def finish(self) -> bytes:
        """Return nothing: the last line is already ended."""
        return b""

    def _column(self, name: str, values: list[str | None]) -> Iterable[str | None]:
        if self._spreadsheet and name in _MAY_BE_MISREAD:
            guarded = {text: text and spreadsheet_text(text) for text in set(values)}
            return map(guarded.__getitem__, values)
        return values


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
