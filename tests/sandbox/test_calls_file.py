"""Calls from a file: an export comes back as it was, and what no answer could list is refused."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiosipcdr import CallDetailRecord, CdrClient
from aiosipcdr.export.render import encode_rows
from aiosipcdr.model.records import WIRE_NAMES, ExtraFields
from aiosipcdr.sandbox import Sandbox, read_calls
from aiosipcdr.sandbox.fixtures import FIELDS, snake_case, to_wire

NUMBER = "+447700900123"


async def fetched(sandbox: Sandbox, path: Path | None = None) -> list[CallDetailRecord]:
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        if path is not None:
            await client.export(sandbox.start, sandbox.end, path)
        return await client.fetch_all(sandbox.start, sandbox.end)


def test_the_names_of_the_wire_are_the_clients() -> None:
    assert {snake_case(name): name for name in FIELDS} == WIRE_NAMES


@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz"])
async def test_an_export_is_served_as_it_was_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"calls.{ending}"
    async with Sandbox(records=200, extra_record_keys=True, leg_every=20) as sandbox:
        before = await fetched(sandbox, path)
    async with Sandbox(calls=read_calls(path)) as again:
        after = await fetched(again)
    assert after == before
    assert [dict(one.extra) for one in after] == [dict(one.extra) for one in before]
    assert before[0].extra


async def test_values_that_could_not_be_read_go_back_over_the_wire(tmp_path: Path) -> None:
    record = CallDetailRecord(
        voice_id="1",
        submit_time=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1),
        extra=ExtraFields({"callDuration": '"?"', "costEur": "1.10", "new": '{"x":[1.50]}'}),
    )
    path = tmp_path / "calls.ndjson"
    path.write_bytes(encode_rows([record]))
    async with Sandbox(calls=read_calls(path)) as sandbox:
        (reported,) = await fetched(sandbox)
    assert reported.call_duration is None
    assert dict(reported.extra) == {"callDuration": '"?"', "new": '{"x":[1.50]}'}
    assert str(reported.cost) == "1.10"


async def test_records_with_the_clients_names_are_served_without_a_file_too() -> None:
    async with Sandbox(records=20, extra_record_keys=True) as sandbox:
        before = await fetched(sandbox)
    async with Sandbox(calls=[record.to_dict() for record in before]) as again:
        after = await fetched(again)
    assert after == before
    assert [record.to_dict() for record in after] == [record.to_dict() for record in before]


def row(**fields: object) -> dict[str, object]:
    return {"voice_id": "1", "submit_time": "2026-10-05T12:00:00+08:00", **fields}


def wire_row(**fields: object) -> dict[str, object]:
    return {"voiceId": "1", "submitTime": "2026-10-05T12:00:00+08:00", **fields}


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "2026-11-01")


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(row()).encode() + b"\n\n",
        json.dumps([row(), wire_row(newField=1)]).encode(),
        b"%b\n%b\n" % (json.dumps(wire_row()).encode(), b'{"report":{"certified":true}}'),
        gzip.compress(json.dumps(row(extra={"a": 1})).encode()),
    ],
    ids=["NDJSON", "list", "streamed", "gzip"],
)
def test_these_are_files_of_calls(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calls"
    path.write_bytes(content)
    assert read_calls(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file holds no calls"),
        (b"[]", "the file holds no calls"),
        (b"voice_id,callee\n1,2\n", "line 1 is not JSON; use NDJSON"),
        (b"\x1f\x8b\x08", "a damaged gzip file"),
        ([row(), 5], "row 2: a call must be a JSON object"),
        ([row(), row(submit_time=None)], "row 2: submitTime (submit_time) must be an ISO 8601 time"),
        ([wire_row(submitTime="soon")], "row 1: submitTime (submit_time) must be an ISO 8601 time"),
        ([row(voice_id="")], "row 1: voiceId (voice_id) must be a non-empty string"),
        ([wire_row(voiceId=5)], "row 1: voiceId (voice_id) must be a non-empty string"),
        ([{"submitTime": "2026-10-05T12:00:00+08:00"}], "row 1: voiceId (voice_id) must be a non-empty string"),
        ([row(call_lenght=5)], "row 1: call_lenght is not a field of a record; did you mean call_"),
        ([row(calee=NUMBER)], "row 1: calee is not a field of a record; did you mean callee?"),
        ([row(**{NUMBER: 1})], "row 1: a name is not a field of a record; put it into extra"),
        ([row(extra=5)], "row 1: extra must be a JSON object"),
        ([row(extra="{")], "row 1: extra must be a JSON object"),
        (
            [row(submit_time="2026-08-05T12:00:00+08:00")],
            "older than the sandbox's retention, which begins at 2026-09",
        ),
    ],
    ids=range(16),
)
def test_a_row_that_no_answer_could_list_is_refused(tmp_path: Path, content: Any, problem: str) -> None:  # noqa: ANN401
    path = tmp_path / "calls"
    path.write_bytes(content if isinstance(content, bytes) else msgspec.json.encode(content))
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_calls(path)
    assert problem in str(caught.value)
    assert NUMBER not in str(caught.value)


def test_switches_decide_which_calls_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    path.write_bytes(msgspec.json.encode([row(submit_time="2020-08-05T12:00:00+08:00")]))
    assert read_calls(path, months_back=None)
    with pytest.raises(ValueError, match=r"hangupTime \(hangup_time\)"):
        read_calls(path, months_back=None, time_field="hangupTime")


def test_the_text_of_extra_keeps_each_value_as_it_was() -> None:
    call = to_wire(row(extra='{"price":1.10}'))
    assert msgspec.json.encode(call["price"]) == b"1.10"
    assert "extra" not in call
