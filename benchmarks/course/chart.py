"""Charts as SVG, written by hand: bars and lines that can be read on a light and on a dark page.

Knows numbers and labels, nothing of what they mean.
"""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

__all__ = ["Bar", "Panel", "draw_bars", "draw_panels"]

Bar = tuple[str, float, str, bool]
"""Label, value, the text behind the bar, and whether it is our own."""

Panel = tuple[str, dict[str, list[tuple[float, float]]]]
"""A title, and the points of each line."""

# No background: the page's own shows. A viewer that knows no media query takes the greys, which both pages bear.
_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#6e7781}
.title{font-weight:600}.small{font-size:11px}
.other{fill:#8c959f}.ours{fill:#1f883d}.rule{stroke:#8c959f;stroke-opacity:.35;stroke-width:1}
.a{stroke:#1f883d;fill:#1f883d}.b{stroke:#bc4c00;fill:#bc4c00}.line{fill:none;stroke-width:2}.dot{stroke:none}
@media(prefers-color-scheme:dark){text{fill:#9198a1}.other{fill:#6e7681}.ours{fill:#3fb950}
.a{stroke:#3fb950;fill:#3fb950}.b{stroke:#f0883e;fill:#f0883e}.line{fill:none}}
"""
_WIDTH = 760


def _document(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}"'
        f' height="{height:g}" role="img" aria-label="{escape(title)}"><style>{_STYLE.strip()}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def draw_bars(title: str, bars: Sequence[Bar]) -> str:
    """Draw horizontal bars, all from zero, in the order given."""
    # The page's font is the reader's: the widest that is common takes seven pixels a letter.
    left, step, room = max(7 * len(label) for label, *_ in bars) + 10, 28, 100
    scale = (_WIDTH - left - room) / max(value for _, value, _, _ in bars)
    parts = [_text(0, 16, title, "title")]
    for place, (label, value, reported, is_ours) in enumerate(bars):
        y = 34 + place * step
        parts.append(_text(left - 10, y + 14, label, anchor="end"))
        kind = "ours" if is_ours else "other"
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(1.0, value * scale):.1f}" height="19" rx="2" class="{kind}"/>'
        )
        parts.append(_text(left + value * scale + 8, y + 14, reported))
    return _document(34 + len(bars) * step + 6, parts, title)


def draw_panels(title: str, panels: Sequence[Panel]) -> str:
    """Draw two panels a row, both axes logarithmic, with one legend for their lines."""
    wide, high, across = _WIDTH / 2, 230, 2
    parts = [_text(0, 16, title, "title")]
    names = list(panels[0][1])
    for place, name in enumerate(names):
        x = 8 + place * 130
        parts.append(f'<circle cx="{x}" cy="34" r="4" class="{"ab"[place]} dot"/>{_text(x + 10, 38, name, "small")}')
    for place, panel in enumerate(panels):
        parts += _draw_panel(panel, place % across * wide, 52 + place // across * high, wide, high)
    return _document(52 + ceil(len(panels) / across) * high, parts, title)


def _draw_panel(panel: Panel, x: float, y: float, wide: float, high: float) -> list[str]:
    title, lines = panel
    points = [point for line in lines.values() for point in line]
    least_x, most_x = log10(min(p[0] for p in points)), log10(max(p[0] for p in points))
    least_y, most_y = floor(log10(min(p[1] for p in points))), ceil(log10(max(p[1] for p in points)) + 1e-9)
    inner_wide, inner_high, left, top = wide - 78, high - 62, x + 50, y + 24

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = (log10(point[0]) - least_x) / max(1e-9, most_x - least_x)
        up = (log10(point[1]) - least_y) / max(1, most_y - least_y)
        return left + across * inner_wide, top + (1 - up) * inner_high

    parts = [_text(x, y + 12, title)]
    for power in range(least_y, most_y + 1):
        level = at((10**least_x, 10.0**power))[1]
        parts.append(f'<path d="M{left:g} {level:.1f}h{inner_wide:g}" class="rule"/>')
        parts.append(_text(left - 6, level + 4, _short(10.0**power), "small", "end"))
    for value in sorted({p[0] for p in points}):
        across = at((value, 10.0**least_y))[0]
        parts.append(_text(across, top + inner_high + 16, _short(value), "small", "middle"))
    for place, line in enumerate(lines.values()):
        kind, spots = "ab"[place], [at(point) for point in line]
        path = "L".join(f"{across:.1f} {level:.1f}" for across, level in spots)
        parts.append(f'<path d="M{path}" class="{kind} line"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{level:.1f}" r="3" class="{kind} dot"/>' for across, level in spots]
    return parts


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
