"""The figures of a demo: exact, and a table that fits a pipe."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from aiosipcdr.cli.summary import Figures, figures_as_json, peak_memory, show_figures
from aiosipcdr.export import FileFacts
from aiosipcdr.export.manifest import MoneySum
from aiosipcdr.model.report import FetchReport


@pytest.fixture
def figures() -> Figures:
    money = [
        MoneySum(field="cost", currency=None, unit="quote", sum="2.5"),
        MoneySum(field="cost", currency="EUR", unit="quote", sum="0.1000001"),
        MoneySum(field="settle_pay", currency="EUR", unit="settlement", sum="1000"),
    ]
    return Figures(
        seconds=2.0,
        report=FetchReport(total=3, unique=3, requests=5, pages=4, windows=1, certified=True),
        file=FileFacts(bytes=100, sha256="0" * 64, rows=3, answered=1, money=money),
    )


def test_json_has_exact_sums_per_field_and_currency(figures: Figures) -> None:
    reported = figures_as_json(figures, Path("calls.ndjson"))
    assert reported["money"] == [
        {"field": "cost", "currency": None, "unit": "quote", "sum": "2.5"},
        {"field": "cost", "currency": "EUR", "unit": "quote", "sum": "0.1000001"},
        {"field": "settle_pay", "currency": "EUR", "unit": "settlement", "sum": "1000"},
    ]
    assert (reported["records"], reported["answered"], reported["records_per_second"]) == (3, 1, 1.5)
    assert reported["report"]["total"] == 3
    assert "window_reports" not in reported["report"]


def test_a_table_in_a_pipe_keeps_long_lines_whole(figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("/") / "-".join(["long"] * 60) / "[red]calls.ndjson"
    show_figures(figures, path)
    reported = capsys.readouterr()
    assert reported.err == ""
    assert str(path) in reported.out
    assert "certified: 3 of the 3 calls" in reported.out
    assert "1 (33.3%)" in reported.out
    assert "5 (4 pages, 1 window)" in reported.out
    assert "2.5 (no currency named: USD, unless your brand differs)" in reported.out
    assert "0.1000001 (EUR)" in reported.out
    assert "1,000 (in the settlement currency, calls quoted in EUR)" in reported.out
    assert "\x1b" not in reported.out


def test_an_unproven_report_says_so(figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    report = msgspec.structs.replace(figures.report, certified=False)
    figures = replace(figures, report=report)
    show_figures(figures, Path("calls.ndjson"))
    assert "NOT certified" in capsys.readouterr().out


def test_no_calls_are_no_division(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = FileFacts(bytes=0, sha256="0" * 64, rows=0, answered=0, money=[])
    show_figures(Figures(seconds=0.0, report=FetchReport(), file=nothing), Path("calls.ndjson"))
    assert "Answered" in capsys.readouterr().out


def test_peak_memory_is_that_of_this_process() -> None:
    peak = peak_memory()
    assert peak is None or 1_000_000 < peak < 100_000_000_000
