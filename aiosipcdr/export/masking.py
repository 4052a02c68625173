"""Masks and pseudonyms for phone numbers in exported files.

Pure functions of records. No repr and no error shows a number or a key.
"""

import hmac
from collections.abc import Callable
from typing import Literal

from aiosipcdr.model.errors import clean_words
from aiosipcdr.model.masking import NUMBER_FIELDS, mask_number, mask_record, mask_records
from aiosipcdr.model.privacy import hide_arguments

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
    "read_numbers",
]

Numbers = Literal["unchanged", "masked", "pseudonyms"]
"""How a file stores phone numbers."""

MIN_KEY_BYTES = 16

HIDDEN = "***"
"""The name under which a manifest sums currencies whose names are hidden."""

_MAX_CURRENCIES = 200
_MAX_CURRENCY_CHARS = 16


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
