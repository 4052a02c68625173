"""DuckDB target: money is `DECIMAL(38,12)`, times are `TIMESTAMP WITH TIME ZONE`; rows are read and written as Arrow.

DuckDB lets one process at a time open a file for writing: for as long as a sync runs, no other process can read it.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiosipcdr.export.filesystem import create_private, storage_errors
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.arrow import load_pyarrow
from aiosipcdr.model.errors import ExportConflictError, StorageError, clean_words
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key
from aiosipcdr.sync.targets import Batch
from aiosipcdr.sync.targets.arrow import from_rows, from_spans, keys_and_starts, to_rows
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

if TYPE_CHECKING:
    import duckdb

__all__ = ["DuckdbTarget"]

_TYPES: dict[Kind, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "time": "TIMESTAMP WITH TIME ZONE",
    "money": "DECIMAL(38,12)",
}
_PRIVATE = 0o600


class DuckdbTarget:
    """A table in a file of DuckDB; see `Target`. A new file is readable only by its owner."""

    def __init__(self, location: Location) -> None:
        """Keep the location."""
        self._location = location
        self._path = Path(location.path)
        self._lock = TableLock(location)
        self._connection: duckdb.DuckDBPyConnection | None = None
        schema = (location.schema,) if location.schema else ()
        self._table = quote(*schema, location.table)
        self._checkpoints = quote(*schema, location.checkpoints)
        self._state = quote(*schema, location.state)

    def open(self, *, dry_run: bool) -> TableState:
        """See `Target.open`."""
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtraError("a target of DuckDB needs duckdb", "duckdb", name=error.name) from None
        load_pyarrow()
        with storage_errors(self._path):
            is_new = not self._path.exists()
            if dry_run and is_new:
                return TableState()
            if not dry_run:
                self._lock.take()
        with self._errors():
            # Nothing is loaded from the network, and no settings of the user's are read.
            config: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
            self._connection = duckdb.connect(str(self._path), read_only=dry_run, config=config)
            if dry_run:
                return self._read_state() if self._exist(self._location.table, self._location.state) else TableState()
            if is_new:
                with storage_errors(self._path):
                    self._path.chmod(_PRIVATE)
            with self._transaction():
                self._prepare()
                return self._read_state()

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """See `Target.held`."""
        if self._connection is None or not self._exist(self._location.table):  # a dry run of a new table
            return []
        wanted = keys_and_starts([*((Key(one, 0), None) for one in ids), *((Key("", 0), start) for start in spans)])
        columns = join_names([*FIELDS, "leg", "span_start", "vanished_at"])
        with self._errors(), self._registered(wanted):
            rows = self._connection.sql(
                f"SELECT {columns} FROM {self._table} WHERE voice_id IN (SELECT voice_id FROM incoming)"
                " OR span_start IN (SELECT span_start FROM incoming WHERE span_start IS NOT NULL)"
            )
            return [*to_rows(rows.to_arrow_table())]

    def commit(self, batch: Batch) -> None:
        """See `Target.commit`."""
        with self._errors(), self._transaction():
            settings = ", ".join(f"{quote(column.name)} = ?" for column in STATE_COLUMNS)
            owner = msgspec.json.encode(batch.owner).decode()
            state = [LAYOUT, batch.version + 1, owner, batch.certified_until, batch.checked_at]
            statement = f"UPDATE {self._state} SET {settings} WHERE version = ?"
            if self._fetch(statement, *state, batch.version) != [(1,)]:
                raise ExportConflictError(describe_newer(self._location))
            self._merge(self._table, COLUMNS, KEY, from_rows(batch.upserts, batch.at))
            same_key = "t.voice_id = i.voice_id AND t.leg = i.leg"
            for keys, statement in (
                ([(key, None) for key in batch.vanished], f"UPDATE {self._table} t SET vanished_at = $1 FROM"),
                ([(key, None) for key in batch.deleted], f"DELETE FROM {self._table} t USING"),
                (batch.moved, f"UPDATE {self._table} t SET span_start = i.span_start FROM"),
            ):
                with self._registered(keys_and_starts(keys)):
                    values = [batch.at] if "$1" in statement else []
                    self._fetch(f"{statement} incoming i WHERE {same_key}", *values)
            self._merge(self._checkpoints, CHECKPOINT_COLUMNS, ("span_start",), from_spans(batch.spans))

    def close(self) -> None:
        """See `Target.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._lock.release()

    def _prepare(self) -> None:
        # Creates missing tables, and checks existing ones. `span_start` gets no index: DuckDB turns updates of indexed
        # columns into deletions and insertions, which fail on the primary key; it skips blocks of rows without one.
        table, state, checkpoints = self._location.table, self._location.state, self._location.checkpoints
        if self._location.schema:
            self._fetch(f"CREATE SCHEMA IF NOT EXISTS {quote(self._location.schema)}")
        if self._exist(table):
            columns = self._columns(table)
            keys = self._fetch(
                f"SELECT constraint_column_names FROM duckdb_constraints() {_OF_TABLE} AND constraint_type = ?",
                *self._names(table),
                "PRIMARY KEY",
            )
            for statement in check_columns(self._table, dict(columns), COLUMNS, _TYPES, key=keys[0][0] if keys else []):
                self._fetch(statement)
            if self._exist(state, checkpoints):
                return
            if self._fetch(f"SELECT 1 FROM {self._table} LIMIT 1"):
                raise ExportConflictError(describe_orphan(self._table))
        else:
            self._fetch(create_table(self._table, COLUMNS, KEY, _TYPES))
        for name, quoted, expected in (
            (checkpoints, self._checkpoints, CHECKPOINT_COLUMNS),
            (state, self._state, STATE_COLUMNS),
        ):
            check_replaceable(quoted, [column for column, _ in self._columns(name)], expected)
            self._fetch(f"DROP TABLE IF EXISTS {quoted}")  # of a table that was dropped
        self._fetch(create_table(self._checkpoints, CHECKPOINT_COLUMNS, ("span_start",), _TYPES))
        self._fetch(create_table(self._state, STATE_COLUMNS, (), _TYPES))
        self._fetch(f"INSERT INTO {self._state} (layout, version) VALUES (?, 0)", LAYOUT)

    def _read_state(self) -> TableState:
        found = self._fetch(f"SELECT layout, version, owner FROM {self._state}")
        layout, version, owner = found[0] if found else (None, 0, None)
        if layout != LAYOUT:
            raise ExportConflictError(describe_layout(self._location.table, layout))
        # As microseconds: times as Python objects would need another package.
        spans = self._fetch(
            "SELECT epoch_us(span_start), epoch_us(span_end), call_count, epoch_us(read_at)"
            f" FROM {self._checkpoints} ORDER BY span_start"
        )
        return TableState(
            version=version,
            owner=None if owner is None else msgspec.json.decode(owner, type=Owner),
            spans=[
                Span(
                    start=_EPOCH + start * _MICROSECOND,
                    end=_EPOCH + end * _MICROSECOND,
                    count=count,
                    read_at=None if read_at is None else _EPOCH + read_at * _MICROSECOND,
                )
                for start, end, count, read_at in spans
            ],
        )

    def _columns(self, table: str) -> list[tuple[str, str]]:
        return self._fetch(f"SELECT column_name, data_type FROM duckdb_columns() {_OF_TABLE}", *self._names(table))

    def _names(self, table: str) -> tuple[str, str]:
        return self._location.schema or "main", table

    def _exist(self, *tables: str) -> bool:
        statement = f"SELECT 1 FROM duckdb_tables() {_OF_TABLE}"
        return all(self._fetch(statement, *self._names(table)) for table in tables)

    def _merge(self, table: str, columns: Sequence[Column], key: Sequence[str], rows: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        if not rows.num_rows:
            return
        same_key = " AND ".join(f"t.{quote(name)} = i.{quote(name)}" for name in key)
        others = [column.name for column in columns if column.name not in key]
        replaced = ", ".join(f"{quote(name)} = i.{quote(name)}" for name in others)
        with self._registered(rows):
            self._fetch(
                f"MERGE INTO {table} t USING incoming i ON ({same_key})"
                f" WHEN MATCHED THEN UPDATE SET {replaced}"
                f" WHEN NOT MATCHED THEN INSERT ({join_names(columns)}) VALUES ({join_names(columns, 'i.')})"
            )

    def _fetch(self, statement: str, *values: object) -> list[Any]:
        assert self._connection is not None  # noqa: S101 - see open
        return self._connection.execute(statement, list(values)).fetchall()

    @contextmanager
    def _registered(self, rows: Any) -> Iterator[None]:  # noqa: ANN401 - pyarrow has no types
        # Makes an Arrow table readable under the name "incoming".
        import duckdb

        assert self._connection is not None  # noqa: S101 - see open
        self._connection.register("incoming", rows)
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # the transaction was ended by an error, which is raised
                self._connection.unregister("incoming")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        import duckdb

        with storage_errors(self._path):
            self._keep_log_private()
        self._fetch("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):  # some errors have ended the transaction
                self._fetch("ROLLBACK")
            raise
        self._fetch("COMMIT")

    def _keep_log_private(self) -> None:
        # DuckDB creates its write-ahead log with the modes that the process allows, whatever those of the file are.
        if stat.S_IMODE(self._path.stat().st_mode) == _PRIVATE:
            with suppress(FileExistsError):
                os.close(create_private(self._path.with_name(f"{self._path.name}.wal")))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise ExportConflictError(
                    f"{self._location} is open in another process, and DuckDB lets one at a time write: close it there"
                ) from None
            raise StorageError(f"{self._location} cannot be read or written: {clean_words(str(error))}") from None
        except (duckdb.DataError, duckdb.IntegrityError) as error:
            # Their texts quote values of rows: what precedes the first one is kept.
            reason = re.split(r"[\"'\d]", str(error), maxsplit=1)[0].strip(" :")
            raise StorageError(f"{self._location} refuses a row: {reason}") from None
        except duckdb.Error as error:
            raise StorageError(f"{self._location} cannot be read or written: {clean_words(str(error))}") from None


_OF_TABLE = (
    "WHERE database_name = current_database() AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
