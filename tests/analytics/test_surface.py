"""The names of `aiosipcdr.analytics`: every type that a public signature mentions can be imported from it."""

import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aiosipcdr
from aiosipcdr import analytics

CLASSES = [name for name in analytics.__all__ if inspect.isclass(getattr(analytics, name))]
FUNCTIONS = [name for name in analytics.__all__ if inspect.isfunction(getattr(analytics, name))]


def types_of(hint: Any) -> Iterator[type]:  # noqa: ANN401
    """The classes in an annotation."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        yield hint
    for part in typing.get_args(hint):
        if not isinstance(part, str):
            yield from types_of(part)


def hints_of(thing: Any) -> Iterator[Any]:  # noqa: ANN401
    """The annotations of a function, or of a class with its public attributes, methods and properties."""
    if not inspect.isclass(thing):
        yield from typing.get_type_hints(thing).values()
        return
    yield from typing.get_type_hints(thing).values()
    for name, member in vars(thing).items():
        if name.startswith("_") and name not in {"__init__", "__add__"}:
            continue
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            yield from typing.get_type_hints(function).values()


@pytest.mark.parametrize("name", CLASSES + FUNCTIONS)
def test_every_type_of_a_signature_is_public(name: str) -> None:
    public = {getattr(analytics, one) for one in CLASSES}
    ours = {
        kind
        for hint in hints_of(getattr(analytics, name))
        for kind in types_of(hint)
        if kind.__module__.startswith("aiosipcdr.analytics")
    }

    assert ours <= public


@pytest.mark.parametrize("name", CLASSES + FUNCTIONS)
def test_everything_public_is_described(name: str) -> None:
    thing = getattr(analytics, name)
    assert vars(thing).get("__doc__") or inspect.isfunction(thing)
    assert thing.__doc__
    for member_name, member in vars(thing).items() if inspect.isclass(thing) else ():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function) and not member_name.startswith("_"):
            assert function.__doc__, member_name


def test_nothing_that_is_shown_is_left_out() -> None:
    assert analytics.__all__ == sorted(analytics.__all__, key=lambda name: (not name.isupper(), name))
    assert len(CLASSES) > 15
    # A struct's __rich_repr__ shows every field, even if its __repr__ does not.
    structs = [getattr(analytics, name) for name in CLASSES if issubclass(getattr(analytics, name), msgspec.Struct)]
    assert [kind for kind in structs if "__repr__" in vars(kind) and "__rich_repr__" not in vars(kind)] == []


def test_analytics_need_the_core_alone() -> None:
    program = (
        "import sys; from aiosipcdr.analytics import summarize; summarize([]);"
        "print(*{'aiohttp', 'pyarrow', 'duckdb', 'numpy', 'rich', 'vl_convert'} & set(sys.modules))"
    )
    place = str(Path(aiosipcdr.__file__).parent.parent)
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {place!r}); {program}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )

    assert result.stdout.split() == []
