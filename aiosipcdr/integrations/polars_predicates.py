"""Filters of a Polars query, as far as the vendor can apply them: bounds of a time, a group, a phone.

Polars shows an expression only as JSON, whose form is not stable. So this reads the few forms that it knows and leaves
out the rest: what it returns selects at least the rows that the expression selects. The caller filters again.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

import msgspec

from aiosipcdr.model.records import TimeField
from aiosipcdr.model.windows import day_start

__all__ = ["PushedFilters", "read_predicate"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = {"Milliseconds": timedelta(milliseconds=1), "Microseconds": _MICROSECOND}
_MIRRORED = {"Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq", "Eq": "Eq", "EqValidity": "EqValidity"}
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
    # From `first` to before `after` are the instants that equal the literal: one, or those of a day.
    value = _scalar(literal)
    if column.get("Column") is not None:
        name = column["Column"]
        count, unit, zone = value["Datetime"]
        if zone is None:
            return None
        first = _EPOCH + count * _UNITS[unit]
        after = first + _MICROSECOND
    else:
        name, zone = _read_date_of(column)
        day = date(1970, 1, 1) + timedelta(days=value["Date"])
        first, after = day_start(day, zone), day_start(day + timedelta(days=1), zone)
    if time_field is None or name != time_field:
        return None
    return {
        "Gt": PushedFilters(start=after),
        "GtEq": PushedFilters(start=first),
        "Lt": PushedFilters(end=first),
        "LtEq": PushedFilters(end=after),
        "Eq": PushedFilters(start=first, end=after),
        "EqValidity": PushedFilters(start=first, end=after),
    }[op]


def _read_date_of(column: Any) -> tuple[str, tzinfo]:  # noqa: ANN401 - JSON
    # column.dt.date(), or column.dt.convert_time_zone(...).dt.date()
    inner, zone = _read_function(column, "Date")[0], "UTC"
    if "Function" in inner:
        inner, zone = _read_function(inner, "ConvertTimeZone")
        zone = zone["inner"]
    return inner["Column"], ZoneInfo(zone)


def _read_function(node: Any, name: str) -> tuple[Any, Any]:  # noqa: ANN401 - JSON
    # The only input of a temporal function, and its argument.
    (inner,) = node["Function"]["input"]
    called = node["Function"]["function"]["TemporalExpr"]
    if called == name:
        return inner, None
    return inner, called[name]


def _scalar(node: Any) -> Any:  # noqa: ANN401 - JSON
    return node["Literal"]["Scalar"]
