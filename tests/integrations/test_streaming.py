"""A range on its way to a caller: when it begins, when it stops, and how it ends."""
# ruff: noqa: ANN401, ASYNC110 - the fixture's own; waiting for another thread is polling

import asyncio
import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from aiosipcdr import CdrClient, ClientStateError, IncompleteRangeError, ProtocolError, ServerFaultError
from aiosipcdr.integrations import streaming
from aiosipcdr.integrations.range_request import DeadlineExceededError, HttpVersionError
from aiosipcdr.integrations.streaming import (
    ClientDisconnectedError,
    ResponseCutError,
    TextFormat,
    buffer_response,
    stream_response,
)
from aiosipcdr.sandbox import Fault, Sandbox
from tests.watch import CALLEE, END, START, Watch, call


class Reader:
    """A caller who notes what came, and is asked at each step what happens next."""

    detects_cut = True

    def __init__(self, then: Callable[[int], object] = lambda _pieces: None) -> None:
        self.begun = asyncio.Event()
        self.pieces: list[bytes] = []
        self.has_gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self._then = then

    @property
    def got(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.got.splitlines()]

    async def begin(self) -> None:
        assert not self.begun.is_set()
        self.begun.set()

    async def write(self, data: bytes) -> None:
        assert self.begun.is_set()
        assert data
        self.pieces.append(data)
        self._then(len(self.pieces))
        await self.reads.wait()

    async def wait_disconnected(self) -> None:
        await self.has_gone.wait()


SANDBOX = {"records": 6_000}


async def test_ndjson_is_the_records_and_then_the_report(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        reader = Reader()
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader)
        await tools.until_idle(client)
        *records, last = reader.lines
        assert [record["voice_id"] for record in records] == [
            record.voice_id for record in await client.fetch_all(sandbox.start, sandbox.end)
        ]
    assert list(last) == ["report"]
    assert last["report"]["certified"] is True
    assert last["report"]["total"] == last["report"]["unique"] == 6_000
    assert last["report"]["requests"] > 60
    assert "window_reports" not in last["report"]


async def test_csv_is_a_line_of_names_and_the_records(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        reader = Reader()
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "csv", reader)
        rows = list(csv.DictReader(io.StringIO(reader.got.decode(), newline="")))
        assert sorted(row["voice_id"] for row in rows) == sorted(sandbox.voice_ids())


@pytest.mark.parametrize(("text", "lines"), [("ndjson", 1), ("csv", 1)])
async def test_a_range_without_calls_is_an_answer_too(tools: Any, text: TextFormat, lines: int) -> None:
    async with Sandbox(records=0) as sandbox, tools.client_of(sandbox) as client:
        reader = Reader()
        assert await stream_response(client.stream(sandbox.start, sandbox.end), text, reader)
    assert len(reader.got.splitlines()) == lines


async def test_the_first_bytes_come_with_the_first_window(tools: Any) -> None:
    gate = tools.Gate(15)  # enough for the first of three windows
    async with (
        Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox,
        tools.client_of(sandbox, concurrency=1) as client,
        asyncio.timeout(60),
    ):
        reader = Reader()
        delivery = asyncio.create_task(stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader))
        await gate.reached()
        while not reader.pieces:
            await asyncio.sleep(0.002)
        assert 0 < len(reader.lines) < 3_000
        assert not delivery.done()
        gate.opened.set()
        assert await delivery
        assert len(reader.lines) == 3_001


@pytest.mark.parametrize("start_within", [0.0, 0.05])
async def test_an_answer_begins_in_time_even_if_nothing_is_there(tools: Any, start_within: float) -> None:
    gate = tools.Gate(0)
    async with (
        Sandbox(records=300, middlewares=[gate.middleware]) as sandbox,
        tools.client_of(sandbox) as client,
        asyncio.timeout(60),
    ):
        reader = Reader()
        stream = client.stream(sandbox.start, sandbox.end)
        delivery = asyncio.create_task(stream_response(stream, "csv", reader, start_within=start_within))
        await reader.begun.wait()
        await gate.reached()
        assert len(reader.got.splitlines()) <= 1
        gate.opened.set()
        assert await delivery
        assert len(reader.got.splitlines()) == 301  # nothing was lost by giving up the first wait


async def test_errors_before_the_first_byte_are_raised_unchanged(tools: Any) -> None:
    async with (
        Sandbox(records=10, faults=[Fault("code", code=-18, times=2)]) as sandbox,
        tools.client_of(sandbox) as client,
    ):
        reader = Reader()
        with pytest.raises(ServerFaultError):
            await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader)
        await tools.until_idle(client)
    assert not reader.begun.is_set()


async def test_later_errors_cut_the_response_and_are_logged(tools: Any) -> None:
    async with Sandbox(records=3_000) as sandbox, tools.client_of(sandbox, concurrency=1) as client:
        reader = Reader(lambda pieces: sandbox.answer_next(*[-1] * 50) if pieces == 1 else None)
        with pytest.raises(ResponseCutError, match="AuthenticationError"):
            await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader)
        await tools.until_idle(client)
    *records, last = reader.lines
    assert 0 < len(records) < 3_000
    assert list(last) == ["problem"]
    assert (last["problem"]["status"], last["problem"]["error"]) == (502, "AuthenticationError")
    assert sandbox.api_key not in reader.got.decode()


async def test_an_answer_that_was_cut_shows_neither_secrets_nor_numbers(
    tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sandbox(calls=[call(number) for number in range(3_000)], months_back=None) as sandbox:
        watch = Watch(sandbox)
        async with tools.client_of(sandbox, concurrency=1) as client:
            reader = Reader(lambda pieces: sandbox.answer_next(*[-1] * 50) if pieces == 1 else None)
            with pytest.raises(ResponseCutError) as caught:
                await stream_response(client.stream(START, END), "ndjson", reader)
        watch.check_error(caught.value)
        watch.check(caplog.text)
        watch.check(reader.pieces[-1].decode())
        assert CALLEE in reader.pieces[0].decode()  # in the calls themselves alone
        assert watch.searched


async def test_csv_that_is_cut_holds_calls_alone(tools: Any) -> None:
    async with Sandbox(records=3_000) as sandbox, tools.client_of(sandbox, concurrency=1) as client:
        reader = Reader(lambda pieces: sandbox.answer_next(*[-1] * 50) if pieces == 2 else None)
        with pytest.raises(ResponseCutError):
            await stream_response(client.stream(sandbox.start, sandbox.end), "csv", reader)
        rows = list(csv.DictReader(io.StringIO(reader.got.decode(), newline="")))
        assert 0 < len(rows) < 3_000
        assert {row["voice_id"] for row in rows} < set(sandbox.voice_ids())


@pytest.mark.parametrize("text", ["ndjson", "csv"])
async def test_an_unproven_range_never_ends_well_unless_it_says_so(tools: Any, text: TextFormat) -> None:
    async with Sandbox(records=150, days=1, wrong_total=2) as sandbox, tools.client_of(sandbox) as client:
        reader = Reader()
        with pytest.raises((IncompleteRangeError, ResponseCutError)):
            await stream_response(client.stream(sandbox.start, sandbox.end), text, reader)
        lenient = Reader()
        stream = client.stream(sandbox.start, sandbox.end, allow_incomplete=True)
        if text == "csv":
            with pytest.raises(ResponseCutError, match="use NDJSON"):
                await stream_response(stream, text, lenient)
        else:
            assert await stream_response(stream, text, lenient)
            assert lenient.lines[-1]["report"]["certified"] is False
            assert len(lenient.lines) == 151


@pytest.mark.parametrize("text", ["ndjson", "csv"])
@pytest.mark.parametrize("is_quarantined", [True, False])
async def test_faulty_fields_are_reported_and_quarantined_records_cut_csv(
    tools: Any, text: TextFormat, *, is_quarantined: bool
) -> None:
    async with Sandbox(records=20, days=1) as sandbox, tools.client_of(sandbox) as client:
        at = sandbox.start.isoformat()
        odd = {"submitTime": at, "callee": "447700900123"} | ({} if is_quarantined else {"voiceId": "1", "rate": "?"})
        sandbox.add_rows([json.dumps(odd).encode()], at=sandbox.start)
        stream, reader = client.stream(sandbox.start, sandbox.end), Reader()
        if text == "csv" and is_quarantined:
            with pytest.raises(ResponseCutError, match=r"1 record quarantined.*use NDJSON") as caught:
                await stream_response(stream, text, reader)
            assert isinstance(caught.value.__cause__, ProtocolError)
            with pytest.raises(ProtocolError, match="1 record quarantined"):
                await buffer_response(client.stream(sandbox.start, sandbox.end), text, Reader())
            return
        assert await stream_response(stream, text, reader)
    if text == "csv":
        rows = list(csv.DictReader(io.StringIO(reader.got.decode(), newline="")))
        assert [row["extra"] for row in rows if row["extra"]] == ['{"rate":"?"}']
        return
    report = reader.lines[-1]["report"]
    assert report["certified"] is not is_quarantined
    assert report["quarantined"] == int(is_quarantined)
    assert report["faulty_fields"] == ({} if is_quarantined else {"rate": 1})


async def test_a_deadline_before_the_beginning_is_the_error_of_the_call(tools: Any) -> None:
    gate = tools.Gate(0)
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox, tools.client_of(sandbox) as client:
        reader = Reader()
        with pytest.raises(DeadlineExceededError):
            await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader, timeout=0.05)
        await tools.until_idle(client)
        gate.opened.set()
    assert not reader.begun.is_set()


async def deliver_too_late(client: CdrClient, sandbox: Sandbox, reader: Reader | None = None) -> Reader:
    """Let a deadline strike after a response has started: on a busy machine, that takes a longer one."""
    reader = reader or Reader()
    for timeout in (0.1, 1, 10):
        stream = client.stream(sandbox.start, sandbox.end)
        with pytest.raises((ResponseCutError, DeadlineExceededError), match="within"):
            await stream_response(stream, "ndjson", reader, timeout=timeout, start_within=0)
        if reader.begun.is_set():
            break
    return reader


async def test_a_deadline_after_the_beginning_cuts_the_answer(tools: Any) -> None:
    gate = tools.Gate(0)
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox, tools.client_of(sandbox) as client:
        reader = await deliver_too_late(client, sandbox)
        await tools.until_idle(client)
        gate.opened.set()
    assert [list(line) for line in reader.lines] == [["problem"]]
    assert reader.lines[0]["problem"]["status"] == 504


async def test_a_deadline_ends_a_caller_who_does_not_read(
    tools: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_PROBLEM_SECONDS", 0.05)
    async with tools.client_of(sandbox) as client, asyncio.timeout(60):
        reader = Reader()
        reader.reads.clear()
        assert await deliver_too_late(client, sandbox, reader=reader) is reader
        await tools.until_idle(client)
    assert b"problem" in reader.pieces[-1]  # and did not wait until it was read


async def test_a_caller_who_leaves_while_nothing_is_there_stops_the_fetching(tools: Any) -> None:
    gate = tools.Gate(0)
    async with Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox, tools.client_of(sandbox) as client:
        reader = Reader()
        delivery = asyncio.create_task(stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader))
        await gate.reached()
        reader.has_gone.set()
        async with asyncio.timeout(30):
            assert await delivery is False
        await tools.until_idle(client)
        asked = sandbox.stats.requests
        gate.opened.set()
        assert await tools.settled(sandbox) == asked <= 8
    assert not reader.begun.is_set()


async def test_a_caller_who_leaves_midway_stops_the_fetching(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox, concurrency=1) as client:
        reader = Reader(lambda pieces: reader.has_gone.set() if pieces == 2 else None)
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader) is False
        await tools.until_idle(client)
        assert await tools.settled(sandbox) < 50  # of the seventy that the whole range takes


async def test_a_write_to_a_caller_who_has_gone_stops_the_fetching(tools: Any, sandbox: Sandbox) -> None:
    def hang_up(pieces: int) -> None:
        if pieces == 2:
            raise ClientDisconnectedError

    async with tools.client_of(sandbox, concurrency=1) as client:
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", Reader(hang_up)) is False
        await tools.until_idle(client)
        assert await tools.settled(sandbox) < 50


async def test_a_caller_who_does_not_read_stops_the_fetching_until_they_do(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox, concurrency=2) as client:
        reader = Reader()
        reader.reads.clear()
        delivery = asyncio.create_task(stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader))
        async with asyncio.timeout(60):
            while not reader.pieces:
                await asyncio.sleep(0.002)
            assert await tools.settled(sandbox) <= 1 + 3 * (2_000 // 100 + 2)
            assert len(reader.pieces) == 1
            reader.reads.set()
            assert await delivery
        assert len(reader.lines) == 6_001


async def test_a_window_is_handed_over_in_pieces(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        reader = Reader()
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader)
    assert len(reader.pieces) > 24
    assert max(piece.count(b"\n") for piece in reader.pieces) <= 250


async def test_a_cancellation_comes_out_as_it_is(tools: Any) -> None:
    gate = tools.Gate(15)
    async with (
        Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox,
        tools.client_of(sandbox, concurrency=1) as client,
    ):
        delivery = asyncio.create_task(stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", Reader()))
        await gate.reached()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        await tools.until_idle(client)
        gate.opened.set()


async def test_a_client_that_is_closed_midway_cuts_the_answer(tools: Any) -> None:
    gate = tools.Gate(15)
    async with Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox:
        async with tools.client_of(sandbox, concurrency=1) as client:
            reader = Reader()
            delivery = asyncio.create_task(stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader))
            await gate.reached()
            while not reader.pieces:
                await asyncio.sleep(0.002)
        with pytest.raises(ResponseCutError, match="ClientStateError"):
            await delivery
        gate.opened.set()


async def test_an_error_of_others_cuts_the_answer_without_its_text(tools: Any, sandbox: Sandbox) -> None:
    def fail(_pieces: int) -> None:
        raise KeyError("a call, quoted")

    async with tools.client_of(sandbox) as client:
        with pytest.raises(ResponseCutError, match=r"^the response was cut: KeyError$"):
            await stream_response(client.stream(sandbox.start, sandbox.end), "csv", Reader(fail))
        await tools.until_idle(client)


async def test_csv_is_refused_where_a_cut_would_look_like_an_end(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        reader = Reader()
        reader.detects_cut = False
        with pytest.raises(HttpVersionError, match=r"HTTP/1\.1"):
            await stream_response(client.stream(sandbox.start, sandbox.end), "csv", reader)
        assert not reader.begun.is_set()
        assert await stream_response(client.stream(sandbox.start, sandbox.end), "ndjson", reader)


async def test_a_malformed_deadline_is_refused(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        with pytest.raises(ValueError, match="timeout must be a positive number"):
            await stream_response(client.stream(sandbox.start, sandbox.end), "csv", Reader(), timeout=math.inf)


async def test_a_stream_that_cannot_be_read_any_more_is_an_error(tools: Any, sandbox: Sandbox) -> None:
    async with tools.client_of(sandbox) as client:
        stream = client.stream(sandbox.start, sandbox.end)
        assert await stream_response(stream, "csv", Reader())
        with pytest.raises(ClientStateError, match="read once"):
            await stream_response(stream, "csv", Reader())
