"""One answer and what it is worth: a page that does not rise is judged by its columns, too."""

import math
import sys
from datetime import timedelta
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.errors import (
    FilterIgnoredError,
    InvalidQueryError,
    OutageError,
    ProtocolError,
    ServerFaultError,
    VendorError,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.proof.page import (
    PageRequest,
    Verdict,
    count_loose_matches,
    count_pages,
    enlarge_count,
    find_sorted_run,
    judge_answer,
    plan_end_page,
    resize,
)
from aiosipcdr.wire.codec import PageAnswer, encode_params
from tests.proof.made_up_pages import CANARY, HOUR, START, answer, call

CALLS = 100
OWNER: Any = None  # these answers have no owner
REQUEST = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=CALLS)


def request(current: int = 1, size: int = 10, *, asked_before: bool = False) -> PageRequest:
    params = encode_params(HOUR, Filters())
    return PageRequest(owner=OWNER, window=HOUR, params=params, current=current, size=size, asked_before=asked_before)


def judge(reported: PageAnswer, asked: PageRequest | None = None, **filters: str) -> Verdict:
    return judge_answer(asked or request(), reported, msgspec.convert(filters, Filters))[0]


@given(st.integers(0, 10**9), st.integers(1, 100))
def test_pages_hold_the_total_and_one_is_always_read(total: int, size: int) -> None:
    pages = count_pages(total, size)
    assert pages >= 1
    assert pages * size >= total
    assert pages == 1 or (pages - 1) * size < total


def test_a_request_shows_no_filter() -> None:
    from rich.pretty import pretty_repr

    params = encode_params(HOUR, Filters(phone_name=CANARY))
    asked = PageRequest(owner=OWNER, window=HOUR, params=params, current=1, size=10)
    assert CANARY not in f"{asked} {asked!r}"
    assert CANARY not in pretty_repr(asked)


# --- judging


@pytest.mark.parametrize("size", [0, 11, 100])
def test_an_answer_with_a_wrong_size_is_not_used(size: int) -> None:
    assert judge(answer(call("1"), size=size)) is Verdict.ASK_AGAIN


@pytest.mark.parametrize("size", [1, 9, 10])
def test_a_smaller_size_may_be_used(size: int) -> None:
    assert judge(answer(call("1"), size=size)) is Verdict.USE


@pytest.mark.parametrize("current", [0, 1, 3])
def test_an_answer_to_another_page_is_not_used(current: int) -> None:
    assert judge(answer(call("1"), total=25, current=current), request(2)) is Verdict.ASK_AGAIN


def test_page_one_for_a_page_that_is_gone_counts_for_its_total_alone() -> None:
    assert judge(answer(call("1"), total=20, current=1), request(3)) is Verdict.PAST_THE_END
    assert judge(answer(total=20, current=3), request(3)) is Verdict.USE
    assert judge(answer(call("1"), total=21, current=1), request(3)) is Verdict.ASK_AGAIN


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (-1, Verdict.ASK_AGAIN),
        (0, Verdict.USE),
        (3600, Verdict.USE),
        (3601, Verdict.USE),
        (3602, Verdict.ASK_AGAIN),
        (None, Verdict.USE),
    ],
)
def test_records_outside_the_window_are_not_used(at: float | None, verdict: Verdict) -> None:
    assert judge(answer(call("1"), call("2", at))) is verdict


def test_any_time_inside_will_do_since_it_is_not_known_which_one_selects() -> None:
    ends_inside = call("1", -600, hangup_time=START)
    assert judge(answer(ends_inside)) is Verdict.USE
    reported = answer(call("1", -600, hangup_time=START - timedelta(seconds=1)))
    assert judge(reported) is Verdict.ASK_AGAIN


def test_a_known_field_alone_decides() -> None:
    reported = answer(call("1", -600, hangup_time=START))
    assert judge_answer(request(), reported, Filters(), "hangup_time")[0] is Verdict.USE
    assert judge_answer(request(), reported, Filters(), "submit_time")[0] is Verdict.ASK_AGAIN
    assert judge_answer(request(), reported, Filters(), "answer_time")[0] is Verdict.USE
    submitted_inside = answer(call("1", 600, hangup_time=START + timedelta(hours=2)))
    assert judge_answer(request(), submitted_inside, Filters(), "hangup_time")[0] is Verdict.ASK_AGAIN


@pytest.mark.parametrize("field", ["sip_group_name", "phone_name"])
def test_records_that_ignore_the_filter_are_an_error_that_quotes_none_of_them(field: str) -> None:
    records = [CallDetailRecord(voice_id=name, **{field: name}) for name in (CANARY, "other")]  # type: ignore[arg-type]
    reported = answer(*records)
    with pytest.raises(FilterIgnoredError, match=field) as caught:
        judge_answer(request(), reported, msgspec.convert({field: CANARY}, Filters))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("field", ["sip_group_name", "phone_name"])
@pytest.mark.parametrize(
    ("names", "exact", "loose"),
    [
        (["Group a"], None, None),
        (["Group a", "Group A"], "case or outer blanks", None),
        (["GROUP A\t"], "case or outer blanks", None),
        (["Group a", None], "without a", "without a"),
        ([None, "Group A"], "without a", "without a"),
        (["Group b", None], "another", "another"),
        (["Group a b"], "another", "another"),
    ],
)
def test_the_kind_of_a_contradiction_to_a_filter_is_named(
    names: list[str | None], exact: str | None, loose: str | None, field: str
) -> None:
    reported = answer(*(call(f"{number}", 60, **{field: name}) for number, name in enumerate(names)))
    for match, kind in (("exact", exact), ("loose", loose)):
        filters = msgspec.convert({field: "Group a", "match": match}, Filters)
        if kind is None:
            assert judge_answer(request(), reported, filters)[0] is Verdict.USE
            continue
        with pytest.raises(FilterIgnoredError, match=kind) as caught:
            judge_answer(request(), reported, filters)
        assert field in str(caught.value)


def test_records_that_match_loosely_are_counted() -> None:
    records = [call("1", sip_group_name="a"), call("2", sip_group_name=" A"), call("3", sip_group_name="A")]
    assert count_loose_matches(records, Filters(sip_group_name="a", match="loose")) == 2
    assert count_loose_matches(records, Filters(match="loose")) == 0


# --- sizes


@pytest.mark.parametrize(
    ("total", "size", "page"),
    [
        (1_000, 100, (11, 99)),
        (1_700, 100, (18, 99)),
        (990, 10, (124, 8)),
        (1, 1, (1, 2)),
        (2, 2, (1, 3)),
        (60, 5, (9, 7)),
    ],
)
def test_the_page_that_reaches_beyond_the_end_begins_before_the_last_row(
    total: int, size: int, page: tuple[int, int]
) -> None:
    assert plan_end_page(total, size) == page
    current, chosen = page
    assert (current - 1) * chosen < total < current * chosen


def test_a_total_that_every_size_divides_has_no_such_page() -> None:
    assert plan_end_page(math.lcm(*range(1, 101)), 100) is None


def test_a_refused_total_is_asked_for_with_larger_pages() -> None:
    control = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=1, control=True)
    for refused in (InvalidQueryError("parameter"), ProtocolError("HTTP 404")):
        larger = enlarge_count(control, refused, 20)
        assert larger is not None
        assert (larger.size, larger.control, larger.current) == (20, True, 1)
        assert enlarge_count(larger, refused, 20) is None
        assert enlarge_count(request(), refused, 100) is None


def test_a_total_that_failed_for_another_reason_is_not_asked_for_with_larger_pages() -> None:
    control = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=1, control=True)
    outage = OutageError("down")
    outage.__cause__ = InvalidQueryError("parameter")
    unreadable = ProtocolError("not JSON", retryable=True)
    for error in (VendorError("locked?", status=-99), ServerFaultError("down"), unreadable, outage):
        assert enlarge_count(control, error, 20) is None


def test_any_size_may_be_echoed_with_a_total_and_only_the_one_that_was_asked_at_the_end() -> None:
    for size in (1, 10, 0, 100):
        control = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=1, control=True)
        assert judge(answer(call("1"), total=7, size=size), control) is Verdict.USE
    end = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=9, is_end=True)
    assert judge(answer(call("1"), total=7, size=9), end) is Verdict.USE
    assert judge(answer(call("1"), total=7, size=8), end) is Verdict.ASK_AGAIN


def test_a_page_smaller_than_its_size_counts_with_its_rows() -> None:
    reported = resize(answer(call("1"), total=7, size=100), 3)
    assert (reported.page.size, reported.page.pages, reported.page.total) == (3, 3, 7)


def test_a_broken_record_is_asked_for_again_once() -> None:
    reported = answer(call("1"), total=2)
    reported.quarantined.append(QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken"))
    assert judge(reported) is Verdict.DOUBTFUL
    assert judge(reported, request(asked_before=True)) is Verdict.USE


def test_a_page_without_data_is_asked_for_again_once_unless_it_is_the_first() -> None:
    bare = msgspec.structs.replace(answer(current=2), is_bare=True)
    assert judge(bare, request(current=2)) is Verdict.DOUBTFUL
    assert judge(bare, request(current=2, asked_before=True)) is Verdict.USE
    assert judge(msgspec.structs.replace(answer(), is_bare=True)) is Verdict.USE


def test_a_broken_record_does_not_matter_where_the_total_alone_is_asked_for() -> None:
    reported = answer(total=2, size=1)
    reported.quarantined.append(QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken"))
    control = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=1, control=True)
    assert judge(reported, control) is Verdict.USE


# --- judging by columns


def scattered(**odd: Any) -> PageAnswer:  # noqa: ANN401 - fields of any type
    """A full page in no order at all; `odd` are fields of one of its records."""
    seconds = [number * 37 % CALLS for number in range(CALLS)]
    records = [CallDetailRecord(voice_id=str(at), submit_time=START + timedelta(seconds=at)) for at in seconds]
    if odd:
        records[CALLS // 2] = CallDetailRecord(voice_id="odd", **odd)
    return PageAnswer(page=Page(records=records, total=CALLS, size=CALLS, current=1, pages=1))


def test_a_page_that_does_not_rise_is_judged_without_a_look_at_each_record() -> None:
    reported, called = scattered(), 0
    assert find_sorted_run(reported.page.records) is None

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001 - as sys has it
        nonlocal called
        called += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        verdict, _ = judge_answer(REQUEST, reported, Filters())
    finally:
        sys.setprofile(before)
    assert verdict is Verdict.USE
    assert called < CALLS // 2


@pytest.mark.parametrize(
    ("odd", "verdict"),
    [
        ({"submit_time": HOUR.start - timedelta(microseconds=1)}, Verdict.ASK_AGAIN),
        ({"submit_time": HOUR.end + timedelta(seconds=1, microseconds=1)}, Verdict.ASK_AGAIN),
        ({"submit_time": HOUR.end + timedelta(seconds=1)}, Verdict.USE),
        ({"submit_time": HOUR.start - timedelta(days=1), "hangup_time": HOUR.start}, Verdict.USE),
        ({"submit_time": HOUR.start - timedelta(days=1), "hangup_time": HOUR.end + timedelta(seconds=1)}, Verdict.USE),
        ({"submit_time": None}, Verdict.USE),
        ({"submit_time": None, "hangup_time": HOUR.end}, Verdict.USE),
        ({"submit_time": None, "hangup_time": HOUR.end + timedelta(days=1)}, Verdict.ASK_AGAIN),
    ],
)
def test_one_record_outside_is_found_on_a_page_that_does_not_rise(odd: dict[str, Any], verdict: Verdict) -> None:
    reported = scattered(**odd)
    assert find_sorted_run(reported.page.records) is None
    assert judge_answer(REQUEST, reported, Filters())[0] is verdict
