"""What could command a terminal, or reorder a line, is shown as an escape; data stay the same."""

import json
import sys
import unicodedata

import pytest

from aiosipcdr.display import escape_json, shorten, visible

ATTACKS = [
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x08\x08overwritten",
    "\rat the beginning",
    "\u202ereversed\u202c",
    "\u2066isolated\u2069",
    "\u200eleft\u200fright\u061c",
    "zero\u200bwidth\ufeff",
    "line\u2028paragraph\u2029",
    "tag\U000e0041",
    "\x7f",
    "\x00",
    "\udc9b",
]


def unsafe(text: str) -> set[str]:
    """What a terminal must not get: controls, and characters that change the direction of text or show nothing."""
    kept = {"\n", "\t"}
    return {one for one in text if unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} and one not in kept} | {
        one
        for one in text
        if unicodedata.bidirectional(one) in {"RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI"}
    }


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_control_characters_are_shown_escaped(text: str) -> None:
    for shown in (visible(text), shorten(text)):
        assert not unsafe(shown)
        assert "\\" in shown
        shown.encode()


def test_every_control_and_every_change_of_direction_is_known() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not unsafe(visible(every))
    without = "".join(one for one in every if not "\ud800" <= one <= "\udfff")
    shown = escape_json(json.dumps(without, ensure_ascii=False))
    assert not unsafe(shown)
    assert json.loads(shown) == without


def test_ordinary_text_is_unchanged() -> None:
    text = "客服一组 Ñandú\u00a0“ok”  עברית 🙂\n\tnext"
    assert visible(text) == text
    assert escape_json(text) == text


def test_escapes_are_those_of_python_and_of_json() -> None:
    assert visible("\x1b\x9b\u202e\U000e0041\n") == "\\x1b\\x9b\\u202e\\U000e0041\n"
    assert escape_json('{"a":"\x9b\u202e\U000e0041"}\n') == '{"a":"\\u009b\\u202e\\udb40\\udc41"}\n'


def test_a_name_from_elsewhere_is_one_short_line() -> None:
    assert shorten("calls.csv") == "calls.csv"
    assert shorten("a\nb\tc") == "a\\nb\\tc"
    assert len(shorten("x" * 10**6)) == 101
