"""The databases of the tests: for each kind a URL, and a way to read a table that uses nothing of the package."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from deltalake import DeltaTable

from aiosipcdr.sandbox import Sandbox
from tests.sync.postgres_server import SERVER

__all__ = ["DATABASES", "DELTA", "DUCKDB", "FILES", "POSTGRES", "SQL", "SQLITE", "Database", "expected_rows"]

Read = Callable[[str], list[tuple[Any, ...]]]


class Database(NamedTuple):
    """A kind of database.

    Attributes:
        name: Its scheme.
        file: The name of its file; empty for a server.
        connect: Returns a function that runs a statement in a file, or in the schema of a folder, and returns its rows.
    """

    name: str
    file: str
    connect: Callable[[Path], Read]

    def url(self, folder: Path) -> str:
        """Return the URL of the database in a folder."""
        return f"{self.name}:///{folder / self.file}" if self.file else SERVER.url(folder)

    def run(self, folder: Path, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        return self.connect(folder / self.file)(statement)

    def live_rows(self, folder: Path) -> list[tuple[Any, ...]]:
        """Return id, time, cost and file of the rows of `calls` that have not vanished; exact, times in UTC."""
        rows = self.run(
            folder, "SELECT voice_id, submit_time, cost, recording_file_id FROM calls WHERE vanished_at IS NULL"
        )
        return sorted(((voice_id, to_time(time), to_cost(cost), file) for voice_id, time, cost, file in rows), key=str)


def to_time(value: object) -> datetime | None:
    """Return a time as a database returns it, in UTC."""
    if value is None:
        return None
    return (value if isinstance(value, datetime) else datetime.fromisoformat(str(value))).astimezone(UTC)


def to_cost(value: object) -> Decimal | None:
    """Return an amount without trailing zeros, which columns of a fixed scale add."""
    return None if value is None else Decimal(str(value)).normalize()


def expected_rows(sandbox: Sandbox) -> list[tuple[Any, ...]]:
    """Return what `Database.live_rows` returns for a table that is equal to the vendor's list."""
    rows = [
        (row["voiceId"], to_time(row["submitTime"]), to_cost(row["cost"]), row["recordingFileId"] or None)
        for row in sandbox.rows()
    ]
    return sorted(rows, key=str)


def _open_sqlite(path: Path) -> Read:
    def run(statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    return run


def _open_duckdb(path: Path) -> Read:
    def run(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path)) as connection:
            result = connection.sql(statement)
            if result is None:
                return []
            rows = result.to_arrow_table().to_pylist()
            return [tuple(row.values()) for row in rows]

    return run


def _open_postgres(folder: Path) -> Read:
    url = SERVER.url(folder)
    return lambda statement: SERVER.run(url, statement)


def _open_delta(path: Path) -> Read:
    def run(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            for folder in path.iterdir():
                connection.register(folder.name, DeltaTable(folder).to_pyarrow_table())
            return [tuple(row.values()) for row in connection.sql(statement).to_arrow_table().to_pylist()]

    return run


SQLITE = Database("sqlite", "calls.db", _open_sqlite)
DUCKDB = Database("duckdb", "calls.duckdb", _open_duckdb)
DELTA = Database("delta", "lake", _open_delta)
POSTGRES = Database("postgresql", "", _open_postgres)

FILES = [pytest.param(database, id=database.name) for database in (SQLITE, DUCKDB)]
"""Those that are one file."""

SQL = [*FILES, pytest.param(POSTGRES, id=POSTGRES.name, marks=pytest.mark.needs("postgres"))]
"""Those in which every statement can be run; Delta tables can be queried here."""

DATABASES = [*SQL, pytest.param(DELTA, id=DELTA.name)]
"""All, as parameters of tests."""
