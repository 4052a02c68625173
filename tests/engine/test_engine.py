"""Workers, shares, pace and events: what the engine does between a plan and the wire."""
# ruff: noqa: ASYNC110 - the constructor's own settings; waiting for the server is polling

import asyncio
import gc
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr import AuthenticationError, RatePolicy, RetryPolicy, ServerFaultError
from aiosipcdr.engine.engine import _stop
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.pacing import Pacer
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import client_of, open_with
from tests.gates import Gate, gather
from tests.inside import check_idle, has_timer, limit_of
from tests.selection import pairs

SANDBOX = {"records": 2_100, "latency": 0.002}


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_as_many_requests_are_under_way_as_there_are_places_and_never_more(concurrency: int) -> None:
    async with (
        Sandbox(records=2_100, middlewares=[gather(concurrency)]) as sandbox,
        client_of(sandbox, concurrency=concurrency) as client,
    ):
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
        assert sandbox.stats.peak_in_flight == concurrency


async def test_all_runs_of_a_client_keep_to_one_limit() -> None:
    async with (
        Sandbox(records=2_100, middlewares=[gather(3)]) as sandbox,
        client_of(sandbox, concurrency=3) as client,
    ):
        results = await asyncio.gather(
            *(client.fetch_all(sandbox.start, sandbox.end) for _ in range(3)),
            *(client.count(sandbox.start, sandbox.end) for _ in range(10)),
        )
        assert [len(result) for result in results[:3] if isinstance(result, list)] == [2_100] * 3
        assert results[3:] == [2_100] * 10
        assert sandbox.stats.peak_in_flight == 3


async def test_there_are_no_more_tasks_than_places(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    most = 0

    def look(_event: Event) -> None:
        nonlocal most
        # aiohttp has tasks of its own while it connects.
        workers = [task for task in asyncio.all_tasks() if "Engine._work" in repr(task.get_coro())]
        most = max(most, len(workers))

    async with client_of(sandbox, concurrency=4, hook=look) as client:
        await asyncio.gather(*(client.fetch_all(sandbox.start, sandbox.end) for _ in range(2)))
    assert most == 4
    assert asyncio.all_tasks() == before


def sent_by_run(events: list[Event]) -> list[int]:
    return [event.run for event in events if event.kind is EventKind.REQUEST_SENT]


async def test_two_runs_take_turns(sandbox: Sandbox) -> None:
    events: list[Event] = []
    async with client_of(sandbox, concurrency=1, hook=events.append) as client:
        await asyncio.gather(*(client.fetch_all(sandbox.start, sandbox.end) for _ in range(2)))
    runs = sent_by_run(events)
    assert len(set(runs)) == 2
    # As long as both have something to send, none sends twice in a row.
    assert sum(run == following for run, following in pairwise(runs)) <= 2


async def test_a_small_question_does_not_wait_for_a_large_run(sandbox: Sandbox) -> None:
    events: list[Event] = []
    async with client_of(sandbox, concurrency=1, hook=events.append) as client:
        large = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        while len(sent_by_run(events)) < 3:
            await asyncio.sleep(0)
        before = len(sent_by_run(events))
        assert await client.count(sandbox.start, sandbox.end) == 2_100
        assert len(sent_by_run(events)) - before <= 3
        assert not large.done()
        assert len(await large) == 2_100


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_run_that_waits_for_its_retry_holds_no_place(sandbox: Sandbox, concurrency: int) -> None:
    sandbox.answer_next(-18)
    waiting = asyncio.Event()

    def hear(event: Event) -> None:
        if event.kind is EventKind.REQUEST_RETRIED:
            waiting.set()

    retry = RetryPolicy(base=1_000.0, throttle_base=1_000.0, cap=1_000.0, deadline=1e6, stall=1e6)
    async with client_of(sandbox, concurrency=concurrency, retry=retry, hook=hear) as client:
        patient = asyncio.create_task(client.count(sandbox.start, sandbox.end))
        await waiting.wait()
        async with asyncio.timeout(30):
            assert await client.count(sandbox.start, sandbox.end) == 2_100
        assert not patient.done()
        patient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await patient
        check_idle(client)
        async with asyncio.timeout(30):
            assert await client.count(sandbox.start, sandbox.end) == 2_100


@pytest.mark.parametrize(("budget", "begun"), [(4 * 14, 4), (500, 10)])
async def test_no_page_is_begun_while_those_that_wait_have_cost_half_of_the_budget(budget: float, begun: int) -> None:
    faults = [Fault("http", status=500, page=page, attempt=1, control=False) for page in (2, 3, 4)]
    sent: list[int | None] = []
    retried = 0

    def hook(event: Event) -> None:
        nonlocal retried
        if event.kind is EventKind.REQUEST_SENT:
            sent.append(event.page)
        retried += event.kind is EventKind.REQUEST_RETRIED

    # The pages that failed wait for as long as this test takes.
    retry = RetryPolicy(base=60, cap=60, budget=budget)
    async with (
        Sandbox(records=1_000, faults=faults) as sandbox,
        open_with(client_of(sandbox, retry=retry, concurrency=1, hook=hook), draw=lambda: 1.0) as client,
    ):
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        while retried < 3 or len(sent) < begun:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert sent == list(range(1, begun + 1))
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching


async def test_an_engine_that_waits_for_answers_alone_needs_no_timer() -> None:
    gate = Gate(free=1)
    async with (
        Sandbox(records=10, middlewares=[gate.middleware]) as sandbox,
        client_of(sandbox) as client,
    ):
        assert await client.count(sandbox.start, sandbox.end) == 10
        waiting = asyncio.create_task(client.count(sandbox.start, sandbox.end))
        await gate.reached()
        assert not has_timer(client)
        gate.opened.set()
        assert await waiting == 10


async def test_a_throttled_client_holds_everything_back(sandbox: Sandbox) -> None:
    """One -15 stops all runs until the gate opens: -15 is about the account, not about a page."""
    sandbox.answer_next(-15)
    throttled = asyncio.Event()
    delays: list[float | None] = []

    def hear(event: Event) -> None:
        if event.kind is EventKind.THROTTLED:
            delays.append(event.delay)
            throttled.set()

    retry = RetryPolicy(base=1_000.0, throttle_base=1_000.0, cap=1_000.0, deadline=1e6, stall=1e6)
    async with client_of(sandbox, retry=retry, hook=hear) as client:
        one = asyncio.create_task(client.count(sandbox.start, sandbox.end))
        await throttled.wait()
        other = asyncio.create_task(client.count(sandbox.start, sandbox.end))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert delays[0] is not None
        if delays[0] > 10:  # drawn from 0 to 1,000 s
            assert sandbox.stats.requests == 1
            assert not one.done()
            assert not other.done()
        for task in (one, other):
            task.cancel()
        assert all(
            isinstance(o, asyncio.CancelledError) for o in await asyncio.gather(one, other, return_exceptions=True)
        )


async def test_a_rate_spaces_the_requests_by_the_loops_clock(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[float] = []
    take = Pacer.take

    def note(pacer: Pacer, now: float) -> None:
        let_go.append(now)
        take(pacer, now)

    # Not when the event arrives: on a machine that stops in between, several arrive at once.
    monkeypatch.setattr(Pacer, "take", note)
    async with client_of(sandbox, rate=RatePolicy(100.0, burst=3)) as client:
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
    assert len(let_go) == sandbox.stats.requests > 20
    # In no span of time more than the burst and what the rate gives; a slow machine only sends later.
    for first in range(len(let_go)):
        for last in range(first, len(let_go)):
            assert last - first <= 3 + (let_go[last] - let_go[first]) * 100.0 + 1e-6


async def test_a_rate_may_be_a_plain_number(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with client_of(sandbox, rate=50) as client:
        for _ in range(6):
            await client.count(sandbox.start, sandbox.end)
    assert loop.time() - begun >= 5 / 50


async def test_the_events_of_a_run_tell_its_story(sandbox: Sandbox) -> None:
    events: list[Event] = []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    sandbox.answer_next(0, -18, 0, -15, 0, -18)
    async with client_of(sandbox, hook=events.append, concurrency=3) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    kinds = [event.kind for event in events]
    assert kinds[0] is EventKind.RUN_STARTED
    assert kinds[-1] is EventKind.RUN_FINISHED
    count = Counter(kinds)
    assert count[EventKind.RUN_STARTED] == count[EventKind.RUN_FINISHED] == 1
    assert count[EventKind.REQUEST_SENT] == sandbox.stats.requests == records.report.requests
    assert count[EventKind.REQUEST_RETRIED] == 2
    assert count[EventKind.THROTTLED] == 1
    assert count[EventKind.REQUEST_ANSWERED] == count[EventKind.REQUEST_SENT] - 3
    assert len({event.run for event in events}) == 1
    assert events[0].window == events[-1].window == TimeWindow(sandbox.start, sandbox.end)

    # Each request is answered or tried again before it is sent once more.
    open_requests: Counter[object] = Counter()
    for event in events:
        place = (event.window, event.page)
        if event.kind is EventKind.REQUEST_SENT:
            assert event.attempt is not None
            assert event.attempt >= 1
            open_requests[place] += 1
        elif event.kind in (EventKind.REQUEST_ANSWERED, EventKind.REQUEST_RETRIED, EventKind.THROTTLED):
            open_requests[place] -= 1
            assert open_requests[place] >= 0
            if event.kind is EventKind.REQUEST_ANSWERED:
                assert event.elapsed is not None
                assert 0 <= event.elapsed <= loop.time() - begun
                assert event.records is not None
            else:
                assert event.delay is not None
                assert event.error in ("ServerFaultError", "ThrottledError")
    assert not +open_requests

    planned = [event for event in events if event.kind is EventKind.WINDOW_PLANNED]
    complete = [event for event in events if event.kind is EventKind.WINDOW_COMPLETE]
    assert sum(event.total or 0 for event in planned) == 2_100
    assert sum(event.records or 0 for event in complete) == 2_100
    assert len(complete) == records.report.windows
    assert [event.window for event in complete] == [reported.window for reported in records.report.window_reports]
    last = events[-1]
    assert last.report is records.report
    assert last.error is None


@pytest.mark.parametrize("method", ["count", "fetch_page", "fetch_all", "trimmed", "recount", "stream", "export"])
async def test_a_run_carries_the_range_that_was_asked_for(sandbox: Sandbox, tmp_path: Path, method: str) -> None:
    events: list[Event] = []
    start, end = sandbox.start + timedelta(hours=1), sandbox.start + timedelta(hours=3)
    async with client_of(sandbox, hook=events.append) as client:
        if method == "trimmed":
            await client.fetch_all(start, end, time_field="submit_time")
        elif method == "recount":
            middle = start + timedelta(hours=1)
            await client.recount([TimeWindow(middle, end), TimeWindow(start, middle)])
        elif method == "stream":
            async with client.stream(start, end):
                pass
        elif method == "export":
            await client.export(start, end, tmp_path / "calls.csv", adjacent=True)
        else:
            await getattr(client, method)(start, end)
    for kind in (EventKind.RUN_STARTED, EventKind.RUN_FINISHED):
        (event,) = (event for event in events if event.kind is kind)
        assert event.window == TimeWindow(start, end)


async def test_the_plan_is_announced_before_complete_windows() -> None:
    reported: list[Event] = []
    async with Sandbox(records=900, days=90, months_back=None) as wide, client_of(wide, hook=reported.append) as client:
        await client.fetch_all(wide.start, wide.end)
    planned = done = 0
    for event in reported:
        if event.kind is EventKind.WINDOW_PLANNED:
            planned += event.total or 0
        if event.kind is EventKind.WINDOW_COMPLETE:
            done += event.records or 0
        assert done <= planned
    assert done == 900 <= planned


async def test_the_last_event_names_the_error_of_the_run(sandbox: Sandbox) -> None:
    events: list[Event] = []
    sandbox.answer_next(*[-22] * 3)
    async with client_of(sandbox, hook=events.append) as client:
        with pytest.raises(Exception, match="-22"):
            await client.fetch_all(sandbox.start, sandbox.end)
    assert events[-1].kind is EventKind.RUN_FINISHED
    assert events[-1].error == "InvalidQueryError"


async def test_events_have_the_number_of_their_run(sandbox: Sandbox) -> None:
    events: list[Event] = []
    async with client_of(sandbox, hook=events.append) as client:
        await asyncio.gather(*(client.count(sandbox.start, sandbox.end) for _ in range(4)))
    by_run: dict[int, list[EventKind]] = {}
    for event in events:
        by_run.setdefault(event.run, []).append(event.kind)
    story = [
        EventKind.RUN_STARTED,
        EventKind.REQUEST_SENT,
        EventKind.REQUEST_ANSWERED,
        EventKind.RUN_FINISHED,
    ]
    assert list(by_run.values()) == [story] * 4


class HookBrokeError(Exception):
    """The caller's own."""


# Those of tables and feeds; see tests/sync.
NOT_OF_A_FETCH = {EventKind.RECHECK_SCHEDULED, EventKind.FEED_WAITING, EventKind.FEED_RESUMED, EventKind.FEED_GAP}


@pytest.mark.parametrize(
    ("kind", "concurrency"), pairs([kind for kind in EventKind if kind not in NOT_OF_A_FETCH], [1, 3])
)
async def test_hook_exceptions_reach_the_caller_unchanged(sandbox: Sandbox, kind: EventKind, concurrency: int) -> None:
    before = asyncio.all_tasks()
    mine = HookBrokeError("mine")
    broken = False

    def hook(event: Event) -> None:
        nonlocal broken
        if event.kind is kind and not broken:
            broken = True
            raise mine

    async with client_of(sandbox, hook=hook, concurrency=concurrency) as client:
        async with asyncio.timeout(30):
            for _ in range(concurrency + 1):
                broken = False
                sandbox.reset()
                sandbox.answer_next(-18, -15)
                with pytest.raises(HookBrokeError) as caught:
                    await client.fetch_all(sandbox.start, sandbox.end)
                assert caught.value is mine
                assert asyncio.all_tasks() == before
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
        check_idle(client)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_run_that_ends_with_the_program_leaves_asyncio_nothing_to_complain_of(
    sandbox: Sandbox, ending: type[BaseException]
) -> None:
    complaints: list[dict[str, Any]] = []
    runs: list[asyncio.Task[int]] = []

    def hook(event: Event) -> None:
        if event.kind is EventKind.REQUEST_SENT:
            if ending is not asyncio.CancelledError:
                raise ending
            asyncio.get_running_loop().call_soon(runs[0].cancel)

    async def count() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async with client_of(sandbox, hook=hook) as client:
            runs.append(asyncio.create_task(client.count(sandbox.start, sandbox.end)))
            await runs[0]

    with pytest.raises(ending):
        asyncio.run(count())
    gc.collect()
    assert complaints == []


async def test_a_run_that_has_ended_sends_nothing_more_though_workers_were_called_already(sandbox: Sandbox) -> None:
    sent: list[Event] = []

    def hook(event: Event) -> None:
        if event.kind is EventKind.REQUEST_SENT:
            sent.append(event)
            raise HookBrokeError

    async with client_of(sandbox, hook=hook, concurrency=4) as client:
        with pytest.raises(HookBrokeError):
            await client.fetch_all(sandbox.end - timedelta(days=59), sandbox.end)
    assert len(sent) == 1
    assert sandbox.stats.requests == 0


async def test_a_hook_that_raises_in_one_run_leaves_the_others_alone(sandbox: Sandbox) -> None:
    victim: list[int] = []

    def hook(event: Event) -> None:
        victim.append(event.run)
        if event.run == victim[0] and event.kind is EventKind.REQUEST_ANSWERED:
            raise HookBrokeError

    async with client_of(sandbox, hook=hook, concurrency=2) as client:
        outcomes = await asyncio.gather(
            *(client.fetch_all(sandbox.start, sandbox.end) for _ in range(3)), return_exceptions=True
        )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "HookBrokeError",
        "CallDetailRecords",
        "CallDetailRecords",
    ]
    assert all(len(outcome) == 2_100 for outcome in outcomes[1:] if isinstance(outcome, list))


async def test_an_error_in_one_run_leaves_the_others_alone(sandbox: Sandbox) -> None:
    async with client_of(sandbox, retry=RetryPolicy(attempts=1), concurrency=4) as client:
        tasks = [asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end)) for _ in range(3)]
        while sandbox.stats.requests < 6:
            await asyncio.sleep(0)
        sandbox.answer_next(-18)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, ServerFaultError)]
    assert len(failed) == 1
    assert [len(outcome) for outcome in outcomes if isinstance(outcome, list)] == [2_100] * 2


async def test_a_refused_login_ends_every_run_and_no_error_is_about_the_window_of_another(sandbox: Sandbox) -> None:
    # One more login might lock the account.
    sandbox.answer_next(-1)
    ends = sandbox.end, sandbox.end - timedelta(days=1)
    async with client_of(sandbox, concurrency=1) as client:
        one, other = await asyncio.gather(
            *(client.fetch_all(sandbox.start, end) for end in ends), return_exceptions=True
        )
    assert isinstance(one, AuthenticationError)
    assert isinstance(other, AuthenticationError)
    assert one.window is not None
    assert (one.window.end, one.page, one.status) == (sandbox.end, 1, -1)
    assert (other.window, other.page, other.status) == (None, None, -1)
    assert sandbox.stats.requests == 1


async def test_when_places_are_taken_away_workers_leave(sandbox: Sandbox) -> None:
    under_way = 0
    seen: list[int] = []

    def hear(event: Event) -> None:
        nonlocal under_way
        under_way += event.kind is EventKind.REQUEST_SENT
        under_way -= event.kind is EventKind.REQUEST_ANSWERED
        limit = limit_of(client)
        if under_way == 4:
            limit.current = 2
        if limit.current == 2 and event.kind is EventKind.REQUEST_SENT:
            seen.append(under_way)

    async with client_of(sandbox, concurrency=4, hook=hear) as client:
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
    first, *rest = seen
    assert first == 4
    assert max(rest) == 2


async def test_the_deadline_of_a_request_counts_from_its_first_attempt(sandbox: Sandbox) -> None:
    attempts = 1_000
    sandbox.answer_next(*[-18] * attempts)
    retry = RetryPolicy(attempts=attempts, base=0.01, cap=0.01, deadline=0.1, budget=1e6)
    async with client_of(sandbox, retry=retry) as client:
        with pytest.raises(ServerFaultError):
            await client.count(sandbox.start, sandbox.end)
    assert 1 < sandbox.stats.requests < attempts


async def test_a_run_that_failed_and_is_not_read_holds_no_other_up(sandbox: Sandbox) -> None:
    victim: list[int] = []

    def hook(event: Event) -> None:
        victim.append(event.run)
        if event.run == victim[0] and event.kind is EventKind.REQUEST_ANSWERED:
            raise HookBrokeError

    async with (
        asyncio.timeout(10),
        client_of(sandbox, hook=hook, concurrency=1) as client,
        client.stream(sandbox.start, sandbox.end) as failed,
    ):
        assert await client.count(sandbox.start, sandbox.end) == 2_100
        with pytest.raises(HookBrokeError):
            await anext(aiter(failed))


async def test_an_abandoned_run_frees_its_slot_for_waiting_runs() -> None:
    sent: list[int] = []

    def hear(event: Event) -> None:
        if event.kind is EventKind.REQUEST_SENT:
            sent.append(event.run)

    async with (
        asyncio.timeout(10),
        Sandbox(records=30, faults=[Fault("hang")]) as sandbox,
        client_of(sandbox, concurrency=1, hook=hear) as client,
    ):
        async with client.stream(sandbox.start, sandbox.end):
            while sandbox.faults_left:
                await asyncio.sleep(0.001)
            waiting = asyncio.create_task(client.count(sandbox.start, sandbox.end))
            await asyncio.sleep(0.01)
            assert len(sent) == 1
        assert await waiting == 30


@pytest.mark.needs("package:blockbuster")
async def test_the_event_loop_is_never_blocked(sandbox: Sandbox) -> None:
    import blockbuster

    with blockbuster.blockbuster_ctx("aiosipcdr", excluded_modules=["aiosipcdr.sandbox"]):
        async with client_of(sandbox) as client:
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
            sandbox.answer_next(-18, -15)
            assert await client.count(sandbox.start, sandbox.end) == 2_100


async def test_a_task_cancelled_while_workers_stop_waits_for_them_first() -> None:
    stopping, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await may_end.wait()

    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    leaving = asyncio.create_task(_stop([worker]))
    await stopping.wait()
    leaving.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not leaving.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert worker.done()


async def test_a_hook_is_asked_about_events_of_requests_when_a_run_starts(sandbox: Sandbox) -> None:
    class Hook:
        def __init__(self) -> None:
            self.asked: list[EventKind] = []
            self.heard: list[EventKind] = []

        def wants(self, kind: EventKind) -> bool:
            self.asked.append(kind)
            return kind is EventKind.REQUEST_ANSWERED

        def __call__(self, event: Event, /) -> None:
            self.heard.append(event.kind)

    hook = Hook()
    async with client_of(sandbox, hook=hook) as client:
        for runs in (1, 2):
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 2_100
            assert hook.asked == [EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED] * runs
    assert hook.heard.count(EventKind.REQUEST_SENT) == 0
    assert hook.heard.count(EventKind.REQUEST_ANSWERED) > 40
