"""Vega-Lite charts drawn to SVG when the page is written: nothing is left to run in the browser.

The drawing library reads no address, and only elements and attributes that draw are kept of what it returns.
"""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from aiosipcdr.extras import MissingExtraError

__all__ = ["check_drawing", "draw"]

FONT = "Liberation Sans"
"""Measured as wide as Arial and Helvetica, which most machines have; the drawing library brings it."""

_CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "labelPadding": 7,
        "title": None,
        "domainColor": "currentColor",
        "domainOpacity": 0.4,
        "tickColor": "currentColor",
        "tickOpacity": 0.4,
        "gridColor": "currentColor",
        "gridOpacity": 0.14,
    },
    "text": {"fontSize": 12},
    "scale": {"bandPaddingInner": 0.2, "bandPaddingOuter": 0.1},
}
_ELEMENTS = {"svg", "g", "path", "line", "rect", "text"}
_ATTRIBUTES = {
    *("d", "dx", "fill", "fill-opacity", "font-size", "font-weight", "opacity", "stroke", "stroke-opacity"),
    *("stroke-width", "text-anchor", "transform", "x", "x1", "x2", "y", "y1", "y2", "height", "width", "viewBox"),
}
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1"), ("text-anchor", "start"), ("font-size", "12px")}
_FRACTION = re.compile(r"\d+\.\d+")


def check_drawing() -> None:
    """Refuse to begin without the drawing library.

    Raises:
        MissingExtraError: The extra `report` is not installed.
    """
    try:
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("the HTML report needs vl-convert", "report", name=error.name) from None


def draw(spec: dict[str, Any], *, width: int, height: int, label: str, kind: str) -> Element:
    """Draw a chart as an `svg` element.

    Args:
        spec: The Vega-Lite specification, without size and style. Its texts must have no control characters.
        width: Its width in CSS pixels, at which it is shown, so that its letters have their size.
        height: Its height.
        label: What it shows, for people who cannot see it.
        kind: The class of the element.

    Raises:
        MissingExtraError: The extra `report` is not installed.
    """
    check_drawing()
    import vl_convert

    whole = {
        **spec,
        "width": width,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 0, "right": 1, "top": 4, "bottom": 0},
        "config": _CONFIG,
    }
    svg = vl_convert.vegalite_to_svg(whole, allowed_base_urls=[])
    root = fromstring(svg)  # noqa: S314 - written a line above, without entities
    size = f"{float(root.get('width', width)):.0f}", f"{float(root.get('height', height)):.0f}"
    drawn = Element(
        "svg",
        {
            "class": kind,
            "role": "img",
            "aria-label": label,
            "width": size[0],
            "height": size[1],
            "viewBox": f"0 0 {size[0]} {size[1]}",
        },
    )
    drawn.extend(child for part in root for child in _kept(part))
    return drawn


def _kept(part: Element) -> Iterator[Element]:
    name = part.tag.rpartition("}")[2]
    classes = part.get("class", "").split()
    if name not in _ELEMENTS or part.get("display") == "none" or "background" in classes:
        return
    attributes = {
        key: _FRACTION.sub(_round, value)
        for key, value in part.items()
        if key in _ATTRIBUTES and (key, value) not in _DEFAULTS and value != "translate(0,0)"
    }
    children = [child for inner in part for child in _kept(inner)]
    if name == "g" and not children:
        return
    if name == "g" and not attributes:
        yield from children
        return
    if name == "g" and len(children) == 1 and children[0].tag == "g" and "transform" not in children[0].attrib:
        attributes, children = {**attributes, **children[0].attrib}, list(children[0])
    kept = Element(name, attributes)
    if name == "text":
        kept.text = part.text
    kept.extend(children)
    yield kept


def _round(number: re.Match[str]) -> str:
    # Half a pixel stays: lines are sharp there.
    return f"{float(number[0]):.1f}".removesuffix(".0")
