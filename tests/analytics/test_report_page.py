"""The HTML report: what it shows, what it hides, and that nothing in it can do harm."""

import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aiosipcdr import ExportConflictError, FetchReport, StorageError, TimeWindow, WindowReport
from aiosipcdr.analytics import (
    REPORT_GROUPINGS,
    Certificate,
    FraudHint,
    TrafficMetrics,
    render_report,
    summarize,
    write_report,
)
from aiosipcdr.analytics.report import charts, sections, text
from aiosipcdr.analytics.report.drawing import draw
from aiosipcdr.analytics.report.ranges import period_before
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.sandbox import Sandbox
from tests.made_up_pages import (
    CERTIFIED,
    HOSTILE,
    LATER,
    hostile_page,
    ordinary_calls,
    ordinary_page,
    ordinary_summary,
)
from tests.made_up_traffic import MONDAY, made_call


class Reader(HTMLParser):
    """The tags with their attributes, the words, and the cells of each table by its label."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._label = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._label = dict(attrs)["aria-label"] or ""
            self.tables[self._label] = []
        elif tag == "tr":
            self.tables[self._label].append([])
        elif tag in {"td", "th"}:
            self.tables[self._label][-1].append("")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.tables and self.tables[self._label] and self.tables[self._label][-1]:
            self.tables[self._label][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._label = ""
            self.tables.setdefault("", [])

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def ordinary() -> str:
    return ordinary_page()


@pytest.fixture
def hostile() -> str:
    return hostile_page()


@pytest.fixture(params=["ordinary", "hostile"])
def page(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_the_page_has_no_script_and_no_address(page: str) -> None:
    read = Reader(page)
    names = {name for _, attributes in read.tags for name in attributes}

    assert {tag for tag, _ in read.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "figure", "div"),
        *("h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "span", "bdi", "details", "summary"),
        *("table", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "line", "rect", "text"),
    }
    assert not names & {"href", "src", "xlink:href", "style", "id", "action", "data", "srcset"}
    assert not any(name.startswith(("on", "xmlns")) for name in names)
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_admits_the_style_of_the_page_alone(page: str) -> None:
    policies = [attributes["content"] for tag, attributes in Reader(page).tags if "http-equiv" in attributes]

    assert len(policies) == 1
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; base-uri 'none'; form-action 'none'",
        policies[0] or "",
    )
    assert page.count("<style>") == 1


def test_no_character_commands_or_turns_the_page(hostile: str) -> None:
    unsafe = "\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    assert not re.search(f"[{unsafe}]", hostile)
    assert "a\\x00b\\x1b[31mred" in hostile
    assert "\\u202eevil" in hostile
    assert "x" * 70 not in hostile
    assert "&lt;script&gt;" in hostile
    hostile.encode()


def test_the_page_holds_no_id_and_no_number(page: str) -> None:
    for call in ordinary_calls():
        assert call.voice_id not in page
        assert call.callee is None or call.callee.lstrip("+") not in page
    assert "447700900123" not in page
    assert "sip101" not in page
    assert not re.search(r"\d{15,}", re.sub(r"sha256-[^']+|>[\d,.…]+<", "", page))


def test_numbers_are_shown_on_request() -> None:
    calls = [made_call(number, phone_name="+447700900123", termination_code=None, ringing_time=None) for number in [1]]
    summary = summarize(calls, by=("phone_name",))
    shown, hidden = (render_report(summary, show_numbers=shows, created=LATER) for shows in (True, False))

    assert "+447700900123" in shown
    assert "Phone numbers are shown." in shown
    assert "+447700900123" not in hidden
    assert "+44********23" in hidden
    assert "Phone numbers are masked." in hidden


def test_the_same_arguments_give_the_same_bytes(ordinary: str) -> None:
    again = summarize(reversed(ordinary_calls()), by=REPORT_GROUPINGS)

    page = render_report(again, certificate=CERTIFIED, before=again, certificate_before=CERTIFIED, created=LATER)
    assert page == ordinary


def test_the_figures_are_those_of_the_summary(ordinary: str) -> None:
    summary, read = ordinary_summary(), Reader(ordinary)
    total = summary.total

    assert f"{total.attempts:,}" in read.words
    assert f"{total.asr:.1%}" in read.words
    assert f"{total.acd:,.0f} s" in read.words
    money = {row[0]: row for row in read.tables["Money"][1:]}
    for currency, sums in total.by_currency.items():
        row = money[currency or "(not named)"]
        assert Decimal(row[3]) == sums.cost
        assert row[1] == f"{sums.priced:,}"
        assert Decimal(row[6]) == sums.cost
        assert row[7] == "+0.0%"
    days = {row[0]: row for row in read.tables["Calls by day"][1:]}
    assert len(days) == 31
    assert days["4 November 2026"][1:] == ["0", "0", "–"]
    assert sum(int(row[1]) for row in days.values()) == total.attempts
    week = read.tables["Calls by hour and weekday"][1:]
    assert sum(int(cell) for row in week for cell in row[1:]) == total.attempts
    peak = total.concurrent.peak() if total.concurrent else None
    assert peak is not None
    assert max(int(row[1]) for row in read.tables["Most calls at once by day"][1:]) == peak.calls
    assert read.tables["Post-dial delay (PDD)"][-1][2] == "100.0%"
    assert sum(int(row[1]) for row in read.tables["Endings by code"][1:]) == total.attempts
    for currency in ("EUR", None):
        name = f"Cost by destination: {currency or 'no currency named'}"
        assert sum(Decimal(row[2]) for row in read.tables[name][1:]) == total.by_currency[currency].cost


def test_every_chart_has_its_table_and_is_drawn_for_both_screens(ordinary: str) -> None:
    read = Reader(ordinary)
    drawn = [attributes for tag, attributes in read.tags if tag == "svg"]
    kinds = [attributes["class"] for attributes in drawn]

    assert kinds == ["wide", "narrow"] * 7
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    assert max(float(attributes["width"] or 0) for attributes in drawn if attributes["class"] == "narrow") <= 340
    assert max(float(attributes["width"] or 0) for attributes in drawn) <= 1_040
    assert [tag for tag, _ in read.tags].count("figure") == 7


def test_the_audit_and_the_hints_are_on_the_page(ordinary: str) -> None:
    summary, read = ordinary_summary(), Reader(ordinary)
    assert summary.billing is not None
    result = summary.billing.result()
    checks = {row[0]: row[1:] for row in read.tables["Billing audit"][1:]}

    assert checks["Cost is not what the rule says"][0] == str(result.mismatched) != "0"
    assert checks["Charged though never answered"][0] == str(result.unanswered.total) != "0"
    assert checks["Charged twice"] == ["1", "0.12 (not named)"]
    assert len(read.tables["Calls whose cost differs most"]) == 16
    assert f"{result.mismatched - 15:,} more are left out." in read.text
    assert str(result.rule) in read.text
    hints = read.tables["Hints"][1:]
    assert ["sequential callees", "2026-10-05 10:00", "+44********23 of sales", "12", "–", "–", "–"] in hints


def test_a_summary_with_fewer_tables_names_the_missing_ones() -> None:
    page = render_report(summarize([], by=(), billing=False, hints=False), created=LATER)

    assert "The summary was made without: day, weekday and hour, code, sip_group_name." in page
    assert "There are no calls." in page
    assert "No call has an amount." in page
    assert "Billing audit" not in page


# Certificates: the summary of no calls needs no chart, which takes the time.

NO_CALLS = summarize([], by=REPORT_GROUPINGS)
WINDOW = TimeWindow.of(MONDAY, MONDAY + timedelta(days=1))


def banner(certificate: Any) -> str:  # noqa: ANN401 - of both kinds
    """The part of a page that says what is proven."""
    page = render_report(NO_CALLS, certificate=certificate, created=LATER)
    found = re.search(r'<section class="certificate.*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("report", "kind", "words"),
    [
        (
            FetchReport(certified=True, windows=1, window_reports=[WindowReport(window=WINDOW, certified=True)]),
            "good",
            ["Certified complete", "none is missing, none is counted twice", "in 1 window that were proven"],
        ),
        (
            FetchReport(
                certified=True,
                windows=1,
                provisional=1,
                window_reports=[WindowReport(window=WINDOW, certified=True, provisional=True)],
            ),
            "open",
            ["Certified, but still open", "1 window was so recent that the vendor may add calls later."],
        ),
        (
            FetchReport(
                windows=2,
                total=12,
                window_reports=[
                    WindowReport(window=WINDOW, total=12, requests=3),
                    *[WindowReport(window=WINDOW)] * 5,
                ],
            ),
            "bad",
            [
                "NOT certified",
                "Check no invoice with this page.",
                "the vendor counts 12 calls; 0 were read",
                "The vendor has already deleted the calls of 2026-10-05 09:00:00+00:00 to",
                "It has also deleted those of 2 more parts.",
            ],
        ),
        (
            FetchReport(total=2, unique=2, quarantined=2, windows=1, faulty_fields={"cost": 3}, clipped_to=MONDAY),
            "bad",
            [
                "2 records have no readable id",
                "cost could not be read in 3 calls",
                "read up to 2026-10-05T09:00:00+00:00",
            ],
        ),
        (FetchReport(), "bad", ["Nothing was read."]),
        (None, "open", ["Certificate unknown", "The report was written without a certificate."]),
        (
            Certificate(verdict="certified", calls=7),
            "bad",
            ["The summary has 0 calls, and the certificate is about 7."],
        ),
    ],
    ids=["certified", "provisional", "incomplete", "quarantined", "empty", "none", "of other calls"],
)
def test_the_certificate_is_at_the_top(report: FetchReport | None, kind: str, words: list[str]) -> None:
    shown = banner(report)

    assert f'class="certificate {kind}"' in shown
    for one in words:
        assert one in shown
    page = render_report(NO_CALLS, certificate=report, created=LATER)
    assert ("<title>NOT certified: " in page) == (kind == "bad")
    assert page.index("certificate") < page.index("<h2>Money")


def test_a_group_in_the_filter_is_named_and_a_phone_is_not() -> None:
    certificate = Certificate.of_report(FetchReport(), sip_group_name=HOSTILE[0], phone_name="+447700900123")
    page = render_report(NO_CALLS, certificate=certificate, created=LATER)

    assert "Only calls of the group &lt;script&gt;" in page
    assert "Only calls of one phone." in page
    assert "447700900123" not in page


def test_a_period_before_that_is_not_compared_says_why() -> None:
    reason = Certificate(verdict="unknown", reasons=("The vendor has already deleted calls of it.",))
    page = render_report(NO_CALLS, certificate_before=reason, created=LATER)
    lost = render_report(NO_CALLS, before=NO_CALLS, certificate_before=FetchReport(windows=1), created=LATER)

    assert "The period before is not compared. The vendor has already deleted calls of it." in page
    assert "It is NOT certified: differences may be calls that are missing." in lost


# Writing


def test_a_report_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "october.html"
    write_report(NO_CALLS, path, created=LATER, mode=0o640)
    first = path.read_bytes()
    assert first == render_report(NO_CALLS, created=LATER).encode()
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o640
    write_report(NO_CALLS, path, created=MONDAY)
    assert path.read_bytes() != first

    for contents in ("<!doctype html>\n<html lang='en'>", ""):
        path.write_text(contents, encoding="utf-8")
        with pytest.raises(ExportConflictError, match="already exists"):
            write_report(NO_CALLS, path, created=LATER)
        assert path.read_text(encoding="utf-8") == contents
    write_report(NO_CALLS, path, created=LATER, overwrite=True)
    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == ["october.html"]


def test_leftovers_of_a_killed_run_are_replaced_and_foreign_files_kept(tmp_path: Path) -> None:
    path, part = tmp_path / "october.html", tmp_path / ".october.html.part"
    part.write_bytes(render_report(NO_CALLS, created=LATER).encode()[:500])
    write_report(NO_CALLS, path, created=LATER)
    assert not part.exists()

    part.write_text("mine", encoding="utf-8")
    with pytest.raises(ExportConflictError):
        write_report(NO_CALLS, path, created=LATER)
    assert part.read_text(encoding="utf-8") == "mine"


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(NO_CALLS, tmp_path / "missing" / "october.html", created=LATER)
    with pytest.raises(ValueError, match="created is naive"):
        render_report(NO_CALLS, created=LATER.replace(tzinfo=None))
    with pytest.raises(ValueError, match="mode"):
        write_report(NO_CALLS, tmp_path / "october.html", created=LATER, mode=0o777)


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r'vl-convert: pip install "aiosipcdr\[report\]"'):
        write_report(NO_CALLS, tmp_path / "october.html", created=LATER)
    assert [*tmp_path.iterdir()] == []


def test_charts_read_no_address() -> None:
    with Sandbox(records=1) as sandbox, pytest.raises(ValueError, match="not allowed"):
        draw({"data": {"url": f"{sandbox.base_url}/calls.json"}, "mark": "bar"}, width=9, height=9, label="", kind="")


def test_nothing_but_drawing_is_kept_of_a_chart() -> None:
    value = {"x": "<script>", "link": "http://127.0.0.1:9/", "tip": "javascript:1"}
    spec = {
        "data": {"values": [value]},
        "mark": "text",
        "encoding": {
            "text": {"field": "x"},
            "href": {"field": "link"},
            "tooltip": {"field": "tip"},
            "url": {"field": "link"},
        },
    }
    drawn = draw(spec, width=100, height=20, label="a & b", kind="wide")

    assert {one.tag for one in drawn.iter()} <= {"svg", "g", "text", "path"}
    assert not any("http" in value or "java" in value for one in drawn.iter() for value in one.attrib.values())


# Parts


@pytest.mark.parametrize(
    ("start", "end", "zone", "before"),
    [
        ("2026-10-01T00:00+08:00", "2026-11-01T00:00+08:00", "Asia/Shanghai", "2026-09-01T00:00+08:00"),
        ("2026-01-01T00:00+00:00", "2026-03-01T00:00+00:00", "UTC", "2025-11-01T00:00+00:00"),
        # Clocks are set back in between: seven days before, and an hour more.
        ("2026-10-26T00:00+01:00", "2026-11-02T00:00+01:00", "Europe/Berlin", "2026-10-19T00:00+02:00"),
        ("2026-10-01T00:00+00:00", "2026-10-31T00:00+00:00", "UTC", "2026-09-01T00:00+00:00"),
        ("2026-10-01T08:30+00:00", "2026-10-01T09:30+00:00", "UTC", "2026-10-01T07:30+00:00"),
        ("2026-10-01T00:00+00:00", "2026-11-01T00:00+00:00", "Asia/Shanghai", "2026-08-31T00:00+00:00"),
    ],
)
def test_the_period_before(start: str, end: str, zone: str, before: str) -> None:
    began, ended = period_before(datetime.fromisoformat(start), datetime.fromisoformat(end), ZoneInfo(zone))

    assert began == datetime.fromisoformat(before)
    assert ended == datetime.fromisoformat(start)
    assert began.utcoffset() is not None


def test_before_the_calendar_there_is_no_period() -> None:
    for start in (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, 5, tzinfo=UTC)):
        with pytest.raises(OverflowError):
            period_before(start, start + timedelta(days=31), UTC)


def test_days_become_months_and_years_where_they_are_many() -> None:
    def slots(first: date, last: date) -> tuple[str, list[str], int]:
        metrics = TrafficMetrics(attempts=3, answered=1)
        unit, made = charts.make_slots({first: metrics, last: metrics}, {first: 7}, first, last)
        assert sum(slot.metrics.attempts for slot in made) == 6
        assert max(slot.peak for slot in made) == 7
        return unit, [slot.short for slot in made], len(made)

    assert slots(date(2026, 10, 30), date(2026, 11, 2)) == ("day", ["30 Oct", "31", "1 Nov", "2"], 4)
    assert slots(date(2026, 1, 1), date(2026, 3, 31)) == ("month", ["Jan 2026", "Feb", "Mar"], 3)
    assert slots(date(2025, 12, 1), date(2026, 3, 2)) == ("month", ["Dec 2025", "Jan 2026", "Feb", "Mar"], 4)
    assert slots(date(1999, 1, 1), date(2026, 1, 1))[0] == "year"


def test_periods_are_told_as_people_do() -> None:
    def told(start: str, end: str) -> str:
        return text.describe_period(datetime.fromisoformat(start), datetime.fromisoformat(end), UTC)

    assert told("2026-10-01T00:00Z", "2026-11-01T00:00Z") == "1 to 31 October 2026"
    assert told("2026-10-31T00:00Z", "2026-11-29T00:00Z") == "31 October to 28 November 2026"
    assert told("2026-12-31T00:00Z", "2027-01-02T00:00Z") == "31 December 2026 to 1 January 2027"
    assert told("2026-10-01T00:00Z", "2026-10-02T00:00Z") == "1 October 2026"
    assert told("2026-10-01T08:30Z", "2026-10-02T00:00:05Z") == "1 October 2026, 08:30 to 2 October 2026, 00:00:05"


def test_amounts_are_exact_or_say_that_they_are_cut() -> None:
    assert text.money(Decimal("1234567890123456789012345678.10")) == "1,234,567,890,123,456,789,012,345,678.10"
    assert text.money(Decimal("0.1"), 4) == "0.1000"
    assert text.money(Decimal("0.12345678901234567")) == "0.123456789012…"
    assert text.money(Decimal("1E+3")) == "1,000"
    assert text.rounded(Decimal("0.1200000000000000000000000000")) == "0.12"
    assert text.rounded(Decimal(1) / 3) == "0.333333…"
    assert text.short_count(99_999) == "99,999"
    assert text.short_count(123_456) == "123k"


def test_a_label_of_a_chart_has_the_width_of_so_many_letters() -> None:
    assert text.fit("Ireland(Special)", 16) == "Ireland(Special)"
    assert text.fit("\u4e2d" * 20, 16) == "\u4e2d" * 7 + "…"
    assert text.fit("x" * 20, 16) == "x" * 15 + "…"
    assert text.fit("\U0001f600" * 6, 16) == "\U0001f600" * 4 + "…"


def test_a_kind_with_many_hints_leaves_room_for_the_others() -> None:
    many = [FraudHint(kind="new destination", code=f"code {number}", calls=100) for number in range(40)]
    spike = FraudHint(kind="cost spike", code="Ireland(Special)", calls=5, amount=Decimal(700))
    shown = sections.hints(sections.Writing(ordinary_summary(), None, text.Names()), [*many, spike])
    words = [*shown.itertext()]

    assert words.count("new destination") == 19
    assert "Ireland(Special)" in words
    assert "21 more are left out." in words


def test_an_emoji_in_a_label_is_drawn() -> None:
    # Vega would cut between the halves of the letter.
    calls = [made_call(code="\U0001f600", termination_code="\U0001f600"), made_call(1, code="W" * 30 + "\U0001f600")]
    page = render_report(summarize(calls, by=("code",)), created=LATER)
    labels = [words for _, words in re.findall(r"<text([^>]*)>([^<]*)</text>", page)]
    assert "\U0001f600" in labels
