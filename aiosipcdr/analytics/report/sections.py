"""The sections of the page: certificate, money, traffic, tables, audit and hints."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple
from xml.etree.ElementTree import Element

from aiosipcdr.analytics.billing import BilledCall, BillingResult, CallList
from aiosipcdr.analytics.hints import FraudHint
from aiosipcdr.analytics.metrics import TrafficMetrics
from aiosipcdr.analytics.report.certificate import Certificate, Verdict
from aiosipcdr.analytics.report.markup import Column, details, element, paragraph, section, table
from aiosipcdr.analytics.report.text import (
    NONE,
    Names,
    describe_currency,
    describe_seconds,
    minutes,
    money,
    places_of,
    ratio,
    rounded,
    short_moment,
    signed,
)
from aiosipcdr.analytics.summary import TrafficSummary
from aiosipcdr.model.report import counted

__all__ = ["Writing", "audit", "certificate", "describe_limits", "groups", "hints", "invoice"]

_MOST_LISTED = 4
_MOST_GROUPS = 30
_MOST_CALLS = 15
_MOST_HINTS = 20
_MOST_CURRENCIES = 20
_MOST_FILES = 40

_HEADS: dict[Verdict, tuple[str, str, str]] = {
    "certified": (
        "good",
        "Certified complete",
        "The vendor's own counts prove that these are all calls of the period: none is missing, none is counted twice.",
    ),
    "provisional": (
        "open",
        "Certified, but still open",
        "These were all calls when they were read, and the vendor may still add some. Write the report again later.",
    ),
    "unknown": (
        "open",
        "Certificate unknown",
        "Nothing proves that these are all calls of the period. An export by aiosipcdr has the proof beside its file.",
    ),
    "not certified": (
        "bad",
        "NOT certified",
        "It is not proven that these are all calls of the period, each counted once. Check no invoice with this page.",
    ),
}


_SIGNED = "The signatures of the manifests are valid: file and manifest were not changed together."
_NOT_SIGNED = "The signatures of the manifests were not checked, which takes the key and secret of the account."


class Writing(NamedTuple):
    """What all sections share: the summary, that of the period before, and how names are shown."""

    summary: TrafficSummary
    before: TrafficSummary | None
    names: Names


def certificate(found: Certificate) -> Element:
    """Return the banner with the certificate and its reasons."""
    kind, head, meaning = _HEADS[found.verdict]
    parts = [element("h2", head), paragraph(meaning)]
    if found.calls is not None:
        facts = f"{found.calls:,} calls are on this page; the vendor counts {found.counted or 0:,}"
        if found.windows and found.verdict in {"certified", "provisional"}:
            facts += f", in {counted(found.windows, 'window', 'windows')} that were proven one by one"
        parts.append(paragraph(f"{facts}."))
    if found.is_signed is not None:
        parts.append(paragraph(_SIGNED if found.is_signed else _NOT_SIGNED))
    if found.reasons:
        parts.append(_list(found.reasons))
    if found.notes:
        parts += [paragraph("Note:"), _list(found.notes)]
    banner = element("section", *parts, kind=f"certificate {kind}", aria_label="Certificate")
    if found.files:
        banner.append(details(counted(len(found.files), "file", "files"), _files(found)))
    return banner


def _list(sentences: Sequence[str]) -> Element:
    return element("ul", *(element("li", sentence) for sentence in sentences))


def _files(found: Certificate) -> Element:
    columns = [
        Column("File", is_text=True),
        Column("Proof", is_text=True),
        Column("Calls"),
        Column("SHA-256", is_text=True),
    ]
    rows = [
        (file.name, file.verdict, NONE if file.calls is None else f"{file.calls:,}", (file.sha256 or NONE)[:16])
        for file in found.files[:_MOST_FILES]
    ]
    more = len(found.files) - _MOST_FILES
    return table("Files", columns, rows, f"{more:,} more are left out." if more > 0 else "")


_MONEY_NOTE = (
    "Exact sums; nothing is converted or added across currencies. Cost is in the currency of the quote, which the first"
    " column names as the calls do; settle_pay, of the same calls, is in the settlement currency of the account. Per"
    " minute: cost / charged minutes."
)


def invoice(writing: Writing) -> Element:
    """Return what the calls cost, by currency: the sums that an invoice is held against."""
    total, before = writing.summary.total, writing.before
    earlier = {} if before is None else before.total.by_currency
    found = sorted(
        ((currency, one) for currency, one in total.by_currency.items() if one.priced or one.settled),
        key=lambda item: (-item[1].priced, item[0] or ""),
    )
    shown = found[:_MOST_CURRENCIES]
    columns = [
        Column("Currency", is_text=True),
        *map(Column, ("Calls", "Charged min", "Cost", "Per minute", "settle_pay")),
        *(map(Column, ("Cost before", "Change")) if before is not None else ()),
    ]
    places, settled_places = places_of([one.cost for _, one in shown]), places_of([one.settle_pay for _, one in shown])
    rows = []
    for currency, one in shown:
        rate = total.effective_rate(currency)
        row = [
            describe_currency(currency, writing.names),
            f"{one.priced:,}",
            minutes(one.charged_seconds),
            money(one.cost, places) if one.priced else NONE,
            NONE if rate is None else f"{rate:,.6f}",
            money(one.settle_pay, settled_places) if one.settled else NONE,
        ]
        if before is not None:
            known = earlier[currency].cost if currency in earlier else None
            row += [money(known), _growth(one.cost, known)]
        rows.append(row)
    notes = [_MONEY_NOTE]
    if any(currency is None for currency, _ in found):
        notes.append("Calls that name no currency are in US dollars on most brands.")
    if len(found) > len(shown):
        notes.append(f"{len(found) - len(shown):,} more currencies are left out.")
    if not rows:
        return section("Money", paragraph("No call has an amount."))
    body = table("Money", columns, rows, " ".join(notes))
    body[0].set("class", f"{body[0].get('class', '')} money".strip())
    return section("Money", body)


def _growth(now: Decimal, before: Decimal | None) -> str:
    return NONE if not before else signed(float(now / before - 1) * 100, "%")


def groups(
    writing: Writing, head: str, table_of: dict[str | None, TrafficMetrics], *, as_phone: bool = False
) -> Element:
    """Return the metrics by destination, group or phone; those with most calls."""
    ordered = sorted(table_of.items(), key=lambda item: (-item[1].attempts, item[0] or ""))
    show = writing.names.phone if as_phone else writing.names
    columns = [
        Column(head, is_text=True),
        *map(Column, ("Calls", "Answered", "ASR", "ACD", "PDD, median", "Minutes", "Cost")),
    ]
    rows = []
    for name, metrics in ordered[:_MOST_GROUPS]:
        costs = {row.currency: row.amount for row in metrics.money() if row.field == "cost"}
        rows.append(
            (
                show(name),
                f"{metrics.attempts:,}",
                f"{metrics.answered:,}",
                ratio(metrics.asr),
                describe_seconds(metrics.acd),
                describe_seconds(metrics.pdd()),
                minutes(metrics.seconds),
                _amounts(costs, writing.names),
            )
        )
    more = len(ordered) - _MOST_GROUPS
    return table(head, columns, rows, f"{more:,} more are left out." if more > 0 else "")


def audit(writing: Writing, result: BillingResult) -> Element:
    """Return the billing audit: charges recomputed, and calls that should not have been charged, or not twice."""
    names = writing.names
    if result.rule is None:
        rule = "No call has a cost, a rate and seconds, so no charge can be recomputed."
    else:
        rule = (
            f"Each charge was recomputed as {result.rule}: of all rules that were tried, it fits most calls"
            f" ({result.fits.get(result.rule, 0):,} of {result.checked:,}). The vendor documents none."
        )
    checks = [
        ("Cost is not what the rule says", result.mismatched, result.differences),
        ("Charged seconds are not the duration rounded up by the billing period", *_found(result.misrounded)),
        ("Charged though never answered", *_found(result.unanswered)),
        ("Charged twice", result.duplicates.total, result.duplicates.amounts),
    ]
    columns = [Column("Check", is_text=True), Column("Calls"), Column("Too much")]
    rows = [(name, f"{total:,}", _amounts(amounts, names)) for name, total, amounts in checks]
    rows.append(("Destinations with several rates on one day", f"{len(result.rate_changes):,}", NONE))
    rows.append(("Could not be checked: no rate or no seconds", f"{result.unchecked:,}", NONE))
    parts = [paragraph(rule), table("Billing audit", columns, rows)]
    if result.mismatches:
        parts.append(details("Calls whose cost differs most", _mismatches(writing, result)))
    if result.misrounded.calls:
        title = "Calls whose charged seconds differ most"
        parts.append(details(title, _calls(writing, title, result.misrounded)))
    if result.unanswered.calls:
        title = "Calls that were charged though never answered"
        parts.append(details(title, _calls(writing, title, result.unanswered)))
    if result.rate_changes:
        parts.append(details("Destinations with several rates on one day", _rate_changes(writing, result)))
    if any(total for _, total, _ in checks):
        parts.append(paragraph("The ids of these calls are in summary.billing.result(), and not on this page.", "how"))
    return section("Billing audit", *parts, kind="audit")


def _rate_changes(writing: Writing, result: BillingResult) -> Element:
    names = writing.names
    columns = [
        *(Column(head, is_text=True) for head in ("Destination", "Day", "Group", "Period", "Currency")),
        Column("Rates"),
    ]
    rows = [
        (
            names(change.code),
            NONE if change.day is None else change.day.isoformat(),
            names(change.sip_group_name),
            names(change.bill_period),
            describe_currency(change.currency, names),
            _listed([money(rate) for rate in change.rates]),
        )
        for change in result.rate_changes[:_MOST_CALLS]
    ]
    return table("Rates", columns, rows, _shown(len(result.rate_changes)))


def _found(calls: CallList) -> tuple[int, dict[str | None, Decimal]]:
    return calls.total, calls.amounts


def _amounts(amounts: dict[str | None, Decimal], names: Names) -> str:
    return _listed(
        [f"{money(amount.normalize())} {describe_currency(currency, names)}" for currency, amount in amounts.items()]
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_LISTED]) + (", …" if len(words) > _MOST_LISTED else "") or NONE


def _shown(total: int) -> str:
    return f"{total - _MOST_CALLS:,} more are left out." if total > _MOST_CALLS else ""


_CALL_COLUMNS = [
    *(Column(head, is_text=True) for head in ("Submitted", "Destination")),
    *(Column(head) for head in ("Duration", "Charged")),
    Column("Period", is_text=True),
    *(Column(head) for head in ("Rate", "Cost")),
    Column("Currency", is_text=True),
]


def _calls(writing: Writing, title: str, found: CallList) -> Element:
    rows = [_call(writing, call) for call in found.calls[:_MOST_CALLS]]
    return table(title, _CALL_COLUMNS, rows, _shown(found.total))


def _mismatches(writing: Writing, result: BillingResult) -> Element:
    columns = [*_CALL_COLUMNS, Column("By the rule"), Column("Difference")]
    rows = [
        [*_call(writing, one.call), rounded(one.expected), rounded(one.difference)]
        for one in result.mismatches[:_MOST_CALLS]
    ]
    return table("Calls whose cost differs most", columns, rows, _shown(result.mismatched))


def _call(writing: Writing, call: BilledCall) -> list[str]:
    names = writing.names
    return [
        NONE if call.submit_time is None else short_moment(call.submit_time, writing.summary.tz),
        names(call.code),
        describe_seconds(call.call_duration),
        describe_seconds(call.charged_duration),
        names(call.bill_period),
        money(call.rate),
        money(call.cost),
        describe_currency(call.currency, names),
    ]


def hints(writing: Writing, found: Sequence[FraudHint]) -> Element:
    """Return the hints of fraud: of each kind those that count most calls."""
    names, zone = writing.names, writing.summary.tz
    about = paragraph(
        "Patterns that somebody should look at: a destination that costs far more in an hour than usual or is new, a"
        " phone that dials number after number or has a burst of short calls, answers without ringing. They prove"
        " nothing."
    )
    if not found:
        return section("Hints of fraud", about, paragraph("None was found."))
    shown = _most_of_each_kind(found)
    columns = [
        *(Column(head, is_text=True) for head in ("Hint", "Since", "Destination or phone")),
        *(Column(head) for head in ("Calls", "Amount", "Usual")),
        Column("Currency", is_text=True),
    ]
    rows = [
        (
            hint.kind,
            NONE if hint.start is None else short_moment(hint.start, zone),
            names(hint.code)
            if hint.phone_name is None and hint.sip_group_name is None
            else f"{names.phone(hint.phone_name)} of {names(hint.sip_group_name)}",
            f"{hint.calls:,}",
            money(hint.amount),
            money(hint.usual),
            NONE if hint.amount is None else describe_currency(hint.currency, names),
        )
        for hint in shown
    ]
    more = len(found) - len(shown)
    return section(
        "Hints of fraud", about, table("Hints", columns, rows, f"{more:,} more are left out." if more > 0 else "")
    )


def _most_of_each_kind(found: Sequence[FraudHint]) -> list[FraudHint]:
    """Return as many hints as the page shows, by kind; a kind with many leaves places for the others."""
    places: Counter[str] = Counter()
    ranked = []
    for hint in sorted(found, key=lambda hint: -hint.calls):
        ranked.append((places[hint.kind], hint))
        places[hint.kind] += 1
    ranked.sort(key=lambda one: one[0])
    return sorted((hint for _, hint in ranked[:_MOST_HINTS]), key=lambda hint: (hint.kind, -hint.calls))


def describe_limits(total: TrafficMetrics) -> Element:
    """Return what the metrics had to leave out."""
    counts = [
        (total.undated, "have no time of submission: they are in no day and no hour."),
        (total.missing_durations, "have an answer time and no duration: they do not count as answered."),
        (total.negative_durations, "have a negative duration, or hung up before the answer: it counts as missing."),
        (total.unplaced, "were answered and have no usable hang-up time: they are not in the calls at once."),
        (total.negative_delays, "rang before they were submitted: they have no post-dial delay."),
    ]
    found = [f"{calls:,} calls {what}" for calls, what in counts if calls]
    if not found:
        found = ["Nothing had to be left out: every call has the times and durations that the metrics need."]
    return section("What is left out", _list(found))
