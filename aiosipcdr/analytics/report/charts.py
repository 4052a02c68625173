"""The charts of the page, each with how it is computed and its table.

Each is drawn twice, for wide and for narrow screens, at the width at which it is shown.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from aiosipcdr.analytics.metrics import TrafficMetrics
from aiosipcdr.analytics.report.drawing import draw
from aiosipcdr.analytics.report.markup import Column, details, element, figure, table
from aiosipcdr.analytics.report.text import (
    Names,
    describe_day,
    describe_seconds,
    fit,
    is_astral,
    money,
    places_of,
    ratio,
    short_count,
    width_of,
)

__all__ = [
    "TimeSlot",
    "draw_destinations",
    "draw_endings",
    "draw_peaks",
    "draw_slots",
    "draw_week",
    "make_slots",
]

_FULL, _HALF, _NARROW = 1040, 500, 340
_MOST_DAYS, _MOST_SLOTS = 62, 120
_MOST_ENDINGS, _MOST_DESTINATIONS = 10, 10
_MOST_TABLE_ROWS = 40
_LEAST_DELAYS, _LONGEST_DELAY = 10, 20
_HOURS, _WEEKDAYS = 24, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST_AMOUNT = 18
_LETTER = 6.6  # the mean width of a letter of 12 px
_GOOD, _REST, _ACCENT, _SECOND = "var(--good)", "var(--rest)", "var(--accent)", "var(--second)"
_LABELS = "labels[datum.value]"

# What SIP calls the codes; other numbers mean what the brand says.
_CODES = {
    "200": "answered",
    "400": "bad request",
    "403": "forbidden",
    "404": "number not found",
    "408": "timeout",
    "480": "unavailable",
    "484": "number incomplete",
    "486": "busy",
    "487": "given up",
    "488": "not acceptable",
    "500": "server error",
    "502": "bad gateway",
    "503": "service unavailable",
    "504": "gateway timeout",
    "600": "busy everywhere",
    "603": "declined",
    "604": "does not exist",
}


class TimeSlot(NamedTuple):
    """A day, month or year of the period, with its metrics, and its peak if that is known."""

    name: str
    short: str
    metrics: TrafficMetrics
    peak: int


def make_slots(
    days: dict[date, TrafficMetrics], peaks: dict[date, int], first: date, last: date
) -> tuple[str, list[TimeSlot]]:
    """Return "day", "month" or "year", and the slots of a period, those without calls included.

    Args:
        days: The metrics by day.
        peaks: The concurrent peaks by day.
        first: The first day.
        last: The last one.
    """
    unit, key = "day", _day_key
    if (last - first).days >= _MOST_DAYS:
        unit, key = ("month", _month_key) if (last.year - first.year) * 12 < _MOST_SLOTS else ("year", _year_key)
    slots: dict[str, tuple[TrafficMetrics, list[int]]] = {}
    if unit == "day":
        every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    else:
        every = sorted({*days, *peaks, first, last})
        if unit == "month":  # those without calls, too
            months = range(first.year * 12 + first.month, last.year * 12 + last.month - 1)
            every = sorted({*every, *(date(month // 12, month % 12 + 1, 1) for month in months)})
    for day in every:
        if first <= day <= last:
            metrics, highest = slots.setdefault(key(day), (TrafficMetrics(), []))
            if (found := days.get(day)) is not None:
                metrics.update(found)
            highest.append(peaks.get(day, 0))
    made = [
        TimeSlot(name, _short(name, before), metrics, max(highest))
        for (name, (metrics, highest)), before in zip(slots.items(), [None, *slots], strict=False)
    ]
    return unit, made[-_MOST_SLOTS:]


def _day_key(day: date) -> str:
    return describe_day(day)


def _month_key(day: date) -> str:
    return describe_day(day).partition(" ")[2]


def _year_key(day: date) -> str:
    return str(day.year)


def _short(name: str, before: str | None) -> str:
    """Return the label of a slot: "1 Oct", then "2", as the month is not repeated."""
    words = name.split()
    if len(words) == 1:
        return name
    month = words[-2][:3]
    is_same = before is not None and before.split()[-2] == words[-2]
    if len(words) == 2:  # noqa: PLR2004 - month and year
        return month if before is not None and before.split()[-1] == words[-1] else f"{month} {words[-1]}"
    return words[0] if is_same else f"{words[0]} {month}"


def draw_slots(unit: str, slots: Sequence[TimeSlot]) -> Element:
    """Return the chart of calls by day: answered or not."""
    most = max(slots, key=lambda slot: slot.metrics.attempts)
    values = [
        {"slot": number, "kind": kind, "calls": calls}
        for number, slot in enumerate(slots)
        for kind, calls in (
            (0, slot.metrics.answered),
            (1, slot.metrics.attempts - slot.metrics.answered),
        )
    ]
    colour = {"field": "kind", "type": "nominal", "legend": None, "scale": {"domain": [0, 1], "range": [_GOOD, _REST]}}

    def spec(width: int) -> dict[str, Any]:
        return {
            **_labelled([slot.short for slot in slots]),
            "data": {"values": values},
            "mark": "bar",
            "encoding": {
                "x": _slot_axis(slots, width),
                "y": _count_axis(most.metrics.attempts),
                "color": colour,
                "order": {"field": "kind"},
            },
        }

    columns = [Column(unit.capitalize(), is_text=True), Column("Calls"), Column("Answered"), Column("ASR")]
    rows = [
        (slot.name, f"{slot.metrics.attempts:,}", f"{slot.metrics.answered:,}", ratio(slot.metrics.asr))
        for slot in slots
    ]
    title = f"Calls by {unit}"
    label = f"{title}. Most of them: {most.name}, {most.metrics.attempts:,} calls."
    legend = element(
        "p",
        element("span", kind="key good"),
        "answered ",
        element("span", kind="key rest"),
        "not answered",
        kind="legend",
    )
    return figure(
        title,
        "A call is answered if it has an answer time and lasted longer than 0 s; its code does not decide.",
        *_both(spec, label, wide=(_FULL, 240), narrow=(_NARROW, 200)),
        legend,
        details("Show as a table", table(title, columns, rows)),
        kind="full",
    )


def draw_peaks(unit: str, slots: Sequence[TimeSlot]) -> Element:
    """Return the chart of the most calls at once by day."""
    most = max(slots, key=lambda slot: slot.peak)
    values = [{"slot": number, "calls": slot.peak} for number, slot in enumerate(slots)]

    def spec(width: int) -> dict[str, Any]:
        return {
            **_labelled([slot.short for slot in slots]),
            "data": {"values": values},
            "mark": {"type": "bar", "color": _SECOND},
            "encoding": {"x": _slot_axis(slots, width), "y": _count_axis(most.peak)},
        }

    title = f"Most calls at once by {unit}"
    columns = [Column(unit.capitalize(), is_text=True), Column("Calls at once")]
    return figure(
        title,
        "The highest number of calls connected in one second, each from its answer up to its hang-up.",
        *_both(spec, f"{title}. The most: {most.name}, {most.peak:,}.", wide=(_HALF, 220), narrow=(_NARROW, 200)),
        details("Show as a table", table(title, columns, [(slot.name, f"{slot.peak:,}") for slot in slots])),
    )


def draw_week(cells: dict[tuple[int, int], int]) -> Element:
    """Return the heat map of calls by hour and weekday.

    Args:
        cells: The calls by weekday (0 is Monday) and hour.
    """
    most = max(cells.values(), default=0)
    values = [
        {"hour": hour, "day": day, "calls": cells.get((day, hour), 0)}
        for day in range(len(_WEEKDAYS))
        for hour in range(_HOURS)
    ]
    # The darkest cell is the one with most calls, in any theme: the opacity says how many.
    shade = {
        "field": "calls",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [0, max(1, most)], "range": [0.05, 1], "zero": True},
    }

    def spec(width: int) -> dict[str, Any]:
        every = 1 if width == _FULL else 3
        return {
            **_labelled([day[:3] for day in _WEEKDAYS]),
            "data": {"values": values},
            "mark": {"type": "rect", "color": _ACCENT},
            "encoding": {
                "x": {
                    "field": "hour",
                    "type": "ordinal",
                    "scale": {"padding": 0.06},
                    "axis": {
                        "labelAngle": 0,
                        "ticks": False,
                        "domain": False,
                        "values": list(range(0, _HOURS, every)),
                    },
                },
                "y": {
                    "field": "day",
                    "type": "ordinal",
                    "scale": {"padding": 0.06},
                    "axis": {"labelExpr": _LABELS, "ticks": False, "domain": False},
                },
                "fillOpacity": shade,
            },
        }

    title = "Calls by hour and weekday"
    fullest = min((-calls, cell) for cell, calls in cells.items())[1] if most else None
    when = f"{_WEEKDAYS[fullest[0]]}, {fullest[1]}:00 to {fullest[1] + 1}:00" if fullest else "none"
    columns = [Column("Hour"), *(Column(day[:2]) for day in _WEEKDAYS)]
    rows = [
        (f"{hour}", *(short_count(cells.get((day, hour), 0)) for day in range(len(_WEEKDAYS))))
        for hour in range(_HOURS)
    ]
    grid = table(title, columns, rows)
    grid[0].set("class", "grid")
    return figure(
        title,
        f"By the time of submission. The deeper the colour, the more calls; most of them: {when} ({most:,} calls).",
        *_both(spec, f"{title}. Most of them: {when}, {most:,}.", wide=(_FULL, 230), narrow=(_NARROW, 180)),
        details("Show as a table", grid),
        kind="full",
    )


def draw_endings(endings: dict[str | None, int], names: Names) -> Element:
    """Return the chart of termination codes."""
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0] or ""))
    total = sum(endings.values())
    labels = [_name_code(code, names) for code, _ in ordered]
    bars = [
        (label, calls, f"{calls:,} ({ratio(calls / total)})") for label, (_, calls) in zip(labels, ordered, strict=True)
    ]
    title = "Endings by code"
    columns = [Column("Code", is_text=True), Column("Calls"), Column("Share")]
    rows = [(label, f"{calls:,}", ratio(calls / total)) for label, calls, _ in bars[:_MOST_TABLE_ROWS]]
    return figure(
        title,
        "As the vendor sent them; the meanings are those of SIP (RFC 3261). Brands use others, too, such as 1000.",
        *_bars(bars[:_MOST_ENDINGS], f"{title}. The most frequent: {labels[0]}.", _ACCENT),
        details("Show as a table", table(title, columns, rows, _left_out(len(bars), _MOST_TABLE_ROWS))),
    )


def _name_code(code: str | None, names: Names) -> str:
    if code is None:
        return "no code"
    return f"{names(code)} {_CODES[code]}" if code in _CODES else names(code)


def draw_delays(metrics: TrafficMetrics) -> Element:
    """Return the histogram of post-dial delays."""
    total = sum(metrics.delays.values())
    last = min(_LONGEST_DELAY, max(_LEAST_DELAYS, *metrics.delays))
    counts: Counter[int] = Counter()
    for delay, calls in metrics.delays.items():
        counts[min(delay, last)] += calls
    labels = [f"{delay}" for delay in range(last)] + [f"{last}+" if max(metrics.delays) > last else f"{last}"]
    values = [{"slot": delay, "calls": counts[delay]} for delay in range(last + 1)]

    def spec(width: int) -> dict[str, Any]:
        every = 1 if last < _LONGEST_DELAY else 2 if width == _HALF else 4
        return {
            **_labelled(labels),
            "data": {"values": values},
            "mark": {"type": "bar", "color": _SECOND},
            "encoding": {"x": _ordinal(range(0, last + 1, every)), "y": _count_axis(max(counts.values()))},
        }

    median, high = describe_seconds(metrics.pdd()), describe_seconds(metrics.pdd(0.95))
    title = "Post-dial delay (PDD)"
    reached, rows = 0, []
    for delay, label in enumerate(labels):
        reached += counts[delay]
        rows.append((f"{label} s", f"{counts[delay]:,}", ratio(reached / total)))
    columns = [Column("Delay"), Column("Calls"), Column("Up to here")]
    return figure(
        title,
        f"Whole seconds from submission to ringing, of {total:,} calls that rang. Half of them: up to {median};"
        f" 95%: up to {high}.",
        *_both(spec, f"{title}. Median {median}, 95% {high}.", wide=(_HALF, 220), narrow=(_NARROW, 200)),
        details("Show as a table", table(title, columns, rows)),
    )


def draw_destinations(
    costs: Sequence[tuple[str | None, Decimal, int]], currency: str, total: Decimal, names: Names
) -> Element:
    """Return the chart of cost by destination in one currency.

    Args:
        costs: Destination, cost and calls that have one; the highest cost first.
        currency: The name of the currency.
        total: The cost of all destinations.
        names: Makes names fit for the page.
    """
    places = places_of([cost for _, cost, _ in costs])
    bars = [(names(code), float(cost), money(cost, places)) for code, cost, _ in costs]
    drawn = [(name, cost, text if len(text) <= _LONGEST_AMOUNT else f"{cost:.3e}") for name, cost, text in bars]
    title = f"Cost by destination: {currency}"
    columns = [Column("Destination", is_text=True), Column("Calls"), Column("Cost"), Column("Share")]
    rows = [
        (name, f"{calls:,}", amount, ratio(float(cost / total)) if total else ratio(None))
        for (name, _, amount), (_, cost, calls) in zip(bars, costs, strict=True)
    ]
    return figure(
        title,
        f"Sum of the field cost of calls in this currency, of {len(costs):,} destinations. Nothing is converted.",
        *_bars(drawn[:_MOST_DESTINATIONS], f"{title}. The highest: {bars[0][0]}, {bars[0][2]}.", _ACCENT),
        details(
            "Show as a table", table(title, columns, rows[:_MOST_TABLE_ROWS], _left_out(len(rows), _MOST_TABLE_ROWS))
        ),
    )


def _left_out(rows: int, shown: int) -> str:
    return f"{rows - shown:,} more are left out." if rows > shown else ""


def _bars(bars: Sequence[tuple[str, float, str]], label: str, colour: str) -> list[Element]:
    """Draw horizontal bars: names on the left, amounts right of the bars."""
    values = [{"row": number, "amount": amount, "text": text} for number, (_, amount, text) in enumerate(bars)]
    longest = max(len(text) for _, _, text in bars)

    def spec(width: int) -> dict[str, Any]:
        names = [fit(name, 24 if width == _HALF else 20) for name, _, _ in bars]
        taken = min(170 if width == _HALF else 135, round(_LETTER * max(map(width_of, names))) + 12)
        room = round(width - taken - _LETTER * longest - 14)
        lowest, highest = min(0.0, *(amount for _, amount, _ in bars)), max(0.0, *(amount for _, amount, _ in bars))
        amount = {
            "field": "amount",
            "type": "quantitative",
            "axis": None,
            "scale": {
                "domain": [lowest, highest or 1],
                "range": [0, max(20, room)],
                "nice": False,
            },
        }
        row = {
            "field": "row",
            "type": "ordinal",
            "axis": {
                "labelExpr": _LABELS,
                # Vega cuts between the halves of a letter that is two JavaScript characters, and then fails.
                "labelLimit": 0 if any(map(is_astral, names)) else taken - 9,
                "ticks": False,
                "domain": False,
                "minExtent": taken,
                "maxExtent": taken,
            },
        }
        return {
            **_labelled(names),
            "data": {"values": values},
            "encoding": {"y": row},
            "layer": [
                {"mark": {"type": "bar", "color": colour}, "encoding": {"x": amount}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 6, "color": "currentColor"},
                    "encoding": {"x": amount, "text": {"field": "text"}},
                },
            ],
        }

    height = 26 * len(bars) + 6
    return _both(spec, label, wide=(_HALF, height), narrow=(_NARROW, height))


def _both(
    spec: Callable[[int], dict[str, Any]], label: str, *, wide: tuple[int, int], narrow: tuple[int, int]
) -> list[Element]:
    return [
        draw(spec(width), width=width, height=height, label=label, kind=kind)
        for kind, (width, height) in (("wide", wide), ("narrow", narrow))
    ]


def _labelled(labels: Sequence[str]) -> dict[str, Any]:
    # As data, not in an expression.
    return {"params": [{"name": "labels", "value": list(labels)}]}


def _ordinal(shown: Sequence[int]) -> dict[str, Any]:
    axis = {"labelExpr": _LABELS, "labelAngle": 0, "values": list(shown), "ticks": False}
    return {"field": "slot", "type": "ordinal", "axis": axis}


def _slot_axis(slots: Sequence[TimeSlot], width: int) -> dict[str, Any]:
    room = max(len(slot.short) for slot in slots) * _LETTER + 6
    every = max(1, -(-int(len(slots) * room) // (width - 50)))
    if every > 1 and slots[0].short[:1].isdigit():
        every = -(-every // 7) * 7 if width == _NARROW else every
    return _ordinal(range(0, len(slots), every))


def _count_axis(most: int) -> dict[str, Any]:
    """Return the axis of calls, with at most five whole numbers on it."""
    scale = 10 ** max(0, len(str(most)) - 2)
    step = next(scale * part for part in (1, 2, 5, 10, 20, 25, 50) if most <= 4 * scale * part)
    axis = {"format": "~s", "values": list(range(0, most + 1, step)), "domain": False, "ticks": False}
    whole = {"domain": [0, max(1, most)], "nice": False}
    return {"field": "calls", "type": "quantitative", "axis": axis, "scale": whole}
