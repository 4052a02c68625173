"""A table follows the vendor's list over sockets, whatever happens to the list, and says what it cannot prove."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiosipcdr import CdrClient
from aiosipcdr.model.errors import (
    ClientStateError,
    ExportConflictError,
    IncompleteRangeError,
    OutOfTimeRangeError,
    StorageError,
)
from aiosipcdr.model.sync import SyncReport
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.sync import synchronizer
from tests.clients import client_of
from tests.selection import some
from tests.sync.databases import DATABASES, SQLITE, Database, expected_rows

CENTURY = timedelta(days=36_500)
NOTHING = (0, 0, 0)
DEFAULTS: dict[str, Any] = synchronizer.Synchronizer.__init__.__kwdefaults__ or {}

Sync = Callable[..., Awaitable[SyncReport]]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A sandbox whose calls end today, with legs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        with Sandbox(records=240, days=2, leg_every=12, account="sync") as sandbox:
            yield sandbox


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox as it was at first; spans have about sixty calls."""
    server.reset()
    monkeypatch.setattr("aiosipcdr.sync.spans.SPAN_ROWS", 60)
    return server


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[CdrClient]:
    """A client that waits for nothing."""
    async with client_of(sandbox, count_delay=timedelta(0)) as client:
        yield client


@pytest.fixture
def sync(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> Sync:
    """Sync the table in SQLite, with a lookback over everything."""

    async def run(**options: Any) -> SyncReport:  # noqa: ANN401 - those of `CdrClient.sync`
        sandbox.reset_stats()
        settings: dict[str, Any] = {"since": sandbox.start, "lookback": timedelta(days=30)} | options
        return await client.sync(SQLITE.url(tmp_path), **settings)

    return run


def changes(report: SyncReport) -> tuple[int, int, int]:
    return report.added, report.changed, report.vanished


def single_ids(sandbox: Sandbox) -> list[str]:
    """Return the ids of calls with one row, oldest first."""
    rows = Counter(sandbox.voice_ids())
    return [voice_id for voice_id, number in rows.items() if number == 1]


def select(folder: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / SQLITE.file)) as connection, connection:
        return connection.execute(statement, values).fetchall()


@pytest.mark.parametrize("database", DATABASES)
async def test_a_table_follows_the_list(
    database: Database, sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    url, ids = database.url(tmp_path), single_ids(sandbox)
    lookback = timedelta(days=30)
    first = await client.sync(url, since=sandbox.start, lookback=lookback)
    assert changes(first) == (len(sandbox.voice_ids()), 0, 0)
    assert first.certified
    assert first.certified_until == first.checked_at
    assert database.live_rows(tmp_path) == expected_rows(sandbox)

    sandbox.reset_stats()
    quiet = await client.sync(url, since=sandbox.start, lookback=lookback)
    assert (changes(quiet), quiet.spans_read) == (NOTHING, 0)
    assert quiet.requests == sandbox.stats.requests <= 10

    sandbox.insert(at=sandbox.start + timedelta(hours=30))
    late = await client.sync(url, lookback=lookback)  # the table knows since when
    assert (changes(late), late.spans_read) == ((1, 0, 0), 1)

    sandbox.delete(ids[40], ids[160])
    gone = await client.sync(url, lookback=lookback)
    assert changes(gone) == (0, 0, 2)
    # A row near the bound of its span, which depends on the time of day, has the neighbour read as well.
    assert 2 <= gone.spans_read <= 4
    assert gone.spans_counted >= 1

    sandbox.update(ids[100], cost="0.9900")
    assert changes(await client.sync(url, lookback=lookback)) == NOTHING  # it has the same count
    again = await client.sync(url, lookback=lookback, deep=True)
    assert changes(again) == (0, 1, 0)
    assert again.unchanged == len(sandbox.voice_ids()) - 1
    assert database.live_rows(tmp_path) == expected_rows(sandbox)
    marked = database.run(tmp_path, "SELECT voice_id FROM calls WHERE vanished_at IS NOT NULL ORDER BY voice_id")
    assert marked == sorted([(ids[40],), (ids[160],)])


async def test_a_late_call_does_not_hide_a_vanished_one(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    sandbox.delete(single_ids(sandbox)[0])
    sandbox.insert(at=sandbox.end - timedelta(hours=3))
    assert changes(await sync()) == (1, 0, 1)
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


@pytest.mark.parametrize(("on_vanished", "left"), [("mark", 1), ("delete", 0), ("keep", 1)])
async def test_vanished_rows_are_marked_deleted_or_kept(
    sandbox: Sandbox, sync: Sync, tmp_path: Path, on_vanished: str, left: int
) -> None:
    await sync()
    gone = single_ids(sandbox)[50]
    sandbox.delete(gone)
    assert changes(await sync(on_vanished=on_vanished)) == (0, 0, 1)
    found = select(tmp_path, "SELECT vanished_at FROM calls WHERE voice_id = ?", gone)
    assert len(found) == left
    if on_vanished == "mark":
        assert datetime.fromisoformat(found[0][0]).tzinfo is not None
    elif left:
        assert found == [(None,)]
    # The list it is compared with is that of this run.
    assert changes(await sync(on_vanished=on_vanished)) == NOTHING


async def test_a_call_that_is_back_is_live_again(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    (row,) = [one for one in sandbox.rows() if one["voiceId"] == single_ids(sandbox)[50]]
    sandbox.delete(row["voiceId"])
    assert changes(await sync()) == (0, 0, 1)
    sandbox.add_rows([row | {"cost": "7.77"}])
    assert changes(await sync()) == (1, 0, 0)
    found = select(tmp_path, "SELECT leg, cost, vanished_at FROM calls WHERE voice_id = ?", row["voiceId"])
    assert found == [(0, "7.77", None)]


async def test_legs_are_numbered_by_time_and_keep_their_numbers(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    legs = select(tmp_path, "SELECT voice_id FROM calls WHERE leg = 1 ORDER BY voice_id")
    assert len(legs) > 3
    (voice_id,) = legs[0]
    query = "SELECT leg, cost FROM calls WHERE voice_id = ? AND vanished_at IS NULL ORDER BY submit_time"
    assert [leg for leg, _ in select(tmp_path, query, voice_id)] == [0, 1]
    rows = [row for row in sandbox.rows() if row["voiceId"] == voice_id]
    sandbox.delete(voice_id)
    sandbox.add_rows([rows[0] | {"cost": "9.99"}, rows[1] | {"cost": "0.01"}])
    assert changes(await sync(deep=True)) == (0, 2, 0)
    assert select(tmp_path, query, voice_id) == [(0, "9.99"), (1, "0.01")]
    sandbox.delete(voice_id)
    sandbox.add_rows([rows[1] | {"cost": "0.01"}])
    assert changes(await sync()) == (0, 0, 1)
    assert select(tmp_path, query, voice_id) == [(1, "0.01")]


@pytest.mark.parametrize(
    "inclusive", some([(True, True), (True, False), (False, False), (False, True)], every=2), ids=str
)
async def test_a_call_at_a_bound_has_one_owner(
    sandbox: Sandbox, sync: Sync, tmp_path: Path, inclusive: tuple[bool, bool]
) -> None:
    sandbox.change(start_inclusive=inclusive[0], end_inclusive=inclusive[1])
    await sync()
    bounds = [
        datetime.fromisoformat(start) for (start,) in select(tmp_path, "SELECT span_start FROM calls_checkpoints")
    ]
    assert len(bounds) >= 4
    inside = [bound for bound in sorted(bounds)[1:] if bound < sandbox.end][:3]
    for bound in inside:
        for second in (-1, 0, 1):
            sandbox.insert(at=bound + timedelta(seconds=second))
    assert changes(await sync()) == (9, 0, 0)
    assert changes(await sync(deep=True)) == NOTHING
    assert changes(await sync()) == NOTHING
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_unproven_spans_change_nothing(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    before = SQLITE.live_rows(tmp_path)
    sandbox.delete(*single_ids(sandbox)[:3])
    sandbox.insert()
    sandbox.change(wrong_total=2)
    report = await sync()
    assert changes(report) == NOTHING
    assert report.unproven == report.spans_read + report.unproven > 0
    assert not report.certified
    assert report.certified_until is None or report.certified_until < report.checked_at
    assert SQLITE.live_rows(tmp_path) == before
    sandbox.change(wrong_total=0)
    assert changes(await sync()) == (1, 0, 3)
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_a_first_sync_of_which_nothing_is_proven_ends_early_and_is_made_up_for(
    sandbox: Sandbox, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiosipcdr.sync.spans.SPAN_ROWS", 15)
    sandbox.change(wrong_total=2)
    report = await sync()
    assert (changes(report), report.certified_until) == (NOTHING, None)
    assert report.unproven > 10
    assert sandbox.stats.requests < 50 * report.unproven
    sandbox.change(wrong_total=0)
    assert changes(await sync()) == (len(sandbox.voice_ids()), 0, 0)
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_a_span_with_quarantined_rows_adds_and_changes_but_nothing_vanishes(
    sandbox: Sandbox, sync: Sync, tmp_path: Path
) -> None:
    await sync()
    gone, changed = single_ids(sandbox)[40:42]
    moment = datetime.fromisoformat(next(row for row in sandbox.rows() if row["voiceId"] == gone)["submitTime"])
    sandbox.add_rows([{"submitTime": moment.isoformat(), "cost": "1"}])
    sandbox.insert(at=moment)
    sandbox.update(changed, cost="0.9900")
    sandbox.delete(gone)
    report = await sync(deep=True)
    assert changes(report) == (1, 1, 0)
    assert (report.quarantined, report.certified) == (1, False)
    held = select(tmp_path, "SELECT call_count FROM calls_checkpoints WHERE call_count IS NULL")
    assert len(held) == 1
    # The span is read again, as long as something in it cannot be read.
    again = await sync()
    assert (changes(again), again.quarantined, again.spans_read) == (NOTHING, 1, 1)
    sandbox.reset()
    sandbox.delete(gone)
    report = await sync()
    assert (report.vanished, report.certified) == (2, True)


async def test_a_field_that_cannot_be_read_is_null_with_its_json_in_extra(
    sandbox: Sandbox, sync: Sync, tmp_path: Path
) -> None:
    sandbox.update(single_ids(sandbox)[3], cost="a lot")
    report = await sync()
    assert report.faulty_fields == {"cost": 1}
    assert report.certified
    found = select(tmp_path, "SELECT cost, extra FROM calls WHERE extra IS NOT NULL")
    assert [(cost, msgspec.json.decode(extra)) for cost, extra in found] == [(None, {"cost": "a lot"})]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens in each pause; there are no others, and none takes time."""
    happens: list[Callable[[], object]] = []

    async def pause(seconds: float) -> None:
        assert seconds == synchronizer.RECHECK_SECONDS
        happens.pop(0)()

    monkeypatch.setitem(DEFAULTS, "pause", pause)
    return happens


async def test_many_rows_vanish_only_after_a_second_reading_and_with_consent(
    sandbox: Sandbox, sync: Sync, tmp_path: Path, pauses: list[Callable[[], object]]
) -> None:
    await sync()
    before = SQLITE.live_rows(tmp_path)
    gone = single_ids(sandbox)[80:140]
    sandbox.delete(*gone)
    pauses.append(lambda: None)
    with pytest.raises(IncompleteRangeError, match="rows would vanish") as caught:
        await sync()
    assert caught.value.window is not None
    assert SQLITE.live_rows(tmp_path) == before
    # They are listed again a minute later: a replica had lost them.
    pauses.append(sandbox.reset)
    assert changes(await sync()) == NOTHING
    sandbox.delete(*gone)
    report = await sync(allow_mass_vanish=True)
    assert report.vanished > 50
    assert pauses == []
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_a_few_rows_vanish_without_a_word(sandbox: Sandbox, sync: Sync) -> None:
    await sync()
    sandbox.delete(*single_ids(sandbox)[:20])
    assert (await sync()).vanished == 20


async def test_the_calls_of_another_question_are_refused(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    before = (tmp_path / SQLITE.file).read_bytes()
    with pytest.raises(ExportConflictError, match="other filters"):
        await sync(sip_group_name="sales-us")
    with pytest.raises(ExportConflictError, match="other filters"):
        await sync(phone_name="sip101", dry_run=True)
    sandbox.rotate_key()
    async with client_of(sandbox) as other:
        with pytest.raises(ExportConflictError, match="another account") as caught:
            await other.sync(SQLITE.url(tmp_path), since=sandbox.start)
        assert (tmp_path / SQLITE.file).read_bytes() == before
        assert sandbox.api_key.encode() not in before
        select(tmp_path, str(caught.value).partition("sync again: ")[2].rstrip(";"))
        assert changes(await other.sync(SQLITE.url(tmp_path), lookback=timedelta(days=30))) == NOTHING


async def test_filters_select_the_rows(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    report = await sync(sip_group_name="sales-us")
    expected = [row for row in sandbox.rows() if row["sipGroupName"] == "sales-us"]
    assert changes(report) == (len(expected), 0, 0)
    assert changes(await sync(sip_group_name="sales-us", deep=True)) == NOTHING
    (names,) = select(tmp_path, "SELECT group_concat(DISTINCT sip_group_name) FROM calls")
    assert names == ("sales-us",)


async def test_calls_deleted_by_retention_are_kept(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    await sync()
    before = SQLITE.live_rows(tmp_path)
    report = await sync()
    age = report.checked_at - sandbox.end
    kept = age + timedelta(hours=20)
    sandbox.change(retention=kept, months_back=None)
    boundary = report.checked_at - kept
    sandbox.delete(*[row["voiceId"] for row in sandbox.rows(end=boundary)])
    for options in ({}, {"deep": True}):
        report = await sync(**options)
        assert changes(report) == NOTHING
    assert 0 < report.unchanged < len(before)
    assert SQLITE.live_rows(tmp_path) == before


async def test_new_time_that_the_vendor_has_deleted_is_no_silent_gap(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    sandbox.change(retention=timedelta(hours=40), months_back=None)
    with pytest.raises(OutOfTimeRangeError) as caught:
        await client.sync(SQLITE.url(tmp_path), since=sandbox.start)
    assert caught.value.available_from is not None
    later = caught.value.available_from + timedelta(minutes=5)
    report = await client.sync(SQLITE.url(tmp_path), since=later)
    assert report.added == len(sandbox.rows(start=later))


async def test_a_table_that_was_not_synced_for_too_long_goes_on_with_a_gap_only_if_told_so(
    sandbox: Sandbox, sync: Sync, tmp_path: Path
) -> None:
    await sync()
    # As if the last run had been long ago.
    ((first, end),) = select(tmp_path, "SELECT min(span_start), min(span_end) FROM calls_checkpoints")
    select(tmp_path, "DELETE FROM calls_checkpoints WHERE span_start > ?", first)
    select(tmp_path, "DELETE FROM calls WHERE span_start > ?", first)
    kept = SQLITE.live_rows(tmp_path)
    now = datetime.now(UTC)
    sandbox.change(retention=now - datetime.fromisoformat(end) - timedelta(hours=2), months_back=None)
    with pytest.raises(OutOfTimeRangeError) as caught:
        await sync()
    assert "sync with a later since" in caught.value.__notes__[0]
    assert SQLITE.live_rows(tmp_path) == kept
    since = datetime.fromisoformat(end) + timedelta(hours=3)
    report = await sync(since=since)
    assert changes(report) == (len(sandbox.rows(start=since)), 0, 0)
    assert report.certified_until == datetime.fromisoformat(end)
    assert changes(await sync(since=since, deep=True)) == NOTHING


async def test_since_may_be_earlier_than_before(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    middle = sandbox.start + timedelta(hours=24)
    part = await sync(since=middle)
    assert 0 < part.added < len(sandbox.voice_ids())
    assert changes(await sync(since=sandbox.end)) == NOTHING  # a later one changes nothing
    rest = await sync()
    assert part.added + rest.added == len(sandbox.voice_ids())
    assert (rest.changed, rest.vanished) == (0, 0)
    assert changes(await sync(deep=True)) == NOTHING
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


@pytest.mark.parametrize("inclusive", some([(True, True), (False, False)], every=2), ids=str)
async def test_with_a_known_time_field_the_table_begins_exactly(
    sandbox: Sandbox, sync: Sync, tmp_path: Path, inclusive: tuple[bool, bool]
) -> None:
    sandbox.change(start_inclusive=inclusive[0], end_inclusive=inclusive[1])
    since = sandbox.start + timedelta(hours=24)
    for second in (-1, 0, 1):
        sandbox.insert(at=since + timedelta(seconds=second))
    expected = [row for row in expected_rows(sandbox) if row[1] >= since]
    await sync(since=since, time_field="submit_time")
    assert SQLITE.live_rows(tmp_path) == expected
    assert changes(await sync(since=since, time_field="submit_time")) == NOTHING
    assert changes(await sync(since=since, time_field="submit_time", deep=True)) == NOTHING


async def test_a_dry_run_reports_and_writes_nothing(sandbox: Sandbox, sync: Sync, tmp_path: Path) -> None:
    report = await sync(dry_run=True)
    assert changes(report) == (len(sandbox.voice_ids()), 0, 0)
    assert report.dry_run
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a short question
    await sync()
    before = (tmp_path / SQLITE.file).read_bytes()
    sandbox.delete(single_ids(sandbox)[7])
    sandbox.insert()
    assert changes(await sync(dry_run=True)) == (1, 0, 1)
    assert (tmp_path / SQLITE.file).read_bytes() == before
    assert changes(await sync()) == (1, 0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_transaction_that_was_killed_is_rolled_back_whatever_comes_next(
    sandbox: Sandbox, sync: Sync, tmp_path: Path
) -> None:
    await sync()
    for options in ({"dry_run": True}, {"since": None}):
        child = os.fork()
        if not child:
            connection = sqlite3.connect(tmp_path / SQLITE.file, isolation_level=None)
            connection.execute("PRAGMA cache_size = 1")  # pages are written before the transaction ends
            connection.execute("BEGIN")
            connection.execute("UPDATE calls SET cost = '66'")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it has killed itself
        assert (tmp_path / f"{SQLITE.file}-journal").stat().st_size
        assert changes(await sync(**options)) == NOTHING
        assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_a_second_sync_of_the_same_table_is_refused(
    sandbox: Sandbox, client: CdrClient, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[BaseException] = []

    async def begin(_: object) -> None:  # while the first one runs
        with pytest.raises(ExportConflictError, match="another sync of") as caught:
            await client.sync(SQLITE.url(tmp_path), since=sandbox.start)
        refused.append(caught.value)

    await sync()
    sandbox.delete(*single_ids(sandbox)[80:140])
    monkeypatch.setitem(DEFAULTS, "pause", begin)
    with pytest.raises(IncompleteRangeError):
        await sync()
    assert len(refused) == 1


async def test_calls_after_the_last_run_are_read_together_with_a_small_last_span(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    url = SQLITE.url(tmp_path)
    await client.sync(url, since=sandbox.start, lookback=timedelta(days=30))
    spans = select(tmp_path, "SELECT count(*) FROM calls_checkpoints")
    for seconds in (0, 1.1):  # the call lies in the last span, and there is no or some new time without calls
        # Listed now, not late.
        sandbox.insert(at=(await client.sync(url, lookback=timedelta(days=30))).checked_at)
        await asyncio.sleep(seconds)
        report = await client.sync(url, lookback=timedelta(days=30))
        while not report.added:
            report = await client.sync(url, lookback=timedelta(days=30))
        assert changes(report) == (1, 0, 0)
    assert select(tmp_path, "SELECT count(*) FROM calls_checkpoints") == spans
    assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)


async def test_bad_arguments_are_refused_before_anything_happens(
    sandbox: Sandbox, client: CdrClient, tmp_path: Path
) -> None:
    url = SQLITE.url(tmp_path)
    sandbox.reset_stats()
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("calls.db", {}, "must have a scheme"),
        ("oracle://host/calls", {}, "must begin with one of"),
        ("sqlite://calls.db", {}, "must name a file after three slashes"),
        ("sqlite:///", {}, "must name a file after three slashes"),
        ("sqlite:///calls.db?mode=memory", {}, "no options"),
        (url, {"table": "calls; DROP TABLE calls"}, "table must be a plain name"),
        (url, {"schema": '"main"'}, "schema must be a plain name"),
        (url, {"on_vanished": "drop"}, "on_vanished must be"),
        (url, {"lookback": 3}, "lookback must be a timedelta"),
        (url, {"time_field": "submitTime"}, "time_field must be"),
        (url, {"schema": "main"}, "SQLite has no schemas"),
        (url, {"since": datetime(2026, 6, 1)}, "since must be an aware datetime"),  # noqa: DTZ001 - what is refused
        (url, {"phone_name": ""}, "phone_name must be"),
    ]
    for address, options, what in bad:
        with pytest.raises(ValueError, match=what):
            await client.sync(address, **({"since": sandbox.start} | options))
    with pytest.raises(ValueError, match="since is missing"):
        await client.sync(url)
    assert sandbox.stats.requests == 0
    with pytest.raises(ValueError, match="lies in the future"):
        await client.sync(url, since=sandbox.end + CENTURY)
    with pytest.raises(StorageError, match="folder does not exist"):
        await client.sync(SQLITE.url(tmp_path / "missing"), since=sandbox.start)
    closed = client_of(sandbox)
    with pytest.raises(ClientStateError):
        await closed.sync(url, since=sandbox.start)


def test_a_report_is_a_sentence_and_json(sandbox: Sandbox) -> None:
    report = SyncReport(
        table="sqlite:///calls.db, table calls",
        added=1_204,
        vanished=2,
        unproven=1,
        quarantined=3,
        faulty_fields={"cost": 1},
        checked_at=sandbox.end,
        certified_until=sandbox.end,
        requests=17,
        dry_run=True,
    )
    text = str(report)
    assert "1,204 added, 0 changed, 2 vanished" in text
    assert "1 span NOT proven" in text
    assert "3 records quarantined" in text
    assert "dry run" in text
    facts = msgspec.json.decode(msgspec.json.encode(report.facts()))
    assert facts["certified"] is False
    assert facts["certified_until"] == sandbox.end.isoformat()
