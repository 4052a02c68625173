"""The pytest fixture `cdr_sandbox`: a new sandbox for each test.

Every pytest run on a machine with this package imports this module. It therefore imports only pytest before a test uses
the fixture, and uses only features of pytest 7.0 and pluggy 1.0 (anyio's pytest plugin, a dependency, needs pytest 7.0,
too).
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
    """Register the marker, for runs with strict markers."""
    config.addinivalue_line(
        "markers",
        f'{_MARKER}(records=1000, order="newest", faults=(), **config): '
        "settings of the fixture cdr_sandbox, as keyword arguments of aiosipcdr.sandbox.Sandbox; "
        "for each keyword the mark closest to the test applies",
    )


@pytest.fixture
def cdr_sandbox(request: "pytest.FixtureRequest") -> "Iterator[Sandbox]":
    """The vendor's endpoint on loopback, in its own thread: an `aiosipcdr.sandbox.Sandbox` for one test.

        @pytest.mark.cdr_sandbox(records=500, faults=[Fault("reset", page=2)])
        def test_invoice(cdr_sandbox): ...

    It needs no event loop, so it works in tests of any kind. The mark has the arguments of `Sandbox`; use `add_faults`,
    `insert`, `change` and `stats` in the test. A test that passes although a queued fault was not triggered fails.
    """
    from aiosipcdr.sandbox import Sandbox, UnusedFaultsError

    try:
        sandbox = Sandbox(**_read_marks(request.node))
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
    # The hook below reports unused faults: not again here.
    with suppress(UnusedFaultsError), sandbox:
        _sandboxes[request.node] = sandbox
        yield sandbox
        del _sandboxes[request.node]


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: "pytest.Item") -> None:
    """Fail a passed test if queued faults were not triggered; as the last hook it runs only if the test passed."""
    __tracebackhide__ = True
    sandbox = _sandboxes.get(item)
    if sandbox is not None and (left := sandbox.faults_left):
        from aiosipcdr.sandbox import UnusedFaultsError

        raise UnusedFaultsError(left)


def _read_marks(node: "pytest.Item") -> dict[str, Any]:
    """Return the settings in the marks of a test, including those of its class and module."""
    config: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(_MARKER))):
        if mark.args:
            raise TypeError(f"only keyword arguments are accepted, as in {_MARKER}(records=500)")
        config |= mark.kwargs
    return config
