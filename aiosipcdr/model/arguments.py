"""Checks of arguments, made before any I/O: each error says what to pass instead.

They raise only `ValueError`, for a wrong type too, or `ArgumentError` if the argument is part of a query.
"""

import math
from collections.abc import Sequence
from datetime import timedelta, tzinfo
from types import UnionType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

__all__ = [
    "NO_ZONES",
    "check_between",
    "check_choice",
    "check_kind",
    "check_seconds",
    "check_span",
    "check_zone",
]

NO_ZONES = "this system has no time zone data, so no zone can be found by name: pip install tzdata"


def check_between(name: str, value: object, minimum: int, maximum: int, error: type[ValueError] = ValueError) -> None:
    """Raise `error` unless `value` is a whole number from `minimum` to `maximum`."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise error(f"{name} must be a whole number from {minimum} to {maximum}, not {value!r}")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        *others, last = [f'"{choice}"' for choice in choices]
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, not {value!r}")


def check_kind(name: str, value: object, kind: type | UnionType, wanted: str) -> None:
    """Raise `ValueError` unless `value` is `None` or an instance of `kind`, which the text calls `wanted`."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be {wanted}, not a {type(value).__name__}")


def check_seconds(name: str, value: object) -> None:
    """Raise `ValueError` unless `value` is a positive, finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


def check_span(name: str, value: object) -> None:
    """Raise `ValueError` unless `value` is a timedelta that is not negative."""
    if not isinstance(value, timedelta) or value < timedelta():
        raise ValueError(f"{name} must be a timedelta that is not negative, not {value!r}")


def check_zone(name: str, zone: object) -> tzinfo | None:
    """Return the time zone, given as a tzinfo or an IANA name; `None` for `None`.

    A zone of pytz is replaced by the zone of the same name: used as a plain tzinfo, it has the local mean time of
    before 1900.

    Raises:
        ValueError: `zone` names no time zone.
    """
    if hasattr(zone, "localize"):
        zone = getattr(zone, "zone", None) or zone  # a zone of a fixed offset has no name
    if zone is None or isinstance(zone, tzinfo):
        return zone
    try:
        return ZoneInfo(zone if isinstance(zone, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            NO_ZONES
            if not available_timezones()
            else f'{name} must be a tzinfo or the name of a time zone, as in "Asia/Shanghai"'
        ) from None
