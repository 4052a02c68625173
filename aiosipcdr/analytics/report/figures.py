"""The key figures of the page: metrics of all calls, each with how it is computed and what it was before."""

from collections.abc import Callable
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element

from aiosipcdr.analytics.metrics import TrafficMetrics
from aiosipcdr.analytics.report.markup import element, section
from aiosipcdr.analytics.report.text import NONE, describe_moment, describe_seconds, minutes, ratio, signed

__all__ = ["key_figures"]


class _Figure(NamedTuple):
    """A metric: how it is read and shown, and whether it changes by a share of itself, or by points or seconds."""

    name: str
    read: Callable[[TrafficMetrics], float | None]
    show: Callable[[float | None], str]
    how: str
    change: Literal["share", "points", "seconds"] = "share"


def _count(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"


def _erlangs(load: float | None) -> str:
    return NONE if load is None else f"{load:,.1f} E"


def _read_peak(metrics: TrafficMetrics) -> float | None:
    peak = metrics.concurrent.peak() if metrics.concurrent is not None else None
    return None if peak is None else peak.calls


def _read_starts(metrics: TrafficMetrics) -> float | None:
    peak = metrics.starts.peak() if metrics.starts is not None else None
    return None if peak is None else peak.calls


def _read_load(metrics: TrafficMetrics) -> float | None:
    hour = metrics.concurrent.busy_hour() if metrics.concurrent is not None else None
    return None if hour is None else float(hour.erlangs)


_FIGURES = (
    _Figure("Calls", lambda one: one.attempts, _count, "Rows; each leg of a transferred call is one."),
    _Figure("Answered", lambda one: one.answered, _count, "Answer time set, and longer than 0 s."),
    _Figure("Answer-seizure ratio (ASR)", lambda one: one.asr, ratio, "Answered / calls (ITU-T E.425).", "points"),
    _Figure(
        "Network effectiveness (NER)",
        lambda one: one.ner,
        ratio,
        "(Answered + busy + no answer + declined) / calls with a SIP code (E.425).",
        "points",
    ),
    _Figure("Minutes", lambda one: one.seconds, minutes, "Seconds of conversation of answered calls / 60."),
    _Figure("Charged minutes", lambda one: one.charged_seconds, minutes, "Charged seconds of all calls / 60."),
    _Figure(
        "Average call (ACD)",
        lambda one: one.acd,
        describe_seconds,
        "Seconds of conversation / answered (ITU-T E.437).",
        "seconds",
    ),
    _Figure("Shorter than 6 s", lambda one: one.short_share, ratio, "Answered calls below 6 s / answered.", "points"),
    _Figure(
        "Post-dial delay (PDD)",
        lambda one: one.pdd(),
        describe_seconds,
        "Median of ringing time minus submission (E.721).",
        "seconds",
    ),
    _Figure("Calls a second, at most", _read_starts, _count, "Submitted in the same second."),
    _Figure("Calls at once, at most", _read_peak, _count, "Connected in the same second."),
    _Figure("Busy hour", _read_load, _erlangs, "Highest mean of calls at once in a clock hour (E.600)"),
)


def key_figures(now: TrafficMetrics, before: TrafficMetrics | None, zone: TimeZone) -> Element:
    """Return the section of key figures.

    Args:
        now: The metrics of all calls.
        before: Those of the period before, if it is compared.
        zone: The zone of the busy hour.
    """
    figures = []
    for one in _FIGURES:
        value = one.read(now)
        shown = [element("dt", one.name), element("dd", one.show(value), kind="value")]
        if before is not None and (earlier := one.read(before)) is not None:
            shown.append(
                element("dd", f"{one.show(earlier)} before{_describe_change(one, value, earlier)}", kind="was")
            )
        shown.append(element("dd", one.how + (_describe_hour(now, zone) if one.read is _read_load else ""), kind="how"))
        figures.append(element("div", *shown))
    return section("Traffic", element("dl", *figures, kind="figures"))


def _describe_change(figure: _Figure, now: float | None, before: float) -> str:
    if now is None or (figure.change == "share" and not before):
        return ""
    if figure.change == "points":
        return f" ({signed((now - before) * 100, ' points')})"
    if figure.change == "seconds":
        return f" ({signed(now - before, ' s', 0)})"
    return f" ({signed((now / before - 1) * 100, '%')})"


def _describe_hour(metrics: TrafficMetrics, zone: TimeZone) -> str:
    hour = metrics.concurrent.busy_hour() if metrics.concurrent is not None else None
    return "." if hour is None else f", from {describe_moment(hour.start, zone)}."
