"""Checkpoint of a feed: a file of SQLite with the spans of the lookback and their packed rows.

Each `save` is one transaction that is flushed to disk: after a kill at any moment the file is as before it or as after
it. An open checkpoint is locked until it is closed or its process ends. Without a path it is kept in memory. Methods
block; call them one after another, in any thread.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from aiosipcdr.export.filesystem import check_sole_file, create_private, storage_errors
from aiosipcdr.model.errors import ExportConflictError, JournalDamagedError, StorageError
from aiosipcdr.sync.checkpoints import Owner, Span, TableState

__all__ = ["FeedCheckpoint"]

FLUSH: Final = "FULL"
"""How a transaction is flushed to disk, see SQLite's `PRAGMA synchronous`: before the next one begins."""

_APPLICATION: Final = 0x53434652  # "SCFR", in the file's header
_LAYOUT: Final = 1
_TABLES = (
    "CREATE TABLE feed (id INTEGER PRIMARY KEY CHECK (id = 1), owner BLOB NOT NULL, left_out INTEGER)",
    "CREATE TABLE spans (start INTEGER PRIMARY KEY, end INTEGER NOT NULL, count INTEGER, read_at INTEGER, rows BLOB)",
)


class FeedCheckpoint:
    """A checkpoint: `open`, then `save` and `rows`, and `close`."""

    def __init__(self, path: Path | None) -> None:
        """Choose the file; in memory without one."""
        self.path: Path | None = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def open(self) -> TableState:
        """Open and lock the file, which is created if it is missing and then readable only by its owner.

        Raises:
            ExportConflictError: Another feed uses it, or it is another kind of file.
            JournalDamagedError: It is damaged.
            StorageError: It cannot be read or written.
        """
        if self.path is not None:
            with storage_errors(self.path):
                self._check_file(self.path)
        with self._errors():
            address = ":memory:" if self.path is None else f"{self.path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(
                address, uri=True, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._identity = None if self.path is None else _identity(self.path)
                return self._prepare(self._connection)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Unlock and close the file; may be called again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def rows(self, starts: Iterable[datetime]) -> dict[datetime, bytes]:
        """Return the packed rows of spans; spans without rows are left out."""
        found: dict[datetime, bytes] = {}
        with self._errors():
            for start in starts:
                row = self._open().execute("SELECT rows FROM spans WHERE start = ?", (_seconds(start),)).fetchone()
                if row is not None and row[0] is not None:
                    found[start] = row[0]
        return found

    def all_rows(self) -> Iterator[tuple[datetime, bytes]]:
        """Yield the packed rows of all spans that have rows."""
        with self._errors():
            for start, packed in self._open().execute("SELECT start, rows FROM spans WHERE rows IS NOT NULL"):
                yield _time(start), packed

    def save(
        self,
        owner: Owner,
        spans: Iterable[Span],
        rows: Mapping[datetime, bytes | None],
        *,
        dropped: Iterable[datetime] = (),
        left_out: datetime | None = None,
    ) -> None:
        """Store spans and rows, in one transaction.

        Args:
            owner: Whose calls these are.
            spans: Spans to insert or to replace; their rows stay.
            rows: Packed rows of spans that are stored; `None` for no rows.
            dropped: Starts of spans to delete.
            left_out: End of the spans that were deleted so far.
        """
        with self._errors():
            connection = self._open()
            self._check_present()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    "INSERT INTO feed VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner,"
                    " left_out = excluded.left_out",
                    (msgspec.json.encode(owner), None if left_out is None else _seconds(left_out)),
                )
                connection.executemany(
                    "INSERT INTO spans VALUES (?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE SET end = excluded.end,"
                    " count = excluded.count, read_at = excluded.read_at",
                    [
                        (
                            _seconds(span.start),
                            _seconds(span.end),
                            span.count,
                            None if span.read_at is None else _seconds(span.read_at),
                        )
                        for span in spans
                    ],
                )
                connection.executemany(
                    "UPDATE spans SET rows = ? WHERE start = ?",
                    [(packed, _seconds(start)) for start, packed in rows.items()],
                )
                connection.executemany("DELETE FROM spans WHERE start = ?", [(_seconds(start),) for start in dropped])
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None  # noqa: S101 - opened by the follower
        return self._connection

    def _check_file(self, path: Path) -> None:
        try:
            os.close(create_private(path))
        except FileExistsError:
            # Not opened: closing a descriptor would release the lock of another feed of this process.
            check_sole_file(path)

    def _check_present(self) -> None:
        # SQLite would go on writing to a file without a name.
        if self.path is None or self._identity is None:
            return
        try:
            is_present = _identity(self.path) == self._identity
        except FileNotFoundError:
            is_present = False
        except OSError:
            return  # a folder that cannot be searched for a moment; SQLite says whether it can write
        if not is_present:
            raise StorageError(
                f"{self.path} was deleted or replaced while the feed used it: follow again, from a time since which"
                " calls may be repeated"
            )

    def _prepare(self, connection: sqlite3.Connection) -> TableState:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA synchronous = {FLUSH}")
        connection.execute("BEGIN EXCLUSIVE")
        try:
            self._create_or_check(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return self._read_state(connection)

    def _create_or_check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not application and not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            for statement in _TABLES:
                connection.execute(statement)
        elif application != _APPLICATION:
            raise ExportConflictError(self._foreign())
        elif layout != _LAYOUT:
            raise ExportConflictError(
                f"{self.path} is a checkpoint of another version of aiosipcdr: use that version, or another file"
            )

    def _read_state(self, connection: sqlite3.Connection) -> TableState:
        row = connection.execute("SELECT owner, left_out FROM feed").fetchone()
        if row is None:
            return TableState()
        rows = connection.execute("SELECT start, end, count, read_at FROM spans ORDER BY start").fetchall()
        try:
            spans = [
                Span(
                    start=_time(start), end=_time(end), count=count, read_at=None if read_at is None else _time(read_at)
                )
                for start, end, count, read_at in rows
            ]
            owner = msgspec.json.decode(row[0], type=Owner)
            left_out = None if row[1] is None else _time(row[1])
        except (msgspec.DecodeError, TypeError, ValueError, OverflowError, OSError):
            raise JournalDamagedError(self._damaged()) from None
        if any(span.end > later.start for span, later in pairwise(spans)):
            raise JournalDamagedError(self._damaged())
        return TableState(owner=owner, spans=spans, left_out=left_out)

    def _foreign(self) -> str:
        return f"{self.path} is not a checkpoint of a feed: choose another file"

    def _damaged(self) -> str:
        return f"{self.path} is damaged: delete it, and follow again from a time since which calls may be repeated"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise ExportConflictError(
                    f"{self.path} is used by another feed: end it first, or choose another checkpoint"
                ) from None
            raise StorageError(f"{self.path or 'the checkpoint'} cannot be written: {error}") from None
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise ExportConflictError(self._foreign()) from None
            raise JournalDamagedError(self._damaged()) from None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
