"""The probe's plan against vendors that differ in undocumented behaviour: few questions, correct findings."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from aiosipcdr.doctor.diagnosis import judge_probe
from aiosipcdr.doctor.probe import Answered, Probe, ProbeFacts
from aiosipcdr.doctor.semantics import ALL_SEMANTICS, RangeSemantics
from aiosipcdr.model.errors import (
    AuthenticationError,
    InvalidQueryError,
    OutageError,
    OutOfTimeRangeError,
    ServerFaultError,
    SipCdrError,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest, PlanChange
from aiosipcdr.wire.codec import PageAnswer
from tests.selection import pairs, some

NOW = datetime(2026, 10, 31, 12, 0, 0, 500, tzinfo=UTC)
SUBMITTED = RangeSemantics("submit_time", start_inclusive=True, end_inclusive=True)


def made_up_calls(number: int, *, hours: float = 20, seed: int = 7) -> list[CallDetailRecord]:
    rng = Random(seed)  # noqa: S311 - made-up calls
    calls = []
    for place in range(number):
        submitted = NOW.replace(microsecond=0) - timedelta(hours=1.1, seconds=rng.randrange(int(hours * 3600)))
        called = submitted + timedelta(seconds=rng.randrange(2))
        rang = called + timedelta(seconds=rng.randrange(1, 5))
        answered = rang + timedelta(seconds=rng.randrange(2, 30)) if rng.random() < 0.6 else None
        calls.append(
            CallDetailRecord(
                voice_id=f"{place:019}",
                sip_group_name=rng.choice(["sales", "support"]),
                submit_time=submitted,
                call_time=called,
                ringing_time=rang if rng.random() < 0.9 else None,
                answer_time=answered,
                hangup_time=(answered or rang) + timedelta(seconds=rng.randrange(1, 600)),
            )
        )
    return sorted(calls, key=lambda call: call.submit_time or NOW, reverse=True)


@dataclass
class Vendor:
    """Answers as its settings say, from a list of calls."""

    calls: list[CallDetailRecord] = field(default_factory=lambda: made_up_calls(900))
    reading: RangeSemantics = SUBMITTED
    most: int = 100
    keeps: timedelta = timedelta(days=60)
    refuse: Callable[[dict[str, Any], int], SipCdrError | None] = lambda _params, _current: None
    asked: list[PageRequest] = field(default_factory=list)

    def answer(self, request: PageRequest) -> PageAnswer | SipCdrError:
        self.asked.append(request)
        params = json.loads(request.params)
        window = TimeWindow(*(datetime.fromisoformat(params[name]) for name in ("strTime", "endTime")))
        if (error := self.refuse(params, request.current)) is not None:
            return error
        if window.start < NOW - self.keeps:
            return OutOfTimeRangeError("too old", status=-25)
        if request.size > 100:
            return InvalidQueryError("too many", status=-22)
        group = params.get("sipGroupName")
        found = [call for call in self.calls if self.reading.includes(call, window)]
        found = [call for call in found if group is None or call.sip_group_name == group]
        size = min(request.size, self.most)
        records = found[(request.current - 1) * size : request.current * size]
        page = Page(total=len(found), size=size, current=request.current, pages=-(-len(found) // size), records=records)
        return PageAnswer(page=page)


def play(vendor: Vendor, asked: TimeWindow | None = None) -> ProbeFacts:
    """Work the plan off, one request at a time; raise the error that ends it."""
    probe = Probe(NOW, asked)
    while not probe.has_result:
        request = probe.next_request()
        assert request is not None
        assert probe.next_request() is None  # one after the other
        outcome = vendor.answer(request)
        if isinstance(outcome, SipCdrError):
            transition = probe.refuse(request, outcome)
            if isinstance(transition, SipCdrError):
                raise transition
        else:
            transition = probe.accept(request, outcome)
        assert transition is (PlanChange.DONE if probe.has_result else None)
    assert probe.facts.questions == len(vendor.asked) <= 15
    return probe.facts


@pytest.mark.parametrize(("seed", "reading"), some(pairs((1, 2), ALL_SEMANTICS), every=3))
def test_every_meaning_of_a_range_is_found(seed: int, reading: RangeSemantics) -> None:
    facts = play(Vendor(made_up_calls(900, seed=seed), reading=reading))
    assert facts.hypotheses == [reading]
    assert len(facts.narrow) <= 5


def test_the_last_day_is_asked_where_it_holds_a_page_of_calls() -> None:
    vendor = Vendor()
    facts = play(vendor)
    assert facts.first is not None
    assert facts.first.window == TimeWindow(
        datetime(2026, 10, 30, 11, tzinfo=UTC), datetime(2026, 10, 31, 11, tzinfo=UTC)
    )
    assert [request.size for request in vendor.asked[:3]] == [100, 37, 200]
    assert isinstance(facts.larger, InvalidQueryError)


@pytest.mark.parametrize(("hours", "days"), [(5 * 24, 30), (20 * 24, 30)])
def test_few_calls_widen_the_span(hours: int, days: int) -> None:
    facts = play(Vendor(made_up_calls(200, hours=hours)))
    assert facts.first is not None
    assert facts.first.window.seconds == days * 86_400


def test_the_range_that_was_asked_for_is_looked_at_first() -> None:
    calls = [
        msgspec.structs.replace(call, submit_time=call.submit_time and call.submit_time - timedelta(days=29.5))
        for call in made_up_calls(3000)
    ]
    asked = TimeWindow(NOW.replace(microsecond=0) - timedelta(days=45), NOW.replace(microsecond=0))
    vendor = Vendor(calls)
    facts = play(vendor, asked)
    assert facts.first is not None
    assert len(facts.calls()) >= 100
    assert vendor.asked[0].window.end == NOW.replace(microsecond=0) - timedelta(hours=1)
    assert vendor.asked[0].window.seconds == 31 * 86_400


def test_calls_of_two_months_ago_are_found_too() -> None:
    calls = made_up_calls(3000, hours=24)
    aged = [
        msgspec.structs.replace(call, submit_time=call.submit_time and call.submit_time - timedelta(days=40))
        for call in calls[4:]
    ]
    facts = play(Vendor([*calls[:4], *aged]))
    assert facts.first is not None
    assert facts.first.page.total == 2996
    assert len(facts.calls()) >= 100


def test_a_range_that_cannot_be_had_or_is_to_come_is_done_without() -> None:
    for days in (-100, 100):
        start = NOW.replace(microsecond=0) + timedelta(days=days)
        facts = play(Vendor(), TimeWindow(start, start + timedelta(days=1)))
        assert len(facts.calls()) >= 100
    refused = Vendor(keeps=timedelta(0))
    with pytest.raises(OutOfTimeRangeError):
        play(refused)
    assert len(refused.asked) == 3


def test_deleted_calls_are_skipped() -> None:
    facts = play(Vendor(made_up_calls(30), keeps=timedelta(days=3)))
    assert facts.first is not None
    assert facts.first.window.seconds == 86_400
    assert facts.hypotheses == [SUBMITTED]


def test_without_a_call_nothing_else_is_asked() -> None:
    vendor = Vendor([])
    facts = play(vendor)
    assert (len(vendor.asked), facts.hypotheses, facts.calls()) == (3, None, [])
    assert not facts.vanished


@pytest.mark.parametrize("reading", some(ALL_SEMANTICS, every=3))
def test_calls_that_disappear_rule_nothing_out(reading: RangeSemantics) -> None:
    calls = made_up_calls(900)

    def lose(params: dict[str, Any], _current: int) -> None:
        window = TimeWindow(datetime.fromisoformat(params["strTime"]), datetime.fromisoformat(params["endTime"]))
        held = [call for call in calls if reading.includes(call, window)]
        if window.seconds == 2 and held:
            calls.remove(held[0])

    facts = play(Vendor(calls, reading=reading, refuse=lose))
    assert facts.vanished is (len(calls) < 900)
    assert facts.hypotheses is not None
    assert reading in facts.hypotheses


def test_answers_still_rule_out_readings_when_calls_disappear() -> None:
    calls = made_up_calls(900)

    def lose(params: dict[str, Any], current: int) -> None:
        if len(calls) > 890 and not params.get("sipGroupName") and current == 1:
            calls.pop()  # the oldest: none that is looked at

    facts = play(Vendor(calls, refuse=lose))
    assert facts.vanished
    assert facts.hypotheses is not None
    assert {reading.field for reading in facts.hypotheses} < {"submit_time", "call_time", "hangup_time"}


def test_a_page_beyond_the_last_is_asked_of_the_smallest_window() -> None:
    facts = play(Vendor(made_up_calls(5000)))
    assert facts.beyond_of is not None
    assert facts.beyond_of.page.total < 10
    assert isinstance(facts.beyond, Answered)
    assert (facts.beyond.current, facts.beyond.page.records) == (3, [])


def test_a_group_is_asked_for_in_ways_that_are_not_its_name() -> None:
    vendor = Vendor()
    facts = play(vendor)
    asked = [json.loads(request.params).get("sipGroupName") for request in vendor.asked]
    assert facts.group in {"sales", "support"}
    assert [name for name in asked if name] == [facts.group.upper(), f" {facts.group} "]
    assert facts.longer is None  # nothing came, so nothing is ignored


def test_errors_of_a_question_are_results_and_refused_logins_end_the_probe() -> None:
    fault = ServerFaultError("fault", status=-18)
    facts = play(Vendor(refuse=lambda _params, current: fault if current > 1 else None))
    assert facts.beyond is fault
    facts = play(Vendor(refuse=lambda params, _current: fault if "sipGroupName" in params else None))
    assert facts.other_case is facts.outer_blanks is fault
    for error in (AuthenticationError("refused", status=-1), OutageError("down")):
        vendor = Vendor(refuse=lambda _params, current, error=error: error if current > 1 else None)  # type: ignore[misc]
        with pytest.raises(type(error)):
            play(vendor)
        assert vendor.asked[-1].current > 1


def test_an_error_on_the_first_question_ends_the_probe() -> None:
    vendor = Vendor(refuse=lambda _params, _current: InvalidQueryError("no", status=-22))
    with pytest.raises(InvalidQueryError):
        play(vendor)
    assert len(vendor.asked) == 1


def test_where_pages_are_small_further_ones_are_read() -> None:
    vendor = Vendor(made_up_calls(3000), most=4)
    facts = play(vendor)
    assert facts.first is not None
    assert facts.first.rows == 4
    assert facts.questions == 15
    assert len(facts.calls()) > 4 * len(facts.further) >= 4


def test_an_incomplete_page_proves_no_absence() -> None:
    # Pages of one call: nearly every window holds more than came.
    facts = play(Vendor(made_up_calls(6_000, hours=1), most=1))
    assert facts.hypotheses is not None
    assert SUBMITTED in facts.hypotheses


def test_only_a_page_that_is_not_full_is_complete() -> None:
    window = TimeWindow(NOW, NOW)
    page = Page(total=1, size=2, current=1, pages=1, records=[CallDetailRecord(voice_id="1")])
    assert Answered(window, 100, 1, page).is_whole
    assert not Answered(window, 1, 1, page).is_whole
    assert not Answered(window, 100, 2, page).is_whole
    assert not Answered(window, 100, 1, page, unreadable=1).is_whole
    larger = Page(total=5, size=10, current=1, pages=1, records=page.records)
    assert not Answered(window, 100, 1, larger).is_whole


def test_a_record_that_cannot_be_decoded_is_counted_and_does_not_end_the_probe() -> None:
    probe = Probe(NOW)
    request = probe.next_request()
    assert request is not None
    bad = QuarantinedRecord(raw=b"{}", window=None, page=1, reason="no id")
    page = Page(total=1, size=100, current=1, pages=1, records=[])
    assert probe.accept(request, PageAnswer(page=page, quarantined=[bad])) is None
    assert probe.facts.first is not None
    assert probe.facts.first.rows == 1


def test_no_finding_quotes_a_call_or_a_group() -> None:
    facts = play(Vendor())
    reported = " ".join(finding.text for finding in judge_probe(facts))
    assert facts.group is not None
    assert facts.group not in reported
    assert all(call.voice_id not in reported for call in facts.calls())
