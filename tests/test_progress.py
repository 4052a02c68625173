"""Progress of runs: a bar in a notebook, a line in a terminal, nothing elsewhere."""

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from aiosipcdr import CdrClient, FetchReport
from aiosipcdr.events import Event, EventKind
from aiosipcdr.progress import ProgressDisplay
from aiosipcdr.sandbox import Sandbox
from tests.system_parts import require


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)  # in the test: pytest sets its own for each phase
    return stream


@pytest.fixture
def shell() -> Iterator[Any]:
    """IPython, which records what is displayed."""
    require("package:IPython")
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


async def fetch(sandbox: Sandbox, hook: ProgressDisplay) -> None:
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, hook=hook) as client:
        await client.fetch_all(sandbox.start, sandbox.end)


async def test_a_terminal_shows_one_line_for_each_run(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    hook = ProgressDisplay()
    await fetch(sandbox, hook)
    await fetch(sandbox, hook)
    lines = terminal.getvalue().split("\n")

    assert len(lines) == 3
    assert lines[2] == ""
    for line in lines[:2]:
        assert line.split("\r")[1].startswith("fetching: 0/500 calls")
        assert line.split("\r")[-1].startswith("fetching: 500 calls, 1 window; 500 of 500 calls, certified complete: ")


async def test_elsewhere_nothing_is_shown(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    await fetch(sandbox, ProgressDisplay())
    monkeypatch.setattr(sys, "stderr", None)
    await fetch(sandbox, ProgressDisplay())

    assert stream.getvalue() == ""


async def test_a_notebook_shows_one_bar_that_is_updated(sandbox: Sandbox, shell: Any) -> None:  # noqa: ANN401
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        await fetch(sandbox, ProgressDisplay("<b>calls</b>", html=True))
    first, *updates = captured.outputs

    assert shell is not None
    assert first.data["text/html"] == (
        '<progress value="0" max="500"></progress> &lt;b&gt;calls&lt;/b&gt;: 0/500 calls, 0 windows'
    )
    assert updates
    assert '<progress value="500" max="500"></progress>' in updates[-1].data["text/html"]
    assert "500 of 500 calls, certified complete" in updates[-1].data["text/plain"]
    assert captured.stderr == ""


def test_a_shell_without_a_kernel_is_no_notebook(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    terminal = use_terminal(monkeypatch)
    hook = ProgressDisplay()
    hook(Event(kind=EventKind.RUN_STARTED, run=1))
    hook(Event(kind=EventKind.THROTTLED, run=1, delay=2.0))
    assert terminal.getvalue() == "\rfetching: 0/? calls, 0 windows; throttled by the vendor: waiting 2.0 s"
    shell.kernel = object()
    try:
        assert ProgressDisplay()._html
    finally:
        del shell.kernel


def test_runs_at_the_same_time_share_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    hook = ProgressDisplay()
    for run in (1, 2):
        hook(Event(kind=EventKind.RUN_STARTED, run=run))
    hook(Event(kind=EventKind.WINDOW_COMPLETE, run=1, records=7))
    hook(Event(kind=EventKind.RUN_FINISHED, run=1, report=FetchReport()))
    assert "\n" not in terminal.getvalue()
    hook(Event(kind=EventKind.WINDOW_COMPLETE, run=2, records=5))
    hook(Event(kind=EventKind.RUN_FINISHED, run=2, error="OutageError"))

    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().rstrip().endswith("fetching: 12 calls, 2 windows; OutageError")


def test_a_display_that_fails_stops_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Terminal):
        def write(self, _: str, /) -> int:
            failed.append(True)
            raise OSError("closed")

    failed: list[bool] = []
    monkeypatch.setattr(sys, "stderr", Broken())
    hook = ProgressDisplay()
    hook(Event(kind=EventKind.RUN_STARTED, run=1))
    hook(Event(kind=EventKind.WINDOW_COMPLETE, run=1, records=1))
    hook(Event(kind=EventKind.RUN_FINISHED, run=1, report=FetchReport()))
    assert failed


async def test_a_count_shows_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, hook=ProgressDisplay()) as client:
        assert await client.count(sandbox.start, sandbox.end) == 500
    assert terminal.getvalue() == ""


def test_events_of_requests_are_not_wanted() -> None:
    hook = ProgressDisplay()
    assert [kind for kind in EventKind if not hook.wants(kind)] == [EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED]
