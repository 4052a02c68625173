"""Reports and records as HTML fragments for notebooks: no script, no style sheet, no link, every text escaped.

Numbers are masked unless asked for otherwise: what a notebook shows is saved with it.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING

from aiosipcdr.display import shorten
from aiosipcdr.model.masking import mask_number, mask_record
from aiosipcdr.model.records import CallDetailRecord, show_id

if TYPE_CHECKING:
    from aiosipcdr.model.report import FetchReport

__all__ = ["RecordsPreview", "render_report", "render_table"]

_COLUMNS = (
    "voice_id",
    "submit_time",
    "sip_group_name",
    "phone_name",
    "callee",
    "code",
    "call_duration",
    "termination_code",
    "cost",
    "currency",
)
_NUMBERS = (_COLUMNS.index("call_duration"), _COLUMNS.index("cost"))
_MOST_WINDOWS = 10
_COUNTS = ("windows", "pages", "requests", "scans", "retries", "duplicates", "conflicts", "anomalies")


def render_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[int] = ()) -> str:
    """Return a table; texts are escaped and shortened.

    Args:
        heads: The names of the columns.
        rows: The cells; `None` is an empty one.
        right: The columns that are aligned at the right.
    """
    head = "".join(_cell(name, "th", place in right) for place, name in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(_cell(_show(value), 'td', place in right) for place, value in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _show(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int):
        return f"{value:,}"
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


def _cell(text: str, tag: str, is_right: bool) -> str:  # noqa: FBT001 - private
    # Notebooks align all cells at the right by default.
    return f'<{tag} style="text-align:{"right" if is_right else "left"}">{_text(text)}</{tag}>'


def _text(text: str) -> str:
    return escape(shorten(text))


def render_report(report: "FetchReport") -> str:
    """Return the verdict of a report, its counts, and the windows that could not be proven."""
    verdict = "✓ certified complete" if report.certified else "✗ NOT certified"
    readable = f"{report.unique - report.quarantined:,} of {report.total:,} calls"
    facts: list[tuple[str, object]] = [(name, value) for name in _COUNTS if (value := getattr(report, name))]
    facts.append(("seconds", f"{report.elapsed:.1f}"))
    if report.provisional:
        facts.append(("provisional windows", f"{report.provisional:,} (calls may still be added)"))
    if report.quarantined:
        facts.append(("quarantined", f"{report.quarantined:,} (no readable id)"))
    if report.clipped_to is not None:
        facts.append(("read up to", f"{report.clipped_to.isoformat()} (the rest is in the future)"))
    facts += [(f"unreadable {name}", count) for name, count in report.faulty_fields.items()]
    facts += [(f"unknown field {name}", count) for name, count in report.unknown_fields.items()]
    parts = [f"<p><b>{verdict}</b>: {readable}</p>", render_table(("", ""), facts)]
    failed = [one for one in report.window_reports if not one.certified]
    if failed:
        rows = [(one.window.start, one.window.end, one.total, one.unique) for one in failed[:_MOST_WINDOWS]]
        more = f" (the first {_MOST_WINDOWS} of {len(failed):,})" if len(failed) > _MOST_WINDOWS else ""
        parts.append(f"<p>not proven{more}:</p>{render_table(('start', 'end', 'counted', 'read'), rows, right=(2, 3))}")
    return f"<div>{''.join(parts)}</div>"


class RecordsPreview:
    """The first records of a list as a table for notebooks: see `CallDetailRecords.preview`."""

    def __init__(self, records: Sequence[CallDetailRecord], count: int, verdict: str, *, mask_numbers: bool) -> None:
        """Show `records`, the first ones of `count`."""
        self._records = records
        self._count = count
        self._verdict = verdict
        self._mask_numbers = mask_numbers

    def __repr__(self) -> str:
        """Count the records instead of showing them."""
        return f"<RecordsPreview: {len(self._records):,} of {self._count:,} records>"

    def _repr_html_(self) -> str:
        shown = [self._shape(record) for record in self._records]
        rows = [[getattr(record, name) for name in _COLUMNS] for record in shown]
        hidden = ", numbers masked" if self._mask_numbers else ""
        caption = f"{len(rows):,} of {self._count:,} records, {self._verdict}{hidden}"
        return f"<div><p>{escape(caption)}</p>{render_table(_COLUMNS, rows, right=_NUMBERS)}</div>"

    def _shape(self, record: CallDetailRecord) -> CallDetailRecord:
        if not self._mask_numbers:
            return record
        from msgspec.structs import replace

        return replace(mask_record(record, mask_number), voice_id=show_id(record.voice_id))
