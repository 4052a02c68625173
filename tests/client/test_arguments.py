"""Invalid arguments, and clients that are not open here, are refused with advice before any request."""
# ruff: noqa: ANN401, ASYNC240 - whatever an untyped caller passes; small local files

import asyncio
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yarl

import aiosipcdr
from aiosipcdr import CdrClient, ClientStateError, InsecureTlsWarning, RatePolicy, RetryPolicy, TimeField
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.inside import transport_of

URL = "https://api.example.com/v3/voice"
NOW = datetime(2026, 10, 1, tzinfo=UTC)


SANDBOX = {"records": 10}


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"concurrency": 0}, "concurrency"),
    ({"concurrency": -1}, "concurrency"),
    ({"concurrency": 65}, "concurrency"),
    ({"concurrency": 2.5}, "concurrency"),
    ({"concurrency": True}, "concurrency"),
    ({"concurrency": None}, "concurrency"),
    ({"page_size": 0}, "page_size"),
    ({"page_size": 101}, "page_size"),
    ({"page_size": "100"}, "page_size"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": -1.0}, "timeout"),
    ({"timeout": float("inf")}, "timeout"),
    ({"timeout": float("nan")}, "timeout"),
    ({"lateness": timedelta(seconds=-1)}, "lateness"),
    ({"count_delay": timedelta(seconds=-1)}, "count_delay must be a timedelta that is not negative"),
    ({"count_delay": 1}, "count_delay"),
    ({"count_delay": None}, "count_delay"),
    ({"rate": 0}, "requests_per_second"),
    ({"rate": -2.0}, "requests_per_second"),
    ({"rate": float("inf")}, "requests_per_second"),
    ({"rate": "5"}, "rate"),
    ({"retry": None}, "retry"),
    ({"retry": 3}, "retry"),
    ({"session": "x"}, "session"),
    ({"hook": 5}, "hook"),
    ({"ssl_context": True}, "ssl_context"),
    ({"user_agent": "a\nb"}, "user_agent"),
    ({"user_agent": 5}, "user_agent"),
    ({"proxy": "127.0.0.1:8080"}, "proxy"),
    ({"proxy": "socks5://127.0.0.1:8080"}, "proxy"),
    ({"proxy": "http://x:y@[::1:8080"}, "proxy"),
    ({"proxy": 8080}, "proxy"),
]


@pytest.mark.parametrize(("settings", "named"), SETTINGS, ids=str)
def test_an_invalid_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        CdrClient(URL, "key", "secret", **settings)


@pytest.mark.parametrize("settings", [{"timeout": None}, {"timeout": "60"}, {"lateness": 4}], ids=str)
def test_a_setting_of_the_wrong_kind_is_named_too(settings: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
        CdrClient(URL, "key", "secret", **settings)


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        (RatePolicy, {"requests_per_second": 0}),
        (RatePolicy, {"requests_per_second": 1, "burst": 0}),
        (RetryPolicy, {"attempts": 0}),
        (RetryPolicy, {"base": -1}),
        (RetryPolicy, {"cap": float("nan")}),
    ],
    ids=str,
)
def test_an_invalid_policy_is_refused(policy: Callable[..., object], settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{list(settings)[-1]} must be"):
        policy(**settings)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://api.example.com/v3/voice", "https"),
        ("http://10.0.0.1/voice", "https"),
        ("http://127.0.0.1.example.com/voice", "https"),
        ("http://localhost.example.com/voice", "https"),
        ("http://0.0.0.0/voice", "https"),
        ("http://[::1]evil.example.com/voice", "address like"),
        ("http://[::1]evil:80/voice", "address like"),
        ("https://a..b", "address like"),
        ("https://.example.com", "address like"),
        ("https://" + "a" * 64 + ".example.com", "address like"),
        ("https://user@api.example.com", "user"),
        ("https://user:canary@api.example.com", "password"),
        ("https://:canary@api.example.com", "password"),
        ("https://api.example.com/voice?key=canary", "query"),
        ("https://api.example.com/voice#canary", "fragment"),
        ("api.example.com/v3/voice", "https://"),
        ("ftp://api.example.com", "https://"),
        ("user:canary@api.example.com", "base_url"),
        ("https://user:canary@ex\u2100mple.com", "base_url"),
        ("https://a b/", "blank"),
        ("https://exa\nmple.com/", "blank"),
        ("https://", "https://"),
        ("", "https://"),
        (None, "https://"),
        (b"https://api.example.com", "https://"),
    ],
    ids=str,
)
def test_an_address_that_is_no_good_is_refused_with_advice(url: Any, advice: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        CdrClient(url, "key", "secret")
    assert advice in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://api.example.com:notaport/v3", "https://[::1/v3", "https://api.example.com:99999"]
)
def test_an_address_that_cannot_be_taken_apart_is_refused_too(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        CdrClient(url, "key", "secret")


@pytest.mark.parametrize(
    "proxy", ["http://proxy.example.com:8080", "https://10.0.0.1:8080", "http://user:canary@10.1.1.1"]
)
def test_plain_http_through_a_proxy_elsewhere_is_refused(proxy: str) -> None:
    with pytest.raises(ValueError, match="in clear") as caught:
        CdrClient("http://127.0.0.1:8080", "key", "secret", proxy=proxy)
    assert "canary" not in str(caught.value)
    CdrClient("http://127.0.0.1:8080", "key", "secret", proxy="http://127.0.0.1:3128")
    CdrClient(URL, "key", "secret", proxy=proxy)


@pytest.mark.parametrize("proxy", ["http://[::1]canary:3128", "http://u:canary@[::1]evil:1", "http://a..b:1"])
def test_a_proxy_whose_host_cannot_be_read_is_refused(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy must be an address") as caught:
        CdrClient("http://127.0.0.1:8080", "key", "secret", proxy=proxy)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["http://localhost:3128", "http://LocalHost:3128/", "http://u:localhost@localhost:3128"]
)
def test_a_proxy_at_localhost_is_looked_up_nowhere(proxy: str) -> None:
    way = transport_of(CdrClient("http://127.0.0.1:8080", "key", "secret", proxy=proxy))
    assert way.proxy_host == "127.0.0.1:3128"
    assert way.proxy is not None
    assert yarl.URL(way.proxy.reveal()).host == "127.0.0.1"


@pytest.mark.parametrize("ciphers", ["aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0"])
def test_a_context_that_admits_connections_without_a_certificate_is_warned_of(ciphers: str) -> None:
    context = ssl.create_default_context()
    context.set_ciphers("ALL:!aNULL:!eNULL")
    CdrClient(URL, "key", "secret", ssl_context=context)
    context.set_ciphers(ciphers)
    with pytest.warns(InsecureTlsWarning, match="ciphers"):
        CdrClient(URL, "key", "secret", ssl_context=context)


def test_a_context_that_verifies_less_is_warned_of() -> None:
    context = ssl.create_default_context()
    CdrClient(URL, "key", "secret", ssl_context=context)
    context.check_hostname = False
    with pytest.warns(InsecureTlsWarning, match="the host name"):
        CdrClient(URL, "key", "secret", ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.warns(InsecureTlsWarning, match="certificates") as caught:
        CdrClient(URL, "key", "secret", ssl_context=context)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://localhost:1", "http://[::1]:1/v3", "http://127.8.8.8"])
def test_loopback_may_be_plain_http(url: str) -> None:
    CdrClient(url, "key", "secret")


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("", "s"),
        ("  ", "s"),
        ("k", ""),
        ("k", "\n"),
        ("k", None),
        (None, "s"),
        ("k\r\nX: 1", "s"),
        ("k", "sé"),
        (3, "s"),
    ],
)
def test_credentials_that_cannot_be_sent_are_refused(key: Any, secret: Any) -> None:
    with pytest.raises(ValueError, match=r"api_key|api_secret"):
        CdrClient(URL, key, secret)


RANGES: list[tuple[Any, Any, str]] = [
    (NOW.replace(tzinfo=None), NOW, "start is naive"),
    (NOW, NOW.replace(tzinfo=None), "end is naive"),
    (NOW, NOW - timedelta(seconds=1), "inverted"),
    (date(2026, 10, 1), NOW, "start must be an aware datetime"),
    ("2026-10-01T00:00:00+00:00", NOW, "start must be an aware datetime"),
    (NOW, None, "end must be an aware datetime"),
]


@pytest.mark.parametrize(("start", "end", "advice"), RANGES, ids=str)
async def test_an_invalid_range_is_refused_before_any_request(
    sandbox: Sandbox, start: Any, end: Any, advice: str, tmp_path: Path
) -> None:
    async with client_of(sandbox) as client:
        for ask in (client.fetch_all, client.count, client.fetch_page):
            with pytest.raises(ValueError, match=advice):
                await ask(start, end)
        with pytest.raises(ValueError, match=advice):
            client.stream(start, end)
        with pytest.raises(ValueError, match=advice):
            await client.export(start, end, tmp_path / "calls.ndjson")
        assert sandbox.stats.requests == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"current": 0}, "current"),
        ({"current": -3}, "current"),
        ({"current": 1.0}, "current"),
        ({"current": 10**10}, "current"),
        ({"size": 0}, "size"),
        ({"size": 101}, "size"),
        ({"size": None}, "size"),
        ({"sip_group_name": ""}, "sip_group_name"),
        ({"phone_name": "  "}, "phone_name"),
        ({"phone_name": 8555}, "phone_name"),
        ({"phone_name": "\ud800"}, "phone_name"),
    ],
    ids=ascii,
)
async def test_an_invalid_argument_is_named(sandbox: Sandbox, arguments: dict[str, Any], named: str) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(ValueError, match=named):
            await client.fetch_page(sandbox.start, sandbox.end, **arguments)
        if named not in {"current", "size"}:
            with pytest.raises(ValueError, match=named):
                await client.fetch_all(sandbox.start, sandbox.end, **arguments)
            with pytest.raises(ValueError, match=named):
                await client.count(sandbox.start, sandbox.end, **arguments)
        assert sandbox.stats.requests == 0
        assert await client.count(sandbox.start, sandbox.end) == 10


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [({"on_out_of_range": "ignore"}, "skip"), ({"time_field": "submitTime"}, "submit_time")],
)
async def test_a_choice_that_does_not_exist_names_those_that_do(
    sandbox: Sandbox, arguments: dict[str, Any], advice: str
) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(ValueError, match=advice):
            await client.fetch_all(sandbox.start, sandbox.end, **arguments)
        assert sandbox.stats.requests == 0


@pytest.mark.parametrize("time_field", [None, "submit_time"])
async def test_the_ends_of_the_calendar_are_no_crash(sandbox: Sandbox, time_field: TimeField | None) -> None:
    """`datetime.max` with a time zone is how many people write "until now and ever after"."""
    async with client_of(sandbox) as client:
        with pytest.raises(ValueError, match=r"\bend\b"):
            await client.fetch_all(sandbox.start, datetime.max.replace(tzinfo=UTC), time_field=time_field)
        assert sandbox.stats.requests == 0


async def test_any_lateness_is_possible(sandbox: Sandbox) -> None:
    async with client_of(sandbox, lateness=timedelta.max, count_delay=timedelta(0)) as client:
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 10


async def every_way_in(client: CdrClient, sandbox: Sandbox, folder: Path) -> list[BaseException | None]:
    async def stream() -> None:
        async with client.stream(sandbox.start, sandbox.end):
            pass

    ways: list[Callable[[], Any]] = [
        lambda: client.fetch_all(sandbox.start, sandbox.end),
        lambda: client.count(sandbox.start, sandbox.end),
        lambda: client.fetch_page(sandbox.start, sandbox.end),
        lambda: client.export(sandbox.start, sandbox.end, folder / "calls.ndjson"),
        client.ping,
        stream,
    ]
    outcomes: list[BaseException | None] = []
    for way in ways:
        try:
            await way()
        except Exception as error:  # noqa: BLE001 - the exception is what the test checks
            outcomes.append(error)
        else:
            outcomes.append(None)
    return outcomes


async def test_a_client_that_is_not_open_says_how_to_open_it(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox)
    for state in ("before", "after"):
        outcomes = await every_way_in(client, sandbox, tmp_path)
        assert all(isinstance(outcome, ClientStateError) for outcome in outcomes), state
        assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
        assert all("async with" in str(outcome) for outcome in outcomes)
        assert sandbox.stats.requests == 0
        async with client:
            pass
    assert list(tmp_path.iterdir()) == []


async def test_open_and_close_beside_async_with(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    assert await client.open() is client
    assert "open" in repr(client)
    with pytest.raises(ClientStateError, match="already open"):
        await client.open()
    assert await client.count(sandbox.start, sandbox.end) == 10
    await client.aclose()
    await client.aclose()
    assert "closed" in repr(client)
    async with client:
        assert await client.count(sandbox.start, sandbox.end) == 10


def test_a_client_is_built_outside_a_loop_and_used_in_several_one_after_the_other(sandbox: Sandbox) -> None:
    client = client_of(sandbox)

    async def count() -> int:
        async with client:
            return await client.count(sandbox.start, sandbox.end)

    assert [asyncio.run(count()) for _ in range(2)] == [10, 10]


def test_a_client_of_another_loop_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox)
    with asyncio.Runner() as home, asyncio.Runner() as abroad:
        home.run(client.open())
        outcomes = abroad.run(every_way_in(client, sandbox, tmp_path))
        assert all(isinstance(outcome, ClientStateError) for outcome in outcomes)
        assert all("event loop" in str(outcome) for outcome in outcomes)
        assert sandbox.stats.requests == 0
        home.run(client.aclose())


def test_a_stream_cannot_be_built_without_a_loop(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    with asyncio.Runner() as runner:
        runner.run(client.open())
        with pytest.raises(ClientStateError, match="event loop"):
            client.stream(sandbox.start, sandbox.end)
        runner.run(client.aclose())


def test_a_half_built_client_can_be_printed() -> None:
    """Crash reporters print the locals of every frame, `self` of a subclass's constructor that raised among them."""
    assert "CdrClient" in repr(CdrClient.__new__(CdrClient))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_must_open_a_client_of_its_own(sandbox: Sandbox) -> None:
    program = f"""
        import asyncio, os, sys, warnings
        sys.path.insert(0, {str(Path(aiosipcdr.__file__).parent.parent)!r})
        warnings.simplefilter("ignore")
        from datetime import datetime
        from aiosipcdr import CdrClient, ClientStateError

        async def main():
            start, end = map(datetime.fromisoformat, {[sandbox.start.isoformat(), sandbox.end.isoformat()]!r})
            async with CdrClient({sandbox.base_url!r}, {sandbox.api_key!r}, {sandbox.api_secret!r}) as client:
                assert await client.count(start, end) == 10
                child = os.fork()
                if not child:
                    try:
                        await client.count(start, end)
                    except ClientStateError as error:
                        os._exit(7 if "fork" in str(error) else 8)
                    os._exit(9)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                assert await client.count(start, end) == 10

        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-I", "-c", textwrap.dedent(program)], check=True, timeout=240)  # noqa: S603
    assert sandbox.stats.requests == 2
