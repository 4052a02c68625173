"""Each target: all changes of a batch or none, exact values, one run at a time, and a schema that is checked."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiosipcdr.model.errors import ExportConflictError, StorageError
from aiosipcdr.model.records import CallDetailRecord, ExtraFields
from aiosipcdr.sync.checkpoints import Span, TableState
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key, TableRow, to_values
from aiosipcdr.sync.targets import Batch, Location, Target, open_target
from tests.sync.databases import DATABASES, FILES, SQL, Database
from tests.sync.vendors import OWNER, at

everywhere = pytest.mark.parametrize("database", DATABASES)
in_sql = pytest.mark.parametrize("database", SQL)
in_files = pytest.mark.parametrize("database", FILES)

SPAN = Span(start=at(0), end=at(60), count=3, read_at=at(100))
BATCH = Batch(version=0, owner=OWNER, at=at(200))

FULL = CallDetailRecord(
    voice_id="1",
    sip_group_name="客服一组",
    callee="+12125550123",
    submit_time=datetime(2026, 6, 1, 8, 0, 0, 123456, tzinfo=UTC),
    hangup_time=datetime(2026, 6, 1, 16, 0, tzinfo=UTC),
    call_duration=59,
    cost=Decimal("0.012400000001"),
    settle_pay=Decimal("-12345678901234567890123456.000000000001"),
    extra=ExtraFields({"region": '"EU"', "callTime": '"yesterday"'}),
)


@contextmanager
def opened(database: Database, folder: Path, table: str = "calls") -> Iterator[tuple[Target, TableState]]:
    target = open_target(Location.of(database.url(folder), table=table))
    try:
        yield target, target.open(dry_run=False)
    finally:
        target.close()


def rows(*records: CallDetailRecord, leg: int = 0) -> list[TableRow]:
    return [TableRow(values, leg, SPAN.start) for values in to_values(records)]


@everywhere
def test_values_come_back_exactly(database: Database, tmp_path: Path) -> None:
    empty = CallDetailRecord(voice_id="2")
    with opened(database, tmp_path) as (target, state):
        assert state == TableState()
        target.commit(replace(BATCH, upserts=rows(FULL, empty), spans=[SPAN]))
    with opened(database, tmp_path) as (target, state):
        assert state == TableState(version=1, owner=OWNER, spans=[SPAN])
        held = sorted(target.held([SPAN.start], []), key=lambda row: row.key)
    assert [row.values for row in held] == [*to_values([FULL, empty])]
    assert held[0]._replace(values=()) == HeldRow((), 0, SPAN.start, has_vanished=False)
    # As anyone else reads them.
    ((callee, cost, pay, *others, extra),) = database.run(
        tmp_path,
        "SELECT callee, cost, settle_pay, call_duration, leg, vanished_at, extra FROM calls WHERE voice_id = '1'",
    )
    assert (callee, Decimal(cost), Decimal(pay), *others) == (FULL.callee, FULL.cost, FULL.settle_pay, 59, 0, None)
    assert extra == '{"callTime":"yesterday","region":"EU"}'


@everywhere
def test_text_with_a_nul_is_kept_in_extra(database: Database, tmp_path: Path) -> None:
    broken = CallDetailRecord(voice_id="a\0b'\\", callee="+1212\0", extra=ExtraFields({"zone": "1"}))
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(broken)))
        (held,) = target.held([], [value for value, *_ in to_values([broken])])
    assert [held.values] == [*to_values([broken])]
    found = database.run(tmp_path, "SELECT voice_id, callee, extra FROM calls")
    assert found == [("a\\u0000b'\\", None, '{"callee":"+1212\\u0000","zone":1}')]


@everywhere
def test_rows_are_replaced_marked_moved_and_deleted(database: Database, tmp_path: Path) -> None:
    records = [CallDetailRecord(voice_id=str(number), call_duration=number) for number in range(5)]
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(*records), spans=[SPAN]))
        later = replace(SPAN, count=2)
        target.commit(
            replace(
                BATCH,
                version=1,
                at=at(300),
                upserts=[*rows(CallDetailRecord(voice_id="0", call_duration=9)), *rows(records[0], leg=1)],
                vanished=[Key("1", 0)],
                deleted=[Key("2", 0)],
                moved=[(Key("3", 0), at(60))],
                spans=[later, Span(start=at(60), end=at(90))],
            )
        )
        assert {row.key: row.has_vanished for row in target.held([SPAN.start], [])} == {
            ("0", 0): False,
            ("0", 1): False,
            ("1", 0): True,
            ("4", 0): False,
        }
        # Rows of other spans are found by their ids, also legs.
        assert {row.key for row in target.held([at(60)], ["0", "7"])} == {("0", 0), ("0", 1), ("3", 0)}
        target.commit(replace(BATCH, version=2, upserts=rows(records[1])))
        assert not any(row.has_vanished for row in target.held([SPAN.start], []))
    with opened(database, tmp_path) as (_, state):
        assert state.spans == [later, Span(start=at(60), end=at(90))]
        assert state.version == 3
    durations = database.run(tmp_path, "SELECT voice_id, leg, call_duration FROM calls ORDER BY voice_id, leg")
    assert durations == [("0", 0, 9), ("0", 1, 0), ("1", 0, 1), ("3", 0, 3), ("4", 0, 4)]


@everywhere
def test_another_transaction_meanwhile_is_noticed_and_nothing_is_written(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
        with pytest.raises(ExportConflictError, match="another sync has changed"):
            target.commit(replace(BATCH, upserts=rows(CallDetailRecord(voice_id="2")), spans=[SPAN]))
        assert [row.key for row in target.held([SPAN.start], [])] == [("1", 0)]
    with opened(database, tmp_path) as (_, state):
        assert (state.version, state.spans) == (1, [])


@everywhere
def test_a_failed_transaction_changes_nothing(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
        broken = TableRow((None, *rows(FULL)[0].values[1:]), 0, SPAN.start)
        with pytest.raises(StorageError) as caught:
            target.commit(replace(BATCH, version=1, upserts=[*rows(CallDetailRecord(voice_id="2")), broken]))
        assert "12125550123" not in str(caught.value)
        assert [row.key for row in target.held([SPAN.start], [])] == [("1", 0)]
        target.commit(replace(BATCH, version=1, spans=[SPAN]))


@everywhere
def test_one_run_at_a_time(database: Database, tmp_path: Path) -> None:
    with (
        opened(database, tmp_path),
        pytest.raises(ExportConflictError, match=r"another sync of .* is running"),
        opened(database, tmp_path),
    ):
        pass
    with opened(database, tmp_path):
        pass


@in_files
def test_files_are_private(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) >= 2
    assert {*modes.values()} == {0o600}


@everywhere
def test_a_dry_run_creates_nothing(database: Database, tmp_path: Path) -> None:
    target = open_target(Location.of(database.url(tmp_path)))
    assert target.open(dry_run=True) == TableState()
    assert target.held([at(0)], ["1"]) == []
    target.close()
    assert [*tmp_path.iterdir()] == []
    with opened(database, tmp_path, table="others"):
        pass
    target = open_target(Location.of(database.url(tmp_path)))
    assert target.open(dry_run=True) == TableState()
    assert target.held([at(0)], ["1"]) == []
    target.close()


@in_sql
def test_a_later_field_is_added_and_other_columns_are_left_alone(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
    database.run(tmp_path, "ALTER TABLE calls RENAME COLUMN settle_pay TO paid")
    database.run(tmp_path, "ALTER TABLE calls ADD COLUMN note VARCHAR")
    database.run(tmp_path, "UPDATE calls SET note = 'mine'")
    with opened(database, tmp_path) as (target, _):
        (held,) = target.held([SPAN.start], [])
        assert held.values[FIELDS.index("settle_pay")] is None
        target.commit(replace(BATCH, version=1, upserts=rows(FULL)))
    assert database.run(tmp_path, "SELECT note FROM calls") == [("mine",)]


@in_sql
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            "ALTER TABLE calls RENAME COLUMN cost TO price; ALTER TABLE calls ADD COLUMN cost DOUBLE PRECISION",
            "(?i)cost is double",
        ),
        ("ALTER TABLE calls DROP COLUMN synced_at", "synced_at is missing"),
    ],
)
def test_a_schema_that_differs_is_refused_with_the_sql_to_run(
    database: Database, tmp_path: Path, change: str, what: str
) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
    for statement in change.split(";"):
        database.run(tmp_path, statement)
    with pytest.raises(ExportConflictError, match=what) as caught, opened(database, tmp_path):
        pass
    statement = str(caught.value).partition("with: ")[2]
    database.run(tmp_path, statement)
    with opened(database, tmp_path) as (target, state):
        assert state == TableState()
        target.commit(replace(BATCH, upserts=rows(FULL)))
    assert database.run(tmp_path, "SELECT count(*) FROM calls_before") == [(1,)]


@in_sql
def test_rows_without_checkpoints_are_refused_and_checkpoints_without_rows_are_forgotten(
    database: Database, tmp_path: Path
) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
    database.run(tmp_path, "DROP TABLE calls_checkpoints")
    with pytest.raises(ExportConflictError, match="its checkpoints are missing") as caught, opened(database, tmp_path):
        pass
    database.run(tmp_path, str(caught.value).partition("with: ")[2])
    with opened(database, tmp_path) as (target, state):
        assert state == TableState()
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
    database.run(tmp_path, "DROP TABLE calls")
    with opened(database, tmp_path) as (_, state):
        assert state == TableState()


@in_sql
def test_tables_of_another_version_are_refused(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path):
        pass
    database.run(tmp_path, "UPDATE calls_sync SET layout = 99")
    with pytest.raises(ExportConflictError, match="another version of aiosipcdr"), opened(database, tmp_path):
        pass


@in_files
def test_a_file_that_is_no_database_is_refused(database: Database, tmp_path: Path) -> None:
    path = tmp_path / database.file
    path.write_bytes(b"calls: 12125550123\n" * 100)
    with pytest.raises(StorageError), opened(database, tmp_path):
        pass
    assert path.read_bytes().startswith(b"calls")


@everywhere
def test_two_tables_in_one_database(database: Database, tmp_path: Path) -> None:
    for table in ("calls", "others"):
        with opened(database, tmp_path, table) as (target, state):
            assert state == TableState()
            target.commit(replace(BATCH, upserts=rows(CallDetailRecord(voice_id=table))))
    assert database.run(tmp_path, "SELECT voice_id FROM others") == [("others",)]
    assert database.run(tmp_path, "SELECT voice_id FROM calls") == [("calls",)]


@everywhere
def test_a_table_of_another_kind_with_the_name_of_the_checkpoints_is_left_alone(
    database: Database, tmp_path: Path
) -> None:
    with opened(database, tmp_path, "calls_sync") as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
    with pytest.raises(ExportConflictError, match="another table with this name"), opened(database, tmp_path):
        pass
    with opened(database, tmp_path, "calls_sync") as (target, state):
        assert state.spans == [SPAN]
        assert [row.key for row in target.held([SPAN.start], [])] == [("1", 0)]


@in_files
def test_names_of_tables_are_equal_in_any_case(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
        with pytest.raises(ExportConflictError, match="is running"), opened(database, tmp_path, "CALLS"):
            pass
    with opened(database, tmp_path, "CALLS") as (_, state):
        assert state.spans == [SPAN]


@in_files
def test_a_link_to_the_file_has_the_lock_of_the_file(database: Database, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    with opened(database, tmp_path):
        (tmp_path / "links" / database.file).symlink_to(tmp_path / database.file)
        with pytest.raises(ExportConflictError, match="is running"), opened(database, tmp_path / "links"):
            pass


@in_sql
def test_a_row_that_the_table_refuses_is_not_quoted(database: Database, tmp_path: Path) -> None:
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL)))
    database.run(tmp_path, "CREATE UNIQUE INDEX mine ON calls (callee)")
    with opened(database, tmp_path) as (target, _):
        with pytest.raises(StorageError, match=r"(?i)unique|duplicate key$") as caught:
            target.commit(replace(BATCH, version=1, upserts=rows(replace(FULL, voice_id="Anna"))))
        assert "12125550123" not in str(caught.value)
        assert "Anna" not in str(caught.value)


@everywhere
def test_ids_may_have_any_characters(database: Database, tmp_path: Path) -> None:
    ids = {"a\0b", "\0", 'o"', "'; DROP TABLE calls; --", "\u2028😀", "1" * 5_000, ""}
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(*(CallDetailRecord(voice_id=one) for one in ids))))
        stored = {one.replace("\0", "\\u0000") for one in ids}
        assert {row.key.voice_id for row in target.held([], stored)} == stored
        assert [row.key.voice_id for row in target.held([], ["a\\u0000b"])] == ["a\\u0000b"]
        assert target.held([], ["a"]) == []


@in_files
def test_a_missing_folder_is_named(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder does not exist"), opened(database, tmp_path / "missing"):
        pass


@everywhere
def test_many_ids_are_looked_up_at_once(database: Database, tmp_path: Path) -> None:
    records = [CallDetailRecord(voice_id=str(number), submit_time=at(number)) for number in range(2_000)]
    with opened(database, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(*records)))
        found = target.held([], {str(number) for number in range(1_000, 40_000)})
    assert len(found) == 1_000
    assert all(row.values[FIELDS.index("submit_time")] == at(int(row.values[0])) for row in found)
