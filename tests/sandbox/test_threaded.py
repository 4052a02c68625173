# ruff: noqa: ANN401 - JSON is anything
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox


async def test_it_is_what_the_design_promises(ask_all: Any) -> None:
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


def test_no_secret_is_in_its_text() -> None:
    sandbox = Sandbox(records=0)
    assert sandbox.api_secret not in repr(sandbox)


def test_what_needs_a_running_sandbox_says_so() -> None:
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
        assert sandbox.switches.order == "oldest"


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
