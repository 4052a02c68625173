"""Masks and pseudonyms for numbers in records that are passed on.

Pure: records in, records out. No repr and no error shows a number or a key.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec.structs import replace

from aiosipcdr.model.errors import clean_words
from aiosipcdr.model.privacy import hide_arguments
from aiosipcdr.model.records import NO_EXTRA, CallDetailRecord

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

_TEXT_FIELDS = (
    "sip_group_name",
    "code",
    "termination_code",
    "termination_reason",
    "bill_period",
    "recording_file_id",
    "currency",
)
# Shorter ones are codes, as in "486" and "1000".
_NUMBER_WITHIN = re.compile(r"\+?\d(?:[ ().\-/]{0,2}\d){4,}")
# The shortest name of a phone that is looked for in other texts.
_LEAST_NAME = 3

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


@hide_arguments  # not even a bad key is shown
def choose_mask(choice: Literal["mask"] | bytes | None) -> Callable[[str], str] | None:
    """Return what makes a text unrecognisable: masking for "mask", pseudonyms for a key, nothing for `None`.

    Raises:
        ValueError: `choice` is none of these, or the key is too short.
    """
    if choice is None:
        return None
    if choice == "mask":
        return mask_number
    if isinstance(choice, bytes) and len(choice) >= LEAST_KEY:
        return Pseudonyms(choice)
    raise ValueError(
        f'mask_numbers must be "mask", or the key of pseudonyms: {LEAST_KEY} bytes at least, that nobody can guess'
    )


def numbers_of(choice: Literal["mask"] | bytes | None) -> Numbers:
    """Return how numbers stand in a file for which `choice` was made, in the words of its manifest."""
    return "as told" if choice is None else "masked" if choice == "mask" else "pseudonyms"


def mask_record(record: CallDetailRecord, mask: Callable[[str], str]) -> CallDetailRecord:
    """Return a copy of `record` in which no number can be read.

    `mask` is applied to `phone_name`, `callee` and `display_num`, and in all other texts but `voice_id` to these values
    and to whatever may be a number: five digits or more, with punctuation between them. `extra` is left out, as a
    number may be anywhere in it.

        mask_record(record, mask_number).termination_reason  # "no answer from +44********23"
    """
    changed: dict[str, object] = {"extra": NO_EXTRA}
    own = []
    for name in NUMBER_FIELDS:
        value = getattr(record, name)
        if value is not None:
            changed[name] = mask(value)
            if len(value) >= _LEAST_NAME:
                own.append(value)
    for name in _TEXT_FIELDS:
        text = getattr(record, name)
        if text is not None and (hidden := _mask_within(text, own, mask)) is not text:
            changed[name] = hidden
    return replace(record, **changed)


def _mask_within(text: str, own: list[str], mask: Callable[[str], str]) -> str:
    found = _NUMBER_WITHIN
    if any(value in text for value in own):
        # In one pass: a pseudonym has digits of its own.
        values = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
        found = re.compile(f"{values}|{_NUMBER_WITHIN.pattern}")
    elif not found.search(text):
        return text
    return found.sub(lambda match: mask(match[0]), text)


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
