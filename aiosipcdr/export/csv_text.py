"""CSV: RFC 4180 with a line of names first, lossless unless it is meant for a spreadsheet.

Money stands in plain notation, times are ISO 8601 with their offset, absent is
an empty field (no record holds an empty text).  Pure: must never open a file.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from aiosipcdr.export.spreadsheet import spreadsheet_text
from aiosipcdr.protocol.records import MONEY_FIELDS, TIME_FIELDS, CallDetailRecord

__all__ = ["CsvEncoder"]

_FIELDS = CallDetailRecord.__struct_fields__
_NUMBER_FIELDS = ("call_duration", "charged_duration")
_TEXT_FIELDS = frozenset(_FIELDS) - {*MONEY_FIELDS, *TIME_FIELDS, *_NUMBER_FIELDS}
_columns = [(name, attrgetter(name)) for name in _FIELDS]
# msgspec writes a column of times or amounts, and reads it as texts, in a tenth of
# the time that Python needs for one after the other; they stand as in NDJSON.
_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(list[str | None]).decode
# By it Excel knows UTF-8.
_BOM = b"\xef\xbb\xbf"


class CsvEncoder:
    r"""An `Encoder`: UTF-8, commas, lines ended by `\r\n`, quotes only where a field needs them."""

    __slots__ = ("_spreadsheet",)

    def __init__(self, *, spreadsheet: bool = False) -> None:
        """Write for programs; with `spreadsheet`, for Excel and its like: see `aiosipcdr.export.spreadsheet`."""
        self._spreadsheet = spreadsheet

    def begin(self) -> bytes:
        """Return the line of names, behind a byte order mark where it is for a spreadsheet."""
        return (_BOM if self._spreadsheet else b"") + _lines([_FIELDS])

    def encode(self, records: Sequence[CallDetailRecord]) -> bytes:
        """Return a line for each of `records`."""
        return _lines(zip(*[self._column(name, list(map(get, records))) for name, get in _columns], strict=True))

    def finish(self) -> bytes:
        """Return nothing: the last line is ended already."""
        return b""

    def _column(self, name: str, values: list[Any]) -> Iterable[object]:
        if name in MONEY_FIELDS:
            return _plain(values)
        if name in TIME_FIELDS:
            return _texts(_encode(values))
        if self._spreadsheet and name in _TEXT_FIELDS:
            known = {text: spreadsheet_text(text) for text in set(values) if text is not None}
            return map(known.get, values)
        return values


def _plain(amounts: list[Decimal | None]) -> list[str | None]:
    encoded = _encode(amounts)
    if b"E" in encoded:  # the scientific notation in which Decimal prints "0.0000001"
        return [None if amount is None else format(amount, "f") for amount in amounts]
    return _texts(encoded)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
