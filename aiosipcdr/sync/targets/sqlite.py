"""SQLite target: the embedded database of Python's standard library.

SQLite has no exact decimals and no times. Money is text with the vendor's digits ("0.0124"), times are text in UTC that
SQLite's date functions read and that sorts by time ("2026-10-01T00:00:12+00:00").
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from aiosipcdr.export.filesystem import create_private, describe_kind, storage_errors
from aiosipcdr.model.errors import ExportConflictError, StorageError
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.rows import FIELDS, HeldRow, TableRow
from aiosipcdr.sync.targets import Batch
from aiosipcdr.sync.targets.location import Location
from aiosipcdr.sync.targets.lock import TableLock
from aiosipcdr.sync.targets.sql import (
    CHECKPOINT_COLUMNS,
    COLUMNS,
    KEY,
    LAYOUT,
    STATE_COLUMNS,
    Column,
    Kind,
    check_columns,
    check_replaceable,
    create_table,
    describe_layout,
    describe_newer,
    describe_orphan,
    join_names,
    quote,
)

__all__ = ["SqliteTarget"]

_TYPES: dict[Kind, str] = {"text": "TEXT", "integer": "INTEGER", "time": "TEXT", "money": "TEXT"}
_TIMES = [index for index, column in enumerate(COLUMNS[: len(FIELDS)]) if column.kind == "time"]
_MONEY = [index for index, column in enumerate(COLUMNS[: len(FIELDS)]) if column.kind == "money"]
_BUSY_SECONDS = 60.0


class SqliteTarget:
    """A table in a file of SQLite; see `Target`. A new file is readable only by its owner."""

    def __init__(self, location: Location) -> None:
        """Keep the location."""
        self._location = location
        self._path = Path(location.path)
        self._lock = TableLock(location)
        self._connection: sqlite3.Connection | None = None
        self._table = quote(location.table)
        self._checkpoints = quote(location.checkpoints)
        self._state = quote(location.state)

    def open(self, *, dry_run: bool) -> TableState:
        """See `Target.open`."""
        with storage_errors(self._path):
            is_new = not self._path.exists()
            if not is_new and (kind := describe_kind(self._path.stat().st_mode)):
                raise ExportConflictError(f"{self._path} is {kind}, not a file of SQLite: choose another path")
            if dry_run and is_new:
                return TableState()
            if not dry_run:
                self._lock.take()
                if is_new:
                    with suppress(FileExistsError):  # another table of the same file was first
                        os.close(create_private(self._path))
        with self._errors():
            self._connection = self._connect("ro" if dry_run else "rw")
            if dry_run:
                self._recover()
                return self._read_state() if self._exists(self._table) and self._exists(self._state) else TableState()
            with self._transaction():
                self._prepare()
                return self._read_state()

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"{self._path.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def _recover(self) -> None:
        # A transaction that was killed is rolled back by the first connection that may write, not by one for reading.
        try:
            self._exists(self._table)
        except sqlite3.OperationalError:
            with closing(self._connect("rw")) as connection:
                connection.execute("SELECT 1 FROM sqlite_master").fetchall()

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """See `Target.held`."""
        if self._connection is None or not self._exists(self._table):  # a dry run of a new table
            return []
        columns = join_names([*FIELDS, "leg", "span_start", "vanished_at"])
        special = [one for one in ids if "\0" in one]  # the end of a text in JSON
        statement = (
            f"SELECT {columns} FROM {self._table} WHERE span_start IN (SELECT value FROM json_each(?))"
            f" OR voice_id IN (SELECT value FROM json_each(?)) OR voice_id IN ({', '.join('?' * len(special))})"
        )
        with self._errors():
            starts = json.dumps([_to_text(start) for start in spans])
            return [_to_row(row) for row in self._execute(statement, starts, json.dumps([*ids]), *special)]

    def commit(self, batch: Batch) -> None:
        """See `Target.commit`."""
        at = _to_text(batch.at)
        with self._errors(), self._transaction():
            state = (LAYOUT, batch.version + 1, *_state_values(batch))
            settings = ", ".join(f"{quote(column.name)} = ?" for column in STATE_COLUMNS)
            updated = self._execute(f"UPDATE {self._state} SET {settings} WHERE version = ?", *state, batch.version)
            if updated.rowcount != 1:
                raise ExportConflictError(describe_newer(self._location))
            self._upsert(self._table, COLUMNS, KEY, (_to_stored(row, at) for row in batch.upserts))
            where = "WHERE voice_id = ? AND leg = ?"
            self._execute_many(
                f"UPDATE {self._table} SET vanished_at = ? {where}",
                ((at, *key) for key in batch.vanished),
            )
            self._execute_many(f"DELETE FROM {self._table} {where}", batch.deleted)
            self._execute_many(
                f"UPDATE {self._table} SET span_start = ? {where}",
                ((_to_text(start), *key) for key, start in batch.moved),
            )
            rows = ((_to_text(one.start), _to_text(one.end), one.count, _to_text(one.read_at)) for one in batch.spans)
            self._upsert(self._checkpoints, CHECKPOINT_COLUMNS, ("span_start",), rows)

    def close(self) -> None:
        """See `Target.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._lock.release()

    def _prepare(self) -> None:
        # Creates missing tables, and checks existing ones.
        if self._exists(self._table):
            info = self._execute(f"PRAGMA table_info({self._table})").fetchall()
            key = [name for _, name, *_, position in sorted(info, key=lambda row: row[-1]) if position]
            added = check_columns(self._table, {row[1]: row[2] for row in info}, COLUMNS, _TYPES, key=key)
            for statement in added:
                self._execute(statement)
            is_known = self._exists(self._checkpoints) and self._exists(self._state)
            if is_known:
                return
            if self._execute(f"SELECT 1 FROM {self._table} LIMIT 1").fetchone():
                raise ExportConflictError(describe_orphan(self._table))
        else:
            self._execute(create_table(self._table, COLUMNS, KEY, _TYPES))
        index = quote(f"{self._location.table}_span_start")
        self._execute(f"DROP INDEX IF EXISTS {index}")  # of a table that was moved away
        self._execute(f"CREATE INDEX {index} ON {self._table} (span_start)")
        for name, columns in ((self._checkpoints, CHECKPOINT_COLUMNS), (self._state, STATE_COLUMNS)):
            existing = [row[1] for row in self._execute(f"PRAGMA table_info({name})")]  # of a table that was dropped
            check_replaceable(name, existing, columns)
            self._execute(f"DROP TABLE IF EXISTS {name}")
        self._execute(create_table(self._checkpoints, CHECKPOINT_COLUMNS, ("span_start",), _TYPES))
        self._execute(create_table(self._state, STATE_COLUMNS, (), _TYPES))
        self._execute(f"INSERT INTO {self._state} (layout, version) VALUES (?, 0)", LAYOUT)

    def _read_state(self) -> TableState:
        found = self._execute(f"SELECT layout, version, owner FROM {self._state}").fetchone()
        if found is None or found[0] != LAYOUT:
            raise ExportConflictError(describe_layout(self._location.table, found and found[0]))
        owner = None if found[2] is None else msgspec.json.decode(found[2], type=Owner)
        rows = self._execute(f"SELECT {join_names(CHECKPOINT_COLUMNS)} FROM {self._checkpoints} ORDER BY span_start")
        spans = [
            Span(start=_to_time(start), end=_to_time(end), count=count, read_at=read_at and _to_time(read_at))
            for start, end, count, read_at in rows
        ]
        return TableState(version=found[1], owner=owner, spans=spans)

    def _exists(self, name: str) -> bool:
        statement = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"
        return self._execute(statement, name.strip('"')).fetchone() is not None

    def _upsert(
        self, table: str, columns: Sequence[Column], key: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        others = [column.name for column in columns if column.name not in key]
        replaced = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in others)
        places = ", ".join("?" * len(columns))
        self._execute_many(
            f"INSERT INTO {table} ({join_names(columns)}) VALUES ({places})"
            f" ON CONFLICT ({join_names(key)}) DO UPDATE SET {replaced}",
            rows,
        )

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        assert self._connection is not None  # noqa: S101 - see open
        return self._connection.execute(statement, values)

    def _execute_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        assert self._connection is not None  # noqa: S101 - see open
        self._connection.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # some errors have ended the transaction
                self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        # SQLite's texts name tables, columns and constraints, never values.
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{self._location} cannot be written: {error}") from None
        except (ValueError, TypeError, ArithmeticError, msgspec.DecodeError):
            raise StorageError(
                f"{self._location} holds values that a sync does not write: repair them, or use another table"
            ) from None


def _state_values(batch: Batch) -> tuple[object, ...]:
    owner = msgspec.json.encode(batch.owner).decode()
    return owner, _to_text(batch.certified_until), _to_text(batch.checked_at)


def _to_text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _to_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _to_stored(row: TableRow, at: str | None) -> list[object]:
    values: list[Any] = [*row.values]
    for index in _MONEY:
        if values[index] is not None:
            values[index] = format(values[index], "f")
    for index in _TIMES:
        values[index] = _to_text(values[index])
    return [*values, row.leg, at, None, _to_text(row.span_start)]


def _to_row(stored: Sequence[Any]) -> HeldRow:
    values: list[Any] = [*stored[: len(FIELDS)]]
    for index in _MONEY:
        if values[index] is not None:
            values[index] = Decimal(values[index])
    for index in _TIMES:
        if values[index] is not None:
            values[index] = _to_time(values[index])
    leg, span_start, vanished_at = stored[len(FIELDS) :]
    return HeldRow(tuple(values), leg, _to_time(span_start), vanished_at is not None)
