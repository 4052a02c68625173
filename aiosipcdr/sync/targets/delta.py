"""Delta Lake target: a folder with one Delta table for the calls, and two small ones for checkpoints and owner.

Delta Lake has transactions of one table. Each commit of the table of calls therefore carries the changes of the two
others, and the number of the transaction as Delta's transaction identifier. They are written after it; after a kill in
between, the next run writes them from that commit.
"""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aiosipcdr.export.filesystem import describe_kind, storage_errors
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.arrow import load_pyarrow
from aiosipcdr.model.errors import ExportConflictError, StorageError, clean_words
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key
from aiosipcdr.sync.targets import Batch
from aiosipcdr.sync.targets.arrow import (
    arrow_schema,
    from_rows,
    from_spans,
    keys_and_starts,
    select_rows,
    table_schema,
    to_rows,
    with_plain_text,
)
from aiosipcdr.sync.targets.location import Location
from aiosipcdr.sync.targets.lock import TableLock
from aiosipcdr.sync.targets.sql import (
    CHECKPOINT_COLUMNS,
    COLUMNS,
    LAYOUT,
    STATE_COLUMNS,
    Kind,
    check_replaceable,
    compare_columns,
    describe_layout,
    describe_newer,
    join_names,
)

if TYPE_CHECKING:
    import deltalake

__all__ = ["DeltaTarget"]

_TYPES: dict[Kind, str] = {"text": "string", "integer": "long", "time": "timestamp", "money": "decimal(38,12)"}
_APPLICATION: Final = "aiosipcdr"
_PRIVATE: Final = 0o700

# Ids that may be part of a statement.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:@-]+")

_GAP: Final = timedelta(days=1)
_MAX_RANGES: Final = 20


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    # What a commit of the table of calls carries: the row of the table of owner and version, and checkpoints.
    layout: int = LAYOUT
    version: int = 0
    owner: Owner | None = None
    certified_until: datetime | None = None
    checked_at: datetime | None = None
    spans: list[Span] = []


class DeltaTarget:
    """A table in a folder of Delta tables; see `Target`. A new folder is readable only by its owner."""

    def __init__(self, location: Location) -> None:
        """Keep the location."""
        self._location = location
        self._path = Path(location.path)
        self._lock = TableLock(location)
        self._calls: deltalake.DeltaTable | None = None
        self._spans: dict[datetime, Span] = {}
        self._looked_up: set[str] = set()
        self._starts: dict[Key, datetime] = {}

    def open(self, *, dry_run: bool) -> TableState:
        """See `Target.open`."""
        try:
            import deltalake  # noqa: F401 - whether it is there
        except ImportError as error:
            raise MissingExtraError("a target of Delta Lake needs deltalake", "delta", name=error.name) from None
        load_pyarrow()
        with storage_errors(self._path):
            if self._path.exists() and not self._path.is_dir():
                kind = describe_kind(self._path.stat().st_mode) or "a file"
                raise ExportConflictError(f"{self._path} is {kind}, not a folder of Delta Lake: choose another path")
            if not dry_run:
                self._lock.take()
                self._path.mkdir(mode=_PRIVATE, exist_ok=True)
        with self._errors():
            self._calls = self._load(self._location.table)
            if self._calls is None:
                if dry_run:
                    return TableState()
                for name, expected in (
                    (self._location.checkpoints, CHECKPOINT_COLUMNS),
                    (self._location.state, STATE_COLUMNS),
                ):
                    if (other := self._load(name)) is not None:
                        check_replaceable(f'"{name}"', [field.name for field in other.schema().fields], expected)
                # The others first: they may be left from a table that was removed.
                self._write_state(_Entry())
                self._calls = self._create()
            elif not dry_run:
                self._check_columns(self._calls)
            return self._recover(self._calls, dry_run=dry_run)

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """See `Target.held`."""
        if self._calls is None:  # a dry run of a new table
            return []
        with self._errors():
            rows = [*self._find(spans, ids)]
        self._looked_up.update(ids)
        self._starts |= {row.key: row.span_start for row in rows}
        return rows

    def commit(self, batch: Batch) -> None:
        """See `Target.commit`."""
        calls = self._calls
        assert calls is not None  # noqa: S101 - see open
        entry = _Entry(
            version=batch.version + 1,
            owner=batch.owner,
            certified_until=batch.certified_until,
            checked_at=batch.checked_at,
            spans=[*batch.spans],
        )
        with self._errors():
            calls.update_incremental()
            self._check_version(calls, batch.version)
            try:
                self._write_calls(calls, batch, entry)
            except Exception:
                calls.update_incremental()
                self._check_version(calls, batch.version)  # somebody's commit was faster
                raise
            self._looked_up.clear()
            self._starts.clear()
            self._write_state(entry)

    def close(self) -> None:
        """See `Target.close`."""
        self._calls = None
        self._lock.release()

    def _load(self, table: str) -> "deltalake.DeltaTable | None":
        from deltalake import DeltaTable

        path = self._path / table
        return DeltaTable(str(path)) if (path / "_delta_log").is_dir() else None

    def _create(self) -> "deltalake.DeltaTable":
        from deltalake import DeltaTable

        path = self._path / self._location.table
        return DeltaTable.create(str(path), table_schema(), commit_properties=_properties(_Entry()))

    def _check_columns(self, calls: "deltalake.DeltaTable") -> None:
        from deltalake import Field
        from deltalake.schema import PrimitiveType

        fields = json.loads(calls.schema().to_json())["fields"]
        existing = {field["name"]: field["type"] if isinstance(field["type"], str) else "nested" for field in fields}
        wrong, missing = compare_columns(existing, COLUMNS, _TYPES)
        if wrong:
            raise ExportConflictError(
                f"the table {self._location.table} is not the one that a sync writes: {'; '.join(wrong)}."
                f" {self._describe_move()}"
            )
        if missing:
            calls.alter.add_columns([Field(column.name, PrimitiveType(_TYPES[column.kind])) for column in missing])

    def _recover(self, calls: "deltalake.DeltaTable", *, dry_run: bool) -> TableState:
        # Returns the state of the table of calls; writes the other two again if a kill kept them from being written.
        version = calls.transaction_version(_APPLICATION)
        state = self._read_state()
        if state is not None and state.layout != LAYOUT:
            raise ExportConflictError(describe_layout(self._location.table, state.layout))
        if version is None or state is None:
            if any(batch.num_rows for batch in self._read(("leg",), "TRUE LIMIT 1")):
                raise ExportConflictError(
                    f"the table {self._location.table} holds rows, but its checkpoints are missing, so it is unknown"
                    f" whose calls they are and which of them were read. {self._describe_move()}"
                )
            state = _Entry(version=version or 0)
            if not dry_run:
                self._write_state(state)
                self._commit_nothing(calls, state)
        elif state.version != version:
            entry = self._find_entry(calls, version) if state.version == version - 1 else None
            if entry is None:
                raise ExportConflictError(
                    f"the table {self._location.table} is of transaction {version}, its checkpoints are of transaction"
                    f" {state.version}: one of them was restored to an older state. {self._describe_move()}"
                )
            if dry_run:
                self._spans |= {span.start: span for span in entry.spans}
            else:
                self._write_state(entry)
            state = entry
        spans = [self._spans[start] for start in sorted(self._spans)]
        return TableState(version=state.version, owner=state.owner, spans=spans)

    def _find_entry(self, calls: "deltalake.DeltaTable", version: int) -> _Entry | None:
        for commit in calls.history():
            if _APPLICATION in commit:
                entry = msgspec.json.decode(commit[_APPLICATION], type=_Entry)
                return entry if entry.version == version else None
        return None

    def _read_state(self) -> _Entry | None:
        # Reads the checkpoints, too.
        state, checkpoints = self._load(self._location.state), self._load(self._location.checkpoints)
        if state is None or checkpoints is None:
            return None
        (row,) = state.to_pyarrow_table().to_pylist()
        columns, names = [column.name for column in CHECKPOINT_COLUMNS], ["start", "end", "count", "read_at"]
        spans = checkpoints.to_pyarrow_table(columns=columns).rename_columns(names)
        self._spans = {span.start: span for span in msgspec.convert(spans.to_pylist(), list[Span])}
        row["owner"] = None if row["owner"] is None else msgspec.json.decode(row["owner"], type=Owner)
        return msgspec.convert(row, _Entry)

    def _write_state(self, entry: _Entry) -> None:
        # The version last: if it is written, all is.
        from deltalake import write_deltalake

        pa = load_pyarrow()
        self._spans |= {span.start: span for span in entry.spans}
        spans = [self._spans[start] for start in sorted(self._spans)]
        owner = None if entry.owner is None else msgspec.json.encode(entry.owner).decode()
        values = [entry.layout, entry.version, owner, entry.certified_until, entry.checked_at]
        row = pa.table([[value] for value in values], schema=arrow_schema(STATE_COLUMNS))
        for table, rows in ((self._location.checkpoints, from_spans(spans)), (self._location.state, row)):
            write_deltalake(str(self._path / table), rows, mode="overwrite", schema_mode="overwrite")

    def _check_version(self, calls: "deltalake.DeltaTable", version: int) -> None:
        if calls.transaction_version(_APPLICATION) != version:
            raise ExportConflictError(describe_newer(self._location))

    def _find(self, spans: Collection[datetime], ids: Collection[str]) -> Iterator[HeldRow]:
        # First the spans of the ids, which needs two columns. Files whose statistics exclude a range are not read.
        starts = {*spans}
        for batch in self._read(("voice_id", "span_start"), _describe_ids(ids)):
            starts.update(select_rows(batch, ids).column("span_start").unique().to_pylist())
        columns = [*FIELDS, "leg", "span_start", "vanished_at"]
        for batch in self._read(columns, _describe_starts(starts)):
            yield from to_rows(select_rows(batch, ids, spans))

    def _read(self, columns: Sequence[str], where: str) -> Iterator[Any]:
        # By deltalake's own engine: filters of pyarrow fail on text that a merge has written.
        from deltalake import QueryBuilder

        assert self._calls is not None  # noqa: S101 - see open
        query = f"SELECT {join_names(columns)} FROM calls WHERE {where}"
        reader = QueryBuilder().register("calls", self._calls).execute(query)
        for batch in load_pyarrow().RecordBatchReader.from_stream(reader):
            yield with_plain_text(batch)

    def _write_calls(self, calls: "deltalake.DeltaTable", batch: Batch, entry: _Entry) -> None:
        from deltalake import write_deltalake

        keys = [*batch.vanished, *batch.deleted, *(key for key, _ in batch.moved)]
        keys += [Key(row.values[0], row.leg) for row in batch.upserts]
        if unknown := {key.voice_id for key in keys} - self._looked_up:
            self.held((), unknown)
        starts = [self._starts[key] for key in keys if key in self._starts]
        upserts = from_rows(batch.upserts, batch.at)
        if not starts:
            # "merge": columns of yours may be missing in the rows.
            properties = _properties(entry)
            write_deltalake(calls, upserts, mode="append", schema_mode="merge", commit_properties=properties)
            return
        # Files outside of what the table holds of the rows are not read.
        names = [column.name for column in COLUMNS]
        (
            calls.merge(
                _with_actions(upserts, batch),
                f"t.voice_id = s.voice_id AND t.leg = s.leg AND ({_describe_starts(starts, 't.')})",
                source_alias="s",
                target_alias="t",
                commit_properties=_properties(entry),
            )
            .when_matched_update({name: f"s.{name}" for name in names}, predicate="s.action = 'upsert'")
            .when_matched_update({"vanished_at": "s.vanished_at"}, predicate="s.action = 'mark'")
            .when_matched_update({"span_start": "s.span_start"}, predicate="s.action = 'move'")
            .when_matched_delete(predicate="s.action = 'delete'")
            .when_not_matched_insert({name: f"s.{name}" for name in names}, predicate="s.action = 'upsert'")
            .execute()
        )

    def _commit_nothing(self, calls: "deltalake.DeltaTable", entry: _Entry) -> None:
        from deltalake import write_deltalake

        rows, properties = table_schema().empty_table(), _properties(entry)
        write_deltalake(calls, rows, mode="append", schema_mode="merge", commit_properties=properties)

    def _describe_move(self) -> str:
        path = str(self._path / self._location.table)
        return (
            "Choose another name with table=, or move it away and have it filled anew, with:"
            f" mv {shlex.quote(path)} {shlex.quote(f'{path}_before')}"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (ExportConflictError, StorageError):
            raise
        except (DeltaError, OSError) as error:
            raise StorageError(f"{self._location} cannot be read or written: {clean_words(str(error))}") from None
        except (ValueError, TypeError, ArithmeticError, msgspec.ValidationError, msgspec.DecodeError):
            raise StorageError(
                f"{self._location} holds values that a sync does not write: repair them, or use another table"
            ) from None


def _properties(entry: _Entry) -> "deltalake.CommitProperties":
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata={_APPLICATION: msgspec.json.encode(entry).decode()},
        app_transactions=[Transaction(_APPLICATION, entry.version)],
    )


def _with_actions(upserts: Any, batch: Batch) -> Any:  # noqa: ANN401 - pyarrow has no types
    # The source of a merge: each row with what to do about it.
    pa = load_pyarrow()
    tables = [upserts.append_column("action", pa.array(["upsert"] * len(upserts)))]
    parts: list[tuple[str, Sequence[tuple[Key, datetime | None]]]] = [
        ("mark", [(key, None) for key in batch.vanished]),
        ("delete", [(key, None) for key in batch.deleted]),
        ("move", batch.moved),
    ]
    for action, keys in parts:
        marked_at = pa.array([batch.at if action == "mark" else None] * len(keys), pa.timestamp("us", tz="UTC"))
        table = keys_and_starts(keys).append_column("vanished_at", marked_at)
        tables.append(table.append_column("action", pa.array([action] * len(keys), pa.string())))
    joined = pa.concat_tables(tables, promote_options="default")
    return joined.cast(pa.schema([pa.field(field.name, field.type) for field in joined.schema]))


def _describe_ids(ids: Collection[str]) -> str:
    # A condition that rows with these ids meet.
    if not ids:
        return "FALSE"
    first, last = min(ids), max(ids)
    if not _PLAIN.fullmatch(first + last):
        return "TRUE"
    return f"voice_id BETWEEN '{first}' AND '{last}'"


def _describe_starts(starts: Collection[datetime], table: str = "") -> str:
    # A condition that rows of these spans meet: a range, or a few that are far from each other.
    if not starts:
        return "FALSE"
    times = sorted(starts)
    gaps = [index for index, (one, other) in enumerate(pairwise(times), 1) if other - one > _GAP]
    bounds = [0, *(gaps if len(gaps) < _MAX_RANGES else []), len(times)]
    ranges = [(times[first].astimezone(UTC), times[last - 1].astimezone(UTC)) for first, last in pairwise(bounds)]
    return " OR ".join(
        f"({table}span_start >= '{first.isoformat()}' AND {table}span_start <= '{last.isoformat()}')"
        for first, last in ranges
    )
