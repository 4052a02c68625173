"""One answer and what it is worth: a page that does not rise is judged by its columns, too."""

import sys
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import pytest

from aiosipcdr.protocol.ascent import find_ascent
from aiosipcdr.protocol.codec import Filters, PageAnswer
from aiosipcdr.protocol.paging import PageRequest, Verdict, judge_answer
from aiosipcdr.protocol.records import CallDetailRecord, Page
from aiosipcdr.protocol.windows import TimeWindow

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(hours=1))
CALLS = 100
REQUEST = PageRequest(owner=None, window=WINDOW, params=b"", current=1, size=CALLS)


def scattered(**odd: Any) -> PageAnswer:  # noqa: ANN401 - fields of any type
    """A full page in no order at all; `odd` are fields of one of its records."""
    seconds = [number * 37 % CALLS for number in range(CALLS)]
    records = [CallDetailRecord(voice_id=str(at), submit_time=START + timedelta(seconds=at)) for at in seconds]
    if odd:
        records[CALLS // 2] = CallDetailRecord(voice_id="odd", **odd)
    return PageAnswer(page=Page(records=records, total=CALLS, size=CALLS, current=1, pages=1))


def test_a_page_that_does_not_rise_is_judged_without_a_look_at_each_record() -> None:
    told, called = scattered(), 0
    assert find_ascent(told.page.records) is None

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001 - as sys has it
        nonlocal called
        called += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        verdict, _ = judge_answer(REQUEST, told, Filters())
    finally:
        sys.setprofile(before)
    assert verdict is Verdict.USE
    assert called < CALLS // 2


@pytest.mark.parametrize(
    ("odd", "verdict"),
    [
        ({"submit_time": WINDOW.start - timedelta(microseconds=1)}, Verdict.ASK_AGAIN),
        ({"submit_time": WINDOW.end + timedelta(seconds=1, microseconds=1)}, Verdict.ASK_AGAIN),
        ({"submit_time": WINDOW.end + timedelta(seconds=1)}, Verdict.USE),
        ({"submit_time": WINDOW.start - timedelta(days=1), "hangup_time": WINDOW.start}, Verdict.USE),
        ({"submit_time": None}, Verdict.USE),
        ({"submit_time": None, "hangup_time": WINDOW.end}, Verdict.USE),
        ({"submit_time": None, "hangup_time": WINDOW.end + timedelta(days=1)}, Verdict.ASK_AGAIN),
    ],
)
def test_one_record_outside_is_found_on_a_page_that_does_not_rise(odd: dict[str, Any], verdict: Verdict) -> None:
    told = scattered(**odd)
    assert find_ascent(told.page.records) is None
    assert judge_answer(REQUEST, told, Filters())[0] is verdict
