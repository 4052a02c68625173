"""One reading of a window: what an answer is worth, and how pages are united."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.errors import FilterIgnoredError
from aiosipcdr.protocol.ascent import find_ascent
from aiosipcdr.protocol.codec import Filters, PageAnswer, encode_params
from aiosipcdr.protocol.paging import PageRequest, Verdict, count_pages, judge_answer
from aiosipcdr.protocol.records import CallDetailRecord, Page
from aiosipcdr.protocol.sweep import Sweep
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import QuarantinedRecord

CANARY = "+447700900123"
START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = TimeWindow(START, START + timedelta(hours=1))


def call(voice_id: str, at: float | None = 60, **fields: object) -> CallDetailRecord:
    time = None if at is None else START + timedelta(seconds=at)
    return CallDetailRecord(voice_id=voice_id, submit_time=time, **fields)  # type: ignore[arg-type]


def answer(
    *records: CallDetailRecord, total: int | None = None, size: int = 10, current: int = 1, pages: int | None = None
) -> PageAnswer:
    total = len(records) if total is None else total
    pages = -(-total // max(1, size)) if pages is None else pages
    return PageAnswer(page=Page(total=total, size=size, current=current, pages=pages, records=list(records)))


def request(current: int = 1, size: int = 10, *, asked_before: bool = False) -> PageRequest:
    params = encode_params(HOUR, Filters())
    return PageRequest(owner=None, window=HOUR, params=params, current=current, size=size, asked_before=asked_before)


def judge(told: PageAnswer, asked: PageRequest | None = None, **filters: str) -> Verdict:
    return judge_answer(asked or request(), told, Filters(**filters))[0]


def read(sweep: Sweep, *answers: PageAnswer) -> list[int]:
    odd = []
    for told in answers:
        sweep.plan_pages()
        sweep.add_page(told, find_ascent(told.page.records))
        odd.append(sweep.take_oddities())
    return odd


@given(st.integers(0, 10**9), st.integers(1, 100))
def test_pages_hold_the_total_and_one_is_always_read(total: int, size: int) -> None:
    pages = count_pages(total, size)
    assert pages >= 1
    assert pages * size >= total
    assert pages == 1 or (pages - 1) * size < total


def test_a_request_shows_no_filter() -> None:
    from rich.pretty import pretty_repr

    params = encode_params(HOUR, Filters(phone_name=CANARY))
    asked = PageRequest(owner=None, window=HOUR, params=params, current=1, size=10)
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
    told = answer(call("1", -600, hangup_time=START - timedelta(seconds=1)))
    assert judge(told) is Verdict.ASK_AGAIN


def test_a_known_field_alone_decides() -> None:
    told = answer(call("1", -600, hangup_time=START))
    assert judge_answer(request(), told, Filters(), "hangup_time")[0] is Verdict.USE
    assert judge_answer(request(), told, Filters(), "submit_time")[0] is Verdict.ASK_AGAIN
    assert judge_answer(request(), told, Filters(), "answer_time")[0] is Verdict.USE


@pytest.mark.parametrize("field", ["sip_group_name", "phone_name"])
def test_records_that_ignore_the_filter_are_an_error_that_quotes_nobody(field: str) -> None:
    records = [CallDetailRecord(voice_id=name, **{field: name}) for name in (CANARY, "other")]  # type: ignore[arg-type]
    told = answer(*records)
    with pytest.raises(FilterIgnoredError, match=field) as caught:
        judge_answer(request(), told, Filters(**{field: CANARY}))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("told", ["Group A", " group a ", "GROUP A\t", None])
def test_filters_are_compared_without_case_and_outer_blanks(told: str | None) -> None:
    assert judge(answer(call("1", sip_group_name=told)), sip_group_name=" Group a") is Verdict.USE


def test_a_broken_record_is_asked_for_again_once() -> None:
    told = answer(call("1"), total=2)
    told.quarantined.append(QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken"))
    assert judge(told) is Verdict.DOUBTFUL
    assert judge(told, request(asked_before=True)) is Verdict.USE


# --- reading


def test_the_first_page_goes_alone_and_tells_the_rest() -> None:
    sweep = Sweep(10)
    assert list(sweep.plan_pages()) == [1]
    assert list(sweep.plan_pages()) == []
    sweep.add_page(answer(total=35), None)
    assert list(sweep.plan_pages()) == [2, 3, 4]
    sweep.add_page(answer(total=51, current=3), None)
    assert list(sweep.plan_pages()) == [5, 6]
    sweep.add_page(answer(total=10, current=2), None)
    assert list(sweep.plan_pages()) == []
    assert not sweep.is_read
    for current in (4, 5, 6):
        sweep.add_page(answer(total=51, current=current), None)
    assert sweep.is_read
    assert sweep.largest_total == 51


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_pages_in_any_order_unite_to_their_distinct_ids(ids: list[int], size: int, seed: int) -> None:
    calls = [call(str(number)) for number in ids]
    pages = [answer(*calls[at : at + size], total=len(ids), size=size) for at in range(0, len(ids), size)] or [answer()]
    first, *rest = pages
    Random(seed).shuffle(rest)  # noqa: S311
    sweep = Sweep(size)
    for told in (first, *rest):
        sweep.plan_pages()
        sweep.add_page(told, find_ascent(told.page.records))
    assert sweep.is_read
    assert sweep.unique == len(set(ids))
    assert sweep.duplicates == len(ids) - len(set(ids))
    assert not sweep.conflicting


@pytest.mark.parametrize(
    ("told", "odd"),
    [
        (answer(call("1"), call("2")), 0),
        (answer(), 0),
        (answer(pages=1), 1),
        (answer(call("1"), total=2), 1),
        (answer(call("1"), call("2"), total=1), 1),
        (answer(call("1"), total=0, pages=0), 1),
        (answer(call("1"), pages=2), 1),
        (answer(call("1"), call("1")), 1),
        (answer(call("1"), call("1", code="x")), 1),
        (answer(call("1"), call("1"), call("1"), total=2, pages=9), 4),
    ],
    ids=range(10),
)
def test_oddities_are_counted(told: PageAnswer, odd: int) -> None:
    assert read(Sweep(10), told) == [odd]


def test_one_id_with_two_contents_in_one_page_is_two_records() -> None:
    sweep = Sweep(10)
    read(sweep, answer(call("1", code="a"), call("1", code="b"), call("2")))
    assert sweep.unique == 3
    assert len(sweep.conflicting) == 1
    assert {record.code for record in sweep.records.values()} == {"a", "b", None}


def test_one_id_with_two_contents_on_two_pages_is_the_later_one() -> None:
    sweep = Sweep(1)
    read(sweep, answer(call("1", code="a"), total=2, size=1), answer(call("1", code="b"), total=2, size=1, current=2))
    assert sweep.unique == 1
    assert len(sweep.conflicting) == 1
    assert [record.code for record in sweep.records.values()] == ["b"]


def test_two_records_of_one_id_are_not_doubled_by_being_told_again() -> None:
    first, second = call("1", code="a"), call("1", code="b")
    sweep = Sweep(2)
    read(sweep, answer(first, second, total=4, size=2), answer(second, first, total=4, size=2, current=2))
    assert sweep.unique == 2
    assert sweep.duplicates == 2
    assert len(sweep.conflicting) == 1
    sweep = Sweep(2)
    read(sweep, answer(first, call("2"), total=4, size=2), answer(second, first, total=4, size=2, current=2))
    assert sweep.unique == 3


def test_equal_money_is_no_conflict() -> None:
    sweep = Sweep(10)
    read(sweep, answer(call("1", cost=Decimal("1.0")), call("1", cost=Decimal("1.00"))))
    assert (sweep.duplicates, sweep.conflicting) == (1, set())


@pytest.mark.parametrize(
    ("told", "single"),
    [
        (answer(call("1"), call("2")), True),
        (answer(), True),
        (answer(*(call(str(number)) for number in range(9))), True),
        (answer(*(call(str(number)) for number in range(10))), False),
        (answer(call("1"), total=2), False),
        (answer(call("1"), call("1")), False),
        (answer(call("1"), call("2"), total=1), False),
    ],
    ids=range(7),
)
def test_one_short_page_that_holds_all_it_tells_is_one_select(told: PageAnswer, single: bool) -> None:  # noqa: FBT001
    sweep = Sweep(10)
    read(sweep, told)
    assert sweep.single is single


def test_a_page_that_holds_more_than_its_total_allows_shows_a_larger_one() -> None:
    # Told: three.  The second page of two ends at the fourth call: there are four at least.
    sweep = Sweep(2)
    read(sweep, answer(call("1"), call("2"), total=3, size=2))
    assert sweep.largest_total == 3
    read(sweep, answer(call("1"), call("3"), total=3, size=2, current=2))
    assert sweep.largest_total == 4
    # A call that one page tells twice is one call, and shows nothing.
    sweep = Sweep(2)
    read(sweep, answer(call("1"), call("2"), call("2"), total=2, size=3))
    assert sweep.largest_total == 2


def broken(identity: str) -> QuarantinedRecord:
    return QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity)


def test_what_cannot_be_decoded_counts_by_its_identity() -> None:
    told = answer(call("1"), total=4)
    told.quarantined.extend([broken("2"), broken("2"), broken("3")])
    sweep = Sweep(10)
    read(sweep, told)
    assert sweep.unique == 3
    again = answer(call("2"), total=4, current=2)
    read(sweep, again)
    assert sweep.unique == 3  # read after all
    assert not sweep.is_ambiguous


def test_two_rows_of_one_id_count_as_two_even_if_one_or_both_are_broken() -> None:
    broken_twins = [b'{"voiceId":"1","cost":"NaN"}', b'{"voiceId":"1","cost":"x"}']
    for readable, raws in ([call("1")], broken_twins[:1]), ([], broken_twins):
        page = answer(*readable, total=2)
        page.quarantined.extend(
            QuarantinedRecord(raw=raw, window=None, page=1, reason="broken", voice_id="1") for raw in raws
        )
        sweep = Sweep(10)
        read(sweep, page)
        assert sweep.unique == 2
        assert sweep.single
        assert sweep.is_ambiguous


# --- carrying on


def test_what_was_read_before_still_stands_and_what_is_read_now_wins() -> None:
    earlier, later = Sweep(10), Sweep(10)
    read(earlier, answer(call("1", code="old"), call("2"), total=4))
    read(later, answer(call("1", code="new"), call("3"), total=3))
    later.carry_on(earlier)
    assert later.unique == 3
    assert len(later.conflicting) == 1
    assert later.largest_total == 4
    assert {record.voice_id: record.code for record in later.records.values()} == {"1": "new", "2": None, "3": None}


def test_carrying_on_keeps_two_records_of_one_id_apart() -> None:
    pair = call("1", code="a"), call("1", code="b")
    earlier, later = Sweep(10), Sweep(10)
    read(earlier, answer(*pair))
    read(later, answer(pair[0], call("2")))
    later.carry_on(earlier)
    assert later.unique == 3
    earlier, later = Sweep(10), Sweep(10)
    read(earlier, answer(pair[0], call("2")))
    read(later, answer(*pair))
    later.carry_on(earlier)
    assert later.unique == 3


def test_carrying_on_does_not_count_a_broken_record_twice() -> None:
    earlier, later = Sweep(10), Sweep(10)
    told = answer(call("1"), total=2)
    told.quarantined.append(broken("2"))
    read(earlier, told)
    read(later, answer(call("1"), call("2")))
    later.carry_on(earlier)
    assert later.unique == 2
