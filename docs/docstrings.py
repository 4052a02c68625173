"""Converter of docstrings for Sphinx: Markdown tables and indented code become reStructuredText.

Changes the markup, never the words.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["setup", "to_rst"]

_INDENT = "    "
_TEXT = tuple("`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")


def to_rst(lines: Iterable[str]) -> Iterator[str]:
    """Yield `lines` with Markdown's tables as list tables and its indented code as code blocks."""
    lines = list(lines)
    place = 0
    while place < len(lines):
        line = lines[place]
        behind_blank = place > 0 and not lines[place - 1].strip()
        if line.startswith("|") and place + 1 < len(lines) and re.fullmatch(r"[|\s:-]+", lines[place + 1]):
            end = next((at for at in range(place, len(lines)) if not lines[at].startswith("|")), len(lines))
            yield from _table(lines[place:end])
            place = end
        elif line.startswith(_INDENT) and behind_blank and _last_text(lines[:place]).startswith(_TEXT):
            end = next((at for at in range(place, len(lines)) if not _is_code(lines, at)), len(lines))
            yield from ("", ".. code-block:: python" if _is_python(lines[place:end]) else ".. code-block:: text", "")
            yield from (f"{_INDENT}{code}".rstrip() for code in lines[place:end])
            yield ""
            place = end
        else:
            yield line
            place += 1


def _last_text(lines: Sequence[str]) -> str:
    # Indented text after a section's heading belongs to the section.
    text = next((line for line in reversed(lines) if line.strip()), "")
    return "" if text.startswith(_SECTIONS) else text


def _is_code(lines: Sequence[str], at: int) -> bool:
    return lines[at].startswith(_INDENT) or not lines[at].strip()


def _is_python(lines: Iterable[str]) -> bool:
    return any(re.search(r"\bawait\b|\basync\b|\w\(.*\)|=", line) for line in lines)


def _table(lines: Sequence[str]) -> Iterator[str]:
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    yield from ("", ".. list-table::", f"{_INDENT}:header-rows: 1", "")
    joined: list[list[str]] = [head]
    for row in rows:
        if row[0]:
            joined.append(row)
        else:  # a row without a name continues the one above
            joined[-1] = [f"{above} {below}".strip() for above, below in zip(joined[-1], row, strict=True)]
    for row in joined:
        for number, cell in enumerate(row):
            yield f"{_INDENT}{'* ' if number == 0 else '  '}- {cell}"
    yield ""


def _process(_app: Any, what: str, *others: Any) -> None:  # noqa: ANN401 - Sphinx's signature
    lines = others[-1]
    lines[:] = to_rst(lines)
    if what in {"attribute", "data"}:
        # An empty comment, because Sphinx takes the text before the first colon of a sentence for a type.
        lines[:0] = ["..", ""]


def setup(app: Any) -> dict[str, bool]:  # noqa: ANN401 - Sphinx's application
    """Register this module to run before Sphinx reads a docstring's sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
