"""Checks and probe against sandboxes that differ in what the vendor does not document."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import pytest

from aiosipcdr import AuthenticationError, CdrClient, ServerFaultError
from aiosipcdr.doctor.advice import State
from aiosipcdr.doctor.checks import CheckedRange, RequestCounter, check_account, fetch_contact, probe_account
from aiosipcdr.doctor.diagnosis import judge_probe, plan_settings
from aiosipcdr.doctor.probe import ProbeFacts
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests.clients import QUICK_TWICE, client_of

WIRE_FIELDS = {
    "submitTime": "submit_time",
    "callTime": "call_time",
    "ringingTime": "ringing_time",
    "answerTime": "answer_time",
    "hangupTime": "hangup_time",
}


@pytest.fixture(scope="module", autouse=True)
def _calls_until_today() -> Iterator[None]:
    """The probe asks for the calls of the last days."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        yield


SANDBOX = {"records": 1_500}


async def probe(sandbox: Sandbox, **settings: Any) -> tuple[ProbeFacts, RequestCounter]:  # noqa: ANN401 - the constructor's own
    tally = RequestCounter()
    async with client_of(sandbox, concurrency=1, retry=QUICK_TWICE, hook=tally, **settings) as client:
        return await probe_account(client, tally, 1000.0), tally


async def findings(sandbox: Sandbox) -> dict[str, str | None]:
    facts, tally = await probe(sandbox)
    assert tally.requests == facts.questions <= 15
    return {finding.topic: finding.value for finding in judge_probe(facts)}


USUAL = {
    "total": "right",
    "order": "newest",
    "time_field": "submit_time",
    "start": "inclusive",
    "end": "inclusive",
    "page_size": "100",
    "larger_pages": "refused",
    "beyond_last_page": "empty",
    "repeated_ids": "not seen",
    "fields": "readable",
    "filter_case": "counts",
    "filter_blanks": "counts",
    "date": "sent",
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"order": "oldest"}, {"order": "oldest"}),
        ({"order": "scattered"}, {"order": "not by time"}),
        ({"order": "none"}, {"order": "changes"}),
        ({"start_inclusive": False}, {"start": "exclusive"}),
        ({"end_inclusive": False}, {"end": "exclusive"}),
        ({"start_inclusive": False, "end_inclusive": False}, {"start": "exclusive", "end": "exclusive"}),
        ({"max_size": 60}, {"page_size": "60"}),
        ({"max_size": 10}, {"page_size": "10", "repeated_ids": None}),
        ({"overflow": "first"}, {"beyond_last_page": "page 1"}),
        ({"send_date": False}, {"date": "not sent"}),
        ({"filters": "loose"}, {"filter_case": "does not count", "filter_blanks": "does not count"}),
        ({"filters": "ignored"}, {"filter_case": "ignored", "filter_blanks": "ignored"}),
        ({"search_count": False}, {"total": "not counted"}),
        ({"wrong_total": -1}, {"total": "wrong"}),
        (
            {"order": "none", "overflow": "first", "max_size": 60, "filters": "loose", "end_inclusive": False},
            {
                "order": "changes",
                "beyond_last_page": "page 1",
                "page_size": "60",
                "filter_case": "does not count",
                "filter_blanks": "does not count",
                "end": "exclusive",
            },
        ),
    ],
    ids=str,
)
async def test_the_probe_finds_the_configured_behaviour_of_the_sandbox(
    sandbox: Sandbox, config: dict[str, Any], expected: dict[str, str | None]
) -> None:
    sandbox.change(**config)
    found = await findings(sandbox)
    assert {topic: found[topic] for topic in USUAL} == USUAL | expected


@pytest.mark.parametrize(
    ("wire_field", "inclusive"),
    [
        ("callTime", (True, False)),
        ("ringingTime", (False, True)),
        ("answerTime", (False, False)),
        ("hangupTime", (True, True)),
        ("hangupTime", (False, False)),
    ],
)
async def test_the_probe_finds_the_time_that_a_range_is_compared_with(
    wire_field: str, inclusive: tuple[bool, bool]
) -> None:
    start, end = inclusive
    async with Sandbox(records=800, time_field=wire_field, start_inclusive=start, end_inclusive=end) as sandbox:
        facts, _ = await probe(sandbox)
    found = {finding.topic: finding.value for finding in judge_probe(facts)}
    assert found["time_field"] == WIRE_FIELDS[wire_field]
    assert (found["start"] == "inclusive", found["end"] == "inclusive") == inclusive
    assert plan_settings(facts, lateness=timedelta(hours=4)) == {"time_field": WIRE_FIELDS[wire_field]}


async def test_the_probe_finds_ids_that_repeat() -> None:
    async with Sandbox(records=800, repeat_every=9) as sandbox:
        assert (await findings(sandbox))["repeated_ids"] == "yes"


@pytest.mark.parametrize("drift", ["insert_every", "insert_late_every", "delete_every"])
async def test_calls_that_come_and_go_meanwhile_lead_to_no_false_finding(drift: str) -> None:
    config: dict[str, Any] = {drift: 2}
    async with Sandbox(records=800, **config) as sandbox:
        found = await findings(sandbox)
    for topic in ("order", "time_field", "start", "end", "page_size", "beyond_last_page", "repeated_ids"):
        assert found[topic] in {USUAL[topic], None}, topic


async def test_an_account_without_calls_says_so() -> None:
    async with Sandbox(records=0) as sandbox:
        facts, tally = await probe(sandbox)
    assert tally.requests == 3
    assert {finding.value for finding in judge_probe(facts)} == {None, "sent"}


async def test_throttling_halves_the_rate(sandbox: Sandbox) -> None:
    sandbox.answer_next(0, -15)
    facts, tally = await probe(sandbox)
    assert (facts.throttled, tally.throttled, tally.requests) == (1, 1, facts.questions + 1)
    assert plan_settings(facts, lateness=timedelta(hours=4))["rate"] == 500.0


async def test_fatal_errors_of_the_probe_are_raised(sandbox: Sandbox) -> None:
    sandbox.answer_next(-18, -18)
    with pytest.raises(ServerFaultError):
        await probe(sandbox)
    assert sandbox.stats.requests == 2


async def test_the_probe_keeps_to_its_rate(sandbox: Sandbox) -> None:
    sandbox.change(rate_limit=100)
    facts, tally = await probe(sandbox, rate=50)
    assert (facts.throttled, tally.throttled) == (0, 0)


@pytest.fixture
def asked(shared_sandbox: Sandbox) -> CheckedRange:
    return CheckedRange(start=shared_sandbox.start, end=shared_sandbox.end)


async def test_any_response_measures_the_clock_offset(sandbox: Sandbox) -> None:
    sandbox.change(clock_offset=100.0)  # tolerated
    begun = time()
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        accepted = await fetch_contact(client, sandbox.base_url)
    async with CdrClient(sandbox.base_url, sandbox.api_key, "wrong-secret") as client:
        refused = await fetch_contact(client, sandbox.base_url)
    assert accepted.error is None
    assert isinstance(refused.error, AuthenticationError)
    for contact in (accepted, refused):
        assert contact.offset is not None
        assert abs(contact.offset - 100) < 2 + time() - begun
    assert sandbox.stats.requests == 2


async def test_a_refused_login_is_sent_once_and_nothing_after_it(sandbox: Sandbox, asked: CheckedRange) -> None:
    async with CdrClient(sandbox.base_url, sandbox.api_key, "wrong-secret") as client:
        checks = await check_account(client, sandbox.base_url, asked)
    assert [check.name for check in checks if check.state is State.WRONG] == ["credentials"]
    assert sandbox.stats.requests == 1


async def test_the_range_is_counted_when_the_login_is_accepted(sandbox: Sandbox, asked: CheckedRange) -> None:
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        *_, checked = await check_account(client, sandbox.base_url, asked)
        assert (checked.name, checked.state) == ("range", State.GOOD)
        assert "1,500 calls" in checked.text
        old = CheckedRange(start=datetime.now(UTC) - timedelta(days=90), end=datetime.now(UTC))
        *_, checked = await check_account(client, sandbox.base_url, old)
        assert checked.state is State.WRONG
        assert "is kept from" in checked.text


def test_a_range_that_is_asked_shows_no_filter(asked: CheckedRange) -> None:
    private = CheckedRange(start=asked.start, end=asked.end, phone="+44 7700 900123", group="sales")
    assert "900123" not in repr(private)
    assert "sales" not in repr(private)


def test_a_tally_counts_sent_and_throttled_requests() -> None:
    tally = RequestCounter()
    for kind in (EventKind.REQUEST_SENT, EventKind.THROTTLED, EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED):
        tally(Event(kind=kind, run=1))
    assert (tally.requests, tally.throttled) == (2, 1)
