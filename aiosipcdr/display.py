"""Text from elsewhere made fit for a terminal: what could command it, or reorder a line, is written as an escape.

That is what Unicode calls control (C0, DEL, C1) and format characters (among
them all that change the direction of text), line and paragraph separators, and
lone surrogates.
"""

import re

__all__ = ["escape_json", "shorten", "visible"]

# Format characters that only some scripts use, such as Arabic number signs, are left alone.
_UNSAFE = (
    "\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSAFE_IN_JSON = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_TEXT = re.compile(f"[\x00-\x08\x0b-\x1f{_UNSAFE}\ud800-\udfff]")
_LONGEST = 100


def visible(text: str) -> str:
    r"""Return `text` with unsafe characters as `\x1b`, `\u202e`, `\U000e0041`; line feeds and tabs stay."""
    return _UNSAFE_IN_TEXT.sub(lambda match: _escape(match[0]), text)


def shorten(text: str) -> str:
    """Return a name or word from elsewhere for a sentence: visible, in one line, and at most about 100 characters."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return visible(cut).replace("\n", "\\n").replace("\t", "\\t")


def escape_json(text: str) -> str:
    r"""Return JSON that means the same with unsafe characters as `\uXXXX`.

    Below U+0020 JSON has escapes anyway; between its values, a line feed stays.
    """
    return _UNSAFE_IN_JSON.sub(lambda match: _json_escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
