"""Key, secret, signature and phone numbers appear in no text of ours."""
# ruff: noqa: ANN401, ASYNC110 - a scenario takes any argument; waiting for the server is polling

import asyncio
import copy
import errno
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from rich.pretty import pretty_repr

from aiosipcdr import CdrClient, ExportFormat, IncompleteRangeError, StorageError
from aiosipcdr.events import Event
from aiosipcdr.export import FORMATS, read_manifest, verify_file
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials
from tests.inside import transport_of
from tests.selection import pairs
from tests.watch import CALLEE, END, MASK_KEY, PHONE, SHOWN, START, Watch, call


@pytest.fixture
async def watch(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Watch]:
    """A sandbox, and every log line of the test, asyncio's debug mode included."""

    @web.middleware
    async def between(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        watching.signs.append(request.headers["Sign"])
        if watching.fault is not None:
            return await watching.fault(request)
        return await handler(request)

    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # every step of the loop is logged
    async with Sandbox(calls=[call(n) for n in range(120)], months_back=None, middlewares=[between]) as sandbox:
        watching = Watch(sandbox)
        try:
            yield watching
        finally:
            watching.over.set()
    loop.set_debug(False)
    lines = [record.getMessage() for record in caplog.records]
    lines += [
        caplog.text,
        *(repr(event) for event in watching.events),
        *(repr(event.report) for event in watching.events),
    ]
    for line in lines:
        watching.check(line)
    assert any("asyncio" in record.name for record in caplog.records)


async def fetch_all(client: CdrClient, filters: dict[str, str], _folder: Path) -> object:
    return await client.fetch_all(START, END, **filters)  # type: ignore[arg-type]


async def count(client: CdrClient, filters: dict[str, str], _folder: Path) -> object:
    return await client.count(START, END, **filters)


async def fetch_page(client: CdrClient, filters: dict[str, str], _folder: Path) -> object:
    return await client.fetch_page(START, END, **filters)  # type: ignore[arg-type]


async def export(client: CdrClient, filters: dict[str, str], folder: Path) -> object:
    return await client.export(START, END, folder / "calls.ndjson", **filters)  # type: ignore[arg-type]


async def export_masked(client: CdrClient, filters: dict[str, str], folder: Path) -> object:
    path = folder / "calls.parquet"
    return await client.export(START, END, path, mask_numbers=MASK_KEY, **filters)  # type: ignore[arg-type]


async def stream(client: CdrClient, filters: dict[str, str], _folder: Path) -> object:
    async with client.stream(START, END, **filters) as stream:  # type: ignore[call-overload]
        seen: list[object] = [batch async for batch in stream.batches()]
        return [*seen, stream]


async def stream_part(client: CdrClient, filters: dict[str, str], _folder: Path) -> object:
    (part,) = await client.plan_parts(START, END, **filters)  # type: ignore[arg-type]
    async with client.stream(part=part) as stream:
        return [part, [batch async for batch in stream.batches()], stream]


METHODS = (fetch_all, count, fetch_page, export, export_masked, stream, stream_part)
FILTERS: tuple[dict[str, str], ...] = ({}, {"phone_name": PHONE})


@pytest.mark.parametrize(("method", "filters"), pairs(METHODS, FILTERS))
async def test_successful_runs_show_no_secret(
    watch: Watch, method: Any, filters: dict[str, str], tmp_path: Path
) -> None:
    async with watch.client() as client:
        result = await method(client, filters, tmp_path)
        watch.check(f"{result!r} {result!s} {client!r} {client!s} {vars(client)!r} {vars(transport_of(client))!r}")
        if method is not count:
            assert len(watch.signs) >= 1
        for record in getattr(result, "records", None) or (result if isinstance(result, list) else ()):
            watch.check(f"{record!r} {record!s} {getattr(record, 'report', None)!r}")


@pytest.mark.parametrize("name", FORMATS)
async def test_a_disk_that_fails_shows_nothing(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: ExportFormat
) -> None:
    def full(_descriptor: int, data: memoryview) -> int:
        if len(data) > 350:  # more than a line of names
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    monkeypatch.setattr("aiosipcdr.export.atomic.os.write", full)
    async with watch.client() as client:
        with pytest.raises(StorageError, match="disk is full") as caught:
            await client.export(START, END, tmp_path / "calls", format=name, phone_name=PHONE)
    watch.check_error(caught.value)


async def test_a_bad_key_of_pseudonyms_is_not_shown(watch: Watch, tmp_path: Path) -> None:
    async with watch.client() as client:
        with pytest.raises(ValueError, match="16 bytes") as caught:
            await client.export(START, END, tmp_path / "calls.csv", phone_name=PHONE, mask_numbers=MASK_KEY[:6])
    reported = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert MASK_KEY[:6].decode() not in "".join(reported.format())


def json_answer(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


def quoting(request: web.Request) -> str:
    """Return all that a careless server could quote from a request, and a number of its own."""
    return f"{request.headers['Api-Key']} {request.headers['Sign']} {PHONE} +44 7700 900-987 {CALLEE}"


async def refused(request: web.Request) -> web.StreamResponse:
    return json_answer(json.dumps({"status": "-22", "reason": f"bad: {quoting(request)}", "data": None}))


async def unauthorised(request: web.Request) -> web.StreamResponse:
    return web.Response(status=401, text=quoting(request), headers={"WWW-Authenticate": quoting(request)})


async def unavailable(request: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text=quoting(request), headers={"Retry-After": "0"}, reason=f"No {CALLEE}")


async def redirecting(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": f"http://127.0.0.1:9/?{quoting(request)}"})


async def page_of_html(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"<html>{quoting(request)}", content_type="text/html")


async def cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "9999"})
    await response.prepare(request)
    await response.write(quoting(request).encode())
    assert request.transport is not None
    request.transport.close()
    return response


async def aborted(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def not_http(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(f"HTTP/1.1 {quoting(request)}\r\n{CALLEE}\r\n\r\n".encode())
    request.transport.close()
    return web.Response()


async def wrong_shape(request: web.Request) -> web.StreamResponse:
    data = {"total": CALLEE, "size": 100, "current": quoting(request), "records": [PHONE]}
    return json_answer(json.dumps({"status": "0", "data": data}))


async def not_utf8(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"status":"0","reason":"\xff' + CALLEE.encode() + b'"}', content_type="application/json")


async def other_page(_request: web.Request) -> web.StreamResponse:
    data = {"total": 150, "size": 100, "current": 7, "pages": 2, "records": [call(1)]}
    return json_answer(json.dumps({"status": "0", "data": data}))


async def other_filter(_request: web.Request) -> web.StreamResponse:
    records = [call(1, phoneName="12125550199")]
    data = {"total": 1, "size": 100, "current": 1, "pages": 1, "records": records}
    return json_answer(json.dumps({"status": "0", "data": data}))


async def broken_record(_request: web.Request) -> web.StreamResponse:
    unread = call(1, callTime=CALLEE, cost=SHOWN + "x", callDuration=PHONE) | {CALLEE: CALLEE}
    records = [unread, call(2, voiceId=[CALLEE])]
    data = {"total": 2, "size": 100, "current": 1, "pages": 1, "records": records}
    return json_answer(json.dumps({"status": "0", "data": data}))


FAULTS = (
    *(refused, unauthorised, unavailable, redirecting, page_of_html, cut_short, aborted, not_http, wrong_shape),
    *(not_utf8, other_page, other_filter, broken_record),
)


@pytest.mark.parametrize(("fault", "filters"), pairs(FAULTS, FILTERS))
async def test_failed_runs_show_no_secret(watch: Watch, fault: Any, filters: dict[str, str], tmp_path: Path) -> None:
    watch.fault = fault
    failed = 0
    async with watch.client(strict=True) as client:
        for method in METHODS:
            try:
                await method(client, filters, tmp_path)
            except Exception as error:  # noqa: BLE001 - none of them shows anything
                failed += 1
                watch.check_error(error)
    assert watch.signs
    # A page is not judged, and only a filter that is asked for can be ignored.
    assert failed >= (3 if fault is not other_filter or filters else 0)


async def test_records_that_are_set_aside_show_nothing(watch: Watch) -> None:
    watch.fault = broken_record
    async with watch.client() as client:
        records = await client.fetch_all(START, END)
    assert records.report.quarantined == 1
    assert CALLEE.encode() in records.quarantined[0].raw
    (unread,) = records
    assert CALLEE in unread.extra["callTime"]
    assert records.report.faulty_fields.keys() == {"call_time", "cost", "call_duration"}
    watch.check(f"{unread!r} {unread.extra!r} {unread.extra!s} {records.report.unknown_fields}")
    watch.check(pretty_repr(unread) + pretty_repr(unread.extra))
    watch.check(f"{records!r} {records.quarantined!r} {records.quarantined[0]!s} {records.report!r} {records.report!s}")


async def test_an_incomplete_export_shows_nothing(watch: Watch) -> None:
    watch.sandbox.change(wrong_total=3)
    async with watch.client() as client:
        with pytest.raises(IncompleteRangeError) as caught:
            await client.fetch_all(START, END)
    watch.check_error(caught.value)
    watch.check(f"{caught.value.report!r} {caught.value.records!r}")


@pytest.mark.parametrize(("method", "filters"), pairs(METHODS, FILTERS))
async def test_cancelling_shows_nothing(watch: Watch, method: Any, filters: dict[str, str], tmp_path: Path) -> None:
    watch.fault = watch.silent
    async with watch.client() as client:
        task = asyncio.create_task(method(client, filters, tmp_path))
        async with asyncio.timeout(30):
            while not watch.signs:
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        watch.check_error(caught.value)
        with pytest.raises(TimeoutError) as expired, anyio.fail_after(0.01):
            await method(client, filters, tmp_path)
        watch.check_error(expired.value)


@pytest.mark.parametrize("filters", FILTERS, ids=["all", "filtered"])
async def test_a_timeout_shows_nothing(watch: Watch, filters: dict[str, str], tmp_path: Path) -> None:
    watch.fault = watch.silent
    async with watch.client(timeout=0.02) as client:
        for method in METHODS:
            with pytest.raises(TimeoutError) as caught:
                await method(client, filters, tmp_path)
            watch.check_error(caught.value)


@pytest.mark.parametrize("filters", FILTERS, ids=["all", "filtered"])
@pytest.mark.parametrize("kind", ["request_sent", "request_answered", "window_complete", "run_finished"])
async def test_a_hook_that_raises_shows_nothing(
    watch: Watch, kind: str, filters: dict[str, str], tmp_path: Path
) -> None:
    def hook(event: Event) -> None:
        if event.kind == kind:
            raise LookupError("mine")

    async with watch.client(hook=hook) as client:
        with pytest.raises(LookupError) as caught:
            await fetch_all(client, filters, tmp_path)
    watch.check_error(caught.value)


async def test_bad_arguments_show_nothing(watch: Watch) -> None:
    asked: dict[str, Any] = {"start": START, "end": END, "phone_name": PHONE}
    bad: list[dict[str, Any]] = [
        {"start": END, "end": START},
        {"start": START.replace(tzinfo=None)},
        {"sip_group_name": ""},
    ]
    async with watch.client() as client:
        for arguments in bad:
            for method in (client.fetch_all, client.count, client.fetch_page):
                with pytest.raises(ValueError, match=r"start|range|sip_group_name") as caught:
                    await method(**(asked | arguments))
                watch.check_error(caught.value)
    with pytest.raises(RuntimeError) as closed:
        await client.fetch_all(START, END, phone_name=PHONE)
    watch.check_error(closed.value)
    assert not watch.signs
    watch.signs.append("nothing was sent")


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"timeout": 0},
        {"base_url": "ftp://x"},
        {"rate": -1},
        {"lateness": timedelta(-1)},
        {"session": 1},
        {"user_agent": "\n"},
        {"proxy": "ftp://me:canary@proxy.example.com"},
    ],
    ids=["concurrency", "timeout", "base_url", "rate", "lateness", "session", "user_agent", "proxy"],
)
@pytest.mark.parametrize("way", ["constructor", "environment"])
def test_a_client_that_cannot_be_built_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], way: str
) -> None:
    key, secret = "canary-key-1", "canary-secret-1"
    settings = {
        "base_url": "https://api.example.com",
        "proxy": "http://me:canary-password@proxy.example.com",
    } | settings
    with pytest.raises(ValueError, match=r"must") as caught:  # noqa: PT012
        if way == "constructor":
            CdrClient(api_key=key, api_secret=secret, **settings)
        else:
            monkeypatch.setenv("AIOSIPCDR_BASE_URL", settings.pop("base_url"))
            monkeypatch.setenv("AIOSIPCDR_API_KEY", key)
            monkeypatch.setenv("AIOSIPCDR_API_SECRET", secret)
            CdrClient.from_env(**settings)
    check_locals(caught.value, "canary")


@pytest.mark.parametrize(
    ("key", "secret"), [("canary\nkey", "canary-secret"), ("canary-key", "canary\x00secret"), ("", "canary-secret")]
)
def test_credentials_that_are_refused_are_not_shown(key: str, secret: str) -> None:
    for build in (
        lambda: CdrClient("https://api.example.com", key, secret),
        lambda: Credentials(key, secret),
    ):
        with pytest.raises(ValueError, match="api_") as caught:
            build()
        check_locals(caught.value, "canary")


SIGN = "@".ljust(32, "@")
"""Where the signature of the request goes, in a call that a server makes up of what it knows."""


@web.middleware
async def echoing(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    answer = await handler(request)
    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    answer.body = answer.body.replace(SIGN.encode(), request.headers["Sign"].encode())
    for text in (request.headers["Api-Key"], request.headers["Sign"], CALLEE):
        answer.headers.add("Set-Cookie", f"{text} {text}={text}")  # aiohttp may log a name that is not valid
        answer.headers[f"X-{text}"] = answer.headers["Server"] = answer.headers["ETag"] = text
    answer.content_type = f"{request.headers['Api-Key'].lower()}/x"
    return answer


@pytest.mark.parametrize("name", FORMATS)
async def test_request_data_echoed_by_a_server_is_not_shown(
    name: ExportFormat, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account = Sandbox(records=0, account="echo")
    reported = [account.api_key, account.api_secret, SIGN, CALLEE]
    unknown = {name: name for text in reported for name in (text, f"x-{text}-x", f"{text}{text}")}
    calls = [call(n, voiceId=text, currency=text, cost="1", **unknown) for n, text in enumerate(reported)]
    calls.append(
        call(9, voiceId=f"id {' '.join(reported)}", cost=reported[0], callTime=reported[1], callDuration=reported[2])
    )
    async with Sandbox(calls=calls, months_back=None, account="echo", middlewares=[echoing]) as sandbox:
        watch = Watch(sandbox)
        signs: list[str] = []
        watch.signs = signs
        async with watch.client() as client:
            records = await client.fetch_all(START, END)
            page = await client.fetch_page(START, END)
            target = tmp_path / "calls"
            report = await client.export(START, END, target, format=name)

        def stop(event: Event) -> None:
            if event.kind == "run_finished" and event.report is not None and event.report.unique:  # not of a count
                raise LookupError("mine")

        async with watch.client(hook=stop) as client:
            with pytest.raises(LookupError):
                await client.export(START, END, tmp_path / "stopped", format=name)
    signs += {record.voice_id for record in records if len(record.voice_id) == len(SIGN)}
    assert (report.unique, report.faulty_fields) == (5, {"call_time": 1, "call_duration": 1, "cost": 1})
    assert signs
    assert len(report.unknown_fields) >= 3
    for record in [*records, *page.records]:
        assert record.extra
        watch.check(f"{record!r} {pretty_repr(record)}")
    watch.check(f"{records!r} {records.report!r} {records.report.unknown_fields} {page!r} {report.facts()}")
    watch.check(f"{report.unknown_fields} {report.anomalies}")
    manifest = (tmp_path / "calls.manifest.json").read_text(encoding="utf-8")
    watch.check(manifest)
    assert '"currency": "***"' in manifest
    journal = (tmp_path / "stopped.journal").read_bytes().decode("latin-1")
    assert '"unknown_fields":{"' in journal  # the window is written, its rows are in a file of their own
    watch.check(journal)
    assert not verify_file(target, read_manifest(tmp_path / "calls.manifest.json"))
    watch.check_events()
    watch.check(caplog.text)


def check_locals(error: BaseException, canary: str) -> None:
    reported = traceback.TracebackException.from_exception(error, capture_locals=True)
    seen: list[traceback.TracebackException] = [reported]
    shown: list[str] = []
    while seen:
        one = seen.pop()
        seen += [other for other in (one.__cause__, one.__context__) if other]
        for frame in one.stack:
            if frame.filename != __file__:
                shown += [
                    f"{Path(frame.filename).name}:{frame.name}:{name}"
                    for name, value in (frame.locals or {}).items()
                    if canary in value
                ]
    assert not shown
    assert canary not in str(error)


def test_credentials_show_and_give_away_nothing() -> None:
    credentials = Credentials("canary-key", "canary-secret")
    for text in (repr(credentials), str(credentials), f"{credentials}", f"{credentials!r:>30}"):
        assert "canary" not in text
    with pytest.raises(TypeError):
        pickle.dumps(credentials)


def test_pickling_a_client_raises_with_advice() -> None:
    client = CdrClient("https://api.example.com/v3/voice", "canary-key", "canary-secret")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="build a client there") as caught:
            pickle.dumps(client, protocol)
        assert "canary" not in str(caught.value)
    with pytest.raises(TypeError, match="build a client there"):
        copy.copy(client)


def test_a_client_shows_where_it_points_and_nothing_else() -> None:
    proxy = "http://me:canary-password@proxy.example.com"
    client = CdrClient("https://api.example.com/v3/voice", "canary-key", "canary-secret", proxy=proxy)
    assert "api.example.com" in repr(client)
    assert "canary" not in f"{client!r} {client!s} {vars(client)!r} {vars(transport_of(client))!r}"
