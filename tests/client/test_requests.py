"""Requests as bytes: seen by a server that keeps all of them."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from aiosipcdr import CdrClient, RatePolicy, RedirectError, __version__
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.windows import TimeWindow
from tests.clients import open_with
from tests.inside import transport_of

if TYPE_CHECKING:
    from tests.client.conftest import Seen, Wire


async def test_a_request_matches_the_documentation(wire: "Wire") -> None:
    async with wire.server([wire.paged(3)]) as server, server.client() as client:
        begun = int(time.time())
        await client.fetch_page(wire.start, wire.end, current=2, size=7, sip_group_name="客服一组", phone_name="p1")
        (seen,) = server.seen
        assert seen.line == "POST /v3/voice/recordSipQuery HTTP/1.1"
        assert seen.header("Host") == server.origin.removeprefix("http://")
        assert seen.header("Content-Type") == "application/json;charset=UTF-8"
        assert seen.header("Accept-Encoding") == "gzip"
        assert seen.header("Cache-Control") == "no-cache"
        assert seen.header("User-Agent") == f"aiosipcdr/{__version__}"
        assert seen.header("Api-Key") == "sandbox-key"
        timestamp = seen.header("Timestamp")
        assert begun <= int(timestamp) <= time.time()
        assert seen.header("Sign") == wire.signature("sandbox-key", "sandbox-secret", timestamp)
        assert seen.asked == {
            "current": 2,
            "size": 7,
            "params": {
                "strTime": "2026-10-01T00:00:00+00:00",
                "endTime": "2026-10-02T00:00:00+00:00",
                "sipGroupName": "客服一组",
                "phoneName": "p1",
            },
        }
        names = {name.lower() for name, _ in seen.headers}
        assert not names & {"cookie", "authorization", "transfer-encoding", "expect"}


async def test_absent_filters_are_left_out_or_empty(wire: "Wire") -> None:
    async with wire.server([wire.paged(0)]) as server, server.client() as client:
        await client.fetch_all(wire.start, wire.end)
        params = server.seen[0].asked["params"]
    assert {name: value for name, value in params.items() if value} == {
        "strTime": "2026-10-01T00:00:00+00:00",
        "endTime": "2026-10-02T00:00:00+00:00",
    }


async def test_times_go_out_in_whole_seconds_with_the_offset_they_came_with(wire: "Wire") -> None:
    shanghai = timezone(timedelta(hours=8))
    async with wire.server([wire.paged(0)]) as server, server.client() as client:
        await client.fetch_page(
            datetime(2026, 1, 1, 8, 0, 0, 999_999, tzinfo=shanghai), datetime(2026, 1, 2, 0, 0, 0, 1, tzinfo=UTC)
        )
        params = server.seen[0].asked["params"]
    # Fractions are widened outwards.
    assert params["strTime"] == "2026-01-01T08:00:00+08:00"
    assert params["endTime"] == "2026-01-02T00:00:01+00:00"


async def test_the_user_agent_can_be_given(wire: "Wire") -> None:
    async with wire.server([wire.paged(0)]) as server, server.client(user_agent="mine/1.0") as client:
        await client.count(wire.start, wire.end)
        assert server.seen[0].header("User-Agent") == "mine/1.0"


async def test_page_1_plans_the_rest_and_a_count_ends_the_reading(wire: "Wire") -> None:
    async with wire.server([wire.paged(450)]) as server, server.client(concurrency=1) as client:
        assert len(await client.fetch_all(wire.start, wire.end)) == 450
        asked = [(seen.asked["current"], seen.asked["size"]) for seen in server.seen]
    assert asked == [(1, 100), (2, 100), (3, 100), (4, 100), (5, 100), (1, 1)]


async def test_a_range_of_one_short_page_is_counted_once(wire: "Wire") -> None:
    """A server that is not ready may answer with a part of the range, or "0 of 0"."""
    async with wire.server([wire.paged(99)]) as server, server.client() as client:
        assert len(await client.fetch_all(wire.start, wire.end)) == 99
        assert [(seen.asked["current"], seen.asked["size"]) for seen in server.seen] == [(1, 100), (1, 1)]


async def test_the_end_behind_a_full_page_is_checked(wire: "Wire") -> None:
    async with wire.server([wire.paged(100)]) as server, server.client() as client:
        assert len(await client.fetch_all(wire.start, wire.end)) == 100
        # One row for the count; then a page that begins with the last row and would show one behind it.
        assert [(seen.asked["current"], seen.asked["size"]) for seen in server.seen] == [(1, 100), (1, 1), (2, 99)]


async def test_the_page_size_is_the_one_requested(wire: "Wire") -> None:
    async with wire.server([wire.paged(40)]) as server, server.client(page_size=9) as client:
        assert len(await client.fetch_all(wire.start, wire.end)) == 40
        assert [seen.asked["size"] for seen in server.seen] == [9] * 5 + [1]


async def test_every_attempt_is_signed_afresh(wire: "Wire") -> None:
    """A retry that comes a second later carries the time of then."""

    def refuse_until_the_second_has_passed(_seen: object) -> bytes:
        time.sleep(1.01 - time.time() % 1)  # the server's own answer is slow: no clock of the client is touched
        return wire.http(b"", status="503 Service Unavailable")

    async with (
        wire.server([refuse_until_the_second_has_passed, wire.paged(1)]) as server,
        server.client() as client,
    ):
        await client.count(wire.start, wire.end)
        first, second = server.seen
    assert int(second.header("Timestamp")) > int(first.header("Timestamp"))
    for seen in (first, second):
        assert seen.header("Sign") == wire.signature("sandbox-key", "sandbox-secret", seen.header("Timestamp"))
    assert first.asked == second.asked


async def test_no_two_control_counts_have_the_same_bytes(wire: "Wire") -> None:
    """Neither those of one client, its retries included, nor those of two."""
    unavailable = wire.http(b"", status="503 Service Unavailable")
    async with wire.server([unavailable, wire.paged(450)]) as server:
        for _ in range(2):
            async with server.client() as client:
                await client.count(wire.start, wire.end)
                await client.fetch_all(wire.start, wire.end)
                await client.recount([TimeWindow(wire.start, wire.end)] * 2)
        counts = [seen.body for seen in server.seen if seen.asked["size"] == 1]
        queries = {json.dumps(seen.asked) for seen in server.seen if seen.asked["size"] == 1}
    assert len(queries) == 1
    assert len(set(counts)) == len(counts) == 1 + 2 * 4


async def test_a_page_keeps_its_bytes(wire: "Wire") -> None:
    async with wire.server([wire.paged(450)]) as server, server.client() as client:
        await client.fetch_all(wire.start, wire.end)
        await client.fetch_all(wire.start, wire.end)
        pages = [seen.body for seen in server.seen if seen.asked["size"] != 1]
    assert len(pages) == 2 * len(set(pages)) == 10


async def test_a_cache_of_identical_bodies_answers_no_control_count(wire: "Wire") -> None:
    """A proxy that ignores `Cache-Control` and knows a body by its bytes."""
    kept: dict[bytes, bytes] = {}
    total = 450

    def cached(seen: "Seen") -> bytes:
        return kept.setdefault(seen.body, wire.paged(total)(seen))

    async with wire.server([cached]) as server, server.client() as client:
        assert await client.count(wire.start, wire.end) == 450
        total = 470
        assert await client.count(wire.start, wire.end) == 470
        window = TimeWindow(wire.start, wire.end)
        assert await client.recount([window]) == {window: 470}


def in_ms() -> float:
    """Read the loop's clock, in milliseconds: a signature with it shows when it was made."""
    return asyncio.get_running_loop().time() * 1_000


# All requests of a run are due at once. A machine that stops for a while signs later than
# it might, and never earlier: the test checks the earliest instant.


async def test_no_request_is_signed_before_its_turn(wire: "Wire") -> None:
    async with (
        wire.server([wire.paged(400)]) as server,
        open_with(server.client(rate=RatePolicy(20.0), concurrency=2), wall_clock=in_ms) as client,
    ):
        begun = in_ms()
        assert len(await client.fetch_all(wire.start, wire.end)) == 400
    signed = sorted(int(seen.header("Timestamp")) for seen in server.seen)
    assert len(signed) == 6
    assert all(at >= int(begun + turn * 1_000 / 20) for turn, at in enumerate(signed))


async def test_no_request_is_signed_while_the_vendor_is_given_time(wire: "Wire") -> None:
    refused: list[float] = []
    on_their_way: list[int] = []
    sent = 0

    def refuse(_seen: object) -> bytes:
        refused.append(in_ms())
        return wire.http(b"", status="429 Too Many Requests", Retry_After="1")

    def hear(event: Event) -> None:
        nonlocal sent
        sent += event.kind is EventKind.REQUEST_SENT
        if event.kind is EventKind.THROTTLED:
            on_their_way.append(sent)

    answers = [wire.paged(400), wire.paged(400), refuse, wire.paged(400)]
    async with (
        wire.server(answers) as server,
        open_with(server.client(concurrency=2, hook=hear), wall_clock=in_ms) as client,
    ):
        assert len(await client.fetch_all(wire.start, wire.end)) == 400
    signed = [int(seen.header("Timestamp")) for seen in server.seen]
    assert len(refused) == 1
    assert 3 <= on_their_way[0] < len(signed) == 7
    assert sum(at < int(refused[0] + 1_000) for at in signed) <= on_their_way[0]


async def test_requests_share_connections(wire: "Wire") -> None:
    async with wire.server([wire.paged(900)]) as server, server.client(concurrency=2) as client:
        await client.fetch_all(wire.start, wire.end)
        assert len(server.seen) == 11
        assert server.connections <= 2


async def test_a_cookie_that_the_server_sets_never_comes_back(wire: "Wire") -> None:
    answer = wire.http(wire.page([], size=1), Set_Cookie="session=1; Path=/")
    async with wire.server([answer]) as server:
        # By name: aiohttp's own jar would keep no cookie of an address.
        url = server.base_url.replace("127.0.0.1", "localhost")
        async with CdrClient(url, "key", "secret") as client:
            await client.ping()
            await client.ping()
        assert len(server.seen) == 2
        assert all(name.lower() != "cookie" for seen in server.seen for name, _ in seen.headers)


async def test_proxies_of_the_environment_are_not_used(wire: "Wire", monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire.server([b""]) as proxy, wire.server([wire.paged(5)]) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with server.client() as client:
            assert await client.count(wire.start, wire.end) == 5
        assert proxy.connections == 0


async def test_proxies_of_the_environment_are_used_where_that_is_wanted_but_not_for_loopback(
    wire: "Wire", monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wire.server([wire.paged(5)]) as proxy, wire.server([wire.paged(5)]) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with server.client(trust_env=True) as client:
            assert await client.count(wire.start, wire.end) == 5
        assert proxy.connections == 0
        for trusts in (True, False):
            client = CdrClient("https://cdr.invalid", "key", "secret", trust_env=trusts)
            assert transport_of(client).proxy_host == (proxy.origin.removeprefix("http://") if trusts else "")


async def test_a_proxy_that_is_given_is_used(wire: "Wire") -> None:
    async with wire.server([wire.paged(5)]) as proxy, wire.server([b""]) as server:
        async with server.client(proxy=proxy.origin) as client:
            assert await client.count(wire.start, wire.end) == 5
        assert server.connections == 0
        assert proxy.seen[0].line == f"POST {server.base_url}/recordSipQuery HTTP/1.1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_redirect_is_never_followed(wire: "Wire", status: int, *, borrowed: bool) -> None:
    import aiohttp

    async with wire.server([wire.paged(0)]) as other, aiohttp.ClientSession() as session:
        for target in (f"{other.base_url}/recordSipQuery", "/v3/voice/elsewhere"):
            answer = wire.http(b"", status=f"{status} Moved", Location=target)
            async with (
                wire.server([answer]) as server,
                server.client(session=session if borrowed else None) as client,
            ):
                for ask in (client.fetch_all, client.count, client.fetch_page):
                    server.seen.clear()
                    with pytest.raises(RedirectError) as caught:
                        await ask(wire.start, wire.end)
                    assert caught.value.status == status
                    assert not caught.value.retryable
                    assert len(server.seen) == 1
        await asyncio.sleep(0)
        assert other.connections == 0


async def test_a_key_may_have_blanks_around_it(wire: "Wire") -> None:
    async with wire.server([wire.paged(0)]) as server:
        async with CdrClient(server.base_url, " key\n", "\tsecret ") as client:
            await client.count(wire.start, wire.end)
        seen = server.seen[0]
        assert seen.header("Sign") == wire.signature("key", "secret", seen.header("Timestamp"))
