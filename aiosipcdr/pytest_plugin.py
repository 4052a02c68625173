"""The pytest fixture `cdr_sandbox`: the vendor's endpoint on loopback, a new one for each test.

pytest loads this module in every run where the package is installed. It therefore imports only pytest before a test
uses the fixture, and needs only pytest 7.0 and pluggy 1.0 (anyio's own plugin runs with no older pytest).
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
        "arguments of aiosipcdr.sandbox.Sandbox for the fixture cdr_sandbox; "
        "a mark on a test overrides those on its class and module, keyword by keyword",
    )


@pytest.fixture
def cdr_sandbox(request: "pytest.FixtureRequest") -> "Iterator[Sandbox]":
    """An `aiosipcdr.sandbox.Sandbox` for this test: the vendor's endpoint on loopback, in a thread of its own.

        @pytest.mark.cdr_sandbox(records=500, faults=[Fault("reset", page=2)])
        def test_invoice(cdr_sandbox): ...

    It needs no event loop, so it serves synchronous and asynchronous tests. The mark has the arguments of `Sandbox`;
    `add_faults`, `insert`, `change` and `stats` are for the test itself. A test that passes although a scripted fault
    has not struck fails.
    """
    from aiosipcdr.sandbox import Sandbox, UnusedFaultsError

    try:
        sandbox = Sandbox(**_read_marks(request.node))
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
    # Unused faults fail the test itself, not its teardown, too.
    with suppress(UnusedFaultsError), sandbox:
        _sandboxes[request.node] = sandbox
        yield sandbox
        del _sandboxes[request.node]


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: "pytest.Item") -> None:
    """Fail a test that has passed although faults have not struck; runs last, so the test has passed."""
    __tracebackhide__ = True
    sandbox = _sandboxes.get(item)
    if sandbox is not None and (left := sandbox.faults_left):
        from aiosipcdr.sandbox import UnusedFaultsError

        raise UnusedFaultsError(left)


def _read_marks(node: "pytest.Item") -> dict[str, Any]:
    """Return the arguments of the marks of a test, its class and its module."""
    config: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(_MARKER))):
        if mark.args:
            raise TypeError(f"pass keywords, as in {_MARKER}(records=500)")
        config |= mark.kwargs
    return config
