"""Masks and pseudonyms for phone numbers in records that are passed on.

Pure functions of records. No repr and no error shows a number or a key.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
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
    "mask_text",
    "read_numbers",
]

Numbers = Literal["unchanged", "masked", "pseudonyms"]
"""How a file stores phone numbers."""

NUMBER_FIELDS = ("phone_name", "callee", "display_num")
"""The fields that hold phone numbers or names of people."""

_TEXT_FIELDS = (
    "sip_group_name",
    "code",
    "termination_code",
    "termination_reason",
    "bill_period",
    "recording_file_id",
    "currency",
)
# Shorter ones are codes, such as "486" and "1000".
_NUMBER_WITHIN = re.compile(r"\+?\d(?:[ ().\-/]{0,2}\d){4,}")
# The shortest phone name that is searched for in other texts.
_MIN_NAME = 3

MIN_KEY_BYTES = 16

HIDDEN = "***"
"""The name under which a manifest sums currencies whose names are hidden."""

_MAX_CURRENCIES = 200
_MAX_CURRENCY_CHARS = 16

# + or 00, then a country code of ITU-T E.164: one or two digits as listed, else three.
_INTERNATIONAL = re.compile(
    r"(?P<code>(?:\+|00)(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2}))(?P<rest>[0-9]*)",
    re.ASCII,
)
_PUNCTUATED = re.compile(r"\+?[0-9 ().\-/]+", re.ASCII).fullmatch
_PUNCTUATION = re.compile(r"[ ().\-/]")
_VISIBLE_DIGITS = 2
# With fewer hidden digits a number is found by trying all, so none is shown.
_MIN_HIDDEN_DIGITS = 4
_HIDDEN_NAME = "***"


def mask_number(number: str) -> str:
    """Return `number` with all but its country code and its last two digits replaced by `*`.

    A country code is recognised after `+` or `00`. Punctuation is removed. If fewer than four digits would be hidden,
    no digit after the country code is shown; a text that is not a number is hidden completely.
    """
    if not _PUNCTUATED(number):
        return _HIDDEN_NAME
    digits = _PUNCTUATION.sub("", number)
    international = _INTERNATIONAL.fullmatch(digits)
    code, rest = international.group("code", "rest") if international else ("", digits.removeprefix("+"))
    shown = _VISIBLE_DIGITS if len(rest) >= _MIN_HIDDEN_DIGITS + _VISIBLE_DIGITS else 0
    hidden = len(rest) - shown
    return f"{code}{'*' * hidden}{rest[hidden:]}" or _HIDDEN_NAME


class Pseudonyms:
    """HMAC-SHA256 under a key, in hexadecimal: the same text and key give the same pseudonym.

    A plain hash would not protect: all phone numbers can be tried. Texts are not normalised: `+1...` and `001...` get
    different pseudonyms. Anyone with the key can find the number of a pseudonym by trying all.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, number: str) -> str:
        """Return the pseudonym of `number`."""
        return hmac.digest(self._key, number.encode(), "sha256").hex()

    def __reduce__(self) -> str:
        """Refuse to be pickled: the pickle would hold the key in clear."""
        msg = "pseudonyms cannot be pickled, as the key would be in clear; pass the key and create them again"
        raise TypeError(msg)


@hide_arguments  # not even an invalid key is shown
def choose_mask(choice: Literal["mask"] | bytes | None) -> Callable[[str], str] | None:
    """Return the function that hides numbers: masking for "mask", pseudonyms for a key, `None` for `None`.

    Raises:
        ValueError: `choice` is none of these, or the key is too short.
    """
    if choice is None:
        return None
    if choice == "mask":
        return mask_number
    if isinstance(choice, bytes) and len(choice) >= MIN_KEY_BYTES:
        return Pseudonyms(choice)
    raise ValueError(
        f'mask_numbers must be "mask", or a key for pseudonyms: at least {MIN_KEY_BYTES} bytes of random data'
    )


def read_numbers(stored: str) -> str:
    """Return a stored value of `Numbers` in today's terms: earlier versions wrote "as told" for "unchanged"."""
    return "unchanged" if stored == "as told" else stored


def mask_record(record: CallDetailRecord, mask: Callable[[str], str]) -> CallDetailRecord:
    """Return a copy of `record` in which every phone number is masked.

    `mask` is applied to `phone_name`, `callee` and `display_num`. In all other texts but `voice_id` it is applied to
    these values and to anything that may be a number: at least five digits, with punctuation between them. `extra` is
    dropped, since a number may be anywhere in it.
        mask_record(record, mask_number).termination_reason  # "no answer from +44********23"
    """
    changed: dict[str, object] = {"extra": NO_EXTRA}
    numbers = []
    for name in NUMBER_FIELDS:
        value = getattr(record, name)
        if value is not None:
            changed[name] = mask(value)
            if len(value) >= _MIN_NAME:
                numbers.append(value)
    for name in _TEXT_FIELDS:
        text = getattr(record, name)
        if text is not None and (hidden := mask_text(text, mask, numbers)) is not text:
            changed[name] = hidden
    return replace(record, **changed)


def mask_text(text: str, mask: Callable[[str], str], numbers: Sequence[str] = ()) -> str:
    """Return `text` with `numbers`, and anything in it that may be a phone number, masked."""
    found = _NUMBER_WITHIN
    if any(value in text for value in numbers):
        # One pass: a pseudonym contains digits itself.
        values = "|".join(map(re.escape, sorted(numbers, key=len, reverse=True)))
        found = re.compile(f"{values}|{_NUMBER_WITHIN.pattern}")
    elif not found.search(text):
        return text
    return found.sub(lambda match: mask(match[0]), text)


def mask_records(records: Iterable[CallDetailRecord], mask: Callable[[str], str]) -> list[CallDetailRecord]:
    """Return masked copies of `records`: see `mask_record`."""
    return [mask_record(record, mask) for record in records]


class CurrencyNames:
    """Currency names for manifests and journals, which may hold no secret and no phone number.

    A server may send anything as a currency. A name that contains a secret or a long number, has more than 16
    characters or is beyond the first 200 is summed as `HIDDEN`. `mask` removes secrets from a text.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self._names: set[str | None] = {None}

    def __call__(self, currency: str | None) -> str | None:
        """Return the name under which `currency` is summed."""
        if currency not in self._names:
            if len(currency or HIDDEN) > _MAX_CURRENCY_CHARS or len(self._names) > _MAX_CURRENCIES:
                return HIDDEN
            if clean_words(self._mask(currency or HIDDEN)) != currency:
                return HIDDEN
            self._names.add(currency)
        return currency
