"""Parameters that the gate runs: some combinations of them; `nox -s all_tests` runs all."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

__all__ = ["ALL", "pairs", "some"]

ALL: Final = bool(os.environ.get("AIOSIPCDR_ALL_TESTS"))
"""Whether every combination runs."""

T = TypeVar("T")


def some(cases: Iterable[T], *, every: int) -> list[T]:
    """Return every n-th of `cases`, beginning with the first; all where all run."""
    return list(cases)[:: 1 if ALL else every]


def pairs(one: Sequence[Any], other: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs with each of `one` and each of `other` at least once; all pairs where all run."""
    if ALL:
        return [(left, right) for left in one for right in other]
    count = max(len(one), len(other))
    return [(one[number % len(one)], other[number % len(other)]) for number in range(count)]
