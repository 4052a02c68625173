# ruff: noqa: ANN401 - JSON is anything
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox, SandboxProcess


async def test_the_sandbox_has_the_documented_interface(ask_all: Any) -> None:
    async with Sandbox(records=120, seed=3) as sandbox:
        assert sandbox.api_key.startswith("sandbox-")
        assert sandbox.api_secret.startswith("sandbox-")
        assert sandbox.end - sandbox.start == timedelta(days=30)
        assert datetime.now(UTC) - sandbox.end > timedelta(hours=5)
        assert sorted(ask_all(sandbox)) == sorted(sandbox.voice_ids())
        assert len(sandbox.voice_ids()) == 120


def test_two_of_them_have_other_secrets_and_the_same_calls() -> None:
    with Sandbox(records=20) as one, Sandbox(records=20, start=one.start) as two:
        assert one.api_secret != two.api_secret
        assert one.rows() == two.rows()
        assert one.base_url != two.base_url


def test_the_environment_may_fix_the_day_of_the_calls(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "2024-02-29")
    with Sandbox(records=20, days=2) as sandbox:
        assert sandbox.end.isoformat() == "2024-02-29T00:00:00+08:00"
        assert len(ask(sandbox).ids) == 20
        # How far back one may ask is measured from that day, at noon.
        edge = datetime.fromisoformat("2023-12-29T12:00:00+08:00")
        day = timedelta(days=1)
        assert ask(sandbox, start=edge - timedelta(minutes=1), end=edge + day).status == "-25"
        assert ask(sandbox, start=edge + timedelta(minutes=10), end=edge + day).status == "0"
        rows = sandbox.rows()
    with SandboxProcess(records=20, days=2) as process:
        assert ask(process).ids == [row["voiceId"] for row in reversed(rows)]
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "yesterday")
    with pytest.raises(ValueError, match="AIOSIPCDR_SANDBOX_TODAY must be a date, YYYY-MM-DD; not 'yesterday'"):
        Sandbox(records=20)


@pytest.mark.usefixtures("calls_until_today")
def test_without_it_the_calls_are_those_of_the_last_days() -> None:
    age = datetime.now(UTC) - Sandbox(records=0).end
    assert timedelta(hours=6) <= age < timedelta(hours=30, minutes=10)


def test_no_secret_is_in_its_text() -> None:
    sandbox = Sandbox(records=0)
    assert sandbox.api_secret not in repr(sandbox)


def test_calls_can_begin_now() -> None:
    now = datetime.now(UTC)
    with Sandbox(records=20, start=now, days=1) as sandbox, SandboxProcess(records=20, start=now, days=1) as process:
        assert sandbox.start == process.start == now.replace(microsecond=0)
        assert len(sandbox.voice_ids()) == 20


def test_live_calls_end_while_the_sandbox_runs() -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    with Sandbox(records=10, live=200.0) as sandbox:
        assert len(sandbox.rows(sandbox.start, sandbox.end)) == 10
        deadline = monotonic() + 60
        while len(sandbox.voice_ids()) < 30 and monotonic() < deadline:
            sleep(0.01)
        rows = sandbox.rows()[10:]
        ended = datetime.now(UTC)
    assert len(rows) >= 20
    assert len({row["voiceId"] for row in rows}) == len(rows)
    assert {row["answerTime"] is None for row in rows} == {True, False}
    assert len({row["callDuration"] for row in rows}) > 5
    for row in rows:
        assert began <= datetime.fromisoformat(row["hangupTime"]) <= ended
        assert datetime.fromisoformat(row["submitTime"]) <= datetime.fromisoformat(row["hangupTime"])


def test_without_live_calls_nothing_is_added() -> None:
    with pytest.raises(ValueError, match="live must be 0 or more"):
        Sandbox(live=-1.0)
    with Sandbox(records=10) as sandbox, pytest.raises(ValueError, match="live"):
        sandbox.change(live=5.0)


def test_attributes_that_need_a_running_sandbox_raise() -> None:
    sandbox = Sandbox(records=1)
    for use in (lambda: sandbox.base_url, lambda: sandbox.stats, sandbox.voice_ids, sandbox.insert):
        with pytest.raises(RuntimeError, match="not running"):
            use()
    with sandbox:
        pass
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.rows()


def test_unknown_and_fixed_switches_are_refused() -> None:
    with pytest.raises(TypeError, match="recrods"):
        Sandbox(recrods=1)
    with Sandbox(records=1) as sandbox:
        with pytest.raises(ValueError, match="absent, records"):
            sandbox.change(records=2, absent="empty")
        with pytest.raises(ValueError, match="order"):
            sandbox.change(order="sorted")
        sandbox.change(order="oldest")
        assert sandbox.config.order == "oldest"


def test_calls_are_inserted_where_and_for_whom_one_likes(ask: Any) -> None:
    with Sandbox(records=0) as sandbox:
        at = sandbox.start + timedelta(days=3)
        ids = sandbox.insert(at, count=3, sip_group_name="mine", phone_name="p")
        assert len(set(ids)) == 3
        assert sorted(ask(sandbox, start=at, end=at, sipGroupName="mine").ids) == sorted(ids)
        assert sandbox.insert()[0] in sandbox.voice_ids(sandbox.end - timedelta(seconds=1))
        assert [row["phoneName"] for row in sandbox.rows(at, at)] == ["p"] * 3


def test_times_have_the_offset_one_asks_for() -> None:
    with Sandbox(records=5, utc_offset=timedelta(hours=-3, minutes=-30)) as sandbox:
        assert all(row["submitTime"].endswith("-03:30") for row in sandbox.rows())
        assert sandbox.start.hour == 0
