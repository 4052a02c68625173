r"""Splitter of JSON into raw values, also if a text or a number in it is invalid.

Uses msgspec if possible. msgspec refuses a whole page for one raw control character, one `\'`, one `NaN` or half a
surrogate. The scanner here requires only that quotes, brackets, commas and colons are in order; the caller decodes the
values. Linear in the number of bytes; the caller bounds the number of values.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

__all__ = ["DECODE_FAULTS", "RawValue", "decode_broken", "is_nested_deeply", "read_text", "split_array", "split_object"]

DECODE_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors that msgspec raises for bytes of the vendor."""

RawValue = bytes | memoryview | msgspec.Raw
"""A JSON value as sent; views of the answer, so that splitting does not copy it."""

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
# In GBK and similar encodings, the second byte of a character may be a backslash, which does not escape a quote.
_GBK_STRING: Final = rb'"(?:[\x81-\xfe]\\(?="[ \t\r\n]*+[,:}\]])|[^"\\]|\\.)*+"'
_scalar: Final = re.compile(rb"[^\s\"\[\]{},:]++")
_blanks: Final = re.compile(rb"[ \t\r\n]*+")
_TOKENS: Final = rb'|[\[\]{}"]'
_tokens: Final = re.compile(_STRING + _TOKENS, re.DOTALL)

_MAX_LEVELS: Final = 100


class _Patterns(NamedTuple):
    """Patterns of a string, and of the tokens of a value in brackets."""

    string: re.Pattern[bytes]
    tokens: re.Pattern[bytes]


_PATTERNS: Final = (
    _Patterns(re.compile(_STRING, re.DOTALL), _tokens),
    _Patterns(re.compile(_GBK_STRING, re.DOTALL), re.compile(_GBK_STRING + _TOKENS, re.DOTALL)),
)

_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def split_object(raw: RawValue) -> dict[str, RawValue]:
    """Return the raw values of a JSON object by their names; the last one of a repeated name.

    Raises:
        msgspec.DecodeError: `raw` is not an object.
    """
    try:
        return dict(_decode_object(raw))
    except DECODE_FAULTS:
        return {_read_name(name): value for name, value in _take_apart(raw, b"{", b"}")}


def split_array(raw: RawValue) -> list[RawValue]:
    """Return the raw elements of a JSON array.

    Raises:
        msgspec.DecodeError: `raw` is not an array.
    """
    try:
        return list(_decode_array(raw))
    except DECODE_FAULTS:
        return [value for _, value in _take_apart(raw, b"[", b"]")]


def read_text(raw: bytes) -> str:
    """Return the text of a JSON string.

    Raises:
        msgspec.DecodeError: `raw` is not a valid string.
        UnicodeDecodeError: `raw` is not UTF-8.
    """
    return _decode_text(raw)


def decode_broken(raw: bytes) -> str:
    """Decode bytes that should be UTF-8; as Latin-1 if they are not.

    Latin-1 is lossless: `text.encode("latin-1")` returns the bytes, to be decoded with the right encoding (GBK, for
    example). The error handler "backslashreplace" takes 0.3 s for a megabyte, which becomes four.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def is_nested_deeply(raw: bytes) -> bool:
    """Return whether arrays and objects of `raw` are nested more than a hundred levels deep."""
    if raw.count(b"[") + raw.count(b"{") <= _MAX_LEVELS:
        return False
    depth = 0
    for token in _tokens.finditer(raw):
        depth += (token[0] in (b"[", b"{")) - (token[0] in (b"]", b"}"))
        if depth > _MAX_LEVELS:
            return True
    return False


def _read_name(raw: bytes) -> str:
    try:
        return _decode_text(raw)
    except DECODE_FAULTS:
        return decode_broken(raw[1:-1])  # it is not a known name


def _take_apart(raw: RawValue, opening: bytes, closing: bytes) -> list[tuple[bytes, memoryview]]:
    usual, gbk = _PATTERNS
    try:
        return list(_split(raw, opening, closing, usual))
    except msgspec.DecodeError:
        return list(_split(raw, opening, closing, gbk))


def _split(raw: RawValue, opening: bytes, closing: bytes, patterns: _Patterns) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(raw)
    place = _skip_blanks(view, _expect(view, _skip_blanks(view, 0), opening))
    is_over = view[place : place + 1] == closing
    if is_over:
        place = _skip_blanks(view, place + 1)
    while not is_over:
        name = b""
        if opening == b"{":
            name, place = _take_string(view, place, patterns)
            place = _skip_blanks(view, _expect(view, _skip_blanks(view, place), b":"))
        end = _skip_value(view, place, patterns)
        yield name, view[place:end]
        place = _skip_blanks(view, end)
        is_over = view[place : place + 1] == closing
        place = _skip_blanks(view, _expect(view, place, closing if is_over else b","))
    if place != len(view):
        raise msgspec.DecodeError("unexpected bytes after the end")


def _skip_blanks(view: memoryview, place: int) -> int:
    found = _blanks.match(view, place)
    return place if found is None else found.end()


def _expect(view: memoryview, place: int, token: bytes) -> int:
    if view[place : place + 1] != token:
        raise msgspec.DecodeError(f"{token.decode()} expected")
    return place + 1


def _take_string(view: memoryview, place: int, patterns: _Patterns) -> tuple[bytes, int]:
    found = patterns.string.match(view, place)
    if found is None:
        raise msgspec.DecodeError("string expected")
    return found[0], found.end()


def _skip_value(view: memoryview, place: int, patterns: _Patterns) -> int:
    found = patterns.string.match(view, place) or _scalar.match(view, place)
    if found is not None:
        return found.end()
    depth = 0
    if bytes(view[place : place + 1]) in (b"[", b"{"):
        for token in patterns.tokens.finditer(view, place):
            bracket = token[0]
            if bracket in (b"[", b"{"):
                depth += 1
            elif bracket in (b"]", b"}"):
                depth -= 1
                if not depth:
                    return token.end()
            elif bracket == b'"':
                break
    raise msgspec.DecodeError("a value is missing or does not end")
