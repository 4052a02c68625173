"""Excel workbooks (.xlsx): one sheet, for people; the same rows give the same bytes.

Texts are text cells, so no formula runs and no id loses a digit. Times are dates in one time zone, which the header
names, since Excel knows no zones; a time that the clocks of the zone repeat is marked "(again)". Money is a number, and
its exact text stands beside it where a double, of which Excel shows 15 digits, does not hold it. Missing values are
empty cells.

Optional: needs XlsxWriter, which makes the workbook around the rows. The rows are made here: the library would write
them to temporary files, which a kill leaves behind with the phone numbers in them. Opens no file.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiosipcdr.export.formats.encoders import Sink
from aiosipcdr.export.render import ROW_FIELDS, read_texts
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS

__all__ = [
    "EPOCH",
    "EXACT",
    "MOST_ROWS",
    "REPEATED_STYLE",
    "SHEET",
    "ExcelEncoder",
    "find_zone",
    "too_many_rows",
    "zone_name",
]

MOST_ROWS: Final = 1_048_576 - 1
"""The most calls of a sheet: Excel's limit of rows, without the header."""

SHEET: Final = "xl/worksheets/sheet1.xml"
EXACT: Final = "_exact"
"""The ending of the columns that hold the exact text of an amount."""

EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel's day 0, in no zone
_FIRST_DAY, _LAST_DAY = (
    61,
    65_535,
)  # 1900-03-01, before which Excel counts wrong; until 2079 a double holds microseconds
_MOST_TEXT = 32_767
_MOST_BYTES = 2**31 - 1  # beyond, a zip archive needs ZIP64 headers that Excel refuses in a stream
_MOST_DIGITS = 15
_LARGEST_EXPONENT = 300
_BLOCK = 128 * 1024
_DAY_MICROSECONDS = 86_400_000_000

# XlsxWriter numbers styles by their first use: columns from the left, the bold header, then cells.
_TEXT_STYLE, _DATE_STYLE, _MONEY_STYLE, REPEATED_STYLE = 1, 2, 3, 5
_FORMATS = {
    _TEXT_STYLE: "@",
    _DATE_STYLE: "yyyy-mm-dd hh:mm:ss",
    _MONEY_STYLE: "0.00##########",
    REPEATED_STYLE: 'yyyy-mm-dd hh:mm:ss" (again)"',
}
_WIDTHS = {"voice_id": 21.0, "code": 24.0, "sip_group_name": 16.0, "callee": 16.0, "display_num": 16.0}
_DIMENSION = re.compile(b"<dimension[^>]*>")  # of the header alone, and the number of rows is not known yet
_SAMPLES = re.compile(b'(<row r="2".*?</row>)</sheetData>')
_STYLE = re.compile(rb' s="(\d+)"')
_ZONE = re.compile(r"UTC(?:([+-][0-9]{2}:[0-9]{2}))?").fullmatch

# XML has no control characters: Excel writes them as _x0001_, and such a text itself with its underscore escaped.
_SPECIAL = re.compile("[&<>\\x00-\\x08\\x0b-\\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def zone_name(zone: TimeZone) -> str:
    """Return the name of a zone for a header: that of the IANA data base, "UTC" or "UTC+08:00".

    Raises:
        ValueError: It has no such name.
    """
    name = zone.key if isinstance(zone, ZoneInfo) else str(zone)
    if name is None or find_zone(name) is None:
        raise ValueError("tz must be the name of a time zone or a fixed offset of whole minutes")
    return name


def find_zone(name: str) -> TimeZone | None:
    """Return the zone that `zone_name` has named, `None` if there is none."""
    if name == "UTC":
        return UTC
    try:
        if (fixed := _ZONE(name)) is not None:
            return datetime.fromisoformat(f"2000-01-01T00:00{fixed[1]}").tzinfo
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def too_many_rows(rows: int | None = None) -> ExportError:
    """Return the error of a range that does not fit into a sheet."""
    counted = "more" if rows is None else f"{rows:,}"
    return ExportError(
        f"a sheet of Excel holds {MOST_ROWS:,} calls, and the range has {counted}; choose a shorter range, one file per"
        " day, or .csv or .parquet"
    )


class ExcelEncoder:
    """An `Encoder` of a workbook with one sheet, "calls"; holds one block of it."""

    __slots__ = ("_archive", "_cells", "_entry", "_pending", "_rows", "_sink", "_size", "_tail", "_zone")

    def __init__(self, zone: TimeZone = UTC) -> None:
        """Prepare to write dates in `zone`.

        Raises:
            ImportError: The extra `excel` is not installed; the message says what to install.
            ValueError: The zone has no name: see `zone_name`.
        """
        _load_xlsxwriter()
        zone_name(zone)
        self._zone = zone
        self._sink = Sink()
        self._archive = _Archive(self._sink, "w", zipfile.ZIP_DEFLATED)
        self._entry: Any = None
        self._tail = b""
        self._pending = bytearray()
        self._rows = 1
        self._size = 0
        self._cells: list[tuple[Callable[[Any], Any], Callable[[str, Any], str], str]] = []

    def begin(self) -> bytes:
        """Return the bytes before the first row."""
        names = list(_column_names(self._zone))
        with zipfile.ZipFile(io.BytesIO(_make_workbook(tuple(names)))) as workbook:
            for info in workbook.infolist():
                if info.filename != SHEET:
                    self._archive.writestr(_entry(info.filename), workbook.read(info))
            head, samples, tail = _SAMPLES.split(_DIMENSION.sub(b"", workbook.read(SHEET)))
        if [int(style) for style in _STYLE.findall(samples)] != [*_FORMATS]:
            raise ExportError("this version of XlsxWriter numbers styles in another way; install XlsxWriter 3.2")
        write_date = _date_writer(self._zone)
        for place, name in enumerate(names):
            letters = _letters(place)
            field = name.partition(" ")[0]
            if field in TIME_FIELDS:
                self._cells.append((attrgetter(field), write_date, letters))
            elif field in DURATION_FIELDS:
                self._cells.append((attrgetter(field), _integer, letters))
            elif field in MONEY_FIELDS:
                self._cells.append((attrgetter(field), _money, letters))
            elif field.endswith(EXACT):
                self._cells.append((attrgetter(field.removesuffix(EXACT)), _exact, letters))
            else:
                self._cells.append((attrgetter(field), _text, letters))
        self._entry = self._archive.open(_entry(SHEET), "w")
        self._tail = b"</sheetData>" + tail
        self._write(head)
        return self._sink.take()

    def encode(self, rows: bytes) -> bytes:
        """Return the bytes that are ready after `rows`.

        Raises:
            ExportError: The sheet has no more space, or a text is too long for a cell.
        """
        lines = []
        for record in read_texts(rows):
            self._rows += 1
            if self._rows > MOST_ROWS + 1:
                raise too_many_rows()
            number = str(self._rows)
            cells = [
                cell(letters + number, value)
                for get, cell, letters in self._cells
                if (value := get(record)) is not None
            ]
            lines.append(f'<row r="{number}">{"".join(cells)}</row>')
        self._write("".join(lines).encode())
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        self._write(self._tail)
        self._entry.write(bytes(self._pending))
        self._entry.close()
        self._archive.close()
        return self._sink.take()

    def _write(self, data: bytes) -> None:
        # In blocks of one size, so that the compressed bytes do not depend on the batches.
        self._size += len(data)
        if self._size > _MOST_BYTES:
            raise too_many_rows()
        self._pending += data
        complete = len(self._pending) - len(self._pending) % _BLOCK
        for place in range(0, complete, _BLOCK):
            self._entry.write(bytes(self._pending[place : place + _BLOCK]))
        del self._pending[:complete]


class _Archive(zipfile.ZipFile):
    """An archive that is not completed when it is discarded."""

    def __del__(self) -> None:
        """Do nothing; `ZipFile` would fail while an entry is open."""


def _column_names(zone: TimeZone) -> Iterator[str]:
    for name in ROW_FIELDS:
        yield f"{name} ({zone_name(zone)})" if name in TIME_FIELDS else name
        if name in MONEY_FIELDS:
            yield name + EXACT


def _load_xlsxwriter() -> Any:  # noqa: ANN401 - it has no types
    try:
        import xlsxwriter
    except ImportError as error:
        raise MissingExtraError("files ending in .xlsx need XlsxWriter", "excel", name=error.name) from None
    return xlsxwriter


@lru_cache(maxsize=4)
def _make_workbook(names: Sequence[str]) -> bytes:
    """Return a workbook with the header row, and a row with an empty cell in each style."""
    file = io.BytesIO()
    with _load_xlsxwriter().Workbook(file, {"in_memory": True}) as workbook:
        workbook.set_properties({"created": datetime(1980, 1, 1)})  # noqa: DTZ001 - a fixed one: the bytes are the same each time
        formats = {style: workbook.add_format({"num_format": one}) for style, one in _FORMATS.items()}
        bold = workbook.add_format({"bold": True, "num_format": "@"})
        sheet = workbook.add_worksheet("calls")
        sheet.freeze_panes(1, 1)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        for place, name in enumerate(names):
            sheet.set_column(place, place, _WIDTHS.get(name, len(name) + 1.0), formats.get(_column_style(name)))
            sheet.write_string(0, place, name, bold)
        for place, one in enumerate(formats.values()):
            sheet.write_blank(1, place, None, one)
    return file.getvalue()


def _column_style(name: str) -> int:
    if name in DURATION_FIELDS:
        return 0
    return _MONEY_STYLE if name in MONEY_FIELDS else _DATE_STYLE if " " in name else _TEXT_STYLE


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 0  # the same on every system
    return info


def _letters(place: int) -> str:
    first, last = divmod(place, 26)
    return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + last)


def _text(reference: str, text: str) -> str:
    if len(text) * 2 > _MOST_TEXT and len(text.encode("utf-16-le")) // 2 > _MOST_TEXT:
        raise ExportError(
            f"a cell of Excel holds {_MOST_TEXT:,} characters, and a text of a call has more; choose .csv or .parquet"
        )
    return f'<c r="{reference}" s="{_TEXT_STYLE}" t="inlineStr"><is>{_text_element(text)}</is></c>'


@lru_cache(maxsize=4_096)
def _text_element(text: str) -> str:
    escaped = _SPECIAL.sub(_escape, text)
    space = "" if text == text.strip() else ' xml:space="preserve"'
    return f"<t{space}>{escaped}</t>"


def _escape(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0]) or f"_x{ord(match[0]):04X}_"


def _integer(reference: str, seconds: int) -> str:
    return f'<c r="{reference}"><v>{seconds}</v></c>'


def _money(reference: str, amount: str) -> str:
    value = amount if _is_exact(amount) else repr(float(amount))
    return "" if value in {"inf", "-inf"} else f'<c r="{reference}" s="{_MONEY_STYLE}"><v>{value}</v></c>'


def _exact(reference: str, amount: str) -> str:
    return "" if _is_exact(amount) else _text(reference, amount)


def _is_exact(amount: str) -> bool:
    # 15 digits survive the way through a double, and are what Excel shows.
    if len(amount) <= _MOST_DIGITS:
        return True
    digits = amount.lstrip("-").replace(".", "").strip("0")
    return len(digits) <= _MOST_DIGITS and len(amount) < _LARGEST_EXPONENT


def _date_writer(zone: TimeZone) -> Callable[[str, str], str]:
    cached = lru_cache(maxsize=5_000)(partial(_date, zone=zone))  # calls share most of their seconds
    return lambda reference, text: cached(text) % reference


def _date(text: str, zone: TimeZone) -> str:
    """Return the cell of a time, with `%s` for its reference."""
    try:
        local = datetime.fromisoformat(text).astimezone(zone)
    except OverflowError:
        return _text("%s", text)
    since = local.replace(tzinfo=None) - EPOCH
    if not _FIRST_DAY <= since.days < _LAST_DAY:
        return _text("%s", text)
    style = REPEATED_STYLE if local.fold and local.utcoffset() != local.replace(fold=0).utcoffset() else _DATE_STYLE
    microseconds = since.seconds * 1_000_000 + since.microseconds
    return f'<c r="%s" s="{style}"><v>{since.days + microseconds / _DAY_MICROSECONDS!r}</v></c>'
