"""PostgreSQL: how it is reached, what a lost server leaves behind, schemas, and nothing private in an error."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from aiosipcdr.model.errors import ExportConflictError, StorageError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.sync.checkpoints import TableState
from aiosipcdr.sync.rows import Key
from aiosipcdr.sync.targets import Location
from aiosipcdr.sync.targets.postgres import PostgresTarget
from tests.clients import client_of
from tests.sync.databases import POSTGRES, expected_rows
from tests.sync.postgres_server import SERVER
from tests.sync.test_targets import BATCH, FULL, SPAN, opened, rows
from tests.sync.vendors import at

pytestmark = pytest.mark.needs("postgres")

PASSWORD = "sesame-open"
FULL_KEY = Key(FULL.voice_id, 0)


def connect(url: str, **names: str) -> PostgresTarget:
    target = PostgresTarget(Location.of(url, **names))
    try:
        target.open(dry_run=False)
    except BaseException:
        target.close()
        raise
    return target


@pytest.fixture
def url(tmp_path: Path) -> str:
    return POSTGRES.url(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://calls:{PASSWORD}@/calls?host=/no/such/folder",
        f"postgresql://calls:{PASSWORD}%zz@localhost/calls",  # cannot be parsed
        f"postgresql://calls:{PASSWORD}@localhost:port/calls",
        f"postgresql://calls@/calls?host=/no/such/folder&password={PASSWORD}",
    ],
)
def test_no_error_has_a_password(address: str) -> None:
    target = PostgresTarget(Location.of(address))
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        target.open(dry_run=False)
    assert caught.value.__context__ is None
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    # The frame of this test itself has it.
    assert PASSWORD not in shown.partition("in open")[2]
    assert "in _connect" in shown


@pytest.mark.parametrize("password", ["a@b", "a/b", "a?b"])
def test_a_password_that_is_not_encoded_is_refused_before_a_part_of_it_is_shown(password: str) -> None:
    with pytest.raises(ValueError, match="@ outside its user") as caught:
        Location.of(f"postgresql://calls:{password}@localhost/calls")
    assert password not in str(caught.value)
    assert Location.of("postgresql://calls:a%40b@localhost/calls").has_password


def test_missing_parts_of_the_url_come_from_the_environment_or_a_service_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = url.partition("host=")[2].partition("&")[0]
    service = tmp_path / "services"
    service.write_text(f"[calls]\nhost={host}\nuser=postgres\ndbname=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    connect("postgresql:///?service=calls", schema="by_service").close()
    monkeypatch.setenv("PGHOST", host)
    monkeypatch.setenv("PGUSER", "postgres")
    # Schemes as others write them.
    for one in ("postgresql://", "postgres:///postgres", "postgresql+psycopg:///postgres"):
        connect(one, schema="by_service").close()
    found = SERVER.run(url, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'by_service'")
    assert found == [(3,)]


def test_a_schema_is_created_and_two_schemas_are_two_tables(url: str) -> None:
    for schema in ("east", "West"):
        target = connect(url, schema=schema)
        target.commit(replace(BATCH, upserts=rows(CallDetailRecord(voice_id=schema))))
        target.close()
    assert SERVER.run(url, 'SELECT a.voice_id, b.voice_id FROM east.calls a, "West".calls b') == [("east", "West")]
    without = url.replace("search_path%3D", "search_path%3Dnowhere_")
    with pytest.raises(StorageError, match="search_path has no schema"):
        connect(without)


def test_a_schema_of_the_search_path_may_have_any_name(url: str) -> None:
    SERVER.run(url, 'CREATE SCHEMA "a""b"')
    target = connect(url.replace("search_path%3D", "search_path%3D%22a%22%22b%22%2C"))
    target.commit(replace(BATCH, upserts=rows(FULL)))
    target.close()
    assert SERVER.run(url, 'SELECT count(*) FROM "a""b".calls') == [(1,)]


def test_missing_rights_are_named(url: str, tmp_path: Path) -> None:
    with opened(POSTGRES, tmp_path):
        schema = SERVER.run(url, "SELECT current_schema()")[0][0]
        SERVER.run(url, f"CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA {schema} TO reader")
    with pytest.raises(StorageError, match="permission denied for table calls"):
        connect(url.replace("postgres@", "reader@"))


def test_a_row_that_breaks_a_constraint_of_yours_is_not_shown(url: str, tmp_path: Path) -> None:
    with opened(POSTGRES, tmp_path) as (target, _):
        SERVER.run(url, "ALTER TABLE calls ADD note TEXT NOT NULL DEFAULT 'new', ADD CHECK (callee NOT LIKE '+1%')")
        target.commit(replace(BATCH, upserts=rows(CallDetailRecord(voice_id="2")), spans=[SPAN]))
        with pytest.raises(StorageError, match="violates check constraint") as caught:
            target.commit(replace(BATCH, version=1, upserts=rows(FULL), spans=[replace(SPAN, count=99)]))
    assert "2125550123" not in str(caught.value)
    assert SERVER.run(url, "SELECT voice_id, note, call_count FROM calls, calls_checkpoints") == [("2", "new", 3)]


def kill_backend(process_id: int) -> None:
    """Kill a process of the server, and wait until the server has noticed: until then it accepts connections."""
    os.kill(process_id, signal.SIGKILL)
    with suppress(ProcessLookupError):
        while True:
            os.kill(process_id, 0)
            time.sleep(0.01)


@pytest.fixture
def lost_server(url: str) -> Iterator[None]:  # noqa: ARG001 - starts it
    """Wait at the end until the server has recovered."""
    yield
    SERVER.wait()


@pytest.mark.usefixtures("lost_server")
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_server_that_goes_away_at_the_commit_is_an_error_and_the_table_is_right(
    url: str, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(POSTGRES, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
    with opened(POSTGRES, tmp_path) as (target, state):
        assert isinstance(target, PostgresTarget)
        fetch = target._fetch

        def lose(statement: str, *values: object) -> object:
            if statement != "COMMIT":
                return fetch(statement, *values)
            if moment == "after the commit":
                fetch(statement)
            # The process of this connection; the server ends all others, and recovers.
            kill_backend(target._open_connection().info.backend_pid)
            return fetch("SELECT 1")

        monkeypatch.setattr(target, "_fetch", lose)
        with pytest.raises(StorageError, match="cannot be read or written"):
            target.commit(replace(BATCH, version=state.version, deleted=[FULL_KEY], spans=[replace(SPAN, count=2)]))
    SERVER.wait()
    is_done = moment == "after the commit"
    assert SERVER.run(url, "SELECT count(*) FROM calls") == [(not is_done,)]
    with opened(POSTGRES, tmp_path) as (_, state):
        assert state.version == 1 + is_done
        assert [span.count for span in state.spans] == [2 if is_done else 3]


async def test_a_lost_connection_ends_the_run_and_the_next_one_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls_until_today: None
) -> None:
    del calls_until_today
    held = PostgresTarget.held

    def lose(target: PostgresTarget, *arguments: object) -> object:
        monkeypatch.undo()
        SERVER.run(url, f"SELECT pg_terminate_backend({target._open_connection().info.backend_pid}, 5000)")
        return held(target, *arguments)  # type: ignore[arg-type]

    with Sandbox(records=50, days=1) as sandbox:
        async with client_of(sandbox, count_delay=timedelta(0)) as client:
            with monkeypatch.context() as patch:
                patch.setattr(PostgresTarget, "held", lose)
                with pytest.raises(StorageError, match="terminating connection"):
                    await client.sync(url, since=sandbox.start)
            assert (await client.sync(url, since=sandbox.start)).added == 50
            assert POSTGRES.live_rows(tmp_path) == expected_rows(sandbox)


def test_a_table_that_somebody_holds_is_not_waited_for_without_end(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(POSTGRES, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
    settings = ("SET lock_timeout = '50ms'",)
    monkeypatch.setattr("aiosipcdr.sync.targets.postgres._SETTINGS", settings)
    with psycopg.connect(url) as other, opened(POSTGRES, tmp_path) as (target, state):
        other.execute("LOCK TABLE calls")
        with pytest.raises(StorageError, match="lock timeout"):
            target.commit(replace(BATCH, version=state.version, deleted=[FULL_KEY]))
        other.rollback()
        target.commit(replace(BATCH, version=state.version, deleted=[FULL_KEY]))
    assert SERVER.run(url, "SELECT count(*) FROM calls") == [(0,)]


def test_a_dry_run_takes_no_lock_and_writes_nothing(url: str, tmp_path: Path) -> None:
    with opened(POSTGRES, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
        reader = PostgresTarget(Location.of(url))
        assert reader.open(dry_run=True) == TableState(version=1, owner=BATCH.owner, spans=[SPAN])
        with pytest.raises(StorageError, match="read-only"):
            reader.commit(replace(BATCH, version=1, deleted=[FULL_KEY]))
        assert [row.values[0] for row in reader.held([at(0)], [])] == [FULL.voice_id]
        reader.close()


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"aiosipcdr\[postgres\]"):
        connect("postgresql:///calls")


def test_two_runs_meet_in_one_schema_only(url: str, tmp_path: Path) -> None:
    with opened(POSTGRES, tmp_path):
        connect(url, table="others").close()
        connect(url, schema="elsewhere").close()
        with pytest.raises(ExportConflictError, match="another sync of"):
            connect(url)
