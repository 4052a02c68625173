"""Numbers and names as the page shows them."""

import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from decimal import Decimal
from fractions import Fraction

from aiosipcdr.display import visible
from aiosipcdr.model.masking import mask_number, mask_text

__all__ = [
    "Names",
    "describe_currency",
    "describe_day",
    "describe_moment",
    "describe_period",
    "describe_seconds",
    "describe_zone",
    "fit",
    "is_astral",
    "minutes",
    "money",
    "places_of",
    "ratio",
    "rounded",
    "short_count",
    "short_moment",
    "signed",
    "width_of",
]

NONE = "–"
"""Stands where nothing can be computed."""

_MOST_READ = 2_000
_MOST_SHOWN = 64
_LAST_OF_16_BITS = "\uffff"
_MOST_PLACES, _MOST_DIVIDED = 12, 6
_THOUSAND, _MILLION = 100_000, 10_000_000
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


class Names:
    """Texts of calls, made fit for a page: numbers masked, commands and changes of direction visible, long ones cut."""

    __slots__ = ("_shows_numbers",)

    def __init__(self, *, show_numbers: bool = False) -> None:
        self._shows_numbers = show_numbers

    def __call__(self, text: str | None, missing: str = "(none)") -> str:
        """Return a name; anything in it that may be a phone number is masked."""
        if text is None:
            return missing
        read = text[:_MOST_READ]
        return _cut(read if self._shows_numbers else mask_text(read))

    def phone(self, name: str | None) -> str:
        """Return the name of a phone, which is masked as a whole."""
        if name is None:
            return "(none)"
        return _cut(name[:_MOST_READ] if self._shows_numbers else mask_number(name[:_MOST_READ]))


def _cut(text: str) -> str:
    shown = visible(text[: _MOST_SHOWN + 1]).replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(shown) <= _MOST_SHOWN and len(text) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 1]}…"


def is_astral(text: str) -> bool:
    """Return whether a text has letters beyond the 16 bits of a JavaScript character, such as emoji."""
    return any(letter > _LAST_OF_16_BITS for letter in text)


def width_of(text: str) -> int:
    """Return the width of a label in letters.

    Those of East Asia are two wide. Beside an emoji, which is three wide, each counts two: such a label cannot be cut
    where it is drawn.
    """
    least = 2 if is_astral(text) else 1
    return sum(3 if is_astral(letter) else 2 if _is_wide(letter) else least for letter in text)


def fit(text: str, columns: int) -> str:
    """Return `text` cut to the width of so many letters, see `width_of`."""
    if width_of(text) <= columns:
        return text
    kept = text
    while len(kept) > 1 and width_of(f"{kept}…") > columns:
        kept = kept[:-1]
    return f"{kept}…"


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def ratio(share: float | Fraction | None) -> str:
    """Return a share as a percentage with one place."""
    return NONE if share is None else f"{float(share) * 100:.1f}%"


def short_count(count: int) -> str:
    """Return a count for a narrow cell: thousands from 100,000 on, millions from 10,000,000 on."""
    if count >= _MILLION:
        return f"{count // 1_000_000:,}M"
    return f"{count // 1_000:,}k" if count >= _THOUSAND else f"{count:,}"


def signed(number: float, unit: str, places: int = 1) -> str:
    """Return a difference with its sign."""
    return f"{number:+,.{places}f}{unit}"


def places_of(amounts: Iterable[Decimal | None]) -> int:
    """Return how many decimal places a column of amounts needs: all of them, at most 12."""
    exponents = [amount.as_tuple().exponent for amount in amounts if amount is not None]
    return min(_MOST_PLACES, max((-one for one in exponents if isinstance(one, int) and one < 0), default=0))


def money(amount: Decimal | None, places: int | None = None) -> str:
    """Return an amount with all its places; one that has more than `places` ends with an ellipsis."""
    if amount is None:
        return NONE
    kept = places_of([amount]) if places is None else places
    shown = f"{amount:,.{kept}f}"
    return shown if Decimal(shown.replace(",", "")) == amount else f"{shown}…"


def rounded(amount: Decimal) -> str:
    """Return an amount that was divided: at most six places, without zeros at the end."""
    return money(amount, min(_MOST_DIVIDED, places_of([amount.normalize()])))


def describe_currency(name: str | None, names: Names) -> str:
    """Return the name of a currency; calls without one are a group of their own."""
    return names(name, "(not named)")


def describe_seconds(seconds: float | None) -> str:
    """Return a duration in whole seconds."""
    return NONE if seconds is None else f"{seconds:,.0f} s"


def minutes(seconds: float | None) -> str:
    """Return seconds as minutes with one place."""
    return NONE if seconds is None else f"{seconds / 60:,.1f}"


def describe_zone(zone: TimeZone) -> str:
    """Return the name of a zone."""
    return visible(str(zone))


def describe_moment(time: datetime, zone: TimeZone) -> str:
    """Return an instant in `zone`, to the minute, or to the second where it has one."""
    local = _local(time, zone)
    clock = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return f"{describe_day(local.date())}, {clock}"


def short_moment(time: datetime, zone: TimeZone) -> str:
    """Return an instant in `zone` for a cell, to the minute."""
    return _local(time, zone).isoformat(" ")[:16]


def _local(time: datetime, zone: TimeZone) -> datetime:
    try:
        return time.astimezone(zone)
    except OverflowError:  # at the end of the calendar
        return time


def describe_day(day: date) -> str:
    """Return a date as people write it, in English whatever the locale."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def describe_period(start: datetime, end: datetime, zone: TimeZone) -> str:
    """Return a period in `zone`: its days if it begins and ends at midnight, its times otherwise."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    if any((one.hour, one.minute, one.second) != (0, 0, 0) for one in (first, last)) or last <= first:
        return f"{describe_moment(start, zone)} to {describe_moment(end, zone)}"
    final = (last - timedelta(days=1)).date()
    if first.date() == final:
        return describe_day(final)
    if first.year == final.year:
        begin = f"{first.day}" if first.month == final.month else f"{first.day} {_MONTHS[first.month - 1]}"
        return f"{begin} to {describe_day(final)}"
    return f"{describe_day(first.date())} to {describe_day(final)}"
