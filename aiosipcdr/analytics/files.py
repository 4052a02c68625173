"""Exported files as the records that a summary needs, in bounded memory."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from os import PathLike
from pathlib import Path
from typing import Any

from aiosipcdr.export.formats import choose_format
from aiosipcdr.export.reading import read_columns
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS, CallDetailRecord

__all__ = ["read_records"]

_TEXTS = (
    "voice_id",
    "sip_group_name",
    "phone_name",
    "callee",
    "code",
    "termination_code",
    "bill_period",
    "currency",
)
_TIMES = tuple(name for name in TIME_FIELDS if name != "call_time")
_MONEY = tuple(name for name in MONEY_FIELDS if name in {"cost", "rate", "settle_pay"})
_COLUMNS = (*_TEXTS, *_TIMES, *DURATION_FIELDS, *_MONEY)
_READERS = dict.fromkeys(_TIMES, "time") | dict.fromkeys(DURATION_FIELDS, "int") | dict.fromkeys(_MONEY, "money")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_records(path: str | PathLike[str]) -> Iterator[CallDetailRecord]:
    """Yield the calls of an exported file, with the fields that a summary needs; the others are `None`.

    Text that a file for a spreadsheet guards with an apostrophe keeps it: summarize files for programs.

        for record in read_records("calls.parquet"): ...

    Args:
        path: A file in a format of `CdrClient.export`, named as that format is.

    Raises:
        ExportError: It cannot be read as one of its format.
        ImportError: The format needs an extra; the text says what to install.
        ValueError: Its name is not that of a format.
    """
    file = Path(path)
    format_name = choose_format(file)
    for values in read_columns(file, format_name, _COLUMNS):
        try:
            yield CallDetailRecord(**dict(zip(_COLUMNS, map(_read, _COLUMNS, values), strict=True)))
        except (ValueError, TypeError, InvalidOperation, OverflowError):
            raise ExportError(f"{file} cannot be read: a row holds a value that no export writes") from None


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - of every type
    kind = _READERS.get(name)
    if value is None or kind is None:
        return value
    if kind == "int":
        return int(value)
    if kind == "money":
        amount = value if isinstance(value, Decimal) else Decimal(value)
        if not amount.is_finite():
            raise ValueError(name)
        return amount
    if isinstance(value, int):
        return _EPOCH + timedelta(microseconds=value)
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(name)
    return time
