"""Exact sums of money, per field and per currency of the quote.

Amounts of different fields or currencies are never added or converted: the vendor's brands quote `cost` in different
currencies, and no field names the currency of `settle_pay`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal, localcontext
from typing import Literal, NamedTuple

from aiosipcdr.model.records import CallDetailRecord

__all__ = ["EXACT", "SUMMED_FIELDS", "MoneyRow", "MoneyTotals", "MoneyUnit", "describe_unit", "unit_of"]

EXACT = Context(prec=160)
"""The decimal context of exact sums: amounts have at most 26 digits before the point and 80 after it."""

SUMMED_FIELDS = ("cost", "settle_pay")

MoneyUnit = Literal["quote", "settlement"]
"""The currency of an amount: that of the quote, or the settlement currency of the account."""


def unit_of(field: str) -> MoneyUnit:
    """Return the kind of currency in which a field's amounts are."""
    return "settlement" if field == "settle_pay" else "quote"


def describe_unit(field: str, currency: str | None) -> str:
    """Return a description of the currency of a sum.

    Args:
        field: The field that was summed.
        currency: The currency of the quote, as in the calls; the vendor leaves it out for US dollars.
    """
    if unit_of(field) == "quote":
        return currency or "no currency named: USD, unless your brand differs"
    quoted = f"calls quoted in {currency}" if currency else "calls that name no currency"
    return f"in the settlement currency, {quoted}"


class MoneyRow(NamedTuple):
    """The sum of one field over the calls of one currency.

    Attributes:
        field: "cost" or "settle_pay".
        currency: The currency of the quote of these calls; `None` for calls without one. See `unit_of`.
        amount: The exact sum.
    """

    field: str
    currency: str | None
    amount: Decimal


class MoneyTotals:
    """Running sums of `cost` and `settle_pay`; calls without a currency are a group of their own."""

    __slots__ = ("_name", "_sums")

    def __init__(self, name: Callable[[str | None], str | None] | None = None) -> None:
        """Start empty; `name` returns the name under which a currency is summed, by default its own."""
        self._name = name
        self._sums: dict[tuple[str, str | None], Decimal] = {}

    def add(self, records: Sequence[CallDetailRecord]) -> None:
        """Add the money of `records`."""
        # Runs over every call of an export: by columns, and nearly always for one currency.
        currencies = [record.currency for record in records]
        groups: Mapping[str | None, Sequence[CallDetailRecord]] = dict.fromkeys(currencies, records)
        if len(groups) > 1:
            groups = _by_currency(records)
        for currency, group in groups.items():
            costs = [amount for record in group if (amount := record.cost) is not None]
            settled = [amount for record in group if (amount := record.settle_pay) is not None]
            with localcontext(EXACT):
                self.add_rows(
                    MoneyRow(field, currency, sum(reported, Decimal()))
                    for field, reported in zip(SUMMED_FIELDS, (costs, settled), strict=True)
                    if reported
                )

    def add_rows(self, rows: Iterable[MoneyRow]) -> None:
        """Add amounts or sums."""
        sums = self._sums
        with localcontext(EXACT):
            for field, reported, amount in rows:
                currency = reported if self._name is None else self._name(reported)
                sums[field, currency] = sums.get((field, currency), Decimal()) + amount

    def rows(self) -> list[MoneyRow]:
        """Return the sums, ordered by field and currency, those without a currency first."""
        ordered = sorted(self._sums.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        return [MoneyRow(field, currency, amount) for (field, currency), amount in ordered]


def _by_currency(records: Sequence[CallDetailRecord]) -> dict[str | None, list[CallDetailRecord]]:
    groups: dict[str | None, list[CallDetailRecord]] = {}
    for record in records:
        groups.setdefault(record.currency, []).append(record)
    return groups
