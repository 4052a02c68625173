"""The calls in SQLite: ranges, pages, counts, insertion and deletion.

Rows are numbered in ascending order of time without gaps until one is added or removed. Until then a range is a span of
row numbers (two index lookups) and a page is a part of that span, so any page of any range costs the same. Afterwards
plain COUNT and LIMIT/OFFSET are used, and repeated counts and listings are cached until the next change.
"""

import sqlite3
import tempfile
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from random import Random
from threading import RLock
from time import monotonic
from typing import Any, Final, NamedTuple

from aiosipcdr.sandbox.calls import Row
from aiosipcdr.sandbox.config import IN_MEMORY, TEMPORARY, Order

_TABLE: Final = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    submitted INTEGER NOT NULL,
    ranged INTEGER,
    voice_id TEXT,
    sip_group TEXT,
    phone TEXT,
    body BLOB NOT NULL,
    added REAL NOT NULL DEFAULT -1e18
)"""
_INSERT: Final = """
INSERT INTO calls (submitted, ranged, voice_id, sip_group, phone, body)
VALUES (?, ?, ?, ?, ?, ?)"""
_ADD: Final = """
INSERT INTO calls (submitted, ranged, voice_id, sip_group, phone, body, added)
VALUES (?, ?, ?, ?, ?, ?, ?)"""
_UPDATE: Final = """
UPDATE calls SET submitted = ?, ranged = ?, voice_id = ?, sip_group = ?, phone = ?, body = ?
WHERE id = ?"""
_SETTINGS: Final = (
    "PRAGMA page_size = 16384",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",
)
# "scattered" is a fixed pseudo-random order: Knuth's multiplicative hash.
_ORDERS: Final = {
    "newest": "ORDER BY submitted DESC, id DESC",
    "oldest": "ORDER BY submitted, id",
    "scattered": "ORDER BY (id * 2654435761) % 4294967296",
    "none": "",
}


_MAX_COUNTS: Final = 1_000
_MAX_LISTINGS: Final = 16
_SHARDS: Final = 4


@dataclass(frozen=True, slots=True)
class Selection:
    """The calls of a query.

    Attributes:
        since: First second of the range (Unix time).
        until: First second after the range (Unix time).
        group: Group to keep; None for all.
        phone: Phone to keep; None for all.
        loose: Whether group and phone are compared without case and surrounding blanks.
        added_until: Time (of the monotonic clock); calls that were added later are left out. None: no limit.
        lacks_shard: Whether one call in four is left out, always the same ones.
    """

    since: int
    until: int
    group: str | None = None
    phone: str | None = None
    loose: bool = False
    added_until: float | None = None
    lacks_shard: bool = False


class _Span(NamedTuple):
    """Row numbers `first` to `last`, both inclusive; empty if `last` is smaller."""

    first: int
    last: int


class Store:
    """The calls of one sandbox. Thread-safe.

    Attributes:
        is_changed: Whether calls were added, removed or changed since the store was filled.
    """

    def __init__(self, path: str | PathLike[str], *, by_submission: bool = True) -> None:
        """Open an empty store.

        Args:
            path: ":memory:", "temp" for a temporary file, or a file that does not exist yet.
            by_submission: Whether ranges are compared with the time of submission.
        """
        self._lock = RLock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if path == TEMPORARY:
            self._folder = tempfile.TemporaryDirectory(prefix="aiosipcdr-sandbox-")
            path = Path(self._folder.name, "calls.sqlite3")
        elif path != IN_MEMORY:
            # Raises if the file exists, even an empty one.
            Path(path).touch(mode=0o600, exist_ok=False)
        self._db = sqlite3.connect(fspath(path), isolation_level=None, check_same_thread=False)
        self._column = "submitted" if by_submission else "ranged"
        self._by_submission = self._gapless = by_submission
        self._indexed: set[str] = set()
        self._counts: dict[Selection, int] = {}
        self._requested: set[tuple[Selection, Order]] = set()
        self._listings: dict[tuple[Selection, Order], array[int]] = {}
        self.is_changed: bool = False
        for statement in (*_SETTINGS, _TABLE):
            self._db.execute(statement)

    def close(self) -> None:
        """Close the store and remove a temporary file."""
        with self._lock:
            self._db.close()
            if self._folder is not None:
                self._folder.cleanup()

    def fill(self, batches: Iterable[list[Row]]) -> None:
        """Store generated calls, given in ascending order of submission, and index them."""
        with self._lock:
            self._db.execute("BEGIN")
            for batch in batches:
                self._db.executemany(_INSERT, batch)
            # The listing is ordered by `submitted`; ranges are compared with it or with `ranged`.
            for column in {"submitted", self._column}:
                self._db.execute(f"CREATE INDEX by_{column} ON calls ({column})")
            self._db.execute("COMMIT")

    def refill(self, batches: Iterable[list[Row]]) -> None:
        """Store these calls in place of all that are there."""
        with self._lock:
            self._changed()
            self._indexed.clear()
            self._db.execute("DROP TABLE calls")
            self._db.execute(_TABLE)
            self.fill(batches)
            self._gapless, self.is_changed = self._by_submission, False

    def add(self, rows: Iterable[Row]) -> None:
        """Add calls in any order."""
        now = monotonic()
        with self._lock:
            self._changed()
            self._db.executemany(_ADD, ((*row, now) for row in rows))

    def remove(self, voice_ids: Iterable[str]) -> int:
        """Remove every call with one of these ids; return how many there were."""
        with self._lock:
            self._changed()
            wanted = [(voice_id,) for voice_id in voice_ids]
            return self._db.executemany("DELETE FROM calls WHERE voice_id = ?", wanted).rowcount

    def update(self, voice_ids: Iterable[str], change: Callable[[Row], Row]) -> int:
        """Replace every call with one of these ids by what `change` returns; return how many there were."""
        changed = 0
        with self._lock:
            self._changed()
            for voice_id in voice_ids:
                found = self._db.execute(
                    "SELECT id, submitted, ranged, voice_id, sip_group, phone, body FROM calls WHERE voice_id = ?",
                    (voice_id,),
                ).fetchall()
                changed += len(found)
                for number, *values in found:
                    self._db.execute(_UPDATE, (*change(Row(*values)), number))
        return changed

    def remove_one(self, selection: Selection, rng: Random) -> None:
        """Remove a random call of the selection, if it has any."""
        with self._lock:
            number = self._choose(selection, rng)
            if number is not None:
                self._db.execute("DELETE FROM calls WHERE id = ?", (number,))
                self._changed()

    def change_one(self, selection: Selection, rng: Random, change: Callable[[bytes], bytes]) -> None:
        """Replace the body of a random call of the selection, if it has any."""
        with self._lock:
            number = self._choose(selection, rng)
            if number is not None:
                self.is_changed = True
                body = change(self._body(number))
                self._db.execute("UPDATE calls SET body = ? WHERE id = ?", (body, number))

    def _choose(self, selection: Selection, rng: Random) -> int | None:
        """Return the row number of a random call of the selection; None if it has none."""
        total = self.count(selection)
        if not total:
            return None
        where, values = self._where(selection)
        query = f"SELECT id FROM calls {where} LIMIT 1 OFFSET ?"  # noqa: S608 - own words only
        (number,) = self._db.execute(query, (*values, rng.randrange(total))).fetchone()
        return int(number)

    def newest(self, selection: Selection) -> int | None:
        """Return the latest time of a call in the selection; None if it has none."""
        where, values = self._where(selection)
        query = f"SELECT max({self._column}) FROM calls {where}"  # noqa: S608 - own words only
        with self._lock:
            (second,) = self._db.execute(query, values).fetchone()
        return int(second) if second is not None else None

    def count(self, selection: Selection) -> int:
        """Return the number of calls in the selection."""
        with self._lock:
            span = self._span(selection)
            if span is not None:
                return span.last - span.first + 1
            if selection not in self._counts:
                where, values = self._where(selection)
                query = f"SELECT count(*) FROM calls {where}"  # noqa: S608 - own words only
                if len(self._counts) >= _MAX_COUNTS:
                    self._counts.clear()
                self._counts[selection] = int(self._db.execute(query, values).fetchone()[0])
            return self._counts[selection]

    def page(self, selection: Selection, order: Order, offset: int, limit: int, rng: Random) -> list[bytes]:
        """Return the bodies of `limit` calls after the first `offset` of the listing."""
        with self._lock:
            if order == "none":
                return self._draw(selection, offset, limit, rng)
            span = self._span(selection) if order != "scattered" else None
            listing = self._listing(selection, order) if span is None else None
            if listing is not None:
                return [self._body(number) for number in listing[offset : offset + limit]]
            if span is None:
                where, values = self._where(selection)
                query = f"SELECT body FROM calls {where} {_ORDERS[order]} LIMIT ? OFFSET ?"  # noqa: S608
                found = self._db.execute(query, (*values, limit, offset))
            elif order == "newest":
                last = span.last - offset
                first = max(span.first, last - limit + 1)
                query = "SELECT body FROM calls WHERE id BETWEEN ? AND ? ORDER BY id DESC"
                found = self._db.execute(query, (first, last))
            else:
                first = span.first + offset
                last = min(span.last, first + limit - 1)
                query = "SELECT body FROM calls WHERE id BETWEEN ? AND ? ORDER BY id"
                found = self._db.execute(query, (first, last))
            return [body for (body,) in found]

    def voice_ids(self, selection: Selection | None = None) -> list[str | None]:
        """Return the ids of the selected calls, or of all, oldest first."""
        return [voice_id for (voice_id,) in self._all("voice_id", selection)]

    def bodies(self, selection: Selection | None = None) -> list[bytes]:
        """Return the bodies of the selected calls, or of all, oldest first."""
        return [body for (body,) in self._all("body", selection)]

    def _all(self, column: str, selection: Selection | None) -> list[tuple[Any, ...]]:
        """Return one column of the selected calls, oldest first."""
        where, values = self._where(selection) if selection is not None else ("", ())
        query = f"SELECT {column} FROM calls {where} {_ORDERS['oldest']}"  # noqa: S608 - own words
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _draw(self, selection: Selection, offset: int, limit: int, rng: Random) -> list[bytes]:
        """Return a page of a shuffled listing.

        A page of a fresh shuffle is a random sample, so nothing is shuffled.
        """
        total = self.count(selection)
        size = max(0, min(limit, total - offset))
        chosen = rng.sample(range(total), size)
        span = self._span(selection)
        if span is not None:
            numbers = [span.first + index for index in chosen]
        else:
            where, values = self._where(selection)
            query = f"SELECT id FROM calls {where}"  # noqa: S608 - own words only
            found = [number for (number,) in self._db.execute(query, values)]
            numbers = [found[index] for index in chosen]
        return [self._body(number) for number in numbers]

    def _body(self, number: int) -> bytes:
        body: bytes = self._db.execute("SELECT body FROM calls WHERE id = ?", (number,)).fetchone()[0]
        return body

    def _listing(self, selection: Selection, order: Order) -> "array[int] | None":
        """Return all row numbers of a listing from its second page on; None for the first."""
        key = selection, order
        if key not in self._requested:
            if len(self._requested) >= _MAX_COUNTS:
                self._requested.clear()
            self._requested.add(key)
            return None
        if key not in self._listings:
            if len(self._listings) >= _MAX_LISTINGS:
                self._listings.pop(next(iter(self._listings)))
            where, values = self._where(selection)
            query = f"SELECT id FROM calls {where} {_ORDERS[order]}"  # noqa: S608 - own words only
            self._listings[key] = array("q", (number for (number,) in self._db.execute(query, values)))
        return self._listings[key]

    def _changed(self) -> None:
        """Clear caches that are invalid once calls are added or removed."""
        self._gapless, self.is_changed = False, True
        self._counts.clear()
        self._requested.clear()
        self._listings.clear()

    def _span(self, selection: Selection) -> _Span | None:
        """Return the selection as row numbers, or None if it is not contiguous."""
        filtered = selection.group is not None or selection.phone is not None
        if not self._gapless or filtered or selection.added_until is not None or selection.lacks_shard:
            return None
        return _Span(self._before(selection.since) + 1, self._before(selection.until))

    def _before(self, second: int) -> int:
        """Return the number of calls submitted before `second`."""
        found = self._db.execute(
            "SELECT id FROM calls WHERE submitted < ? ORDER BY submitted DESC, id DESC LIMIT 1",
            (second,),
        ).fetchone()
        return int(found[0]) if found is not None else 0

    def _where(self, selection: Selection) -> tuple[str, tuple[float | str, ...]]:
        """Return the selection as a WHERE clause and its values."""
        clause = f"WHERE {self._column} >= ? AND {self._column} < ?"
        values: list[float | str] = [selection.since, selection.until]
        if selection.added_until is not None:
            clause += " AND added <= ?"
            values.append(selection.added_until)
        if selection.lacks_shard:
            clause += f" AND id % {_SHARDS} <> 0"
        for column, wanted in (("sip_group", selection.group), ("phone", selection.phone)):
            if wanted is None:
                continue
            if selection.loose:
                clause += f" AND trim({column}) = trim(?) COLLATE NOCASE"
            else:
                self._index(column)
                clause += f" AND {column} = ?"
            values.append(wanted)
        return clause, tuple(values)

    def _index(self, column: str) -> None:
        """Create the index of a filter when it is first used: most sandboxes never need it."""
        if column not in self._indexed:
            self._indexed.add(column)
            self._db.execute(f"CREATE INDEX by_{column} ON calls ({column}, {self._column})")
