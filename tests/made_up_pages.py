"""Summaries for the HTML report: ordinary calls, and calls whose every text is hostile; all numbers are fictional."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Any

from aiosipcdr.analytics import (
    REPORT_GROUPINGS,
    Certificate,
    CertifiedFile,
    TrafficSummary,
    render_report,
    summarize,
)
from aiosipcdr.model.records import CallDetailRecord
from tests.made_up_traffic import MONDAY, made_call, unanswered

__all__ = [
    "CERTIFIED",
    "HOSTILE",
    "LATER",
    "hostile_page",
    "hostile_summary",
    "ordinary_calls",
    "ordinary_page",
    "ordinary_summary",
]

HOSTILE = (
    "<script>document.title = 'run'</script>",
    "\u202eevil \u05e9\u05dc\u05d5\u05dd",
    "x" * 10_000,
    "a\0b\x1b[31mred",
    "\u4e2d" * 80,
    "W" * 60,
    "+447700900123 of sales",
    '"><img src=http://127.0.0.1:9/x onerror=alert(1)>',
    "]]></style></svg>&lt;",
    "\ud800half",
    'font-family="x" href="http://127.0.0.1:9/"',
)
"""Texts that a vendor may send; one is a number."""


def ordinary_calls() -> list[CallDetailRecord]:
    """Calls of a month, to three destinations in two currencies; some are wrong, and some look like fraud."""
    calls = [
        made_call(
            number * 280,
            code=("United Kingdom(Mobile)", "Ireland(Special)", "United States(New York)")[number % 3],
            currency="EUR" if number % 4 == 0 else None,
            cost=Decimal("0.1200") if number % 5 else Decimal("0.1234"),
        )
        if number % 3
        else unanswered(number * 280, cost=Decimal("0.05") if number % 30 == 0 else Decimal(0))
        for number in range(150)
    ]
    run = [made_call(60 + number, callee=f"4477009001{number:02}", phone_name="+447700900123") for number in range(12)]
    return calls + run + [made_call(5), made_call(5)]


@cache
def ordinary_summary() -> TrafficSummary:
    """The summary of ordinary calls, by all that the page shows."""
    return summarize(ordinary_calls(), by=REPORT_GROUPINGS)


@cache
def hostile_summary() -> TrafficSummary:
    """The summary of calls with hostile texts and amounts, by all that the page can show."""
    calls = []
    for number in range(120):
        texts = [HOSTILE[(number + step) % len(HOSTILE)] for step in range(5)]
        fields: dict[str, Any] = {
            "sip_group_name": texts[0],
            "code": texts[1],
            "phone_name": texts[2],
            "currency": texts[3] if number % 3 else None,
            "termination_code": texts[4] if number % 2 else "200",
            "bill_period": texts[4] if number % 7 == 0 else "60+60",
        }
        if number % 5 == 0:
            fields["cost"] = Decimal("98765432109876543210987654.123456789012345678901234567890")
        if number % 4 == 0:
            fields["rate"] = Decimal("0.07")
        calls.append(made_call(number * 61, **fields))
    ends = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 50, tzinfo=UTC))
    calls += [made_call(number, submit_time=time, cost=Decimal(7)) for number, time in enumerate(ends)]
    west = timezone(timedelta(hours=-5))  # where the first of them is before the calendar
    return summarize(calls, by=(*REPORT_GROUPINGS, "phone_name"), tz=west)


LATER = datetime(2026, 11, 30, 2, 30, tzinfo=UTC)
"""When the pages are written, as they say."""

CERTIFIED = Certificate(
    verdict="certified",
    calls=164,
    counted=164,
    windows=4,
    requests=6,
    start=MONDAY.replace(hour=0),
    end=MONDAY.replace(hour=0) + timedelta(days=31),
)

NOT_CERTIFIED = Certificate(
    verdict="not certified",
    reasons=("From 2026-10-05 to 2026-10-06 the vendor counts 1,204 calls; 1,201 were read.", "y" * 300),
    notes=("cost could not be read in 3 calls: sums and metrics lack these values.",),
    calls=120,
    counted=123,
    files=(CertifiedFile(name="o" * 150 + ".parquet", verdict="not certified", calls=120, sha256="a" * 64),),
)


@cache
def ordinary_page() -> str:
    """The page of ordinary calls, certified and compared with themselves. Charts take time: it is drawn once."""
    before = ordinary_summary()
    return render_report(
        ordinary_summary(), certificate=CERTIFIED, before=before, certificate_before=CERTIFIED, created=LATER
    )


@cache
def hostile_page() -> str:
    """The page of hostile calls, not certified, with a hostile heading."""
    return render_report(hostile_summary(), certificate=NOT_CERTIFIED, title=HOSTILE[0], created=LATER)
