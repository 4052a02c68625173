"""What notebooks show of reports and records: counts, masked numbers, and every text escaped."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from aiosipcdr import CallDetailRecord, CallDetailRecords, FetchReport, WindowReport
from aiosipcdr.model.windows import TimeWindow
from tests.made_up_traffic import made_call

HOSTILE = "<script>alert(1)</script>\u202e\x00\"'&" + "x" * 10_000
START = datetime(2026, 10, 1, tzinfo=UTC)


class Fragment(HTMLParser):
    """The tags, attributes and text of a fragment; fails at a tag that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def fragment(shown: object) -> Fragment:
    html: str = shown._repr_html_()  # type: ignore[attr-defined]
    read = Fragment(html)
    assert {*read.tags} <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert read.attributes <= {"style"}
    assert not [sign for sign in html if ord(sign) < 32 or sign == "\u202e"]
    return read


def records_of(*records: CallDetailRecord, certified: bool = True) -> CallDetailRecords:
    return CallDetailRecords(records, report=FetchReport(certified=certified, total=len(records), unique=len(records)))


def test_records_are_shown_with_their_numbers_masked() -> None:
    records = records_of(*(made_call(number, phone_name="+12125550123") for number in range(12)))
    shown = fragment(records)

    assert "10 of 12 records, certified, numbers masked" in shown.text
    assert shown.tags.count("tr") == 11
    assert "+44********00" in shown.text
    assert "+1********23" in shown.text
    assert "0.12\n" in shown.text
    assert "2026-10-05 09:00:00+00:00" in shown.text
    assert "447700900" not in shown.text
    assert "2125550123" not in shown.text


def test_numbers_are_shown_on_demand() -> None:
    records = records_of(*(made_call(number) for number in range(12)), certified=False)
    preview = records.preview(3, mask_numbers=False)
    shown = fragment(preview)

    assert "3 of 12 records, not certified\n" in shown.text
    assert "+447700900002" in shown.text
    assert repr(preview) == "<RecordsPreview: 3 of 12 records>"
    assert fragment(records.preview(0)).tags.count("tr") == 1
    for rows in (-1, 2.5, True):
        with pytest.raises(ValueError, match="rows must be a whole number"):
            records.preview(rows)  # type: ignore[arg-type]


def test_a_number_in_another_text_and_an_odd_id_are_masked() -> None:
    record = made_call(sip_group_name="line 447700900123", voice_id="sandbox-key-of-16-bytes", callee="447700900123")
    shown = fragment(records_of(record))

    assert "447700900123" not in shown.text
    assert "sandbox-key" not in shown.text
    assert "sandbox-key" in fragment(records_of(record).preview(mask_numbers=False)).text


@pytest.mark.parametrize("mask_numbers", [True, False])
def test_a_hostile_text_is_shown_and_does_nothing(*, mask_numbers: bool) -> None:
    texts = ("sip_group_name", "code", "termination_code", "currency")
    record = made_call(1, **dict.fromkeys(texts, HOSTILE), cost=Decimal("1E+5"))
    html = records_of(record).preview(mask_numbers=mask_numbers)._repr_html_()
    shown = fragment(records_of(record).preview(mask_numbers=mask_numbers))

    assert "<script>alert(1)</script>" in shown.text  # as text
    assert "\\u202e" in shown.text
    assert len(html) < 5_000
    assert "100000\n" in shown.text


def test_a_report_shows_its_verdict_and_its_counts() -> None:
    shown = fragment(
        FetchReport(certified=True, total=1_204, unique=1_204, windows=1, pages=13, requests=15, elapsed=0.3)
    )

    assert "✓ certified complete\n: 1,204 of 1,204 calls" in shown.text
    assert "requests\n15\n" in shown.text
    assert "not proven" not in shown.text
    assert "provisional" not in shown.text


def test_a_report_shows_missing_windows_and_anomalies() -> None:
    windows = [
        WindowReport(
            window=TimeWindow.of(START + timedelta(hours=number), START + timedelta(hours=number + 1)), total=9
        )
        for number in range(12)
    ]
    report = FetchReport(
        total=30,
        unique=20,
        quarantined=2,
        provisional=1,
        window_reports=windows,
        clipped_to=START,
        faulty_fields={"cost": 3},
        unknown_fields={HOSTILE: 4},
    )
    shown = fragment(report)

    assert "✗ NOT certified\n: 18 of 30 calls" in shown.text
    assert "not proven (the first 10 of 12):" in shown.text
    assert shown.text.count("+00:00") == 2 * 10 + 1
    for text in (
        "1 (calls may still be added)",
        "2 (no readable id)",
        "unreadable cost\n3",
        "the rest is in the future",
    ):
        assert text in shown.text
    assert "<script>" in shown.text
