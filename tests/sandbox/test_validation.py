# ruff: noqa: ANN401 - JSON is anything
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox
from aiosipcdr.sandbox.validation import AccountKeys

SANDBOX = {"records": 200}


def test_the_published_vector() -> None:
    credentials = AccountKeys("bDqJFiq9", "7bz1lzh9")
    signature = b"05d7a50893e22a5c4bb3216ae3396c7c"
    assert credentials.signed(b"bDqJFiq9", b"1630468800", signature)
    assert credentials.signed(b"bDqJFiq9", b"1630468800", signature.upper())
    assert not credentials.signed(b"bDqJFiq9", b"1630468801", signature)
    assert not credentials.signed(b"bDqJFiq8", b"1630468800", signature)
    assert not credentials.signed(b"bDqJFiq9", b"1630468800", b"\xff")
    assert "7bz1lzh9" not in repr(credentials)


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_the_case_of_the_signature_does_not_matter(
    sandbox: Sandbox, ask: Any, headers_for: Any, change: Callable[[str], str]
) -> None:
    assert ask(sandbox, headers={"Sign": change(headers_for(sandbox)["Sign"])}).status == "0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"Sign": "0" * 32},
        {"Sign": ""},
        {"Sign": "zz"},
        {"Api-Key": "sandbox-other"},
        {"Api-Key": ""},
        {"Timestamp": "1"},
        {"Timestamp": "now"},
    ],
    ids=str,
)
def test_unsigned_requests_are_refused(sandbox: Sandbox, ask: Any, wrong: dict[str, str]) -> None:
    reply = ask(sandbox, headers=wrong)
    assert reply.code == 200
    assert reply.json == {"status": "-1", "reason": "Authentication error", "data": None}


@pytest.mark.parametrize("name", ["Sign", "Api-Key", "Timestamp"])
def test_each_header_is_needed(sandbox: Sandbox, send: Any, headers_for: Any, name: str) -> None:
    headers = headers_for(sandbox)
    del headers[name]
    assert send(sandbox, headers=headers).status == "-1"


def test_a_signature_comes_before_everything_else(sandbox: Sandbox, send: Any) -> None:
    headers = {"Content-Type": "application/json"}
    assert send(sandbox, b"not even JSON", headers=headers).status == "-1"


@pytest.mark.parametrize(("ahead", "status"), [(-280, "0"), (280, "0"), (-320, "-16"), (320, "-16")])
def test_a_timestamp_may_be_five_minutes_off(
    sandbox: Sandbox, send: Any, headers_for: Any, ahead: float, status: str
) -> None:
    assert send(sandbox, headers=headers_for(sandbox, ahead)).status == status


def test_the_sandboxs_clock_decides(send: Any, headers_for: Any) -> None:
    with Sandbox(records=1, clock_offset=3600, tolerance=60) as sandbox:
        assert send(sandbox).status == "-16"
        assert send(sandbox, headers=headers_for(sandbox, 3600)).status == "0"
        sandbox.change(clock_offset=0.0)
        assert send(sandbox).status == "0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"current": 0},
        {"current": -1},
        {"current": "1"},
        {"current": True},
        {"current": 1.5},
        {"current": None},
        {"current": 2**31},
        {"size": 0},
        {"size": 101},
        {"size": "100"},
        {"params": None},
        {"params": []},
    ],
    ids=str,
)
def test_a_body_of_another_shape_is_refused(sandbox: Sandbox, send: Any, body_for: Any, wrong: dict[str, Any]) -> None:
    assert send(sandbox, json.dumps(body_for(sandbox) | wrong).encode()).status == "-22"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"current":1}'], ids=repr)
def test_malformed_json_is_refused(sandbox: Sandbox, send: Any, body: bytes) -> None:
    assert send(sandbox, body).status == "-22"


def test_unknown_keys_are_ignored(sandbox: Sandbox, send: Any, body_for: Any) -> None:
    body = body_for(sandbox, sipGroupName=None) | {"more": [1]}
    assert send(sandbox, json.dumps(body).encode()).status == "0"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000+08:00",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00+08:00",
        "2026-01-01T00:00:00+0800",
        "2026-01-01",
        "2026-02-30T00:00:00+08:00",
        "0001-01-01T00:00:00+08:00",
        "٢026-01-01T00:00:00+08:00",
        "",
    ],
)
def test_times_that_no_sample_shows_are_refused(sandbox: Sandbox, ask: Any, text: str) -> None:
    assert ask(sandbox, start=text).status == "-22"
    assert ask(sandbox, end=text).status == "-22"


def test_a_range_is_not_inverted_and_not_above_31_days(sandbox: Sandbox, ask: Any) -> None:
    second, month = timedelta(seconds=1), timedelta(days=31)
    start = sandbox.start
    assert ask(sandbox, start=start, end=start - second).status == "-22"
    assert ask(sandbox, start=start, end=start).status == "0"
    assert ask(sandbox, start=start, end=start + month).status == "0"
    assert ask(sandbox, start=start, end=start + month + second).status == "-22"


def test_two_months_can_be_had(sandbox: Sandbox, ask: Any) -> None:
    old = sandbox.end - timedelta(days=63)
    assert ask(sandbox, start=old, end=old + timedelta(days=31)).status == "-25"
    sandbox.change(retention=timedelta(days=70))
    try:
        assert ask(sandbox, start=old, end=old + timedelta(days=31)).status == "0"
    finally:
        sandbox.change(retention=None)


def test_filters_are_heeded(sandbox: Sandbox, ask: Any) -> None:
    rows = sandbox.rows()
    # Not simply the first call's: some groups have names without upper and lower case.
    group, phone = next(
        (row["sipGroupName"], row["phoneName"]) for row in rows if row["sipGroupName"].upper() != row["sipGroupName"]
    )
    in_group = [row["voiceId"] for row in rows if row["sipGroupName"] == group]
    on_phone = [row["voiceId"] for row in rows if row["phoneName"] == phone]
    assert sorted(ask(sandbox, sipGroupName=group, phoneName="").ids) == sorted(in_group)
    assert sorted(ask(sandbox, phoneName=phone).ids) == sorted(on_phone)
    assert ask(sandbox, sipGroupName="客服一组").data["total"] > 0
    assert ask(sandbox, sipGroupName=group.upper()).data["total"] == 0
    assert ask(sandbox, sipGroupName="", phoneName="").data["total"] == 200


def test_filters_may_be_loose_or_ignored(ask: Any) -> None:
    with Sandbox(records=50, filters="loose") as sandbox:
        exact = sum(row["sipGroupName"] == "sales-us" for row in sandbox.rows())
        assert ask(sandbox, sipGroupName=" SALES-us").data["total"] == exact > 0
        sandbox.change(filters="ignored")
        assert ask(sandbox, sipGroupName="nobody").data["total"] == 50


def test_keys_rotate(ask: Any, headers_for: Any) -> None:
    with Sandbox(records=1) as sandbox:
        old = headers_for(sandbox)
        sandbox.rotate_key()
        assert ask(sandbox, headers=old).status == "-1"
        assert ask(sandbox).status == "0"
