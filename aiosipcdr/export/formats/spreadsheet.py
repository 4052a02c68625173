"""Texts guarded against spreadsheets: no formula is evaluated, no text becomes a number or a date.

A text that Excel would misread gets an apostrophe in front; all others are unchanged. For CSV that people open: for
programs the apostrophe is part of the text.
"""

import re
from unicodedata import category

__all__ = ["spreadsheet_text"]

# A number that Excel shows and saves unchanged: General switches to 1.23E+11 at 12 digits and drops leading zeros.
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,10}").fullmatch

_DIALLED = re.compile(r"\+?[0-9]+").fullmatch

# Two steps of a billing period, "60+60": a text in every spreadsheet, although it has only digits and a sign.
_BILL_PERIOD = re.compile(r"[0-9]{1,4}\+[0-9]{1,4}").fullmatch

# Where a formula could start (OWASP's list, with the full-width signs): at the beginning, or after what separates
# fields and lines where the list separator is not a comma. Some readers skip blanks, invisible characters and quotes
# first.
_FORMULA = re.compile(
    r"""(?:^(?=[\t\r\n]) | (?:^|(?<=[;\t\r\n])) (?=
        (?:[^\S\t\r\n]|[\x01-\x08\x0e-\x1f\x7f\u200b-\u200f\u2060\ufeff"])*
        [=+\-@\uff1d\uff0b\uff0d\uff20]))""",
    re.VERBOSE,
)

_WORDS = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d").search
_BOOLEANS = {"true", "false"}
# Categories and characters between digits in numbers, dates, times, fractions and amounts.
_SEPARATING = {"Zs", "Pd", "Sc", "Cc", "Cf"}
_SEPARATORS = frozenset(".,:/+-%()'\u2019\u066a\u066b\u066c\u2212\uff0b\uff0c\uff0e\uff0f\uff1a\uff05\uff08\uff09")
# Exponents, hours, and the letters in times of ISO 8601 and of East Asia.
_SHORT_WORDS = {*("e", "a", "p", "am", "pm", "t", "z"), *"年月日時时分秒点點년월일시분초"}
# Excel knows the month names of its own language and the English ones.
_MONTHS = {
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december", "sept"),
    *("januar", "jänner", "februar", "märz", "mrz", "mai", "juni", "juli", "oktober", "dezember"),  # codespell:ignore
    *("janvier", "février", "fevrier", "avril", "juin", "juillet", "août", "aout", "septembre", "octobre"),
    *("novembre", "décembre", "decembre"),
    *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "setiembre"),
    *("octubre", "noviembre", "diciembre"),
    *("gennaio", "febbraio", "aprile", "maggio", "giugno", "luglio", "settembre", "ottobre", "dicembre"),
    *("janeiro", "fevereiro", "março", "marco", "maio", "junho", "julho", "setembro", "outubro", "novembro"),
    *("dezembro",),
    *("januari", "februari", "maart", "mrt", "mei", "augustus"),
}
_SHORTEST_MONTH = 3
_MONTH_STARTS = frozenset(name[:length] for name in _MONTHS for length in range(_SHORTEST_MONTH, len(name) + 1))


def spreadsheet_text(text: str) -> str:
    """Return `text` so that a spreadsheet shows and saves it unchanged and evaluates nothing.

    `'` is inserted before a text that starts like a formula or a signed number (`+12125550123`), before each place
    where a formula could start if fields were split at semicolons or tabs, and before a text that Excel would read as
    another number (more than 11 digits, leading zeros, `12E3`, `1,234`), a date (`06-8108`, `MAR 3`, `1/2`), a time or
    a truth value. NUL is dropped.

        spreadsheet_text("447700900123")  # "'447700900123"
        spreadsheet_text("sales-us")      # "sales-us"

    Source: Microsoft, "Keeping leading zeros and large numbers", "Stop automatically changing numbers to dates", and
    "Number format codes"; OWASP, "CSV Injection".
    """
    if _DIALLED(text):
        return text if _PLAIN_NUMBER(text) else f"'{text}"
    text = text.replace("\0", "")
    guarded = _FORMULA.sub("'", text)
    # A leading apostrophe gets another one, so that removing the first is always right.
    if text.startswith("'") or (not guarded.startswith("'") and _is_misread(text)):
        return f"'{guarded}"
    return guarded


def _is_misread(text: str) -> bool:
    if not _DIGIT(text):
        return text.strip().casefold() in _BOOLEANS
    words = _WORDS.findall(text.casefold())
    if not all(word in _SHORT_WORDS or word in _MONTH_STARTS for word in words):
        return False
    if _BILL_PERIOD(text) or (text.lstrip()[0].isalpha() and words[0] not in _MONTH_STARTS):
        return False
    return all(
        character in _SEPARATORS or character.isalnum() or category(character) in _SEPARATING for character in text
    )
