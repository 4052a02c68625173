"""Numbers that leave the house: masked, or under a pseudonym that only a key's owner can make.

Pure: records in, records out.  Must never show a number or a key in a repr or
an error.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec.structs import replace

from aiosipcdr.classification import clean_words
from aiosipcdr.protocol.records import NO_EXTRA, CallDetailRecord

__all__ = [
    "HIDDEN",
    "NUMBER_FIELDS",
    "CurrencyNames",
    "Numbers",
    "Pseudonyms",
    "choose_mask",
    "mask_number",
    "mask_record",
    "mask_records",
    "numbers_of",
]

Numbers = Literal["as told", "masked", "pseudonyms"]

NUMBER_FIELDS = ("phone_name", "callee", "display_num")
"""The fields that hold numbers, or names of people."""

LEAST_KEY = 16

HIDDEN = "***"
"""The name under which a manifest sums currencies whose own names it must not repeat."""

_MOST_CURRENCIES = 200
_LONGEST_CURRENCY = 16

# + or 00, then what ITU-T E.164 lists as country codes: one digit, two, else three.
_INTERNATIONAL = re.compile(
    r"(?P<code>(?:\+|00)(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2}))(?P<rest>[0-9]*)",
    re.ASCII,
)
_PUNCTUATED = re.compile(r"\+?[0-9 ().\-/]+", re.ASCII).fullmatch
_PUNCTUATION = re.compile(r"[ ().\-/]")
_SHOWN = 2
# Fewer hidden digits than these can be tried one by one in no time, so then none is shown.
_LEAST_HIDDEN = 4
_HIDDEN_NAME = "***"


def mask_number(number: str) -> str:
    """Return `number` with its country code, as far as it tells one, and its last two digits; the rest as `*`.

    A country code is told by `+` or `00` in front.  Punctuation goes.  Of a
    number with fewer than four digits to hide no digit is shown behind the
    country code, and of what is no number nothing at all.
    """
    if not _PUNCTUATED(number):
        return _HIDDEN_NAME
    digits = _PUNCTUATION.sub("", number)
    international = _INTERNATIONAL.fullmatch(digits)
    code, rest = international.group("code", "rest") if international else ("", digits.removeprefix("+"))
    shown = _SHOWN if len(rest) >= _LEAST_HIDDEN + _SHOWN else 0
    hidden = len(rest) - shown
    return f"{code}{'*' * hidden}{rest[hidden:]}" or _HIDDEN_NAME


class Pseudonyms:
    """HMAC-SHA256 under a key, in hexadecimal: one text, one key, one pseudonym.

    A plain hash would be no protection: there are few enough numbers to try
    them all.  The text counts as it stands: `+1...` and `001...` are two.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Use `key`; whoever has it can find the number behind a pseudonym by trying all."""
        self._key = key

    def __call__(self, number: str) -> str:
        """Return the pseudonym of `number`."""
        return hmac.digest(self._key, number.encode(), "sha256").hex()

    def __reduce__(self) -> str:
        """Refuse to be pickled: the key would be in it."""
        msg = "pseudonyms cannot be pickled: their key would be in clear"
        raise TypeError(msg)


def choose_mask(choice: Literal["mask"] | bytes | None) -> Callable[[str], str] | ValueError | None:
    """Return what makes a text unrecognisable: masking for "mask", pseudonyms for a key, nothing for `None`.

    What is wrong is returned: no traceback shall hold a key, not even a bad one.
    """
    if choice is None:
        return None
    if choice == "mask":
        return mask_number
    if isinstance(choice, bytes) and len(choice) >= LEAST_KEY:
        return Pseudonyms(choice)
    return ValueError(
        f'mask_numbers must be "mask", or the key of pseudonyms: {LEAST_KEY} bytes at least, that nobody can guess'
    )


def numbers_of(choice: Literal["mask"] | bytes | None) -> Numbers:
    """Return how numbers stand in a file for which `choice` was made, in the words of its manifest."""
    return "as told" if choice is None else "masked" if choice == "mask" else "pseudonyms"


def mask_record(record: CallDetailRecord, mask: Callable[[str], str]) -> CallDetailRecord:
    """Return a copy of `record` with `mask` applied to `phone_name`, `callee` and `display_num`, and without `extra`.

    A number may be anywhere in `extra`.
    """
    return replace(
        record,
        extra=NO_EXTRA,
        phone_name=None if record.phone_name is None else mask(record.phone_name),
        callee=None if record.callee is None else mask(record.callee),
        display_num=None if record.display_num is None else mask(record.display_num),
    )


def mask_records(records: Iterable[CallDetailRecord], mask: Callable[[str], str]) -> list[CallDetailRecord]:
    """Return copies of `records`, each as `mask_record` makes it."""
    return [mask_record(record, mask) for record in records]


class CurrencyNames:
    """Names of currencies for a manifest and a journal, which hold no secret and no phone number.

    A server may put anything in the place of a currency. What contains a secret or a long number, has more than 16
    characters or comes after 200 others is summed as `HIDDEN`.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        """Begin without a currency; `mask` removes secrets from a text."""
        self._mask = mask
        self._names: set[str | None] = {None}

    def __call__(self, currency: str | None) -> str | None:
        """Return the name under which `currency` is summed."""
        if currency not in self._names:
            if len(currency or HIDDEN) > _LONGEST_CURRENCY or len(self._names) > _MOST_CURRENCIES:
                return HIDDEN
            if clean_words(self._mask(currency or HIDDEN)) != currency:
                return HIDDEN
            self._names.add(currency)
        return currency
