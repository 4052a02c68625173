"""An endpoint that fails a share of all requests, for as long as the run lasts: slower, but finished.

Which requests fail follows from the seed, the request and how often it was sent, so the answers do not depend on the
order in which a client asks. `AIOSIPCDR_SEEDS` says how many seeds are tried for each kind of fault, with the waits
of the default policy; without it one is tried, and waits are short.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aiosipcdr import ProtocolError, RetryPolicy, ServerFaultError
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.selection import ALL, some

SEEDS = int(os.environ.get("AIOSIPCDR_SEEDS", "0"))
PATIENT = RetryPolicy() if SEEDS else RetryPolicy(base=0.002, throttle_base=0.002, cap=0.16)

START = datetime(2024, 10, 1, tzinfo=timezone(timedelta(hours=8)))

_UNLUCKY = 10
_TIMES = 8


class Unreliable:
    """A middleware of the sandbox that answers a share of the requests with a fault, the first ones included.

    The tenth request always fails eight times: more often than a page is usually requested.
    """

    def __init__(self, fault: str, share: float, seed: int) -> None:
        self._fault = fault
        self._share = share
        self._seed = seed
        self._sent: Counter[bytes] = Counter()
        self._unlucky: bytes | None = None
        self.struck = 0

    def _strikes(self, body: bytes) -> bool:
        self._sent[body] += 1
        drawn = hashlib.sha256(f"{self._seed} {self._sent[body]} ".encode() + body).digest()
        if len(self._sent) == _UNLUCKY and self._unlucky is None:
            self._unlucky = body
        strikes = int.from_bytes(drawn[:4], "big") < self._share * 2**32
        if body == self._unlucky:
            strikes = self._sent[body] <= _TIMES
        self.struck += strikes
        return strikes

    @property
    def has_tried(self) -> bool:
        """Whether the unlucky request was sent until it succeeded."""
        return self._unlucky is not None and self._sent[self._unlucky] > _TIMES

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._strikes(await request.read()):
                return await handler(request)
            return fail(request, self._fault)

        return strike


def fail(request: web.Request, fault: str) -> web.Response:
    match fault:
        case "500":
            return web.Response(status=500)
        case "-18":
            return web.json_response({"status": "-18", "reason": "port program unusual"})
        case "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        case "html":
            return web.Response(body=b"<html>Sign in", content_type="text/html")
        case _:
            return web.Response(body=b'{"status":"0","data":{"total":1', content_type="application/json")


SHARES = [("unreadable", 0.3), ("unreadable", 0.2), ("500", 0.5), ("500", 0.3), ("reset", 0.5), ("-18", 0.5)]


@pytest.mark.timeout(300 + 120 * SEEDS)
@pytest.mark.parametrize("seed", range(SEEDS or 1))
@pytest.mark.parametrize(
    ("fault", "share"),
    some(SHARES, every=1 if SEEDS else 3),
)
async def test_an_endpoint_that_fails_a_share_of_all_requests_is_read_to_the_end(
    fault: str, share: float, seed: int, record_property: Callable[[str, object], None]
) -> None:
    records = 10_000 if SEEDS else 5_000 if ALL else 3_000
    faults = Unreliable(fault, share, seed)
    # The days are always the same: so are the requests, and with them what strikes.
    async with Sandbox(records=records, start=START, months_back=None, middlewares=[faults.middleware]) as sandbox:
        async with client_of(sandbox, retry=PATIENT) as client:
            found = await client.fetch_all(sandbox.start, sandbox.end)
        assert found.report.certified
        assert len(found) == records
    assert faults.struck > share * records / 200
    # Else the usual number of attempts would have been enough, and this test would say nothing.
    assert faults.has_tried
    record_property("requests", f"{found.report.requests}, {faults.struck} of them failed")


@pytest.mark.parametrize(
    ("fault", "times", "attempts", "sent"),
    [
        ("500", 7, None, None),
        ("-18", 7, None, None),
        ("reset", 7, None, None),
        ("unreadable", 5, None, None),
        ("500", 8, None, 8),
        ("unreadable", 6, None, 6),
        ("html", 3, None, 3),  # most likely not the endpoint
        ("500", 3, 3, 3),
        ("unreadable", 2, 2, 2),
    ],
)
async def test_the_first_page_of_a_client_is_asked_for_more_often_since_no_other_can_succeed(
    fault: str, times: int, attempts: int | None, sent: int | None
) -> None:
    asked = 0

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return fail(request, fault) if asked <= times else await handler(request)

    retry = RetryPolicy(attempts=attempts, base=0.001, cap=0.002)
    async with (
        Sandbox(records=50, start=START, months_back=None, middlewares=[strike]) as sandbox,
        client_of(sandbox, retry=retry) as client,
    ):
        if sent is None:
            assert (await client.fetch_all(sandbox.start, sandbox.end)).report.certified
        else:
            with pytest.raises((ServerFaultError, ProtocolError)):
                await client.fetch_all(sandbox.start, sandbox.end)
            assert asked == sent
