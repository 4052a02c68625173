"""The fixture `cdr_sandbox`, which pytest finds by itself: the vendor's endpoint, fresh for each test.

Every pytest run on a machine where the package is installed imports this module,
also runs that never use the fixture: it imports nothing but pytest before a test
asks for it, and uses only what pytest 7.0 and pluggy 1.0 have (anyio's own plugin,
which comes with it, runs with no older pytest).
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import pytest

if TYPE_CHECKING:
    from aiosipcdr.sandbox import Sandbox

__all__ = ["cdr_sandbox", "pytest_configure", "pytest_runtest_call"]

_MARKER: Final = "cdr_sandbox"
_sandboxes: "WeakKeyDictionary[pytest.Item, Sandbox]" = WeakKeyDictionary()


def pytest_configure(config: "pytest.Config") -> None:
    """Register the marker, for runs that are strict about them."""
    config.addinivalue_line(
        "markers",
        f'{_MARKER}(records=1000, order="newest", faults=(), **switches): '
        "what the fixture cdr_sandbox holds and how it behaves, as aiosipcdr.sandbox.Sandbox takes it; "
        "a mark nearer to the test goes before one that is further away, keyword by keyword",
    )


@pytest.fixture
def cdr_sandbox(request: "pytest.FixtureRequest") -> "Iterator[Sandbox]":
    """The vendor's endpoint on loopback, in a thread of its own: an `aiosipcdr.sandbox.Sandbox` for this test alone.

    It is synchronous and needs no event loop, so it serves tests of any kind. Mark a
    test with `@pytest.mark.cdr_sandbox(records=500, faults=[...])` to say what it holds,
    and use `add_faults`, `insert`, `change` and `stats` of what you get in the test itself.
    A test that passes while a scripted fault has not struck fails.
    """
    from aiosipcdr.sandbox import Sandbox, UnusedFaultsError

    try:
        sandbox = Sandbox(**_switches(request.node))
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
    # The test itself reports faults that never struck: not again here.
    with suppress(UnusedFaultsError), sandbox:
        _sandboxes[request.node] = sandbox
        yield sandbox
        del _sandboxes[request.node]


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: "pytest.Item") -> None:
    """Fail a test that has passed, which is what it means that this comes last, while faults have not struck."""
    __tracebackhide__ = True
    sandbox = _sandboxes.get(item)
    if sandbox is not None and (left := sandbox.faults_left):
        from aiosipcdr.sandbox import UnusedFaultsError

        raise UnusedFaultsError(left)


def _switches(node: "pytest.Item") -> dict[str, Any]:
    """Return what the marks of a test ask for, those of its class and its module included."""
    switches: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(_MARKER))):
        if mark.args:
            raise TypeError(f"it takes keywords, as in {_MARKER}(records=500)")
        switches |= mark.kwargs
    return switches
