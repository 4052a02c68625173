"""Summaries as HTML fragments for notebooks: no script, every text escaped, numbers masked."""

from typing import TYPE_CHECKING

from aiosipcdr.model.html import render_table
from aiosipcdr.model.masking import mask_number, mask_text
from aiosipcdr.model.money import describe_unit

if TYPE_CHECKING:
    from aiosipcdr.analytics.metrics import TrafficMetrics
    from aiosipcdr.analytics.summary import GroupKey, TrafficSummary

__all__ = ["render_summary"]

_MOST_GROUPS = 10


def render_summary(summary: "TrafficSummary") -> str:
    """Return the metrics of all calls, the sums of money, and the largest groups of each table."""
    total = summary.total
    peak = None if total.concurrent is None else total.concurrent.peak()
    facts: list[tuple[str, object]] = [
        ("calls", total.attempts),
        ("answered", total.answered),
        ("ASR", _percent(total.asr)),
        ("NER", _percent(total.ner)),
        ("ACD", None if total.acd is None else f"{total.acd:.1f} s"),
        ("post-dial delay, median and 95 %", f"{_seconds(total.pdd())}, {_seconds(total.pdd(0.95))}"),
        ("minutes, charged minutes", f"{total.seconds / 60:,.1f}, {total.charged_seconds / 60:,.1f}"),
        (
            "most calls at once",
            None if peak is None else f"{peak.calls:,} at {peak.at.astimezone(summary.tz).isoformat()}",
        ),
    ]
    facts += [
        (f"sum of {row.field}", f"{row.amount:f} ({describe_unit(row.field, row.currency)})") for row in total.money()
    ]
    parts = [render_table(("", ""), facts)]
    for names in summary.by:
        groups = sorted(summary.table(*names).items(), key=lambda item: -item[1].attempts)
        rows = [_row(names, key, metrics) for key, metrics in groups[:_MOST_GROUPS]]
        more = f", the largest {_MOST_GROUPS} of {len(groups):,}" if len(groups) > _MOST_GROUPS else ""
        heads = (*names, "calls", "answered", "ASR", "minutes")
        table = render_table(heads, rows, right=range(len(names), len(heads)))
        parts.append(f"<p>by {', '.join(names)}{more}</p>{table}")
    return f"<div>{''.join(parts)}</div>"


def _row(names: tuple[str, ...], key: "GroupKey", metrics: "TrafficMetrics") -> list[object]:
    cells = [_mask(name, part) for name, part in zip(names, key, strict=True)]
    return [*cells, metrics.attempts, metrics.answered, _percent(metrics.asr), f"{metrics.seconds / 60:,.1f}"]


def _mask(name: str, part: object) -> object:
    if not isinstance(part, str):
        return part
    return mask_number(part) if name == "phone_name" else mask_text(part)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _seconds(delay: int | None) -> str:
    return "none" if delay is None else f"{delay} s"
