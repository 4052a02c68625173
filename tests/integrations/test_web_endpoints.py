"""The contract of both web integrations: each test runs with each of them, over real sockets."""
# ruff: noqa: ANN401 - the fixtures' own

import asyncio
import csv
import io
import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession

from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.sandbox import Fault, Sandbox

RECORDS = 4_500


SANDBOX = {"records": RECORDS}


async def read_to_the_cut(answer: ClientResponse) -> list[bytes]:
    """Read an answer that is not ended well; return the lines that came."""
    lines = []
    try:
        async for line in answer.content:
            lines.append(line)  # noqa: PERF401 - what came before the cut counts
    except ClientPayloadError:
        return lines
    pytest.fail(f"the answer ended well, after {len(lines)} lines")


async def test_ndjson_comes_whole_and_says_so(serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    async with (
        serve(lambda: tools.client_of(sandbox)) as address,
        browser.get(f"{address}/calls.ndjson?{tools.asking(sandbox)}") as answer,
    ):
        *records, last = [json.loads(line) async for line in answer.content]
        assert answer.status == 200
        assert answer.content_type == "application/x-ndjson"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert sorted(record["voice_id"] for record in records) == sorted(sandbox.voice_ids())
    assert last["report"]["certified"] is True
    assert last["report"]["total"] == RECORDS


async def test_csv_comes_whole(serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    async with (
        serve(lambda: tools.client_of(sandbox)) as address,
        browser.get(f"{address}/calls.csv?{tools.asking(sandbox)}") as answer,
    ):
        rows = list(csv.DictReader(io.StringIO(await answer.text(), newline="")))
        assert (answer.content_type, answer.charset) == ("text/csv", "utf-8")
        assert answer.headers["X-Mine"] == "here"
    assert sorted(row["voice_id"] for row in rows) == sorted(sandbox.voice_ids())


async def test_one_connection_serves_one_answer_after_the_other(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    peers = set()
    asked = tools.asking(sandbox, end=(sandbox.start + timedelta(days=1)).isoformat())
    async with serve(lambda: tools.client_of(sandbox)) as address:
        for kind in ("ndjson", "csv", "ndjson"):
            async with browser.get(f"{address}/calls.{kind}?{asked}") as answer:
                assert answer.connection is not None
                assert answer.connection.transport is not None
                peers.add(answer.connection.transport.get_extra_info("sockname"))
                await answer.read()
    assert len(peers) == 1


async def test_the_group_of_the_query_string_is_the_filter(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    asked = tools.asking(sandbox, sip_group_name="sales-us")
    async with serve(lambda: tools.client_of(sandbox)) as address:
        async with browser.get(f"{address}/count?{asked}") as answer:
            total = await answer.json()
        async with browser.get(f"{address}/calls.ndjson?{asked}") as answer:
            *records, _ = [json.loads(line) async for line in answer.content]
    assert 0 < total == len(records) < RECORDS
    assert {record["sip_group_name"] for record in records} == {"sales-us"}


PATHS = ("count", "calls.ndjson", "calls.csv")


async def test_an_invalid_range_is_a_422(serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    async with serve(lambda: tools.client_of(sandbox)) as address:
        for path in PATHS:
            async with browser.get(f"{address}/{path}?{tools.asking(sandbox, start='2026-10-01')}") as answer:
                assert answer.status == 422
                assert answer.content_type == "application/problem+json"
                assert "start has no offset" in (await answer.json(content_type=None))["detail"]
    assert sandbox.stats.requests == 0


async def test_only_parameters_that_are_known_are_answered_and_each_once(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    refused = {
        "phone_name=447700900123": "unknown query parameter phone_name; use",
        "sip_group=sales-us": "unknown query parameter sip_group;",
        "sip_group_name=sales-us&sip_group_name=support-eu": "sip_group_name is given 2 times",
        "%3Cscript%3E=": "unknown query parameter ?script?;",
    }
    async with serve(lambda: tools.client_of(sandbox)) as address:
        for path in PATHS:
            for more, reported in refused.items():
                async with browser.get(f"{address}/{path}?{tools.asking(sandbox)}&{more}") as answer:
                    assert answer.status == 422
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    problem = await answer.text()
                    assert reported in problem
                    assert "447700900123" not in problem
    assert sandbox.stats.requests == 0


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ({"end": "2026-10-02T00:00:00"}, "end is naive"),
        ({"current": "0"}, "current must be a whole number"),
        ({"size": "500"}, "size must be a whole number from 1 to 100"),
        ({"end": "2026-11-02T00:00:01Z"}, "31 days at most"),
        ({"end": "2026-09-30T00:00:00Z"}, "inverted"),
    ],
)
async def test_arguments_that_the_client_refuses_are_the_callers(  # noqa: PLR0917 - fixtures
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession, asked: dict[str, str], reported: str
) -> None:
    query = {"start": "2026-10-01T00:00:00Z", "end": "2026-10-02T00:00:00Z"} | asked
    async with (
        serve(lambda: tools.client_of(sandbox)) as address,
        browser.get(f"{address}/page", params=query) as answer,
    ):
        assert answer.status == 422
        assert answer.content_type == "application/problem+json"
        problem = await answer.json(content_type=None)
        assert reported in problem["detail"]
        assert problem["error"] == "ArgumentError"
    assert sandbox.stats.requests == 0


async def test_a_range_is_no_wider_than_the_application_allows(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    async def ask(address: str, start: str, end: str) -> int:
        async with browser.get(f"{address}/count", params={"start": start, "end": end}) as answer:
            if answer.status == 422:
                assert "at a time" in (await answer.json(content_type=None))["detail"]
            return answer.status

    start = sandbox.start.isoformat()
    async with serve(lambda: tools.client_of(sandbox)) as address:
        assert await ask(address, start, (sandbox.start + timedelta(days=31)).isoformat()) == 200
        assert await ask(address, start, (sandbox.start + timedelta(days=31, seconds=1)).isoformat()) == 422
    async with serve(lambda: tools.client_of(sandbox), max_range=timedelta(hours=1)) as address:
        assert await ask(address, start, (sandbox.start + timedelta(hours=1)).isoformat()) == 200
        assert await ask(address, start, (sandbox.start + timedelta(hours=2)).isoformat()) == 422
    async with serve(lambda: tools.client_of(sandbox), max_range=None) as address:
        assert await ask(address, start, (sandbox.start + timedelta(days=40)).isoformat()) == 200


async def test_no_more_streams_than_the_application_allows(serve: Any, tools: Any, browser: ClientSession) -> None:
    gate = tools.Gate(0)
    async with (
        Sandbox(records=10, middlewares=[gate.middleware]) as sandbox,
        serve(lambda: tools.client_of(sandbox), max_streams=2) as address,
        asyncio.timeout(60),
    ):
        url = f"{address}/calls.ndjson?{tools.asking(sandbox, start_within=0)}"
        streams = [await browser.get(url) for _ in range(2)]
        for path in ("calls.ndjson", "calls.csv"):
            async with browser.get(f"{address}/{path}?{tools.asking(sandbox)}") as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"] == "5"
                assert (await refused.json(content_type=None))["error"] == "TooManyStreamsError"
        gate.opened.set()
        async with browser.get(f"{address}/count?{tools.asking(sandbox)}") as counted:  # no stream
            assert await counted.json() == 10
        for stream in streams:
            assert b'"certified":true' in (await stream.read()).splitlines()[-1]
        while True:  # the slots are free as soon as the answers have ended
            async with browser.get(f"{address}/calls.csv?{tools.asking(sandbox)}") as answer:
                if answer.status == 200:
                    assert len((await answer.text()).splitlines()) == 11
                    break
            await asyncio.sleep(0.002)


async def test_only_hosts_that_the_application_serves_are_answered(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    allowed = ["127.0.0.1", "*.example.com", "[::1]"]
    hosts = {
        "127.0.0.1": 200,
        "127.0.0.1:8000": 200,
        "Calls.Example.com": 200,
        "[::1]:80": 200,
        "example.com": 400,
        "evil.example": 400,
        "127.0.0.1.evil.example": 400,
        ".example.com": 400,
        "": 400,
    }
    end = (sandbox.start + timedelta(seconds=1)).isoformat()
    async with serve(lambda: tools.client_of(sandbox), allowed_hosts=allowed) as address:
        for path in PATHS:
            for host, status in hosts.items():
                url = f"{address}/{path}?{tools.asking(sandbox, end=end)}"
                async with browser.get(url, headers={"Host": host}) as answer:
                    assert (host, answer.status) == (host, status)
                    if status == 400:
                        assert (await answer.json(content_type=None))["error"] == "HostNotAllowedError"


async def test_csv_for_people_starts_no_formula(serve: Any, tools: Any, browser: ClientSession) -> None:
    calls = [{"voiceId": "1", "callee": '=HYPERLINK("http://evil.example")', "submitTime": "2026-10-01T08:00:00+08:00"}]
    async with (
        Sandbox(calls=calls, months_back=None) as sandbox,
        serve(lambda: tools.client_of(sandbox)) as address,
    ):
        asked = tools.asking(sandbox, start="2026-10-01T00:00:00Z", end="2026-10-02T00:00:00Z")
        async with browser.get(f"{address}/calls.csv?{asked}") as answer:
            assert ',"=HYPER' in await answer.text()
        async with browser.get(f"{address}/calls.csv?{asked}&spreadsheet=true") as answer:
            body = await answer.read()
    assert body.startswith(b"\xef\xbb\xbfvoice_id,")
    assert b",\"'=HYPER" in body


async def test_an_error_before_the_first_byte_is_a_status(serve: Any, tools: Any, browser: ClientSession) -> None:
    throttled = Fault("http", status=503, headers={"Retry-After": "7"}, times=len(PATHS))
    async with Sandbox(records=10, faults=[throttled]) as sandbox:
        for path in PATHS:  # each with a client of its own: this one would be held back for seven seconds
            async with (
                serve(lambda: tools.client_of(sandbox, retry=RetryPolicy(attempts=1))) as address,
                browser.get(f"{address}/{path}?{tools.asking(sandbox)}") as answer,
            ):
                problem = await answer.json(content_type=None)
                assert answer.status == problem["status"] == 503
                assert answer.headers["Retry-After"] == "7"
                assert problem["error"] == "ThrottledError"


async def test_a_refused_key_is_not_the_callers_fault_and_not_shown(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "canary-of-a-secret"
    async with (
        serve(lambda: CdrClient(sandbox.base_url, sandbox.api_key, wrong)) as address,
        browser.get(f"{address}/calls.csv?{tools.asking(sandbox)}") as answer,
    ):
        text = await answer.text()
        assert answer.status == 502
    assert "credentials of this service" in text
    for reported in (text, caplog.text):
        assert wrong not in reported
        assert sandbox.api_key not in reported
    assert "AuthenticationError" in caplog.text  # the operator sees it


async def test_a_deadline_before_the_first_byte_is_a_504(serve: Any, tools: Any, browser: ClientSession) -> None:
    gate = tools.Gate(0)
    clients: list[CdrClient] = []
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox:

        def build() -> CdrClient:
            clients.append(tools.client_of(sandbox))
            return clients[0]

        async with serve(build) as address:
            for path in PATHS:
                held = gate.held
                for timeout in (0.1, 1, 10):  # on a machine that is busy, the shorter ones are over before it is asked
                    async with browser.get(f"{address}/{path}?{tools.asking(sandbox, timeout=timeout)}") as answer:
                        assert answer.status == 504
                        assert (await answer.json(content_type=None))["error"] == "DeadlineExceededError"
                        await tools.until_idle(clients[0])
                    if gate.held > held:
                        break
                assert gate.held > held
            gate.opened.set()


@pytest.mark.parametrize("path", ["calls.ndjson", "calls.csv"])
async def test_a_deadline_after_the_first_byte_cuts_the_answer(
    serve: Any, tools: Any, browser: ClientSession, path: str
) -> None:
    gate = tools.Gate(0)
    async with (
        Sandbox(records=10, middlewares=[gate.middleware]) as sandbox,
        serve(lambda: tools.client_of(sandbox)) as address,
    ):
        for timeout in (0.1, 1, 10):  # on a machine that is busy, the shorter ones are over before anything begins
            asked = tools.asking(sandbox, timeout=timeout, start_within=0)
            async with browser.get(f"{address}/{path}?{asked}") as answer:
                if answer.status == 200:
                    got = await read_to_the_cut(answer)
                    break
        gate.opened.set()
    if path == "calls.ndjson":
        assert [list(json.loads(line)) for line in got] == [["problem"]]
    else:
        assert [line[:9] for line in got] == [b"voice_id,"]


@pytest.mark.parametrize("path", ["calls.ndjson", "calls.csv"])
async def test_a_truncated_response_differs_from_a_complete_one(
    serve: Any, tools: Any, browser: ClientSession, path: str
) -> None:
    gate = tools.Gate(15)  # enough for the first of three windows
    async with (
        Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox,
        serve(lambda: tools.client_of(sandbox, concurrency=1)) as address,
        browser.get(f"{address}/{path}?{tools.asking(sandbox)}") as answer,
    ):
        assert answer.status == 200
        await gate.reached()
        sandbox.rotate_key()  # and everything is refused from here on
        gate.opened.set()
        got = await read_to_the_cut(answer)
    assert 1 < len(got) < 3_000
    if path == "calls.ndjson":
        assert list(json.loads(got[-1])) == ["problem"]
        assert not any(b'"report"' in line for line in got)


@pytest.mark.parametrize("path", ["calls.ndjson", "calls.csv"])
async def test_a_caller_who_hangs_up_midway_stops_the_fetching(  # noqa: PLR0917 - fixtures
    serve: Any, tools: Any, sandbox: Sandbox, slow_browser: ClientSession, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    clients: list[CdrClient] = []

    def build() -> CdrClient:
        clients.append(tools.client_of(sandbox, concurrency=1))
        return clients[0]

    async with serve(build) as address:
        answer = await slow_browser.get(f"{address}/{path}?{tools.asking(sandbox)}")
        assert (await answer.content.readany())[:1]
        answer.close()
        await tools.until_idle(clients[0])
        assert await tools.settled(sandbox) < 50  # of the seventy that the whole range takes
        async with slow_browser.get(f"{address}/count?{tools.asking(sandbox)}") as counted:
            assert await counted.json() == RECORDS
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []  # it is not an error


@pytest.mark.parametrize("start_within", [0, 60])
async def test_a_caller_who_hangs_up_while_nothing_comes_stops_the_fetching(
    serve: Any, tools: Any, browser: ClientSession, start_within: int
) -> None:
    gate = tools.Gate(0)
    clients: list[CdrClient] = []
    async with Sandbox(records=300, middlewares=[gate.middleware]) as sandbox:

        def build() -> CdrClient:
            clients.append(tools.client_of(sandbox))
            return clients[0]

        async with serve(build) as address:
            url = f"{address}/calls.ndjson?{tools.asking(sandbox, start_within=start_within)}"
            asking = asyncio.create_task(browser.get(url))
            await gate.reached()
            if start_within:
                asking.cancel()
                await asyncio.wait({asking})
            else:
                (await asking).close()
            await tools.until_idle(clients[0])
            gate.opened.set()
            assert await tools.settled(sandbox) <= 8


async def test_a_caller_who_reads_slowly_slows_the_fetching(
    serve: Any, tools: Any, sandbox: Sandbox, slow_browser: ClientSession
) -> None:
    async with serve(lambda: tools.client_of(sandbox, concurrency=1)) as address:
        url = f"{address}/calls.ndjson?{tools.asking(sandbox)}"
        async with slow_browser.get(url) as answer:
            await answer.content.readany()
            assert await tools.settled(sandbox) < 50  # of the seventy that the whole range takes
            lines = [line async for line in answer.content]
    assert b'"certified":true' in lines[-1]


async def test_http_1_0_gets_ndjson_and_no_csv(serve: Any, tools: Any, sandbox: Sandbox) -> None:
    async def ask(address: str, path: str) -> bytes:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path}?{tools.asking(sandbox)} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async with serve(lambda: tools.client_of(sandbox)) as address:
        head, _, body = (await ask(address, "/calls.csv")).partition(b"\r\n\r\n")
        assert b" 505 " in head.splitlines()[0]
        assert b"HTTP/1.1" in body
        head, _, body = (await ask(address, "/calls.ndjson")).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert b'"certified":true' in body.splitlines()[-1]


async def test_asking_for_the_head_alone_fetches_nothing(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    async with (
        serve(lambda: tools.client_of(sandbox)) as address,
        browser.head(f"{address}/calls.csv?{tools.asking(sandbox)}") as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/csv"
        assert await answer.read() == b""
    assert sandbox.stats.requests == 0


async def test_a_small_question_is_answered_while_large_ones_are_being_read(
    serve: Any, tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    large, begun = 4, asyncio.Event()

    async def read(address: str) -> list[bytes]:
        async with browser.get(f"{address}/calls.ndjson?{tools.asking(sandbox)}") as answer:
            begun.set()
            return [line async for line in answer.content]

    async with serve(lambda: tools.client_of(sandbox, concurrency=2)) as address:
        readers = [asyncio.create_task(read(address)) for _ in range(large)]
        await begun.wait()
        before = sandbox.stats.requests
        async with browser.get(f"{address}/count?{tools.asking(sandbox)}") as answer:
            assert await answer.json() == RECORDS
        took = sandbox.stats.requests - before
        assert not any(reader.done() for reader in readers)
        for lines in await asyncio.gather(*readers):
            assert b'"certified":true' in lines[-1]
    # It takes one request, which waits for at most one of each of the others.
    assert took < 20 * large  # of the two hundred that those take
