"""The HTML page: one file without script, address or id, which shows a summary to people."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from aiosipcdr import __version__
from aiosipcdr.analytics.report import charts, sections
from aiosipcdr.analytics.report.certificate import Certificate, Verdict
from aiosipcdr.analytics.report.figures import key_figures
from aiosipcdr.analytics.report.markup import element, paragraph, section
from aiosipcdr.analytics.report.sections import Writing
from aiosipcdr.analytics.report.text import Names, describe_currency, describe_moment, describe_period, describe_zone
from aiosipcdr.analytics.seconds import time_of
from aiosipcdr.analytics.summary import Dimension, Grouping, TrafficSummary
from aiosipcdr.display import visible
from aiosipcdr.model.money import EXACT
from aiosipcdr.model.report import FetchReport

__all__ = ["HEAD", "REPORT_GROUPINGS", "render_report"]

REPORT_GROUPINGS: tuple[Grouping, ...] = ("day", ("weekday", "hour"), "code", "sip_group_name")
"""The groupings that the page shows; it says which of them a summary lacks."""


HEAD = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="aiosipcdr'
_MOST_CURRENCIES = 4
_VERDICTS: dict[Verdict, str] = {
    "certified": "It is certified complete.",
    "provisional": "It is certified, but still open.",
    "unknown": "Nothing proves that its calls are complete.",
    "not certified": "It is NOT certified: differences may be calls that are missing.",
}


def render_report(
    summary: TrafficSummary,
    *,
    certificate: Certificate | FetchReport | None = None,
    before: TrafficSummary | None = None,
    certificate_before: Certificate | FetchReport | None = None,
    title: str = "Calls and costs",
    show_numbers: bool = False,
    created: datetime | None = None,
) -> str:
    """Return the HTML page of a summary; see `write_report`.

        html = render_report(summary, certificate=records.report)

    Computes and draws for about two seconds: call it with `asyncio.to_thread` where an event loop runs.

    Raises:
        MissingExtraError: The extra `report` is not installed.
        ValueError: `created` has no time zone.
    """
    proof = _certificate(certificate).compared_with(summary.total.attempts)
    names = Names(show_numbers=show_numbers)
    writing = Writing(summary, before, names)
    if created is not None and created.utcoffset() is None:
        raise ValueError("created is naive; give it a time zone, as in datetime.now(UTC)")
    written = (created or datetime.now(UTC)).astimezone(UTC)
    with localcontext(EXACT):
        body = element(
            "body",
            _header(writing, proof, names(title)),
            element("main", *_main(writing, proof, certificate_before)),
            _footer(writing, written, show_numbers=show_numbers),
        )
    prefix = "NOT certified: " if proof.verdict == "not certified" else ""
    style = files("aiosipcdr.analytics.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        f'{HEAD} {__version__}"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        '<meta name="robots" content="noindex">'
    )
    named = tostring(element("title", prefix + names(title)), encoding="unicode", method="html")
    # The names are clean; nothing else may hold what commands a reader either.
    text = visible(tostring(body, encoding="unicode", method="html"))
    return f"{head}{named}<style>{style}</style></head>\n{text}</html>\n"


def _certificate(given: Certificate | FetchReport | None) -> Certificate:
    if isinstance(given, FetchReport):
        return Certificate.of_report(given)
    if given is None:
        return Certificate(verdict="unknown", reasons=("The report was written without a certificate.",))
    return given


def _header(writing: Writing, proof: Certificate, title: str) -> Element:
    facts = [_describe_period(writing.summary, proof)]
    if proof.sip_group_name is not None:
        facts.append(f"Only calls of the group {writing.names(proof.sip_group_name)}.")
    if proof.is_one_phone:
        facts.append("Only calls of one phone.")
    return element("header", element("h1", title), *(paragraph(fact, "period") for fact in facts))


def _describe_period(summary: TrafficSummary, proof: Certificate) -> str:
    zone = summary.tz
    try:
        if proof.start is not None and proof.end is not None:
            return f"{describe_period(proof.start, proof.end, zone)} ({describe_zone(zone)})"
        first, last = (
            None if second is None else time_of(second, zone)
            for second in (summary.total.first_second, summary.total.last_second)
        )
        if first is not None and last is not None:
            span = f"{describe_moment(first, zone)} to {describe_moment(last, zone)}"
            return f"{span} ({describe_zone(zone)})"
    except OverflowError:  # at the end of the calendar
        pass
    return "No call has a time of submission." if summary.total.attempts else "There are no calls."


def _main(writing: Writing, proof: Certificate, before: Certificate | FetchReport | None) -> Iterator[Element]:
    summary = writing.summary
    yield sections.certificate(proof)
    if writing.before is not None or before is not None:
        yield _comparison(writing.before, before)
    yield sections.invoice(writing)
    yield key_figures(summary.total, None if writing.before is None else writing.before.total, summary.tz)
    drawn = [*_charts(writing, proof)]
    if drawn:
        yield section("Charts", element("div", *drawn, kind="charts"))
    tables: tuple[tuple[Dimension, str], ...] = (
        ("code", "Destination"),
        ("sip_group_name", "Group"),
        ("phone_name", "Phone"),
    )
    for dimension, head in tables:
        if (dimension,) in summary.by:
            found = {_text(key[0]): metrics for key, metrics in summary.table(dimension).items()}
            body = sections.groups(writing, head, found, as_phone=dimension == "phone_name")
            yield section(f"{head}s", body)
    if summary.billing is not None:
        yield sections.audit(writing, summary.billing.result())
    if summary.hints is not None:
        yield sections.hints(writing, summary.hints.find())
    yield sections.describe_limits(summary.total)
    if lacking := [one for one in REPORT_GROUPINGS if (one if isinstance(one, tuple) else (one,)) not in summary.by]:
        words = ", ".join(one if isinstance(one, str) else " and ".join(one) for one in lacking)
        yield section("Not on this page", paragraph(f"The summary was made without: {words}."))


def _comparison(before: TrafficSummary | None, given: Certificate | FetchReport | None) -> Element:
    proof = _certificate(given)
    if before is None:
        return paragraph(" ".join(("The period before is not compared.", *proof.reasons)), "before")
    proof = proof.compared_with(before.total.attempts)
    verdict = _VERDICTS[proof.verdict]
    text = f"Compared with {_describe_period(before, proof)}, {before.total.attempts:,} calls. {verdict}"
    return paragraph(text, f"before {proof.verdict.replace(' ', '-')}")


def _charts(writing: Writing, proof: Certificate) -> Iterator[Element]:
    summary, names = writing.summary, writing.names
    total = summary.total
    if ("day",) in summary.by and (span := _days(summary, proof)) is not None:
        days = {key[0]: metrics for key, metrics in summary.table("day").items() if isinstance(key[0], date)}
        peaks = total.concurrent.peaks_by_day(summary.tz) if total.concurrent is not None else {}
        unit, slots = charts.make_slots(days, peaks, *span)
        yield charts.draw_slots(unit, slots)
    else:
        unit, slots = "day", []
    if ("weekday", "hour") in summary.by and total.attempts:
        table = summary.table("weekday", "hour").items()
        yield charts.draw_week(
            {
                (day, hour): metrics.attempts
                for (day, hour), metrics in table
                if isinstance(day, int) and isinstance(hour, int)
            }
        )
    if total.endings:
        yield charts.draw_endings(total.endings, names)
    if total.delays:
        yield charts.draw_delays(total)
    if slots:
        yield charts.draw_peaks(unit, slots)
    if ("code",) in summary.by:
        yield from _destinations(summary, names)


def _days(summary: TrafficSummary, proof: Certificate) -> tuple[date, date] | None:
    """Return the first and the last day of the period, or of the calls where it is not known."""
    found = [key[0] for key in summary.table("day") if isinstance(key[0], date)]
    try:
        if proof.start is not None and proof.end is not None:
            last_moment = max(proof.start, proof.end).timestamp() - 1
            last = time_of(int(last_moment), summary.tz)
            found += [proof.start.astimezone(summary.tz).date()] + ([last.date()] if last is not None else [])
    except OverflowError:
        pass
    return (min(found), max(found)) if found else None


def _destinations(summary: TrafficSummary, names: Names) -> Iterator[Element]:
    currencies = sorted(
        ((one.priced, currency) for currency, one in summary.total.by_currency.items() if one.cost),
        key=lambda item: (-item[0], item[1] or ""),
    )
    table = summary.table("code")
    for _, currency in currencies[:_MOST_CURRENCIES]:
        costs: list[tuple[str | None, Decimal, int]] = [
            (_text(key[0]), metrics.by_currency[currency].cost, metrics.by_currency[currency].priced)
            for key, metrics in table.items()
            if currency in metrics.by_currency and metrics.by_currency[currency].cost
        ]
        costs.sort(key=lambda item: (-item[1], item[0] or ""))
        name = describe_currency(currency, names) if currency else "no currency named"
        yield charts.draw_destinations(costs, name, summary.total.by_currency[currency].cost, names)


def _text(value: str | int | date | None) -> str | None:
    return value if isinstance(value, str) else None


def _footer(writing: Writing, written: datetime, *, show_numbers: bool) -> Element:
    shown = "Phone numbers are shown." if show_numbers else "Phone numbers are masked."
    words = f"Written by aiosipcdr {__version__} on {describe_moment(written, UTC)} UTC. {shown}"
    return element("footer", paragraph(f"{words} Days and hours are those of {describe_zone(writing.summary.tz)}."))
