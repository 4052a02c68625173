"""Targets: databases that a table of calls is kept in.

A target is one module with one class, which `TARGETS` names by the scheme of the URL. Its methods block; a run calls
them one after another, each in some worker thread.
"""

import importlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol, cast

import msgspec

from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.rows import HeldRow, Key, TableRow
from aiosipcdr.sync.targets.location import Location

__all__ = ["Batch", "Location", "Target", "open_target"]

TARGETS = {
    "delta": "aiosipcdr.sync.targets.delta:DeltaTarget",
    "duckdb": "aiosipcdr.sync.targets.duckdb:DuckdbTarget",
    "postgresql": "aiosipcdr.sync.targets.postgres:PostgresTarget",
    "sqlite": "aiosipcdr.sync.targets.sqlite:SqliteTarget",
}
"""The class of the target for each scheme of `SCHEMES`."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of one transaction: either all of them are made, or none.

    Attributes:
        version: The version of the table that they are made for; the transaction makes it `version + 1`.
        owner: Whose calls the table holds.
        at: The time of the transaction (UTC): `synced_at` of rows that are written, `vanished_at` of others.
        upserts: Rows to insert, or to replace if the table has their key; `vanished_at` becomes NULL.
        vanished: Rows to mark as vanished; their values and `synced_at` stay.
        deleted: Rows to delete.
        moved: New `span_start` of rows that stay as they are.
        spans: Checkpoints to insert, or to replace if the table has one with their start.
        certified_until: End of the time for which the table is complete, stored for its readers.
        checked_at: When the calls were last compared with the vendor's counts, stored likewise.
    """

    version: int
    owner: Owner
    at: datetime
    upserts: Sequence[TableRow] = ()
    vanished: Sequence[Key] = ()
    deleted: Sequence[Key] = ()
    moved: Sequence[tuple[Key, datetime]] = ()
    spans: Sequence[Span] = ()
    certified_until: datetime | None = None
    checked_at: datetime | None = None


class Target(Protocol):
    """One table of a database, with its checkpoints, for one run.

    Each method raises `StorageError` if the database fails, with a text without password and without values of rows.
    """

    def open(self, *, dry_run: bool) -> TableState:
        """Connect, lock the table for this run, create or check its schema, and return its state.

        A table without its checkpoints, or checkpoints without their table, count as new; with `dry_run` nothing is
        created, changed or locked.

        Raises:
            ExportConflictError: Another run holds the lock, or the schema differs; the text has the SQL to run.
            ImportError: A package is not installed; the text says which extra to install.
        """
        ...

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """Return the rows of the spans that begin at `spans`, and all other rows whose `voice_id` is in `ids`."""
        ...

    def commit(self, batch: Batch) -> None:
        """Make all changes of `batch` in one transaction.

        Raises:
            ExportConflictError: The table has another version.
        """
        ...

    def close(self) -> None:
        """Release the lock and disconnect; may be called again, and after a failed `open`."""
        ...


def open_target(location: Location) -> Target:
    """Return the target at a location; nothing is connected yet."""
    module, _, name = TARGETS[location.scheme].partition(":")
    return cast("Target", getattr(importlib.import_module(module), name)(location))
