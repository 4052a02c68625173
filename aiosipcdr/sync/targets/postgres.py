"""PostgreSQL target: money is `numeric(38,12)`, times are `timestamp with time zone`; new rows are copied in binary.

Rows go with COPY into a temporary table, and from there with one statement into the table.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.errors import ExportConflictError, StorageError, clean_words
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.rows import FIELDS, HeldRow
from aiosipcdr.sync.targets import Batch
from aiosipcdr.sync.targets.location import Location
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
    describe_other_run,
    join_names,
    quote,
)

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresTarget"]

_TYPES: dict[Kind, str] = {
    "text": "text",
    "integer": "bigint",
    "time": "timestamp with time zone",
    "money": "numeric(38,12)",
}
# The names that COPY takes, without the limits of a type.
_COPIED: dict[Kind, str] = {"text": "text", "integer": "int8", "time": "timestamptz", "money": "numeric"}

# Defaults that the URL may replace: a server that is gone is noticed within about two minutes.
_NETWORK: Final[dict[str, Any]] = {
    "connect_timeout": 30,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 60_000,
    "application_name": "aiosipcdr sync",
}

# The server notices within two minutes that this machine is gone, and releases the lock. `lock_timeout` ends the wait
# for a statement of somebody else's that holds the table.
_SETTINGS: Final = (
    "SET client_encoding = 'UTF8'",
    "SET TIME ZONE 'UTC'",
    "SET tcp_keepalives_idle = 60",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 6",
    "SET lock_timeout = '60s'",
)

# Long enough for an error about each address of a host. It has no values of rows, so nothing in it is masked.
_LONGEST: Final = 500

# Until the server has noticed that a run was killed, it holds that run's lock.
_LOCK_WAIT: Final = "SET LOCAL lock_timeout = '2s'"


class PostgresTarget:
    """A table of PostgreSQL; see `Target`.

    The connection is that of libpq: what the URL leaves out comes from PGHOST, PGUSER, PGPASSWORD, PGSERVICE, ~/.pgpass
    and so on.
    """

    def __init__(self, location: Location) -> None:
        """Keep the location."""
        self._location = location
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._schema = location.schema or ""

    def open(self, *, dry_run: bool) -> TableState:
        """See `Target.open`."""
        self._connect()
        with self._errors():
            for statement in _SETTINGS:
                self._fetch(statement)
            if not self._schema:
                # Where an unqualified CREATE TABLE would create it.
                ((schema,),) = self._fetch("SELECT current_schema()")
                if schema is None:
                    raise StorageError(f"{self._location}: the user's search_path has no schema; choose one (schema=)")
                self._schema = schema
            if dry_run:
                self._fetch("SET default_transaction_read_only = on")
                return self._read_state() if self._exist(self._location.table, self._location.state) else TableState()
            self._lock()
            with self._transaction():
                self._prepare()
                return self._read_state()

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """See `Target.held`."""
        with self._errors():
            if not self._exist(self._location.table):  # a dry run of a new table
                return []
            columns = join_names([*FIELDS, "leg", "span_start", "vanished_at"])
            rows = self._fetch(
                f"SELECT {columns} FROM {self._table} WHERE span_start = ANY(%b::timestamptz[])"
                " OR voice_id = ANY(%b::text[])",
                [*spans],
                [*ids],
            )
        return [
            HeldRow(values, leg, span_start, vanished_at is not None)
            for *values_, leg, span_start, vanished_at in rows
            for values in (tuple(values_),)
        ]

    def commit(self, batch: Batch) -> None:
        """See `Target.commit`."""
        owner = msgspec.json.encode(batch.owner).decode()
        settings = ", ".join(f"{quote(column.name)} = %b" for column in STATE_COLUMNS)
        same_key = "t.voice_id = i.voice_id AND t.leg = i.leg"
        with self._errors(), self._transaction():
            state = (LAYOUT, batch.version + 1, owner, batch.certified_until, batch.checked_at)
            statement = f"UPDATE {self._name(self._location.state)} SET {settings} WHERE version = %b RETURNING 1"
            if not self._fetch(statement, *state, batch.version):
                raise ExportConflictError(describe_newer(self._location))
            self._merge(
                self._table,
                COLUMNS,
                KEY,
                [(*row.values, row.leg, batch.at, None, row.span_start) for row in batch.upserts],
            )
            for keys, action in (
                (batch.vanished, f"UPDATE {self._table} t SET vanished_at = %b FROM"),
                (batch.deleted, f"DELETE FROM {self._table} t USING"),
            ):
                if keys:
                    self._fetch(
                        f"{action} unnest(%b::text[], %b::bigint[]) AS i (voice_id, leg) WHERE {same_key}",
                        *([batch.at] if "%b" in action else []),
                        *_columns(keys),
                    )
            if batch.moved:
                self._fetch(
                    f"UPDATE {self._table} t SET span_start = i.span_start"
                    " FROM unnest(%b::text[], %b::bigint[], %b::timestamptz[]) AS i (voice_id, leg, span_start)"
                    f" WHERE {same_key}",
                    *_columns([(*key, start) for key, start in batch.moved]),
                )
            self._merge(
                self._name(self._location.checkpoints),
                CHECKPOINT_COLUMNS,
                ("span_start",),
                [(one.start, one.end, one.count, one.read_at) for one in batch.spans],
            )

    def close(self) -> None:
        """See `Target.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _table(self) -> str:
        return self._name(self._location.table)

    def _name(self, table: str) -> str:
        # The name of a schema that was not given may have any characters.
        return quote(self._schema.replace('"', '""'), table)

    def _connect(self) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise MissingExtraError("a target of PostgreSQL needs psycopg", "postgres", name=error.name) from None
        # Raised outside of the handlers: errors and frames of psycopg's hold the URL, which may have a password.
        reason: str | None = None
        parameters: dict[str, Any] = {}
        try:
            parameters = conninfo_to_dict(f"postgresql://{self._location.url.reveal().partition('://')[2]}")
        except psycopg.Error:
            reason = "its URL is invalid; write postgresql://user@host:5432/database"
        if reason is None:
            try:
                self._connection = psycopg.connect(**(_NETWORK | parameters), autocommit=True, prepare_threshold=None)
            except (psycopg.Error, UnicodeError) as error:
                reason = _hide(str(error), parameters.get("password"))
        parameters.clear()
        if reason is not None:
            printable = "".join(character if character.isprintable() else " " for character in reason[:_LONGEST])
            raise StorageError(f"{self._location} cannot be reached: {' '.join(printable.split())}")

    def _lock(self) -> None:
        import psycopg

        # For as long as the connection lasts. `hashtext` would depend on the server's version.
        name = f"aiosipcdr sync of {self._schema}.{self._location.table}"
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        try:
            with self._transaction():
                self._fetch(_LOCK_WAIT)
                self._fetch("SELECT pg_advisory_lock(%b)", key)
        except psycopg.errors.LockNotAvailable:
            raise ExportConflictError(describe_other_run(self._location)) from None

    def _prepare(self) -> None:
        # Creates missing tables, and checks existing ones.
        table, state, checkpoints = self._location.table, self._location.state, self._location.checkpoints
        # `IF NOT EXISTS` would need the right to create schemas also where there is one.
        if not self._fetch("SELECT 1 FROM pg_namespace WHERE nspname = %b", self._schema):
            self._fetch(f"CREATE SCHEMA {quote(self._schema)}")
        if self._exist(table):
            columns = self._columns(table)
            keys = self._fetch(
                "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
                " AND a.attnum = ANY(i.indkey) WHERE i.indrelid = %b::text::regclass AND i.indisprimary",
                self._table,
            )
            for statement in check_columns(self._table, dict(columns), COLUMNS, _TYPES, key=[name for (name,) in keys]):
                self._fetch(statement)
            if self._exist(state, checkpoints):
                return
            if self._fetch(f"SELECT 1 FROM {self._table} LIMIT 1"):
                raise ExportConflictError(describe_orphan(self._table))
        else:
            self._fetch(create_table(self._table, COLUMNS, KEY, _TYPES))
        self._fetch(f"CREATE INDEX ON {self._table} (span_start)")
        for name, expected in ((checkpoints, CHECKPOINT_COLUMNS), (state, STATE_COLUMNS)):
            check_replaceable(self._name(name), [column for column, _ in self._columns(name)], expected)
            self._fetch(f"DROP TABLE IF EXISTS {self._name(name)}")  # of a table that was dropped
        self._fetch(create_table(self._name(checkpoints), CHECKPOINT_COLUMNS, ("span_start",), _TYPES))
        self._fetch(create_table(self._name(state), STATE_COLUMNS, (), _TYPES))
        self._fetch(f"INSERT INTO {self._name(state)} (layout, version) VALUES (%b, 0)", LAYOUT)

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        return self._fetch(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%b::text) AND attnum > 0 AND NOT attisdropped",
            self._name(table),
        )

    def _read_state(self) -> TableState:
        found = self._fetch(f"SELECT layout, version, owner FROM {self._name(self._location.state)}")
        layout, version, owner = found[0] if found else (None, 0, None)
        if layout != LAYOUT:
            raise ExportConflictError(describe_layout(self._location.table, layout))
        spans = self._fetch(
            f"SELECT {join_names(CHECKPOINT_COLUMNS)} FROM {self._name(self._location.checkpoints)} ORDER BY span_start"
        )
        return TableState(
            version=version,
            owner=None if owner is None else msgspec.json.decode(owner, type=Owner),
            spans=[Span(start=start, end=end, count=count, read_at=read_at) for start, end, count, read_at in spans],
        )

    def _exist(self, *tables: str) -> bool:
        statement = "SELECT to_regclass(%b::text) IS NOT NULL"
        return all(self._fetch(statement, self._name(table))[0][0] for table in tables)

    def _merge(
        self, table: str, columns: Sequence[Column], key: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        if not rows:
            return
        connection = self._open_connection()
        names = join_names(columns)
        others = [column.name for column in columns if column.name not in key]
        replaced = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in others)
        # Without the constraints and the other columns of the table.
        self._fetch(f"CREATE TEMPORARY TABLE aiosipcdr_rows ON COMMIT DROP AS SELECT {names} FROM {table} LIMIT 0")
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY pg_temp.aiosipcdr_rows ({names}) FROM STDIN (FORMAT BINARY)".encode()) as copy,
        ):
            copy.set_types([_COPIED[column.kind] for column in columns])
            for row in rows:
                copy.write_row(row)
        self._fetch(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM pg_temp.aiosipcdr_rows"
            f" ON CONFLICT ({join_names(key)}) DO UPDATE SET {replaced}"
        )
        self._fetch("DROP TABLE pg_temp.aiosipcdr_rows")

    def _open_connection(self) -> "psycopg.Connection[tuple[Any, ...]]":
        assert self._connection is not None  # noqa: S101 - see open
        return self._connection

    def _fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._open_connection().cursor(binary=True) as cursor:
            cursor.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        import psycopg

        self._fetch("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):  # the connection is lost
                self._fetch("ROLLBACK")
            raise
        self._fetch("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            # Not the whole text: its details have values of rows.
            reason = error.diag.message_primary or str(error)
            raise StorageError(f"{self._location} cannot be read or written: {clean_words(reason)}") from None
        except (ValueError, TypeError, ArithmeticError, msgspec.DecodeError):
            raise StorageError(
                f"{self._location} holds values that a sync does not write: repair them, or use another table"
            ) from None


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _hide(text: str, password: object) -> str:
    return text.replace(password, "***") if isinstance(password, str) and password else text
