"""The fixture `cdr_sandbox`, which pytest finds by itself: the vendor's endpoint, fresh for each test.

Every run of everybody who has the package installed imports this module, also runs that
never use it: it must never import more than pytest has, before a test asks for the fixture.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from aiosipcdr.sandbox import Sandbox

__all__ = ["cdr_sandbox", "pytest_configure", "pytest_runtest_call"]

_MARKER: Final = "cdr_sandbox"
_sandboxes: Final = pytest.StashKey["Sandbox"]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for runs that are strict about them."""
    config.addinivalue_line(
        "markers",
        f'{_MARKER}(records=1000, order="newest", faults=(), **switches): '
        "what the fixture cdr_sandbox holds and how it behaves, as aiosipcdr.sandbox.Sandbox takes it; "
        "a mark nearer to the test goes before one that is further away, keyword by keyword",
    )


@pytest.fixture
def cdr_sandbox(request: pytest.FixtureRequest) -> "Iterator[Sandbox]":
    """The vendor's endpoint on loopback, in a thread of its own: an `aiosipcdr.sandbox.Sandbox` for this test alone.

    It is synchronous and needs no event loop, so it serves tests of any kind.  Mark a
    test with `@pytest.mark.cdr_sandbox(records=500, faults=[...])` to say what it holds,
    and use `add_faults`, `insert`, `change` and `stats` of what you get in the test itself.
    A test that passes while a scripted fault has not struck fails.
    """
    from aiosipcdr.sandbox import Sandbox, UnusedFaultsError

    try:
        sandbox = Sandbox(**_switches(request.node))
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
    # Which faults never struck is told where the test ends, in its own name: not again here.
    with suppress(UnusedFaultsError), sandbox:
        request.node.stash[_sandboxes] = sandbox
        yield sandbox
        del request.node.stash[_sandboxes]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that would have passed with faults that never struck."""
    __tracebackhide__ = True
    result = yield
    sandbox = item.stash.get(_sandboxes, None)
    if sandbox is not None and (left := sandbox.faults_left):
        from aiosipcdr.sandbox import UnusedFaultsError

        raise UnusedFaultsError(left)
    return result


def _switches(node: pytest.Item) -> dict[str, Any]:
    """Return what the marks of a test ask for, those of its class and its module included."""
    switches: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(_MARKER))):
        if mark.args:
            raise TypeError(f"it takes keywords, as in {_MARKER}(records=500)")
        switches |= mark.kwargs
    return switches
