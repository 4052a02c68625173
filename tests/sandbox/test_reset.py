"""`Sandbox.reset`: afterwards a used sandbox equals one that has just started."""
# ruff: noqa: ANN401, ASYNC110 - JSON is anything; waiting for the server is polling

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiosipcdr.sandbox import Fault, Sandbox, SandboxProcess

DRIFT: dict[str, Any] = {"insert_every": 3, "insert_late_every": 4, "delete_every": 5, "change_every": 2}


def test_calls_that_were_added_and_removed_are_undone(ask_all: Any) -> None:
    with Sandbox(records=250, seed=3) as sandbox:
        listed, rows = ask_all(sandbox), sandbox.rows()
        added = sandbox.insert(count=3, phone_name="sip101")
        sandbox.add_rows([{"voiceId": "1"}, b"no JSON"])
        assert sandbox.delete(*listed[:100]) == 100
        sandbox.reset()
        assert ask_all(sandbox) == listed
        assert sandbox.rows() == rows
        assert sandbox.insert(count=3, phone_name="sip101") == added, "the next calls are those that were next before"


def test_a_reset_sandbox_answers_as_a_fresh_one(ask: Any) -> None:
    """Drift, random orders and filters come to the same as the first time."""
    with Sandbox(records=120, seed=3, order="none", **DRIFT) as sandbox:
        asked: list[dict[str, Any]] = [{"size": 50}, {"size": 20, "phoneName": "sip101"}]
        asked += [{"current": 2, "size": 50}, {"sipGroupName": "nobody"}] * 5
        first = [ask(sandbox, **each).body for each in asked]
        assert len(set(first)) > 6
        sandbox.reset()
        assert [ask(sandbox, **each).body for each in asked] == first


@pytest.mark.parametrize("time_field", ["submitTime", "hangupTime"])
def test_given_calls_come_back(ask_all: Any, time_field: str) -> None:
    calls = [{"voiceId": str(number), time_field: f"2026-10-01T0{number}:00:00+08:00"} for number in range(5)]
    start = datetime(2026, 10, 1, tzinfo=UTC) - timedelta(hours=8)
    with Sandbox(calls=calls, time_field=time_field, start=start, days=1, months_back=None) as sandbox:
        listed = ask_all(sandbox)
        assert sandbox.delete("3") == 1
        sandbox.reset()
        assert ask_all(sandbox) == listed == ["4", "3", "2", "1", "0"]


def test_switches_clock_and_key_are_those_of_the_start(ask: Any) -> None:
    with Sandbox(records=30, clock_offset=10) as sandbox:
        config, key, secret = sandbox.config, sandbox.api_key, sandbox.api_secret
        sandbox.change(clock_offset=10_000, forced_size=7, order="oldest")
        sandbox.rotate_key()
        assert (sandbox.api_key, ask(sandbox).status) != (key, "0")
        sandbox.reset()
        assert (sandbox.config, sandbox.api_key, sandbox.api_secret) == (config, key, secret)
        assert ask(sandbox).ids == sandbox.voice_ids()[::-1]


def test_counters_scripted_answers_and_limits_begin_again(ask: Any) -> None:
    with Sandbox(records=30, rate_limit=1) as sandbox:
        assert [ask(sandbox).status for _ in range(3)] == ["0", "-15", "-15"]
        sandbox.answer_next(-18, -18)
        sandbox.reset()
        assert sandbox.stats.requests == 0
        assert sandbox.stats.answers == {}
        assert ask(sandbox).status == "0"
        assert sandbox.stats.requests == 1


def test_cached_answers_and_kept_counts_are_forgotten(ask: Any) -> None:
    with Sandbox(records=30, cache="always", count_cache=1e6) as sandbox:
        assert ask(sandbox).data["total"] == 30
        sandbox.change(wrong_total=5)
        assert ask(sandbox).data["total"] == 30, "from the cache"
        sandbox.reset()
        sandbox.insert()
        assert ask(sandbox).data["total"] == 31


def test_faults_of_the_start_wait_again_and_added_ones_are_forgotten(ask: Any) -> None:
    first = Fault("http", status=503, attempt=2)
    with Sandbox(records=1, faults=[first]) as sandbox:
        assert [ask(sandbox).code, ask(sandbox).code] == [200, 503]
        sandbox.add_faults(Fault("reset"), Fault("http", status=500))
        sandbox.reset()
        assert sandbox.faults_left == [first]
        assert [ask(sandbox).code, ask(sandbox).code, ask(sandbox).code] == [200, 503, 200]
        assert sandbox.faults_left == []


async def test_requests_under_way_are_dropped(wire: Any) -> None:
    async with Sandbox(records=1, faults=[Fault("hang")]) as sandbox:
        async with wire(sandbox) as silent, wire(sandbox) as slow:
            await silent.ask()
            while sandbox.faults_left:
                await asyncio.sleep(0.001)
            sandbox.change(latency=1_000.0)
            await slow.ask()
            while sandbox.stats.peak_in_flight < 2:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(sandbox.reset)
            assert (await silent.hear_all()).data == (await slow.hear_all()).data == b""
        assert sandbox.stats.requests == 0
        assert sandbox.faults_left == [Fault("hang")]
        async with wire(sandbox) as silent:
            await silent.ask()
            while sandbox.faults_left:
                await asyncio.sleep(0.001)


async def test_requests_of_an_earlier_client_are_not_counted(wire: Any) -> None:
    """A request that was sent and given up just before belongs to what was before."""
    async with Sandbox(records=1) as sandbox:
        for _ in range(20):
            async with wire(sandbox) as connection:
                await connection.ask()
            sandbox.reset()
            sandbox.answer_next(-18)
            async with wire(sandbox) as connection:
                await connection.ask()
                assert b'"-18"' in (await connection.hear_one()).body
            assert sandbox.stats.requests == 1


def test_a_process_of_its_own_is_reset_too(ask: Any) -> None:
    with SandboxProcess(records=5, seed=2) as sandbox:
        listed = ask(sandbox).ids
        sandbox.add_faults(Fault("reset"))
        sandbox.reset()
        assert sandbox.faults_left == []
        assert sandbox.stats.requests == 0
        assert ask(sandbox).ids == listed


def test_only_a_running_sandbox_can_be_reset() -> None:
    sandbox = Sandbox(records=1, days=1, start=None, retention=timedelta(days=90))
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.reset()
