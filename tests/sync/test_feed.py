"""The feed over the sandbox: requests of each kind of change, outages, leases, kills and clean ends."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr import (
    AuthenticationError,
    CdrClient,
    Change,
    ChangeFeed,
    ClientStateError,
    Event,
    EventKind,
    ExportConflictError,
    JournalDamagedError,
    StorageError,
)
from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.model.query import Filters
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.sandbox import CallEvent, Fault, Sandbox
from aiosipcdr.sync.feed.follower import ClientSource, FeedOptions, Follower

pytestmark = pytest.mark.anyio

DAYS = timedelta(days=3)
RECORDS = 1_500


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        with Sandbox(records=RECORDS, days=1) as sandbox:
            yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.reset()
    return server


def client_of(sandbox: Sandbox, **settings: Any) -> CdrClient:  # noqa: ANN401
    return CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, count_delay=timedelta(0), **settings)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[CdrClient]:
    async with client_of(sandbox) as client:
        yield client


async def poll(client: CdrClient, path: Path, **options: Any) -> tuple[list[Change], int]:  # noqa: ANN401
    """Poll once; return the changes and the number of requests."""
    async with client.follow(checkpoint=path, lookback=DAYS, once=True, **options) as feed:
        changes = [change async for change in feed]
    assert feed.last_poll is not None
    return changes, feed.last_poll.requests


async def test_each_kind_of_change_is_found_with_few_requests(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    path = tmp_path / "calls.checkpoint"
    first, _ = await poll(client, path, since=sandbox.start)
    assert sorted(change.record.voice_id for change in first) == sandbox.voice_ids()
    assert len({change.key for change in first}) == RECORDS

    async with client.follow(checkpoint=path, lookback=DAYS, every=0.01) as feed:
        step = asyncio.ensure_future(anext(feed))
        await next_poll(feed)
        await next_poll(feed)
        assert feed.last_poll is not None
        assert feed.last_poll.requests == 2  # quiet

        (late,) = sandbox.insert(at=sandbox.start + timedelta(hours=10))
        change = await step
        assert (change.kind, change.record.voice_id) == ("added", late)
        step = asyncio.ensure_future(anext(feed))
        assert await next_poll(feed) <= 20

        gone = sandbox.voice_ids()[RECORDS // 3]
        sandbox.delete(gone)
        change = await step
        assert (change.kind, change.record.voice_id) == ("vanished", gone)
        step = asyncio.ensure_future(anext(feed))
        assert await next_poll(feed) <= 30

        rated = sandbox.voice_ids()[7]
        sandbox.update(rated, cost="0.99")
        await next_poll(feed)
        assert not step.done()  # counts do not show it
        step.cancel()
    (change,), _ = await poll(client, path, deep_every=timedelta(0))
    assert (change.kind, change.record.voice_id, str(change.record.cost)) == ("changed", rated, "0.99")
    assert await poll(client, path) == ([], 2)


async def next_poll(feed: ChangeFeed) -> int:
    """Wait until a poll has ended; return its number of requests."""
    last = feed.last_poll
    while feed.last_poll is last:  # noqa: ASYNC110 - the feed has no event for this
        await asyncio.sleep(0.005)
    assert feed.last_poll is not None
    return feed.last_poll.requests


async def test_scripted_events_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
    events = [
        CallEvent(kind="late", query=20, count=25),
        CallEvent(kind="vanish", query=30, count=5),
        CallEvent(kind="change", query=40, count=5, fields={"cost": "7.77"}),
    ]
    with Sandbox(records=300, days=1, leg_every=10, events=events) as sandbox:
        rows: dict[tuple[str, int], Any] = {}
        seen: set[str] = set()
        async with client_of(sandbox) as client:
            for _ in range(12):
                changes, _ = await poll(
                    client, tmp_path / "checkpoint", since=sandbox.start, deep_every=timedelta(0), every=0.01
                )
                for change in changes:
                    assert change.key not in seen
                    seen.add(change.key)
                    if change.kind == "vanished":
                        del rows[change.record.voice_id, change.leg]
                    else:
                        rows[change.record.voice_id, change.leg] = change.record
            now = await client.fetch_all(sandbox.start, sandbox.end)
        assert sorted(map(hash, rows.values())) == sorted(map(hash, now))
        assert sum(str(row.cost) == "7.77" for row in rows.values()) >= 5


async def test_unacknowledged_changes_are_yielded_again(sandbox: Sandbox, client: CdrClient, tmp_path: Path) -> None:
    path = tmp_path / "calls.checkpoint"
    async with client.follow(sandbox.start, checkpoint=path, lookback=DAYS) as feed:
        taken = [await anext(feed) for _ in range(700)]
    sandbox.delete(taken[-1].record.voice_id)  # while nobody follows
    rest, _ = await poll(client, path)
    again = [change for change in rest if change.record.voice_id == taken[-1].record.voice_id]
    assert [change.kind for change in again] == ["vanished"]
    keys = [change.key for change in taken[:-1] + rest]
    assert len(keys) == len({*keys}) == RECORDS


def follow_quickly(client: CdrClient, path: Path, **options: Any) -> tuple[ChangeFeed, list[float]]:  # noqa: ANN401
    """Return a feed that goes on at once instead of waiting, and the seconds that it would have waited."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0.005)

    source = ClientSource(client._fetcher, Filters(), None)
    follower = Follower(source, Filters(), FeedOptions(lookback=DAYS, **options), path, sleep=sleep)
    return ChangeFeed(follower), waits


def of_kind(events: list[Event], kind: EventKind) -> list[Event]:
    return [event for event in events if event.kind is kind]


async def test_an_outage_is_waited_out_and_a_refused_key_is_not(sandbox: Sandbox, tmp_path: Path) -> None:
    events: list[Event] = []
    retry = RetryPolicy(attempts=1)
    async with client_of(sandbox, hook=events.append, retry=retry) as client:
        path = tmp_path / "calls.checkpoint"
        await poll(client, path, since=sandbox.start)
        feed, waits = follow_quickly(client, path, every=3.0)
        async with feed:
            step = asyncio.ensure_future(anext(feed))
            sandbox.answer_next(*[-18] * 9)
            await until(lambda: bool(of_kind(events, EventKind.FEED_RESUMED)))
            waiting = of_kind(events, EventKind.FEED_WAITING)
            assert {event.error for event in waiting} == {"ServerFaultError"}
            announced = [event.delay for event in waiting]
            assert announced == [3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 300.0, 300.0][: len(announced)]
            assert len(announced) >= 4  # two requests a poll
            assert [wait for wait in waits if wait in announced] == announced
            (late,) = sandbox.insert()
            assert (await step).record.voice_id == late
            sandbox.rotate_key()
            with pytest.raises(AuthenticationError):
                await anext(feed)
            with pytest.raises(StopAsyncIteration):
                await anext(feed)


async def test_a_feed_waits_for_as_long_as_a_throttling_vendor_asks(sandbox: Sandbox, tmp_path: Path) -> None:
    events: list[Event] = []
    async with client_of(sandbox, hook=events.append, retry=RetryPolicy(attempts=1)) as client:
        path = tmp_path / "calls.checkpoint"
        await poll(client, path, since=sandbox.start)
        feed, waits = follow_quickly(client, path, every=3.0)
        async with feed:
            step = asyncio.ensure_future(anext(feed))
            await until(lambda: bool(waits))
            sandbox.add_faults(Fault("http", status=429, headers={"Retry-After": "700"}))
            await until(lambda: bool(of_kind(events, EventKind.FEED_RESUMED)))
            (waiting,) = of_kind(events, EventKind.FEED_WAITING)
            assert (waiting.error, waiting.delay) == ("ThrottledError", 700.0)
            assert waits.count(700.0) == 1
            (late,) = sandbox.insert()
            assert (await step).record.voice_id == late


async def test_a_feed_goes_on_after_the_calls_that_the_vendor_has_deleted(sandbox: Sandbox, tmp_path: Path) -> None:
    events: list[Event] = []
    path = tmp_path / "calls.checkpoint"
    async with client_of(sandbox, hook=events.append) as client:
        async with client.follow(sandbox.start, checkpoint=path, lookback=timedelta(hours=1)) as feed:
            await anext(feed)  # the feed catches up in steps of an hour
        kept = sandbox.start + timedelta(hours=12)
        sandbox.change(retention=datetime.now(UTC) - kept)
        rest, _ = await poll(client, path)
        (gap,) = of_kind(events, EventKind.FEED_GAP)
        assert gap.window is not None
        assert sandbox.start < gap.window.start <= sandbox.start + timedelta(hours=2)
        assert kept <= gap.window.end < kept + timedelta(hours=1)
        listed = await client.fetch_all(gap.window.end, sandbox.end)
        assert {change.kind for change in rest} == {"added"}
        assert sorted(change.record.voice_id for change in rest) == sorted(call.voice_id for call in listed)
        assert await poll(client, path) == ([], 2)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - neither have hooks
        await asyncio.sleep(0.005)


async def test_a_checkpoint_is_private_locked_and_belongs_to_one_query(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    path = tmp_path / "calls.checkpoint"
    phone = sandbox.rows()[0]["phoneName"]
    async with client.follow(sandbox.start, checkpoint=path, phone_name=phone, once=True) as feed:
        (change, *_) = [change async for change in feed]
        with pytest.raises(ExportConflictError, match="used by another feed"):
            await client.follow(checkpoint=path, phone_name=phone).__aenter__()
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    record = change.record
    for secret in (phone, record.callee, record.display_num, sandbox.api_key, sandbox.api_secret):
        assert str(secret).encode() not in content
    with pytest.raises(ExportConflictError, match="other filters"):
        await poll(client, path)
    other = CdrClient(sandbox.base_url, sandbox.api_key, "another-secret")
    async with other:
        with pytest.raises(ExportConflictError, match="another account"):
            await poll(other, path, phone_name=phone)


async def test_a_refused_second_feed_does_not_unlock_the_checkpoint(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    path = tmp_path / "calls.checkpoint"
    another_process = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN EXCLUSIVE')"
    async with client.follow(sandbox.start, checkpoint=path):
        with pytest.raises(ExportConflictError, match="used by another feed"):
            await client.follow(checkpoint=path).__aenter__()
        taken = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", another_process], check=False, capture_output=True, text=True
        )
    assert "database is locked" in taken.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_checkpoint_that_was_deleted_ends_the_feed(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path, *, is_replaced: bool
) -> None:
    path = tmp_path / "calls.checkpoint"
    async with client.follow(sandbox.start, checkpoint=path, lookback=DAYS, every=0.01) as feed:
        await anext(feed)
        path.unlink()
        if is_replaced:
            path.write_bytes(b"")
        with pytest.raises(StorageError, match="was deleted or replaced"):
            [change async for change in feed]


async def test_a_clock_ahead_of_the_vendor_begins_at_the_vendors_now(sandbox: Sandbox, client: CdrClient) -> None:
    sandbox.change(clock_offset=-600.0)
    async with client.follow(datetime.now(UTC), once=True) as feed:
        assert [change async for change in feed] == []
    with pytest.raises(ValueError, match="since lies in the future"):
        client.follow(datetime.now(UTC) + timedelta(days=2))


async def test_a_task_that_waits_ends_when_another_one_leaves_the_feed(sandbox: Sandbox, client: CdrClient) -> None:
    async with client.follow(sandbox.end) as feed:
        step = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        with pytest.raises(ClientStateError, match="another task"):
            await anext(feed)
        await next_poll(feed)
    with pytest.raises(StopAsyncIteration):
        await step


async def test_a_foreign_or_damaged_file_is_refused(sandbox: Sandbox, client: CdrClient, tmp_path: Path) -> None:
    path = tmp_path / "calls.checkpoint"
    path.write_text("a letter")
    with pytest.raises(ExportConflictError, match="not a checkpoint"):
        await poll(client, path, since=sandbox.start)
    assert path.read_text() == "a letter"
    path.unlink()
    await poll(client, path, since=sandbox.start)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(JournalDamagedError, match="damaged"):
        await poll(client, path, since=sandbox.start)


@pytest.mark.parametrize("damage", ["end = NULL", "end = end + 1", "end = 1e30", "read_at = 'x'"])
async def test_damaged_spans_are_refused(sandbox: Sandbox, client: CdrClient, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "calls.checkpoint"
    await poll(client, path, since=sandbox.start)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        # SQLite itself refuses other types than numbers there.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'end INTEGER NOT NULL', 'end')")
        connection.commit()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE spans SET {damage}")  # noqa: S608 - a constant
    with pytest.raises(JournalDamagedError, match="damaged"):
        await poll(client, path)


async def test_a_feed_is_entered_once_and_in_an_open_client(sandbox: Sandbox, client: CdrClient) -> None:
    feed = client.follow(sandbox.start)
    with pytest.raises(ClientStateError):
        await anext(feed)
    async with feed:
        pass
    for misuse in (feed.__aenter__, feed.__anext__):
        call: Callable[[], Awaitable[object]] = misuse
        with pytest.raises(ClientStateError):
            await call()
    with pytest.raises(ClientStateError):
        client_of(sandbox).follow(sandbox.start)
    with pytest.raises(ValueError, match="since must be an aware"):
        client.follow(sandbox.start.replace(tzinfo=None))


def test_the_blocking_client_iterates_a_feed(sandbox: Sandbox) -> None:
    with (
        BlockingCdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, count_delay=timedelta(0)) as client,
        client.follow(sandbox.start, lookback=DAYS, once=True) as feed,
    ):
        assert sorted(change.record.voice_id for change in feed) == sandbox.voice_ids()


KILLED = """
import asyncio, os, signal, sys
from datetime import datetime, timedelta
from aiosipcdr import CdrClient

async def main():
    url, key, secret, start, path, number = sys.argv[1:]
    async with CdrClient(url, key, secret, count_delay=timedelta(0)) as client:
        async with client.follow(datetime.fromisoformat(start), checkpoint=path, lookback=timedelta(days=3)) as feed:
            for _ in range(int(number)):
                change = await anext(feed)
                print(change.record.voice_id, change.key, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_a_kill_loses_nothing(sandbox: Sandbox, client: CdrClient, tmp_path: Path) -> None:
    path = tmp_path / "calls.checkpoint"
    arguments = [sandbox.base_url, sandbox.api_key, sandbox.api_secret, sandbox.start.isoformat(), str(path)]
    got: dict[str, str] = {}
    for number in ("640", "70"):
        root = str(Path(__file__).parent.parent.parent)
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", KILLED, *arguments, number],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        got |= dict(line.split() for line in killed.stdout.splitlines())
    rest, _ = await poll(client, path)
    assert {change.kind for change in rest} == {"added"}
    again = {change.record.voice_id: change.key for change in rest}
    assert got.keys() | again.keys() == {*sandbox.voice_ids()}
    assert all(key == got[voice_id] for voice_id, key in again.items() if voice_id in got)
