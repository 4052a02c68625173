"""Credentials from callables: called before every request, so that keys can rotate."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiosipcdr import AuthenticationError, CdrClient, ClientStateError
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials, CredentialsSource

if TYPE_CHECKING:
    from tests.client.conftest import Wire


async def test_a_callable_is_asked_before_every_request(wire: "Wire") -> None:
    asked: list[int] = []

    def current() -> Credentials:
        asked.append(len(server.seen))
        return Credentials(f"key-{len(asked)}", f"secret-{len(asked)}")

    async with wire.server([wire.paged(350)]) as server:
        async with CdrClient(server.base_url, current, concurrency=1) as client:
            await client.fetch_all(wire.start, wire.end)
        assert asked == [0, 1, 2, 3, 4]
        for number, seen in enumerate(server.seen, 1):
            assert seen.header("Api-Key") == f"key-{number}"
            expected = wire.signature(f"key-{number}", f"secret-{number}", seen.header("Timestamp"))
            assert seen.header("Sign") == expected


async def test_key_and_secret_are_texts_or_credentials_or_a_callable_of_them(wire: "Wire") -> None:
    pair = Credentials("k", "s")
    ways: list[tuple[str | Credentials | CredentialsSource, str | None]] = [
        ("k", "s"),
        (pair, None),
        (lambda: pair, None),
    ]
    async with wire.server([wire.paged(3)]) as server:
        for key, secret in ways:
            async with CdrClient(server.base_url, key, secret) as client:
                assert await client.count(wire.start, wire.end) == 3
            seen = server.seen[-1]
            assert seen.header("Sign") == wire.signature("k", "s", seen.header("Timestamp"))


async def test_keys_rotate_in_the_middle_of_a_run() -> None:
    async with Sandbox(records=1_000) as sandbox:
        calls = 0

        def current() -> Credentials:
            nonlocal calls
            calls += 1
            if calls == 5:
                sandbox.rotate_key()
            return Credentials(sandbox.api_key, sandbox.api_secret)

        async with CdrClient(sandbox.base_url, current, concurrency=1) as client:
            records = await client.fetch_all(sandbox.start, sandbox.end)
        assert len(records) == 1_000
        assert records.report.retries == 0


async def test_a_fixed_key_that_was_rotated_away_is_refused_at_once() -> None:
    async with Sandbox(records=10) as sandbox:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
            assert await client.count(sandbox.start, sandbox.end) == 10
            sandbox.rotate_key()
            with pytest.raises(AuthenticationError):
                await client.count(sandbox.start, sandbox.end)
        assert sandbox.stats.requests == 2


class VaultClosedError(Exception):
    """The caller's own."""


@pytest.mark.parametrize("fail_at", [1, 2, 7])
async def test_exceptions_of_a_credentials_callable_are_raised_unchanged(fail_at: int) -> None:
    before = asyncio.all_tasks()
    mine = VaultClosedError("no key today")
    calls = 0

    async with Sandbox(records=1_000) as sandbox:

        def current() -> Credentials:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise mine
            return Credentials(sandbox.api_key, sandbox.api_secret)

        async with CdrClient(sandbox.base_url, current, concurrency=2) as client:
            with pytest.raises(VaultClosedError) as caught:
                await client.fetch_all(sandbox.start, sandbox.end)
            assert caught.value is mine
            assert sandbox.stats.requests < fail_at + 2  # the other place may be a step ahead
            assert asyncio.all_tasks() == before
            async with asyncio.timeout(30):
                assert await client.count(sandbox.start, sandbox.end) == 1_000


@pytest.mark.parametrize("given", ["", " ", "k\nX: 1", None, 5])
async def test_credentials_of_a_callable_are_checked_before_a_request(wire: "Wire", given: object) -> None:
    async with wire.server([wire.paged(1)]) as server:
        async with CdrClient(server.base_url, lambda: Credentials(given, "secret")) as client:  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="api_key") as caught:
                await client.count(wire.start, wire.end)
            assert not isinstance(caught.value, ClientStateError)
        assert server.connections == 0


async def test_a_callable_alone_must_return_both_parts(wire: "Wire") -> None:
    async with wire.server([wire.paged(1)]) as server:
        async with CdrClient(server.base_url, lambda: "key") as client:  # type: ignore[arg-type, return-value]
            with pytest.raises(ValueError, match="Credentials"):
                await client.count(wire.start, wire.end)
        assert server.connections == 0
