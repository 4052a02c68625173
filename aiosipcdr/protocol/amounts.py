"""Money as told: which amounts are possible, and what a text of one comes to.

Exact throughout: must never round an amount, and never change how it is written.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import (
    Clamped,
    Context,
    Decimal,
    DecimalException,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    localcontext,
)
from typing import Any, Final

import msgspec

from aiosipcdr.protocol.records import CallDetailRecord

__all__ = ["Amounts", "money_fits", "money_is_possible"]

# Money must fit decimal128(38, 12), the widest column that a file offers.  An
# exact sum keeps the finest exponent of its terms, so one sum a column shows
# what a look at every value would; whatever does not fit trips a trap.
_MONEY_SCALE = 12
_MONEY_DIGITS = 38
_EXACT = Context(prec=_MONEY_DIGITS, traps=[InvalidOperation, Overflow, Inexact])

# What a bill holds takes a cheaper look, signs and all: in 13 digits with an exponent from 0 on, nothing
# finer than 12 places can be written, and while no sum reaches 25 digits no term of it has more than 26,
# whatever cancels out.
_PLAIN = Context(prec=_MONEY_SCALE + 1, Emin=0, Emax=24, traps=[InvalidOperation, Overflow, Rounded, Clamped])
_NOTHING = Decimal()

_plain_amount: Final = re.compile(r"-?[0-9]{1,26}(?:\.[0-9]{1,12})?", re.ASCII).fullmatch
_MOST_KEPT: Final = 8_192
_LONGEST_KEPT: Final = 40


def money_is_possible(amounts: Iterable[Decimal]) -> bool:
    """Tell whether all `amounts` are finite and fit 26 digits before the point and 12 behind it."""
    try:
        with localcontext(_EXACT):
            # Without signs, so that nothing cancels out.
            total = sum(map(abs, amounts), Decimal())
    except DecimalException:
        return False
    exponent = total.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MONEY_SCALE:
        return False
    return not total or total.adjusted() < _MONEY_DIGITS - _MONEY_SCALE


def money_fits(records: Sequence[CallDetailRecord]) -> bool:
    """Tell whether all money of `records` is possible."""
    # Attributes by name: a comprehension reads them several times faster than attrgetter does.
    columns = (
        [record.cost for record in records],
        [record.rate for record in records],
        [record.settle_rate for record in records],
        [record.quote_exchange for record in records],
        [record.settle_pay for record in records],
    )
    with localcontext(_PLAIN):
        unclear = [column for column in columns if not _is_plain(column)]
    return all(money_is_possible([amount for amount in column if amount is not None]) for column in unclear)


def _is_plain(column: list[Any]) -> bool:
    # False decides nothing: another look is taken then.
    try:
        try:
            total = sum(column, _NOTHING)
        except TypeError:
            total = sum([amount for amount in column if amount is not None], _NOTHING)
    except DecimalException:
        return False
    return total.is_finite()


class Amounts(dict[str | None, Decimal | None]):
    """What texts of money come to: each is read and judged once, for bills repeat them.

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
        """Count the texts: whatever the vendor wrote where an amount belongs stands among them."""
        return f"Amounts(<{len(self)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("texts", len(self))]

    def __missing__(self, text: str | None) -> Decimal | None:
        """Read `text`.

        Raises:
            DecimalException: it is no possible amount.
        """
        amount = None if text is None else _read(text)
        if len(text or "") <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.repeat = self._records > 2 * _MOST_KEPT
                self._records = 0
                self.clear()
            self[text] = amount
        return amount

    def fill_in(self, records: Sequence[Any]) -> None:
        """Put amounts into `records`, which are nobody's yet, in the place of their texts.

        Raises:
            DecimalException: one of them is no possible amount.
        """
        self._records += len(records)
        fill = msgspec.structs.force_setattr
        for record in records:
            fill(record, "cost", self[record.cost])
            fill(record, "rate", self[record.rate])
            fill(record, "settle_rate", self[record.settle_rate])
            fill(record, "quote_exchange", self[record.quote_exchange])
            fill(record, "settle_pay", self[record.settle_pay])


def _read(text: str) -> Decimal:
    amount = Decimal(text)
    if _plain_amount(text) is None and not money_is_possible([amount]):
        raise InvalidOperation
    return amount
