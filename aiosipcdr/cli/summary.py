"""Figures of a finished run, as a table or as JSON.

Holds counts and sums, no call. Amounts are summed per field and currency, exactly and without conversion.
"""

import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape

from aiosipcdr.cli.output import print_table
from aiosipcdr.export import FileFacts
from aiosipcdr.model.money import describe_unit
from aiosipcdr.model.report import FetchReport, counted, describe_unreadable

__all__ = ["Figures", "figures_as_json", "peak_memory", "show_figures"]

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The report of a run, its time in seconds, and facts about its file, read back from it."""

    report: FetchReport
    file: FileFacts
    seconds: float

    @property
    def records_a_second(self) -> float:
        """Calls fetched, checked and written per second."""
        return self.file.rows / self.seconds if self.seconds else 0.0


def figures_as_json(figures: Figures, path: Path) -> dict[str, Any]:
    """Return the figures for `--json`: exact sums as text, memory in bytes."""
    return {
        "records": figures.file.rows,
        "certified": figures.report.certified,
        "seconds": round(figures.seconds, 3),
        "records_per_second": round(figures.records_a_second, 1),
        "peak_memory": peak_memory(),
        "answered": figures.file.answered,
        "money": msgspec.to_builtins(figures.file.money),
        "output": str(path.absolute()),
        "report": figures.report.facts(),
    }


def show_figures(figures: Figures, path: Path) -> None:
    """Print the figures as a table on stdout."""
    print_table(_rows(figures, path))


def _rows(figures: Figures, path: Path) -> list[tuple[str, str]]:
    report = figures.report
    share = f" ({figures.file.answered / figures.file.rows:.1%})" if figures.file.rows else ""
    memory = peak_memory()
    pages, windows = counted(report.pages, "page", "pages"), counted(report.windows, "window", "windows")
    rows = [
        ("Calls", f"{figures.file.rows:,}"),
        ("Proof", _proof(report)),
        ("Time", f"{figures.seconds:.1f} s, {figures.records_a_second:,.0f} calls per second"),
        ("Requests", f"{report.requests:,} ({pages}, {windows})"),
    ]
    if report.clipped_to is not None:
        rows.append(("Read up to", f"{report.clipped_to.isoformat()} (the rest is in the future)"))
    if memory is not None:
        rows.append(("Peak memory", f"{memory / _MEBIBYTE:,.0f} MiB (this process)"))
    if report.provisional:
        rows.append(("Provisional", f"{counted(report.provisional, 'window', 'windows')}: calls may still be added"))
    if unreadable := describe_unreadable(report):
        rows.append(("Unreadable", unreadable))
    rows.append(("Answered", f"{figures.file.answered:,}{share}"))
    for money in figures.file.money:
        unit = escape(describe_unit(money.field, money.currency))
        rows.append((f"Sum of {money.field}", f"{Decimal(money.sum):,f} ({unit})"))
    rows.append(("File", escape(str(path.absolute()))))
    return rows


def _proof(report: FetchReport) -> str:
    verdict = "[green]certified[/]" if report.certified else "[red]NOT certified[/]"
    readable = report.unique - report.quarantined
    return f"{verdict}: {readable:,} of the {report.total:,} calls that the vendor counts"


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes; `None` if the system does not report it."""
    try:
        # The value of this program alone: getrusage includes the process before exec.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
