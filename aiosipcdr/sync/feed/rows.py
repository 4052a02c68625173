"""Rows of a feed: id, digest and times of a record, packed by span.

Pure. Rows are compared in the form in which a table's rows are compared, see `aiosipcdr.sync.rows`: a tuple with the id
first and the times, in whole seconds, at their places. A keyed digest of all values stands for the rest, so that
packed rows hold no phone number, and none can be found by trying all of them.
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import msgspec

from aiosipcdr.export.keys import DerivedKey
from aiosipcdr.model.changes import ChangeKind
from aiosipcdr.model.records import TIME_FIELDS
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key, Values

__all__ = ["FeedRow", "RowDigester", "change_key", "pack_rows", "unpack_ids", "unpack_rows"]

_TIMES = [FIELDS.index(name) for name in TIME_FIELDS]
_DIGEST = next(index for index in range(1, len(FIELDS)) if index not in _TIMES)
_DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_ROW_DIGEST = "#row of a feed"


class FeedRow(NamedTuple):
    """A row that the vendor lists, or listed until it vanished.

    Attributes:
        values: Id, digest and times.
        leg: Its number among the rows with its id.
        revision: How often it has changed, vanished or come back.
        has_vanished: Whether it is no longer listed.
        open_change: The change that made it so, if it may have been yielded and was not acknowledged yet: whether the
            caller has it is not known. Empty otherwise.
    """

    values: Values
    leg: int
    revision: int = 0
    has_vanished: bool = False
    open_change: ChangeKind | Literal[""] = ""

    @property
    def key(self) -> Key:
        """Its key."""
        return Key(self.values[0], self.leg)

    def hold(self, span_start: datetime) -> HeldRow:
        """Return the row to compare with a reading. An open one differs from every row, so that it is yielded again."""
        if not self.open_change:
            return HeldRow(self.values, self.leg, span_start, self.has_vanished)
        values = (*self.values[:_DIGEST], b"", *self.values[_DIGEST + 1 :])
        return HeldRow(values, self.leg, span_start, has_vanished=False)


class RowDigester:
    """Makes the values of feed rows, with the key of one checkpoint."""

    def __init__(self, key: DerivedKey) -> None:
        """Use `key`, which only the account's owner can derive."""
        self._key = key

    def digest(self, values: Values) -> Values:
        """Return id, digest and times of all `values` of a record."""
        text = msgspec.json.encode([_plain(value) for value in values]).decode()
        digested: list[Any] = [None] * len(FIELDS)
        digested[0] = values[0]
        digested[_DIGEST] = bytes.fromhex(self._key.fingerprint(_ROW_DIGEST, text))
        for index in _TIMES:
            if (time := values[index]) is not None:
                digested[index] = time.replace(microsecond=0)
        return tuple(digested)


def _plain(value: object) -> object:
    # Amounts that are equal have equal texts: 0.10 and 0.1.
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value


def change_key(kind: ChangeKind, row: FeedRow) -> str:
    """Return the key of the change that made `row` what it is: 32 hexadecimal digits."""
    parts = [kind, row.values[0], row.leg, row.revision, row.values[_DIGEST].hex()]
    return blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def pack_rows(rows: Sequence[FeedRow]) -> bytes:
    """Return rows as compressed bytes, column by column; each time as the seconds since the one before it."""
    columns: list[object] = [
        [row.values[0] for row in rows],
        b"".join(row.values[_DIGEST] for row in rows),
        [row.leg for row in rows],
        [row.revision for row in rows],
        [row.has_vanished for row in rows],
        [row.open_change for row in rows],
    ]
    before = [0] * len(rows)
    for index in _TIMES:
        column: list[int | None] = []
        for place, row in enumerate(rows):
            time = row.values[index]
            seconds = None if time is None else (time - _EPOCH) // _SECOND
            column.append(None if seconds is None else seconds - before[place])
            before[place] = before[place] if seconds is None else seconds
        columns.append(column)
    # The first time of each row follows from the row before.
    first = columns[6]
    assert isinstance(first, list)  # noqa: S101
    columns[6] = _deltas(first)
    return zlib.compress(msgspec.msgpack.encode(columns), 6)


def unpack_rows(packed: bytes) -> list[FeedRow]:
    """Return the rows that `pack_rows` has packed.

    Raises:
        ValueError: The bytes are damaged.
    """
    try:
        ids, digests, legs, revisions, vanished, opened, *times = msgspec.msgpack.decode(zlib.decompress(packed))
        times[0] = _sums(times[0])
        rows: list[FeedRow] = []
        for place, voice_id in enumerate(ids):
            values: list[Any] = [None] * len(FIELDS)
            values[0] = voice_id
            values[_DIGEST] = digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]
            at = 0
            for index, column in zip(_TIMES, times, strict=True):
                if column[place] is not None:
                    at += column[place]
                    values[index] = _EPOCH + at * _SECOND
            rows.append(FeedRow(tuple(values), legs[place], revisions[place], vanished[place], opened[place]))
    except (zlib.error, msgspec.DecodeError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"packed rows are damaged: {type(error).__name__}") from None
    return rows


def unpack_ids(packed: bytes) -> list[str]:
    """Return only the ids of the rows that `pack_rows` has packed, much faster.

    Raises:
        ValueError: The bytes are damaged.
    """
    try:
        columns = msgspec.msgpack.decode(zlib.decompress(packed), type=list[msgspec.Raw])
        return msgspec.msgpack.decode(columns[0], type=list[str])
    except (zlib.error, msgspec.DecodeError, IndexError) as error:
        raise ValueError(f"packed rows are damaged: {type(error).__name__}") from None


def _deltas(column: Sequence[int | None]) -> list[int | None]:
    last, deltas = 0, list[int | None]()
    for number in column:
        deltas.append(None if number is None else number - last)
        last = last if number is None else number
    return deltas


def _sums(deltas: Sequence[int | None]) -> list[int | None]:
    last, column = 0, list[int | None]()
    for delta in deltas:
        last = last if delta is None else last + delta
        column.append(None if delta is None else last)
    return column
