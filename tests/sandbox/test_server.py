# ruff: noqa: ANN401, ASYNC110 - JSON is anything; waiting for another thread is polling
import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from aiosipcdr import CdrClient
from aiosipcdr.sandbox import Sandbox

SANDBOX = {"records": 20}


def raw(sandbox: Sandbox, head: str, body: bytes = b"") -> bytes:
    url = urlsplit(sandbox.base_url)
    with socket.create_connection((str(url.hostname), url.port), timeout=240) as wire:
        wire.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        return b"".join(iter(lambda: wire.recv(65536), b""))


def head_of(answer: bytes) -> list[str]:
    return answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def signed_head(sandbox: Sandbox, headers_for: Any, body: bytes) -> str:
    headers = headers_for(sandbox) | {"Host": "127.0.0.1", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v3/voice/recordSipQuery HTTP/1.1\r\n{lines}"


def test_the_base_url_is_the_vendors_on_loopback(sandbox: Sandbox) -> None:
    assert sandbox.base_url.startswith("http://127.0.0.1:")
    assert sandbox.base_url.endswith("/v3/voice")


@pytest.mark.parametrize("path", ["", "/", "/recordSip/1", "/recordsipquery", "/recordSipQuery/"])
def test_there_is_one_path(sandbox: Sandbox, send: Any, path: str) -> None:
    assert send(sandbox, path=path).code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_there_is_one_method(sandbox: Sandbox, send: Any, method: str) -> None:
    reply = send(sandbox, method=method)
    assert (reply.code, reply.headers["Allow"]) == (405, "POST")


def test_a_body_may_have_one_mebibyte(sandbox: Sandbox, send: Any, body_for: Any) -> None:
    body = json.dumps(body_for(sandbox)).encode()
    assert send(sandbox, body.ljust(1024 * 1024)).status == "0"
    assert send(sandbox, body.ljust(1024 * 1024 + 1)).code == 413


def test_json_is_asked_for(sandbox: Sandbox, send: Any, headers_for: Any) -> None:
    headers = headers_for(sandbox) | {"Content-Type": "text/plain"}
    assert send(sandbox, headers=headers).code == 415
    assert send(sandbox, headers=headers | {"Content-Type": "application/json"}).code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.x", "10.0.0.1", "128.0.0.1:80", "[::2]", ""]
)
def test_names_that_are_not_loopbacks_are_turned_away(sandbox: Sandbox, send: Any, headers_for: Any, host: str) -> None:
    assert send(sandbox, headers=headers_for(sandbox) | {"Host": host}).code == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2:1", "127.1.2.3", "localhost", "localhost:1234", "[::1]:80", "[::1]", "LOCALHOST"]
)
def test_loopbacks_names_are_let_in(sandbox: Sandbox, send: Any, headers_for: Any, host: str) -> None:
    assert send(sandbox, headers=headers_for(sandbox) | {"Host": host}).status == "0"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has 127.0.0.1 alone")
async def test_every_address_of_loopback_can_be_bound() -> None:
    async with (
        Sandbox(records=10, host="127.0.0.2") as sandbox,
        CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
    ):
        assert "127.0.0.2" in sandbox.base_url
        assert await client.count(sandbox.start, sandbox.end) == 10


@pytest.mark.parametrize("year", [1, 1582, 1969, 3000, 9999])
def test_far_off_years_are_answered_as_the_vendor_would(year: int, send: Any, body_for: Any) -> None:
    def asked(sandbox: Sandbox, start: datetime, end: datetime) -> Any:
        body = body_for(sandbox)
        body["params"] |= {"strTime": start.isoformat(), "endTime": end.isoformat()}
        return body

    first, last = datetime(year, 1, 2, tzinfo=UTC), datetime(year, 12, 30, 23, 59, 59, tzinfo=UTC)
    with (
        Sandbox(records=10) as sandbox,
        Sandbox(records=10, months_back=None) as without_limit,
        Sandbox(records=10, retention=timedelta.max) as without_beginning,
    ):
        for one in (sandbox, without_limit, without_beginning):
            for start, end in ((first, first + timedelta(days=31)), (last - timedelta(days=31), last)):
                got = send(one, json.dumps(asked(one, start, end)).encode())
                assert got.code == 200
                assert got.status in {"0", "-25"}
            assert send(one, json.dumps(asked(one, first, last)).encode()).status == "-22"


def test_http_errors_are_counted_under_their_code(send: Any) -> None:
    with Sandbox(records=0) as sandbox:
        send(sandbox, path="/other")
        send(sandbox, method="GET")
        send(sandbox)
        assert sandbox.stats.answers == {404: 1, 405: 1, 0: 1}
        assert sandbox.stats.requests == 3


def test_the_date_is_the_sandboxs(headers_for: Any, body_for: Any) -> None:
    with Sandbox(records=0, clock_offset=-7200) as sandbox:
        body = json.dumps(body_for(sandbox)).encode()
        lines = head_of(raw(sandbox, signed_head(sandbox, headers_for, body), body))
        (date,) = [line.partition(": ")[2] for line in lines if line.startswith("Date:")]
        assert abs(parsedate_to_datetime(date).timestamp() - time.time() + 7200) < 60


@pytest.mark.parametrize("path", ["/v3/voice/recordSipQuery", "/elsewhere"])
def test_no_date_is_sent_at_all(path: str) -> None:
    with Sandbox(records=0, send_date=False) as sandbox:
        lines = head_of(raw(sandbox, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"))
        assert lines[0].split()[1] in {"404", "405"}
        assert not [line for line in lines if line.lower().startswith("date:")]


def test_no_date_is_sent_with_an_answer(headers_for: Any, body_for: Any) -> None:
    with Sandbox(records=1, send_date=False) as sandbox:
        body = json.dumps(body_for(sandbox)).encode()
        answer = raw(sandbox, signed_head(sandbox, headers_for, body), body)
        assert b'"status":"0"' in answer
        assert not [line for line in head_of(answer) if line.lower().startswith("date:")]


def test_a_header_that_comes_twice_is_not_a_signature(headers_for: Any, body_for: Any) -> None:
    with Sandbox(records=1) as sandbox:
        body = json.dumps(body_for(sandbox)).encode()
        head = signed_head(sandbox, headers_for, body)
        assert b'"status":"0"' in raw(sandbox, head, body)
        sign = headers_for(sandbox)["Sign"]
        assert b'"status":"-1"' in raw(sandbox, head + f"Sign: {sign}\r\n", body)


def test_answers_are_compressed_for_those_who_can_read_it(ask: Any) -> None:
    with Sandbox(records=20, gzip=True) as sandbox:
        packed = ask(sandbox, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        plain = ask(sandbox, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert plain.headers["Vary"] == "Accept-Encoding"
        assert packed.body == plain.body


async def test_latency_is_waited_for_side_by_side(headers_for: Any, body_for: Any) -> None:
    async with Sandbox(records=1, latency=(3_600, 7_200)) as sandbox, aiohttp.ClientSession() as session:

        async def one() -> int:
            body, headers = body_for(sandbox), headers_for(sandbox)
            url = sandbox.base_url + "/recordSipQuery"
            async with session.post(url, json=body, headers=headers) as response:
                return len((await response.json())["data"]["records"])

        waiting = [asyncio.create_task(one()) for _ in range(8)]
        while sandbox.stats.peak_in_flight < 8:
            await asyncio.sleep(0.001)
        assert sandbox.stats.answers == {}
        sandbox.change(latency=(0.001, 0.002))
        assert await one() == 1
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


def test_a_middleware_runs_first(send: Any, ask: Any) -> None:
    @web.middleware
    async def fault(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if (await request.read()).startswith(b"{}"):
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "3"})
        return await handler(request)

    with Sandbox(records=1, middlewares=[fault]) as sandbox:
        assert send(sandbox, b"{}").headers["Retry-After"] == "3"
        assert ask(sandbox).status == "0"


def test_ipv6_and_localhost(ask: Any) -> None:
    with Sandbox(records=1, host="localhost") as sandbox:
        assert sandbox.base_url.startswith("http://127.0.0.1:")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with Sandbox(records=1, host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert ask(sandbox).status == "0"


def test_a_cache_answers_identical_bodies_with_the_same_bytes(ask: Any, send: Any, body_for: Any) -> None:
    with Sandbox(records=5, cache="always", overflow="null-data") as sandbox:
        body = json.dumps(body_for(sandbox)).encode()
        first = send(sandbox, body)
        sandbox.insert()
        assert send(sandbox, body).body == first.body
        # White space is enough for another body; so is another size.
        assert json.loads(send(sandbox, body + b" ").body)["data"]["total"] == 6
        assert ask(sandbox, size=99).data["total"] == 6
        assert sandbox.stats.requests == 4
        assert sandbox.stats.answers == {0: 4}
        sandbox.change(cache="off")
        assert send(sandbox, body).body != first.body


def test_a_polite_cache_heeds_no_cache(ask: Any) -> None:
    with Sandbox(records=5, cache="polite") as sandbox:
        assert ask(sandbox).data["total"] == 5
        sandbox.insert()
        assert ask(sandbox).data["total"] == 5
        assert ask(sandbox, headers={"Cache-Control": "max-age=0, no-cache"}).data["total"] == 6
        assert ask(sandbox).data["total"] == 6


def test_a_cache_keeps_no_refusals_and_checks_signatures(ask: Any) -> None:
    with Sandbox(records=5, cache="always", refuse_below=2, overflow="code-18") as sandbox:
        assert ask(sandbox, 2).status == "-18"
        sandbox.change(overflow="empty")
        assert ask(sandbox, 2).status == "0"
        assert ask(sandbox, 2, headers={"Sign": "0" * 32}).status == "-1"
        assert ask(sandbox, size=1).status == "-22"
