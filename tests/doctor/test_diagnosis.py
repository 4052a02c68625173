"""Findings derived from the facts of a probe; unknown where the facts do not decide."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from aiosipcdr.doctor.diagnosis import Finding, judge_probe, plan_settings
from aiosipcdr.doctor.probe import Answered, ProbeFacts, ProbeOutcome
from aiosipcdr.doctor.semantics import ALL_SEMANTICS, RangeSemantics
from aiosipcdr.model.errors import InvalidQueryError
from aiosipcdr.model.records import CallDetailRecord, ExtraFields, Page
from aiosipcdr.model.windows import TimeWindow

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=1))
FOUR_HOURS = timedelta(hours=4)
REFUSED = InvalidQueryError("no", status=-22)


def call(number: int, *, group: str = "sales", lasts: float = 60, hour: float | None = None) -> CallDetailRecord:
    submitted = START + timedelta(hours=number if hour is None else hour)
    ended = submitted + timedelta(seconds=lasts)
    return CallDetailRecord(voice_id=str(number), sip_group_name=group, submit_time=submitted, hangup_time=ended)


def answered(
    *calls: CallDetailRecord, size: int = 100, reported: int | None = None, total: int | None = None, current: int = 1
) -> Answered:
    page = Page(
        total=len(calls) if total is None else total,
        size=size if reported is None else reported,
        current=current,
        pages=1,
        records=list(calls),
    )
    return Answered(WINDOW, size, current, page)


def find(topic: str, facts: ProbeFacts) -> Finding:
    (found,) = [finding for finding in judge_probe(facts) if finding.topic == topic]
    return found


def value(topic: str, facts: ProbeFacts) -> str | None:
    return find(topic, facts).value


OLDEST = [call(number) for number in range(12)]
NEWEST = OLDEST[::-1]
SHUFFLED = [OLDEST[place] for place in (3, 7, 1, 11, 5, 0, 9, 2, 10, 4, 8, 6)]


def test_without_calls_everything_about_calls_is_unknown_with_the_reason() -> None:
    found = judge_probe(ProbeFacts(first=answered(), date_sent=True, rate=2))
    assert {finding.value for finding in found if finding.topic != "date"} == {None}
    assert all(finding.text for finding in found)
    assert plan_settings(ProbeFacts(first=answered()), lateness=FOUR_HOURS) == {}


def test_topics_have_one_order() -> None:
    topics = [finding.topic for finding in judge_probe(ProbeFacts())]
    assert topics == [finding.topic for finding in judge_probe(ProbeFacts(first=answered(*OLDEST)))]
    assert len(topics) == len(set(topics)) == 15


@pytest.mark.parametrize(
    ("first", "again", "expected"),
    [
        (NEWEST, NEWEST[:5], "newest"),
        (OLDEST, OLDEST[:5], "oldest"),
        (OLDEST, NEWEST, "changes"),
        (SHUFFLED, SHUFFLED, "not by time"),
        (SHUFFLED, SHUFFLED[:8], "not by time"),
        (SHUFFLED, SHUFFLED[::-1], "changes"),
        (SHUFFLED[:6], SHUFFLED[6:], "changes"),
        (OLDEST[:4], OLDEST[:4], None),
        (OLDEST, OLDEST[:4], None),
    ],
)
def test_the_order_is_that_of_the_same_page_twice(
    first: list[CallDetailRecord], again: list[CallDetailRecord], expected: str | None
) -> None:
    facts = ProbeFacts(first=answered(*first, total=50), again=answered(*again, size=37, total=50))
    assert value("order", facts) == expected


def test_a_call_that_arrives_between_two_answers_is_no_other_order() -> None:
    facts = ProbeFacts(first=answered(*SHUFFLED[1:]), again=answered(*SHUFFLED))
    assert value("order", facts) == "not by time"


def test_an_order_that_was_seen_once_is_unknown() -> None:
    assert value("order", ProbeFacts(first=answered(*NEWEST), again=REFUSED)) is None


def test_the_time_that_orders_is_named() -> None:
    calls = [call(number, lasts=7200 * (number * 5 % 6)) for number in range(6)]
    facts = ProbeFacts(first=answered(*calls[::-1]), again=answered(*calls[::-1]))
    assert "by submit_time" in find("order", facts).text
    by_end = sorted(calls, key=lambda one: one.hangup_time or START)
    assert "by hangup_time" in find("order", ProbeFacts(first=answered(*by_end), again=answered(*by_end))).text


def test_readings_that_agree_on_something_tell_it() -> None:
    hypotheses = [RangeSemantics("submit_time", True, end) for end in (True, False)]  # noqa: FBT003 - as they are written
    facts = ProbeFacts(first=answered(*OLDEST), hypotheses=hypotheses)
    assert [value(topic, facts) for topic in ("time_field", "start", "end")] == ["submit_time", "inclusive", None]
    assert plan_settings(facts, lateness=FOUR_HOURS) == {"time_field": "submit_time"}


def test_indistinguishable_fields_are_both_named() -> None:
    hypotheses = [RangeSemantics(field, False, False) for field in ("call_time", "submit_time")]  # noqa: FBT003
    facts = ProbeFacts(first=answered(*OLDEST), hypotheses=hypotheses)
    assert value("time_field", facts) is None
    assert find("time_field", facts).text.endswith("submit_time or call_time: the calls found do not distinguish them")
    facts.vanished = True
    assert "disappeared" in find("time_field", facts).text
    assert value("start", facts) == "exclusive"
    assert plan_settings(facts, lateness=FOUR_HOURS) == {}


def test_answers_that_no_reading_explains_leave_it_unknown() -> None:
    facts = ProbeFacts(first=answered(*OLDEST), hypotheses=[])
    assert [value(topic, facts) for topic in ("time_field", "start", "end")] == [None] * 3
    assert value("start", ProbeFacts(first=answered(*OLDEST), hypotheses=ALL_SEMANTICS)) is None


@pytest.mark.parametrize(
    ("first", "again", "size", "setting"),
    [
        (answered(*OLDEST), answered(*OLDEST, size=37), "100", {}),
        (answered(*OLDEST, reported=50), answered(size=37), "50", {"page_size": 50}),
        (answered(*OLDEST, reported=10), answered(size=37, reported=10), "10", {"page_size": 10}),
        (answered(*OLDEST, total=90), answered(size=37), "12", {"page_size": 12}),
        (answered(*OLDEST, reported=0), answered(size=37), None, {}),
    ],
)
def test_the_page_size_is_the_number_of_records_received(
    first: Answered, again: ProbeOutcome, size: str | None, setting: dict[str, object]
) -> None:
    facts = ProbeFacts(first=first, again=again)
    assert value("page_size", facts) == size
    assert plan_settings(facts, lateness=FOUR_HOURS) == setting
    assert "37" not in find("page_size", facts).text


@pytest.mark.parametrize(
    ("larger", "expected"),
    [
        (REFUSED, "refused"),
        (answered(size=200, reported=50), "cut"),
        (answered(size=200), None),
        (answered(*(call(number) for number in range(150)), size=200), "given"),
        (None, None),
    ],
)
def test_larger_pages_are_given_when_more_calls_came(larger: ProbeOutcome | None, expected: str | None) -> None:
    assert value("larger_pages", ProbeFacts(first=answered(*OLDEST), larger=larger)) == expected


def test_a_rounded_size_is_reported() -> None:
    facts = ProbeFacts(first=answered(*OLDEST), again=answered(*OLDEST, size=37, reported=20))
    assert "37 becomes 20" in find("page_size", facts).text


@pytest.mark.parametrize(
    ("beyond", "expected"),
    [
        (answered(current=3), "empty"),
        (answered(*OLDEST[:3], current=1), "page 1"),
        (answered(*OLDEST[:3], current=3), "page 1"),
        (answered(*OLDEST[5:8], current=3), "other calls"),
        (REFUSED, "refused"),
        (None, None),
    ],
)
def test_the_response_beyond_the_last_page_is_reported(beyond: ProbeOutcome | None, expected: str | None) -> None:
    of = answered(*OLDEST[:3])
    assert value("beyond_last_page", ProbeFacts(first=of, beyond_of=of, beyond=beyond)) == expected


def test_the_reported_total_is_compared_with_the_calls_of_small_windows() -> None:
    small, full = answered(*OLDEST), answered(*OLDEST, size=12, total=400)
    assert value("total", ProbeFacts(first=full, narrow=[small])) == "right"
    assert value("total", ProbeFacts(first=full, narrow=[small, answered(*OLDEST, total=11)])) == "wrong"
    assert value("total", ProbeFacts(first=full)) is None
    assert value("total", ProbeFacts(first=answered(*OLDEST, total=0))) == "not counted"


def test_ids_repeat_where_one_answer_holds_one_twice() -> None:
    assert value("repeated_ids", ProbeFacts(first=answered(*OLDEST, OLDEST[0]))) == "yes"
    assert value("repeated_ids", ProbeFacts(first=answered(*OLDEST))) is None  # too few to decide
    many = answered(*(call(number) for number in range(60)))
    assert value("repeated_ids", ProbeFacts(first=many, again=many)) == "not seen"


CALLS_OF_TWO = [call(number, group=group) for number, group in enumerate(["sales", "support"] * 3)]


@pytest.mark.parametrize(
    ("other_case", "longer", "expected"),
    [
        (answered(), None, "counts"),
        (REFUSED, None, "counts"),
        (answered(*CALLS_OF_TWO[::2]), answered(), "does not count"),
        (answered(*CALLS_OF_TWO), answered(), "ignored"),
        (answered(*CALLS_OF_TWO[::2]), answered(*CALLS_OF_TWO[::2]), "ignored"),
        (answered(call(1, group="SALES")), answered(), None),
        (None, None, None),
    ],
)
def test_a_filter_is_judged_by_its_results(
    other_case: ProbeOutcome | None, longer: ProbeOutcome | None, expected: str | None
) -> None:
    facts = ProbeFacts(first=answered(*CALLS_OF_TWO), group="sales", other_case=other_case, longer=longer)
    assert value("filter_case", facts) == expected


def test_without_a_group_nothing_is_known_of_filters() -> None:
    facts = ProbeFacts(first=answered(*OLDEST))
    assert value("filter_case", facts) is value("filter_blanks", facts) is None


@pytest.mark.parametrize(
    ("lasts", "setting"),
    [
        (60, {}),
        (3 * 3600, {}),
        (3 * 3600 + 1, {"lateness": timedelta(hours=5)}),
        (36_000, {"lateness": timedelta(hours=12)}),
    ],
)
def test_the_longest_call_sets_the_lateness(lasts: float, setting: dict[str, object]) -> None:
    facts = ProbeFacts(first=answered(*OLDEST, call(20, lasts=lasts)))
    assert value("longest_call", facts) == str(timedelta(seconds=max(lasts, 60)))
    assert plan_settings(facts, lateness=FOUR_HOURS) == setting


def test_a_call_without_a_length_leaves_it_unknown() -> None:
    facts = ProbeFacts(first=answered(CallDetailRecord(voice_id="1")))
    assert value("longest_call", facts) is None
    talked = CallDetailRecord(voice_id="1", call_duration=90)
    assert value("longest_call", ProbeFacts(first=answered(talked))) == "0:01:30"


def test_date_and_rate_are_taken_from_the_responses() -> None:
    assert [value("date", ProbeFacts(date_sent=sent)) for sent in (True, False, None)] == ["sent", "not sent", None]
    assert value("rate", ProbeFacts(rate=2)) is None
    throttled = ProbeFacts(rate=2, throttled=1)
    assert value("rate", throttled) == "too fast"
    assert plan_settings(throttled, lateness=FOUR_HOURS) == {"rate": 1}


def test_records_of_which_none_has_a_readable_id_are_not_taken_for_no_calls() -> None:
    facts = ProbeFacts(first=msgspec.structs.replace(answered(), unreadable=3))
    found = {finding.topic: finding for finding in judge_probe(facts)}
    assert found["fields"].value == "unreadable"
    assert "3 records of one response without a readable id" in found["fields"].text
    assert {found[topic].value for topic in found.keys() - {"fields"}} == {None}
    assert found["total"].text == "none of the records has a readable id"
    assert "no calls were found" in find("fields", ProbeFacts(first=answered())).text


def test_times_that_cannot_be_read_are_not_taken_for_a_time_that_is_not_sent() -> None:
    odd = [msgspec.structs.replace(call, extra=ExtraFields({"callTime": '"?"'})) for call in OLDEST]
    assert "readable times" in find("time_field", ProbeFacts(first=answered(*odd), hypotheses=[])).text
    assert "does not send" in find("time_field", ProbeFacts(first=answered(*OLDEST), hypotheses=[])).text


def test_unreadable_fields_are_named_and_no_value_is_quoted() -> None:
    number = "447700900123"
    odd = [
        msgspec.structs.replace(
            OLDEST[place],
            answer_time=None,
            extra=ExtraFields({"answerTime": raw, "callee": f'["{number}"]', number: "1"}),
        )
        for place, raw in ((0, '"2026-10-01 08:00:00"'), (1, '"yesterday"'))
    ]
    found = find("fields", ProbeFacts(first=answered(*odd, *OLDEST[2:])))
    assert found.value == "unreadable"
    assert "answer_time (2), callee (2)" in found.text
    assert "set assume_tz" in found.text
    assert "unknown fields: ***" in found.text
    assert number not in found.text
    found = find("fields", ProbeFacts(first=answered(*odd[1:], *OLDEST[2:])))
    assert "assume_tz" not in found.text
    first = msgspec.structs.replace(answered(*OLDEST), unreadable=3)
    assert "3 records of one response without a readable id" in find("fields", ProbeFacts(first=first)).text
    found = find("fields", ProbeFacts(first=answered(*OLDEST)))
    assert (found.value, found.text) == ("readable", "every value of 12 calls can be read")
