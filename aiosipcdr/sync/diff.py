"""Difference between the rows of a table and a certified reading: added, changed, vanished, moved and unchanged rows.

Pure. A row can vanish only if it belongs to a span that was read. Rows of other spans take part because of their ids:
they may be legs of a call that was read, or rows that the vendor lists in another span now.

The rows of one id are paired in this order, so that a row keeps its number as long as possible:

1. equal contents: unchanged, moved from another span, or back after it had vanished;
2. the same `submit_time`: changed, for example rated again;
3. the rest of the rows of the read spans, in order: changed, too.

What is left of the reading is added, and gets the next numbers in the order of `submit_time` and contents. What is left
of the read spans has vanished.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import msgspec

from aiosipcdr.sync.rows import FIELDS, HeldRow, Key, TableRow, Values, leg_order

__all__ = ["Difference", "FoundRow", "compare_rows"]

_SUBMIT_TIME = FIELDS.index("submit_time")


class FoundRow(NamedTuple):
    """A row that a reading found.

    Attributes:
        values: Its values.
        span_start: Start of the span that owns it.
    """

    values: Values
    span_start: datetime


class Difference(msgspec.Struct):
    """What to do so that a table agrees with a reading.

    Attributes:
        added: Rows that are new, or back after they had vanished.
        changed: Rows with other contents.
        vanished: Rows that the vendor does not list any more.
        moved: Rows that are equal, but belong to another span now.
        unchanged: Number of rows that are equal; includes those that moved.
        contested: Starts of spans that were not read and hold rows with the id of an added row: each of the two may be
            a leg, or a newer version of the other.
    """

    added: list[TableRow] = []
    changed: list[TableRow] = []
    vanished: list[HeldRow] = []
    moved: list[tuple[Key, datetime]] = []
    unchanged: int = 0
    contested: set[datetime] = set()


def compare_rows(
    held: Iterable[HeldRow],
    found: Iterable[FoundRow],
    read: Collection[datetime],
    *,
    partly_read: Collection[datetime] = (),
) -> Difference:
    """Return the difference between a table and a reading.

    Args:
        held: All rows of the table that belong to the spans `read`, and all rows with the id of a row in `found`.
        found: The rows that the reading owns.
        read: Starts of the spans that were read and proven.
        partly_read: Those of them with records that could not be decoded, each of which may be any row: no row of
            these spans vanishes or gives its number to a row with another `submit_time`.
    """
    spans, partly = frozenset(read), frozenset(partly_read)
    proven = spans - partly
    difference = Difference()
    held_by_id: defaultdict[str, list[HeldRow]] = defaultdict(list)
    found_by_id: defaultdict[str, list[FoundRow]] = defaultdict(list)
    for row in held:
        held_by_id[row.values[0]].append(row)
    for new in found:
        found_by_id[new.values[0]].append(new)
    for voice_id, new_rows in found_by_id.items():
        _compare_id(held_by_id.pop(voice_id, []), new_rows, spans, partly, difference)
    for old_rows in held_by_id.values():
        difference.vanished += [row for row in old_rows if _is_listed(row, proven)]
    return difference


def _is_listed(row: HeldRow, spans: frozenset[datetime]) -> bool:
    return not row.has_vanished and row.span_start in spans


def _compare_id(
    old: list[HeldRow],
    found: list[FoundRow],
    spans: frozenset[datetime],
    partly: frozenset[datetime],
    result: Difference,
) -> None:
    if len(old) == len(found) == 1 and not old[0].has_vanished and _place(old[0]) == _place(found[0]):
        result.unchanged += 1
        return
    next_leg = max((row.leg for row in old), default=-1) + 1
    old = sorted(old, key=attrgetter("leg"))
    listed = [row for row in old if _is_listed(row, spans)]
    elsewhere = [row for row in old if not row.has_vanished and row.span_start not in spans]
    vanished = [row for row in old if row.has_vanished]
    # A row that arrives between two readings may be found in both of two adjacent spans: the first one owns it.
    new = sorted(
        {row.values: row for row in sorted(found, key=_SPAN, reverse=True)}.values(),
        key=lambda row: leg_order(row.values),
    )

    # A row in its own span first: of two equal rows, the other one has moved.
    equal = [*_pair(listed, new, _place), *_pair(listed, new, _VALUES), *_pair(elsewhere, new, _VALUES)]
    result.unchanged += len(equal)
    result.moved += [(before.key, now.span_start) for before, now in equal if before.span_start != now.span_start]
    back = _pair(vanished, new, _VALUES)
    changed = _pair(listed, new, _submit_time)
    listed = [row for row in listed if row.span_start not in partly]
    changed += _pair(listed, new, lambda _: None)
    back += _pair(vanished, new, _submit_time)
    result.changed += [TableRow(now.values, before.leg, now.span_start) for before, now in changed]
    result.added += [TableRow(now.values, before.leg, now.span_start) for before, now in back]
    result.added += [TableRow(now.values, leg, now.span_start) for leg, now in enumerate(new, next_leg)]
    result.vanished += listed
    if new:
        result.contested.update(row.span_start for row in elsewhere)


def _pair(
    old: list[HeldRow], new: list[FoundRow], key: Callable[[HeldRow | FoundRow], object]
) -> list[tuple[HeldRow, FoundRow]]:
    # Takes rows with equal keys out of both lists, in their order.
    waiting: defaultdict[object, deque[HeldRow]] = defaultdict(deque)
    for row in old:
        waiting[key(row)].append(row)
    pairs: list[tuple[HeldRow, FoundRow]] = []
    rest: list[FoundRow] = []
    for now in new:
        rows = waiting[key(now)]
        if rows:
            pairs.append((rows.popleft(), now))
        else:
            rest.append(now)
    left = {row.leg for rows in waiting.values() for row in rows}
    old[:], new[:] = [row for row in old if row.leg in left], rest
    return pairs


_SPAN = attrgetter("span_start")
_VALUES = attrgetter("values")


def _place(row: HeldRow | FoundRow) -> object:
    return row.span_start, row.values


def _submit_time(row: HeldRow | FoundRow) -> object:
    return row.values[_SUBMIT_TIME]
