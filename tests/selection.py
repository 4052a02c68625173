"""Which combinations of parameters the gate plays: some of them; `nox -s all_tests` plays all."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

__all__ = ["ALL", "pairs", "some"]

ALL: Final = bool(os.environ.get("AIOSIPCDR_ALL_TESTS"))
"""Whether every combination is to be played."""

T = TypeVar("T")


def some(cases: Iterable[T], *, every: int) -> list[T]:
    """Return each so many of `cases`, beginning with the first."""
    return list(cases)[:: 1 if ALL else every]


def pairs(one: Sequence[Any], other: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs that hold each of `one` and each of `other` at least once; all pairs where all are to be played."""
    if ALL:
        return [(left, right) for left in one for right in other]
    count = max(len(one), len(other))
    return [(one[number % len(one)], other[number % len(other)]) for number in range(count)]
