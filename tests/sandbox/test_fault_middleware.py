# ruff: noqa: ANN401 - JSON is anything
import asyncio
import gzip
import json
import logging
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web

from aiosipcdr.sandbox import Fault, Sandbox, UnusedFaultsError
from aiosipcdr.sandbox.fault_middleware import edit
from aiosipcdr.sandbox.wire_faults import HarmlessError

Exchange = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No fault is worth a line of the log."""
    caplog.set_level(logging.INFO)
    yield
    assert not caplog.records


async def test_any_http_answer(exchange: Exchange) -> None:
    faults = [
        Fault("http", status=503, headers={"Retry-After": "7"}),
        Fault("http", status=301, headers={"Location": "http://elsewhere.example/"}),
        Fault("http", status=204),
        Fault("http", status=403, body="<p>no", headers={"Content-Type": "text/html"}),
        Fault("http", body_hex="efbbbf00ff"),
        Fault("http"),
    ]
    async with Sandbox(records=1, faults=faults) as sandbox:
        busy, moved, empty, html, odd, nothing = [await exchange(sandbox) for _ in faults]
        assert (busy.status, busy.header("Retry-After"), busy.body) == (503, "7", b"")
        assert (moved.status, moved.header("Location")) == (301, "http://elsewhere.example/")
        assert (empty.status, empty.body) == (204, b"")
        assert (html.status, html.header("Content-Type"), html.body) == (403, "text/html", b"<p>no")
        assert (odd.status, odd.body) == (200, b"\xef\xbb\xbf\x00\xff")
        assert odd.header("Content-Type").startswith("application/json")
        assert (nothing.status, nothing.header("Content-Length")) == (200, "0")
        assert sandbox.stats.answers == {503: 1, 301: 1, 204: 1, 403: 1, 200: 2}
        assert sandbox.stats.requests == 6


async def test_any_code_of_the_vendor(exchange: Exchange) -> None:
    faults = [Fault("code", code=-18), Fault("code", code=-99, reason="why", status=500), Fault("code", code=0)]
    async with Sandbox(records=1, status_as="int", faults=faults) as sandbox:
        replies = [await exchange(sandbox) for _ in faults]
        assert [reply.status for reply in replies] == [200, 500, 200]
        assert [json.loads(reply.body) for reply in replies] == [
            {"status": -18, "reason": "Port program unusual", "data": None},
            {"status": -99, "reason": "why", "data": None},
            {"status": 0, "reason": "success", "data": None},
        ]
        assert sandbox.stats.answers == {-18: 1, -99: 1, 0: 1}


async def test_dates_are_the_sandboxs_or_the_faults(exchange: Exchange) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    faults = [Fault("code", code=-16, headers={"Date": date}), Fault("edit", headers={"Date": date}), Fault("cut")]
    async with Sandbox(records=1, clock_offset=-86_400, faults=faults) as sandbox:
        sandbox.change(tolerance=100_000.0)
        assert [(await exchange(sandbox)).header("Date") for _ in range(2)] == [date] * 2
        shown = parsedate_to_datetime((await exchange(sandbox)).header("Date"))
        usual = parsedate_to_datetime((await exchange(sandbox)).header("Date"))
        assert timedelta(0) <= usual - shown < timedelta(seconds=30)
        sandbox.change(send_date=False)
        sandbox.add_faults(Fault("cut"), Fault("code", code=-16, headers={"Date": date}))
        assert b"Date:" not in (await exchange(sandbox)).head
        assert (await exchange(sandbox)).header("Date") == date


@pytest.mark.parametrize("packed", [False, True])
async def test_the_true_answer_is_edited(exchange: Exchange, *, packed: bool) -> None:
    fault = Fault(
        "edit",
        data={"current": 9, "extra": None},
        old='"submitTime":"',
        new_hex="ff",
        prefix="\ufeff",
        suffix="\0",
        status=500,
        headers={"Content-Type": "text/html", "X-More": "1"},
    )
    async with Sandbox(records=5, gzip=packed, faults=[fault]) as sandbox:
        reply, true = [await exchange(sandbox, **{"Accept-Encoding": "gzip"}) for _ in range(2)]
        body, sound = reply.body, true.body
        if packed:
            assert reply.header("Content-Encoding") == "gzip"
            body, sound = gzip.decompress(body), gzip.decompress(sound)
        assert (reply.status, reply.header("Content-Type"), reply.header("X-More")) == (500, "text/html", "1")
        assert body.startswith(b"\xef\xbb\xbf{")
        assert body.endswith(b"}\0")
        expected = sound.replace(b'"current":1,', b'"current":9,').replace(b'"submitTime":"', b"\xff", 1)
        expected = expected[:-2] + b',"extra":null}}'
        assert body[3:-1] == expected
        assert sandbox.stats.answers == {0: 2}


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (Fault("edit", data={"x": 1}), b"not json"),
        (Fault("edit", data={"x": 1}), b'{"status":"-1"}'),
        (Fault("edit", data={"x": 1}), b'{"status":"0","data":null}'),
        (Fault("edit", old="cost"), b"{}"),
    ],
)
def test_only_existing_fields_are_edited(fault: Fault, body: bytes) -> None:
    with pytest.raises(HarmlessError):
        edit(fault, body)


async def test_late_is_the_true_answer_in_the_end(exchange: Exchange) -> None:
    async with Sandbox(records=5, faults=[Fault("late", seconds=0.05)]) as sandbox:
        late, true = await exchange(sandbox), await exchange(sandbox)
        assert late.body == true.body


@pytest.mark.parametrize("packed", [False, True])
async def test_gzip_is_cut_or_corrupt_on_a_sound_connection(wire: Callable[[Sandbox], Any], *, packed: bool) -> None:
    async with Sandbox(records=5, gzip=packed, faults=[Fault("cut-gzip"), Fault("corrupt-gzip")]) as sandbox:
        async with wire(sandbox) as connection:
            await connection.ask(1, 100, **{"Accept-Encoding": "gzip"})
            cut = await connection.hear_one()
            await connection.ask(1, 100, **{"Accept-Encoding": "gzip", "Connection": "close"})
            corrupt = await connection.hear_all()
        assert cut.header("Content-Encoding") == corrupt.header("Content-Encoding") == "gzip"
        assert len(cut.body) == int(cut.header("Content-Length"))
        assert zlib.decompressobj(31).decompress(cut.body).startswith(b'{"status":"0"')
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(corrupt.body)


async def test_page_attempt_and_control_are_the_requests(exchange: Exchange) -> None:
    faults = [
        Fault("http", status=501, page=2, attempt=2),
        Fault("http", status=502, control=True),
        Fault("http", status=503, page=3, times=2),
    ]
    async with Sandbox(records=300, faults=faults) as sandbox:
        codes = [(await exchange(sandbox, n)).status for n in (1, 2, 3, 2, 3, 3, 2)]
        assert codes == [200, 200, 503, 501, 503, 200, 200]
        assert sandbox.faults_left == [faults[1]]
        assert [(await exchange(sandbox, 1, size=1)).status for _ in range(2)] == [502, 200]


async def test_a_fault_that_can_do_no_damage_waits(exchange: Exchange) -> None:
    faults = [
        Fault("cut", after=10**6),
        Fault("edit", old="not there", new=""),
        Fault("edit", data={"total": 1}),
    ]
    with pytest.raises(UnusedFaultsError, match=r"cut \(any"):
        async with Sandbox(records=1, faults=faults[:1]) as sandbox:
            assert json.loads((await exchange(sandbox)).body)["data"]["total"] == 1
    with pytest.raises(UnusedFaultsError, match=r"edit \(any"):
        async with Sandbox(records=1, faults=faults[1:2]) as sandbox:
            assert json.loads((await exchange(sandbox)).body)["data"]["total"] == 1
    async with Sandbox(records=0, faults=faults[2:]) as sandbox:
        sandbox.answer_next(-15)
        assert json.loads((await exchange(sandbox)).body)["status"] == "-15"
        assert sandbox.faults_left == faults[2:]
        assert json.loads((await exchange(sandbox)).body)["data"]["total"] == 1


async def test_other_paths_and_refused_requests_meet_no_fault(send: Any) -> None:
    async with Sandbox(records=1, faults=[Fault("cut")]) as sandbox:
        assert send(sandbox, path="/other").code == 404
        assert send(sandbox, method="GET").code == 405
        assert send(sandbox, headers={"Content-Type": "text/plain"}).code == 415
        assert sandbox.faults_left == [Fault("cut")]
        sandbox.add_faults(Fault("http", status=418))
        with pytest.raises(Exception, match="IncompleteRead"):
            send(sandbox)
        assert send(sandbox, b"no json", headers={"Content-Type": "text/plain"}).code == 418


async def test_middlewares_are_behind_the_faults(exchange: Exchange) -> None:
    seen: list[str] = []

    @web.middleware
    async def other(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        seen.append(request.path)
        if len(seen) == 3:
            return web.StreamResponse()
        await handler(request)
        return web.Response(text="0123456789")

    faults = [Fault("reset"), Fault("cut", after=3), Fault("edit", prefix="x")]
    async with Sandbox(records=1, middlewares=[other], faults=faults) as sandbox:
        assert (await exchange(sandbox)).reset
        assert not seen
        assert (await exchange(sandbox)).body == b"012"
        assert (await exchange(sandbox)).body == b"x0123456789"
        # A stream has no body to edit: it goes out, and the fault waits.
        sandbox.add_faults(Fault("edit", suffix="y"))
        assert (await exchange(sandbox)).status == 200
        assert sandbox.faults_left == [Fault("edit", suffix="y")]
        assert (await exchange(sandbox)).body == b"0123456789y"


@pytest.mark.parametrize("fault", [Fault("cut", page=7, attempt=2), Fault("cut", page=7, times=2)])
async def test_a_test_whose_fault_never_struck_fails(fault: Fault) -> None:
    with pytest.raises(UnusedFaultsError, match=r"cut \(page 7, attempt"):
        async with Sandbox(records=1, faults=[fault]):
            pass
    with pytest.raises(UnusedFaultsError) as caught, Sandbox(records=1, faults=[fault, Fault("reset", times=0)]):
        pass
    assert caught.value.faults == [fault]
    assert not [thread for thread in threading.enumerate() if thread.name == "aiosipcdr-sandbox"]


async def test_exceptions_from_the_handler_pass_unchanged() -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with Sandbox(records=1, faults=[Fault("cut")]) as sandbox:
            raise error
    assert caught.value is error
    with pytest.raises(KeyError), Sandbox(records=1, faults=[Fault("cut")]):
        raise error
    assert sandbox.faults_left == [Fault("cut")]


async def test_faults_are_added_from_another_thread(exchange: Exchange) -> None:
    async with Sandbox(records=1) as sandbox:
        assert (await exchange(sandbox)).status == 200
        await asyncio.to_thread(sandbox.add_faults, Fault("http", status=503, times=2), Fault("reset"))
        assert (await exchange(sandbox)).status == 503
        assert await asyncio.to_thread(lambda: sandbox.faults_left) == [Fault("http", status=503), Fault("reset")]
        assert (await exchange(sandbox)).status == 503
        assert (await exchange(sandbox)).reset


def test_only_faults_are_accepted() -> None:
    with pytest.raises(TypeError, match="not dict"):
        Sandbox(faults=[{"kind": "cut"}])  # type: ignore[list-item]
