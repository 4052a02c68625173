"""Texts that a spreadsheet shows as they are: no formula starts, no long id loses its digits.

A text that Excel would take for something else gets an apostrophe in front;
all others stay as they are.  For CSV that people open: must never be applied
to a file that a program reads, for the apostrophe is part of the text then.
"""

import re

__all__ = ["spreadsheet_text"]

# A number as it is dialled, with its plus.  Excel takes it for a number, which
# is no formula and keeps all of up to 15 digits; an apostrophe would spoil it
# for everybody who filters, pastes or dials it.
_DIALLED = re.compile(r"\+[0-9]{6,15}").fullmatch

# What Excel takes for another number than it shows: it keeps 15 digits, drops
# zeros in front, and reads "12E3" as 12000.
_MISREAD = re.compile(r"[0-9]{16,}|0[0-9]+|[0-9]+(?:\.[0-9]*)?[eE][0-9]+").fullmatch

# Where a formula could start (OWASP's list, with the full-width signs): at the
# beginning, or behind what splits fields and lines where the list separator is
# no comma.  Some readers skip blanks, invisible characters and quotes before it.
_FORMULA = re.compile(
    r"""(?:^(?=[\t\r\n]) | (?:^|(?<=[;\t\r\n])) (?=
        (?:[^\S\t\r\n]|[\x01-\x08\x0e-\x1f\x7f\u200b-\u200f\u2060\ufeff"])*
        [=+\-@\uff1d\uff0b\uff0d\uff20]))""",
    re.VERBOSE,
)


def spreadsheet_text(text: str) -> str:
    """Return `text` so that a spreadsheet shows it whole and calculates nothing.

    `'` is put before a text that starts like a formula, before each place in it
    where one could start if fields were split by semicolons or tabs, and before
    digits that Excel would change (more than 15 of them, zeros in front,
    `12E3`).  NUL is dropped.  Numbers like `+12125550123` (6 to 15 digits) stay.
    """
    if _DIALLED(text):
        return text
    if _MISREAD(text):
        return f"'{text}"
    return _FORMULA.sub("'", text.replace("\0", ""))
