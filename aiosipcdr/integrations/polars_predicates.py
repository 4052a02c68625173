"""Filters of a Polars query, as far as the vendor can apply them: bounds of a time, a group, a phone.

Polars shows an expression only as JSON, whose form is not stable. So this reads the few forms that it knows and leaves
out the rest: what it returns selects at least the rows that the expression selects. The caller filters again.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from operator import eq, ge, gt, le, lt
from typing import Any, NamedTuple, Self

import msgspec

from aiosipcdr.model.records import TimeField

__all__ = ["PushedFilters", "read_predicate"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)
_AROUND = timedelta(days=3)  # a zone is up to 16 hours from UTC, and may have skipped a day
_UNITS = {"Milliseconds": timedelta(milliseconds=1), "Microseconds": _MICROSECOND}
_MIRRORED = {"Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq", "Eq": "Eq", "EqValidity": "EqValidity"}
_COMPARISONS = {"Gt": gt, "GtEq": ge, "Lt": lt, "LtEq": le, "Eq": eq, "EqValidity": eq}
_NAMES = ("sip_group_name", "phone_name")


class PushedFilters(NamedTuple):
    """What the vendor is asked for instead of the whole range.

    Attributes:
        start: No call before this is needed; `None`: unlimited.
        end: No call at or after this is needed; `None`: unlimited.
        sip_group_name: Only calls of this group are needed.
        phone_name: Only calls of this phone are needed.
    """

    start: datetime | None = None
    end: datetime | None = None
    sip_group_name: str | None = None
    phone_name: str | None = None

    def __repr__(self) -> str:
        """Name the filters that are set, not their values: a phone's name may be a number."""
        return f"PushedFilters({', '.join(name for name, value in self._asdict().items() if value is not None)})"

    def narrowed(self, found: Self) -> Self:
        """Return what satisfies both; of two names, the first one."""
        starts = [start for start in (self.start, found.start) if start is not None]
        ends = [end for end in (self.end, found.end) if end is not None]
        return type(self)(
            max(starts, default=None),
            min(ends, default=None),
            self.sip_group_name or found.sip_group_name,
            self.phone_name or found.phone_name,
        )


def read_predicate(serialized: str | bytes, time_field: TimeField | None) -> PushedFilters:
    """Return what the vendor can select of an expression.

    Args:
        serialized: The expression as JSON, see `polars.Expr.meta.serialize`.
        time_field: The time that the vendor is known to filter on; without it no time is read.
    """
    pushed = PushedFilters()
    try:
        tree = msgspec.json.decode(serialized)
    except (msgspec.DecodeError, RecursionError):
        return pushed
    for condition in _conditions(tree):
        try:
            found = _read_condition(condition, time_field)
        except (AttributeError, IndexError, KeyError, OSError, OverflowError, TypeError, ValueError):
            continue  # a form that is not known
        if found is not None:
            pushed = pushed.narrowed(found)
    return pushed


def _conditions(tree: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    # The conditions that must all be true.
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        operation = node.get("BinaryExpr") if isinstance(node, dict) else None
        if isinstance(operation, dict) and operation.get("op") in {"And", "LogicalAnd"}:
            waiting += [operation.get("right"), operation.get("left")]
        else:
            yield node


def _read_condition(node: Any, time_field: TimeField | None) -> PushedFilters | None:  # noqa: ANN401 - JSON
    if operation := node.get("BinaryExpr"):
        left, op, right = operation["left"], operation["op"], operation["right"]
        if "Literal" in left:
            left, op, right = right, _MIRRORED[op], left
        if (name := left.get("Column")) in _NAMES:
            return _read_name(name, op, right)
        return _read_time(left, op, right, time_field)
    function = node["Function"]
    if "IsBetween" not in function["function"]["Boolean"]:
        return None
    column, first, last = function["input"]
    after, before = (_read_time(column, op, bound, time_field) for op, bound in (("GtEq", first), ("LtEq", last)))
    return None if after is None or before is None else after.narrowed(before)


def _read_name(name: str, op: str, literal: Any) -> PushedFilters | None:  # noqa: ANN401 - JSON
    value = _scalar(literal)["String"]
    # A blank name cannot be sent.
    if op not in {"Eq", "EqValidity"} or not isinstance(value, str) or not value.strip():
        return None
    return PushedFilters(sip_group_name=value) if name == "sip_group_name" else PushedFilters(phone_name=value)


def _read_time(column: Any, op: str, literal: Any, time_field: TimeField | None) -> PushedFilters | None:  # noqa: ANN401 - JSON
    value = _scalar(literal)
    name, zone = _read_column(column)
    if time_field is None or name != time_field:
        return None
    if zone is not None:
        return _read_days(zone, op, date(1970, 1, 1) + timedelta(days=value["Date"]))
    count, unit, zone = value["Datetime"]
    if zone is None:
        return None
    time = _EPOCH + count * _UNITS[unit]
    return _bounds(op, time if op != "Gt" else time + _MICROSECOND, time if op == "Lt" else time + _MICROSECOND)


def _read_days(zone: str, op: str, day: date) -> PushedFilters | None:
    # Polars has a time zone database of its own, which may be older than Python's or newer. So it is asked, minute by
    # minute: that also holds for a day that begins twice or never.
    import polars as pl

    middle = datetime(day.year, day.month, day.day, tzinfo=UTC)
    minutes = pl.datetime_range(middle - _AROUND, middle + _AROUND, _MINUTE, eager=True)
    chosen = minutes.filter(_COMPARISONS[op](minutes.dt.convert_time_zone(zone).dt.date(), day))
    # One minute more at the start, since days of historical zones begin at any second.
    return None if chosen.is_empty() else _bounds(op, chosen[0] - _MINUTE, chosen[-1] + _MINUTE)


def _bounds(op: str, start: datetime, end: datetime) -> PushedFilters:
    return {
        "Gt": PushedFilters(start=start),
        "GtEq": PushedFilters(start=start),
        "Lt": PushedFilters(end=end),
        "LtEq": PushedFilters(end=end),
        "Eq": PushedFilters(start=start, end=end),
        "EqValidity": PushedFilters(start=start, end=end),
    }[op]


def _read_column(column: Any) -> tuple[str, str | None]:  # noqa: ANN401 - JSON
    # A column, or the zone of its dates: column.dt.date(), or column.dt.convert_time_zone(...).dt.date().
    if (name := column.get("Column")) is not None:
        return name, None
    inner, zone = _read_function(column, "Date")[0], "UTC"
    if "Function" in inner:
        inner, zone = _read_function(inner, "ConvertTimeZone")
        zone = zone["inner"]
    return inner["Column"], zone


def _read_function(node: Any, name: str) -> tuple[Any, Any]:  # noqa: ANN401 - JSON
    # The only input of a temporal function, and its argument.
    (inner,) = node["Function"]["input"]
    called = node["Function"]["function"]["TemporalExpr"]
    if called == name:
        return inner, None
    return inner, called[name]


def _scalar(node: Any) -> Any:  # noqa: ANN401 - JSON
    return node["Literal"]["Scalar"]
