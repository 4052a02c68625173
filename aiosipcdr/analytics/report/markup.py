"""Elements of the page: built as a tree, so that every text is escaped where it is written."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

__all__ = ["Column", "details", "element", "figure", "paragraph", "section", "table"]

_WIDEST_PLAIN = 4
# Longer contents get a line of their own on a phone, and may be broken anywhere.
_LONG, _LONGEST_TEXT, _LONGEST = 10, 16, 24


class Column(NamedTuple):
    """A column of a table: its head, and whether it holds texts instead of numbers."""

    head: str
    is_text: bool = False


def element(tag: str, *children: "Element | str", kind: str | None = None, **attributes: str) -> Element:
    """Return an element with these children, which are elements and texts."""
    made = Element(tag, {} if kind is None else {"class": kind})
    for key, value in attributes.items():
        made.set(key.replace("_", "-"), value)
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return made


def paragraph(text: str, kind: str | None = None) -> Element:
    """Return a paragraph."""
    return element("p", text, kind=kind)


def section(title: str, *children: Element | str, kind: str | None = None) -> Element:
    """Return a section with its heading."""
    return element("section", element("h2", title), *children, kind=kind)


def details(summary: str, *children: Element) -> Element:
    """Return contents that open with a click."""
    return element("details", element("summary", summary), *children)


def figure(title: str, explanation: str, *children: Element, kind: str = "half") -> Element:
    """Return a chart with its title, how it is computed, and its table."""
    return element("figure", element("h3", title), paragraph(explanation, "how"), *children, kind=kind)


def table(label: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], more: str = "") -> Element:
    """Return a table whose first column names the rows; on a phone, a wide one shows each row as a block.

    Args:
        label: What it shows.
        columns: Its columns.
        rows: Its cells, as texts.
        more: A sentence below it, such as how many rows are left out.
    """
    is_wide = len(columns) > _WIDEST_PLAIN
    made = element("table", aria_label=label, kind="stack" if is_wide else None)
    # Roles: as blocks, the rows would be no table to some screen readers.
    made.set("role", "table")
    head = SubElement(SubElement(made, "thead", role="rowgroup"), "tr", role="row")
    for column in columns:
        cell = SubElement(head, "th", scope="col", role="columnheader")
        cell.text = column.head
        if column.is_text:
            cell.set("class", "t")
    body = SubElement(made, "tbody", role="rowgroup")
    for row in rows:
        line = SubElement(body, "tr", role="row")
        for column, text in zip(columns, row, strict=True):
            is_first = column is columns[0]
            cell = SubElement(line, "th" if is_first else "td", role="rowheader" if is_first else "cell")
            if is_first:
                cell.set("scope", "row")
            elif is_wide:
                cell.set("data-l", column.head)
            if kind := _kind_of(column, text):
                cell.set("class", kind)
            if column.is_text:
                # A name of another direction does not turn the line around.
                SubElement(cell, "bdi").text = text
            else:
                cell.text = text
    return element("div", made, *([paragraph(more, "how")] if more else []), kind="table")


def _kind_of(column: Column, text: str) -> str:
    longest = _LONGEST_TEXT if column.is_text else _LONGEST
    kinds = [("t", column.is_text), ("l", len(text) > _LONG), ("w", len(text) > longest)]
    return " ".join(kind for kind, applies in kinds if applies)
