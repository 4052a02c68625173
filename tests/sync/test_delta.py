"""Delta Lake: a kill between its two writes, writers at the same time, what others do to the tables, and the files."""

import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.schema import PrimitiveType
from msgspec.structs import replace

from aiosipcdr.model.errors import ExportConflictError, StorageError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.sync.checkpoints import Span, TableState
from aiosipcdr.sync.rows import FIELDS, Key
from aiosipcdr.sync.targets import Batch, Location
from aiosipcdr.sync.targets.delta import DeltaTarget, _describe_starts, _Entry
from tests.sync.databases import DELTA
from tests.sync.test_targets import BATCH, FULL, SPAN, opened, rows
from tests.sync.vendors import at

CHANGE = replace(
    BATCH, version=1, deleted=[Key("1", 0)], spans=[replace(SPAN, count=2), Span(start=at(60), end=at(90))]
)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """The folder of a table with one row and one checkpoint."""
    with opened(DELTA, tmp_path) as (target, _):
        target.commit(replace(BATCH, upserts=rows(FULL), spans=[SPAN]))
    return tmp_path / DELTA.file / "calls"


def state_of(folder: Path, *, dry_run: bool) -> TableState:
    target = DeltaTarget(Location.of(DELTA.url(folder)))
    try:
        return target.open(dry_run=dry_run)
    finally:
        target.close()


@pytest.mark.parametrize("written", [0, 1])
def test_checkpoints_that_a_kill_kept_from_being_written_are_written_by_the_next_run(
    tmp_path: Path, calls: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = written

    def write(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of deltalake
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write_deltalake(*arguments, **options)

    with opened(DELTA, tmp_path) as (target, _), monkeypatch.context() as patch:
        patch.setattr("deltalake.write_deltalake", write)
        with pytest.raises(KeyboardInterrupt):
            target.commit(CHANGE)
    assert DELTA.run(tmp_path, "SELECT count(*) FROM calls") == [(0,)]
    assert DELTA.run(tmp_path, "SELECT version FROM calls_sync") == [(1,)]
    DeltaTable(calls).optimize.compact()  # somebody's own commit, which carries nothing
    expected = TableState(version=2, owner=CHANGE.owner, spans=[*CHANGE.spans])
    for dry_run in (True, False, True):
        assert state_of(tmp_path, dry_run=dry_run) == expected
    assert DELTA.run(tmp_path, "SELECT version FROM calls_sync") == [(2,)]
    assert DELTA.run(tmp_path, "SELECT call_count FROM calls_checkpoints ORDER BY span_start") == [(2,), (None,)]


def test_a_commit_that_another_one_overtakes_is_refused_by_its_identifier(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Locks do not work on every file system.
    monkeypatch.setattr("aiosipcdr.sync.targets.lock.lock_file", lambda _: True)
    check = DeltaTarget._check_version
    other = DeltaTarget(Location.of(DELTA.url(tmp_path)))
    other.open(dry_run=False)

    def overtake(target: DeltaTarget, *arguments: object) -> None:
        check(target, *arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        other.commit(replace(BATCH, version=1, upserts=rows(CallDetailRecord(voice_id="2"))))

    with opened(DELTA, tmp_path) as (target, _):
        monkeypatch.setattr(DeltaTarget, "_check_version", overtake)
        with pytest.raises(ExportConflictError, match="another sync has changed"):
            target.commit(CHANGE)
    other.close()
    assert sorted(DELTA.run(tmp_path, "SELECT voice_id FROM calls")) == [("1",), ("2",)]
    # Also where nothing but the identifier is in conflict.
    stale = DeltaTable(calls)
    stale.load_as_version(stale.version() - 1)
    with pytest.raises(DeltaError, match=r"(?i)concurrent transaction"):
        DeltaTarget(Location.of(DELTA.url(tmp_path)))._commit_nothing(stale, _Entry(version=2))


def test_only_files_with_rows_of_a_change_are_rewritten(tmp_path: Path) -> None:
    spans = [Span(start=at(86_400 * day), end=at(86_400 * (day + 1)), count=1) for day in range(4)]
    with opened(DELTA, tmp_path) as (target, _):
        for version, span in enumerate(spans):
            # Ids that do not rise with time: the ranges of all files overlap.
            batch = [CallDetailRecord(voice_id=voice_id) for voice_id in (f"a{version}", f"z{version}")]
            upserts = [row._replace(span_start=span.start) for row in rows(*batch)]
            target.commit(replace(BATCH, version=version, upserts=upserts, spans=[span]))
        path = tmp_path / DELTA.file / "calls"
        before = {*DeltaTable(path).file_uris()}
        assert len(before) == 4
        held = target.held([spans[2].start], ["a0", "a2", "z2"])
        assert sorted(row.key for row in held) == [("a0", 0), ("a2", 0), ("z2", 0)]
        changed = rows(CallDetailRecord(voice_id="a2", call_duration=1))[0]._replace(span_start=spans[2].start)
        target.commit(replace(BATCH, version=4, upserts=[changed], vanished=[Key("a0", 0)]))
        after = {*DeltaTable(path).file_uris()}
        assert len(before & after) == 2
        (metrics,) = [commit["operationMetrics"] for commit in DeltaTable(path).history(1)]
        assert int(metrics["num_target_files_scanned"]) == 2
    assert DELTA.run(tmp_path, "SELECT count(*), sum(call_duration), count(vanished_at) FROM calls") == [(8, 1, 1)]


def test_ranges_of_spans_are_few() -> None:
    near, far = [at(0), at(60)], at(10 * 86_400)
    assert _describe_starts([]) == "FALSE"
    assert _describe_starts([*near, far], "t.").count("t.span_start >=") == 2
    assert _describe_starts([at(2 * 86_400 * day) for day in range(100)]).count(">=") == 1


def test_changes_of_others_to_the_tables_are_kept(tmp_path: Path, calls: Path) -> None:
    table = DeltaTable(calls)
    table.alter.add_columns([Field("note", PrimitiveType("string"))])
    table.update({"note": "'mine'"})
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    table.create_checkpoint()
    with opened(DELTA, tmp_path) as (target, state):
        assert state == TableState(version=1, owner=BATCH.owner, spans=[SPAN])
        target.commit(replace(BATCH, version=1, upserts=rows(FULL, CallDetailRecord(voice_id="2"))))
        target.commit(replace(BATCH, version=2, upserts=rows(CallDetailRecord(voice_id="3"))))
    notes = DELTA.run(tmp_path, "SELECT voice_id, note FROM calls ORDER BY voice_id")
    assert notes == [("1", "mine"), ("2", None), ("3", None)]


def test_a_later_field_is_added(tmp_path: Path, calls: Path) -> None:
    table = DeltaTable(calls)
    older = table.to_pyarrow_table().drop_columns(["settle_pay"])
    write_deltalake(calls, older, mode="overwrite", schema_mode="overwrite")
    with opened(DELTA, tmp_path) as (target, _):
        (held,) = target.held([SPAN.start], [])
        assert held.values[FIELDS.index("settle_pay")] is None
        target.commit(replace(BATCH, version=1, upserts=rows(FULL)))
        (held,) = target.held([SPAN.start], [])
    assert held.values[FIELDS.index("settle_pay")] == FULL.settle_pay


@pytest.mark.parametrize(
    ("column", "what"),
    [("cost", "cost is double instead of decimal"), ("synced_at", "synced_at is missing")],
)
def test_a_schema_that_differs_is_refused_with_the_command_to_run(
    tmp_path: Path, calls: Path, column: str, what: str
) -> None:
    changed = DeltaTable(calls).to_pyarrow_table().drop_columns([column])
    if column == "cost":
        changed = changed.append_column(column, pa.array([0.1], pa.float64()))
    write_deltalake(calls, changed, mode="overwrite", schema_mode="overwrite")
    with pytest.raises(ExportConflictError, match=what) as caught:
        state_of(tmp_path, dry_run=False)
    assert str(caught.value).endswith(f"mv {calls} {calls}_before")
    calls.rename(f"{calls}_before")
    # The checkpoints of the table that was moved away are not those of the new one.
    assert state_of(tmp_path, dry_run=False) == TableState()
    assert DELTA.run(tmp_path, "SELECT count(*) FROM calls_checkpoints") == [(0,)]


def test_rows_without_checkpoints_or_of_another_time_are_refused(tmp_path: Path, calls: Path) -> None:
    with opened(DELTA, tmp_path) as (target, _):
        target.commit(CHANGE)
        target.commit(replace(BATCH, version=2, upserts=rows(FULL)))
    state = calls.with_name("calls_sync")
    versions = DeltaTable(state).version()
    DeltaTable(state).restore(versions - 2)
    with pytest.raises(ExportConflictError, match="is of transaction 3, its checkpoints are of transaction 1"):
        state_of(tmp_path, dry_run=False)
    state.rename(tmp_path / "elsewhere")
    with pytest.raises(ExportConflictError, match="its checkpoints are missing"):
        state_of(tmp_path, dry_run=False)
    DeltaTable(calls).delete()
    assert state_of(tmp_path, dry_run=False).version == 3  # an empty table is filled anew


def test_tables_of_another_version_are_refused(tmp_path: Path, calls: Path) -> None:
    DeltaTable(calls.with_name("calls_sync")).update({"layout": "99"})
    with pytest.raises(ExportConflictError, match="another version of aiosipcdr"):
        state_of(tmp_path, dry_run=False)


def test_the_command_that_removes_the_owner_does_so(tmp_path: Path, calls: Path) -> None:
    del calls
    python, option, program = shlex.split(Location.of(DELTA.url(tmp_path)).forget_owner)
    assert (python, option) == ("python3", "-c")
    exec(program, {})  # noqa: S102 - as the shell would run it
    assert state_of(tmp_path, dry_run=False) == TableState(version=1, owner=None, spans=[SPAN])


def test_a_new_folder_is_private_and_a_file_is_refused(tmp_path: Path, calls: Path) -> None:
    assert stat.S_IMODE(calls.parent.stat().st_mode) == 0o700
    with pytest.raises(StorageError, match="folder does not exist"):
        state_of(tmp_path / "missing", dry_run=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DELTA.file).write_bytes(b"calls")
    for dry_run in (True, False):
        with pytest.raises(ExportConflictError, match="not a folder of Delta Lake"):
            state_of(tmp_path / "other", dry_run=dry_run)
    with pytest.raises(ValueError, match="has no schemas"):
        Location.of(DELTA.url(tmp_path), schema="main")


def test_a_table_is_of_one_batch_after_another(tmp_path: Path) -> None:
    # Many small transactions, with Delta's own checkpoint of its log in between.
    with opened(DELTA, tmp_path) as (target, _):
        for version in range(4):
            batch = Batch(version=version, owner=BATCH.owner, at=at(version), spans=[replace(SPAN, count=version)])
            target.commit(batch)
            if version == 2:
                DeltaTable(tmp_path / DELTA.file / "calls").create_checkpoint()
    assert state_of(tmp_path, dry_run=False).spans == [replace(SPAN, count=3)]


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(ImportError, match=r"aiosipcdr\[delta\]"):
        state_of(tmp_path, dry_run=True)
