"""Money as the vendor writes it: which texts are amounts, and what each of them is worth.

Exact throughout: an amount is never rounded, and keeps the way in which it is written.
"""

import re
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

import msgspec

from aiosipcdr.model.records import MONEY_FIELDS

__all__ = ["DecimalCache", "fill_in_numbers", "read_amount"]

# Far more than any bill holds, so that no sum and no plain notation grows without a bound: a double in all of its
# decimals (Java's `new BigDecimal(0.1)`) still fits.
_WHOLE_DIGITS: Final = 26
_PLACES: Final = 80

_PLAIN: Final = r"-?[0-9]{1,26}(?:\.[0-9]{1,12})?"
_plain_amount: Final = re.compile(_PLAIN).fullmatch
_plain_column: Final = re.compile(rf"(?:{_PLAIN}\n)*+").fullmatch
# Not all that Decimal takes: no underscores, no digits of other scripts, no NaN.
_any_amount: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?").fullmatch
_BLANKS: Final = " \t\r\n"
_LONGEST: Final = 400
_UNROUNDED: Final = Context(prec=_LONGEST, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation, Inexact])

_MOST_KEPT: Final = 8_192
_LONGEST_KEPT: Final = 40


def read_amount(text: str) -> Decimal:
    """Return the amount that `text` is, with its digits.

    Raises:
        DecimalException: it is not a number, or not below 10**26 and of at most 80 decimal places.
    """
    if _plain_amount(text):
        return Decimal(text)
    text = text.strip(_BLANKS)
    if len(text) > _LONGEST or not _any_amount(text):
        raise InvalidOperation
    return _bounded(Decimal(text))


def _bounded(amount: Decimal) -> Decimal:
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int):
        raise InvalidOperation
    if not amount:
        return amount if -_PLACES <= exponent <= 0 else Decimal()
    if exponent < -_PLACES:
        # By its value: zeros at the end are no places.
        amount = amount.normalize(_UNROUNDED)
        exponent = int(amount.as_tuple().exponent)
    if exponent < -_PLACES or amount.adjusted() >= _WHOLE_DIGITS:
        raise InvalidOperation
    return amount


class DecimalCache(dict[str | None, Decimal | None]):
    """The amounts of texts: each is read and checked once, for bills repeat them.

    Records share what they repeat, so they take less memory, too.

    Attributes:
        repeat: whether bills do; where nearly every amount is another one, reading it is cheaper than looking it up.
    """

    __slots__ = ("_records", "repeat")

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.repeat: bool = True
        self._records = 0

    def __repr__(self) -> str:
        """Count the texts: anything that the vendor wrote in place of an amount may be among them."""
        return f"Amounts(<{len(self)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("texts", len(self))]

    def __missing__(self, text: str | None) -> Decimal | None:
        """Read `text`.

        Raises:
            DecimalException: it is not an amount.
        """
        # Nearly all are plain: a call less for each distinct amount.
        amount = None if text is None else Decimal(text) if _plain_amount(text) else read_amount(text)
        if len(text or "") <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.repeat = self._records > 2 * _MOST_KEPT
                self._records = 0
                self.clear()
            self[text] = amount
        return amount

    def fill_in(self, records: Sequence[Any]) -> None:
        """Put amounts into `records`, which nobody holds yet, in the place of their texts.

        Raises:
            DecimalException: one of them is not an amount.
        """
        self._records += len(records)
        fill = msgspec.structs.force_setattr
        for record in records:
            fill(record, "cost", self[record.cost])
            fill(record, "rate", self[record.rate])
            fill(record, "settle_rate", self[record.settle_rate])
            fill(record, "quote_exchange", self[record.quote_exchange])
            fill(record, "settle_pay", self[record.settle_pay])


def fill_in_numbers(records: Sequence[Any]) -> None:
    """Put amounts into `records`, which nobody holds yet, in the place of texts and JSON numbers, by columns.

    Raises:
        DecimalException: one of them is not an amount.
    """
    fill = msgspec.structs.force_setattr
    for name in MONEY_FIELDS:
        column = [getattr(record, name) for record in records]
        found = [value for value in column if value is not None]
        if not found:
            continue
        read = Decimal if _are_plain(found) else _read_any
        for record, value in zip(records, column, strict=True):
            if value is not None:
                fill(record, name, read(value))


def _are_plain(values: list[Any]) -> bool:
    # One look at all of them: where no bill repeats an amount, this is most of what reading them costs.
    try:
        lines = "\n".join([*values, ""])
    except TypeError:  # numbers
        return False
    return _plain_column(lines) is not None and lines.count("\n") == len(values)


def _read_any(value: object) -> Decimal:
    if isinstance(value, str):
        return read_amount(value)
    if isinstance(value, Decimal) or type(value) is int:  # a bool is an int, too
        return _bounded(Decimal(value))
    raise InvalidOperation
