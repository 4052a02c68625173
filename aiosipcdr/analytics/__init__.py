"""Analytics of call records: traffic metrics, billing audit, hints of fraud, and all of it as an HTML report.

Needs nothing beyond the core, and computes everything in one pass; see `summarize`. `write_report` draws charts with
the extra `report`.
"""

from aiosipcdr.analytics.billing import (
    LISTED,
    ROUNDING_RULES,
    BilledCall,
    BillingAudit,
    BillingMismatch,
    BillingResult,
    CallList,
    DuplicateRows,
    RateChange,
    RoundingRule,
    SecondsBasis,
    round_up_seconds,
)
from aiosipcdr.analytics.hints import FraudHint, FraudHints, HintKind, HintThresholds
from aiosipcdr.analytics.metrics import OTHER, SHORT_SECONDS, CallFacts, CurrencyTotals, TrafficMetrics
from aiosipcdr.analytics.report import (
    REPORT_GROUPINGS,
    Certificate,
    CertifiedFile,
    Verdict,
    render_report,
    write_report,
)
from aiosipcdr.analytics.seconds import ConcurrentCalls, HourLoad, Peak, SecondCounts
from aiosipcdr.analytics.summary import (
    MOST_GROUPS,
    CallSource,
    Dimension,
    Grouping,
    GroupKey,
    TrafficSummary,
    summarize,
)
from aiosipcdr.model.money import EXACT, MoneyRow

__all__ = [
    "EXACT",
    "LISTED",
    "MOST_GROUPS",
    "OTHER",
    "REPORT_GROUPINGS",
    "ROUNDING_RULES",
    "SHORT_SECONDS",
    "BilledCall",
    "BillingAudit",
    "BillingMismatch",
    "BillingResult",
    "CallFacts",
    "CallList",
    "CallSource",
    "Certificate",
    "CertifiedFile",
    "ConcurrentCalls",
    "CurrencyTotals",
    "Dimension",
    "DuplicateRows",
    "FraudHint",
    "FraudHints",
    "GroupKey",
    "Grouping",
    "HintKind",
    "HintThresholds",
    "HourLoad",
    "MoneyRow",
    "Peak",
    "RateChange",
    "RoundingRule",
    "SecondCounts",
    "SecondsBasis",
    "TrafficMetrics",
    "TrafficSummary",
    "Verdict",
    "render_report",
    "round_up_seconds",
    "summarize",
    "write_report",
]
