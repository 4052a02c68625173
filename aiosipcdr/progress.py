"""Progress of runs, summed up from their events: in a notebook a bar, in a terminal a line.

Needs nothing beyond the core: IPython is used where it runs already.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import Any, Final

from aiosipcdr.display import shorten
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.report import counted

__all__ = ["ProgressDisplay"]

QUIET: Final = frozenset({EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED})
"""Events that change nothing in the display."""

_SECONDS_BETWEEN = 0.2


class ProgressState:
    """The state of the bar, summed up from events; `total` is never below `records`.

    The parts of a range are counted one after the other: until all are, `total` is extrapolated from the counted ones.
    `seconds` is the length of all ranges together.
    """

    __slots__ = ("_counted", "_range_seconds", "_seconds_counted", "finished", "note", "records", "windows")

    def __init__(self, seconds: int = 0) -> None:
        self._range_seconds = seconds
        self._seconds_counted = 0
        self._counted = 0
        self.records: int = 0
        self.windows: int = 0
        self.note: str = ""
        self.finished: bool = False

    def include(self, seconds: int) -> None:
        """Add a range."""
        self._range_seconds += seconds

    def exclude(self, seconds: int) -> None:
        """Exclude a part of the ranges, in which there is nothing to read."""
        self._range_seconds = max(0, self._range_seconds - seconds)

    def update(self, event: Event) -> None:
        """Update the state from `event`."""
        match event.kind:
            case EventKind.RUN_STARTED:
                self.records += event.records or 0  # of an earlier run that is resumed
            case EventKind.WINDOW_PLANNED:
                self._counted += event.total or 0
                self._seconds_counted += event.window.seconds if event.window else 0
            case EventKind.WINDOW_COMPLETE:
                self.records += event.records or 0
                self.windows += 1
                self.note = ""
            case EventKind.THROTTLED:
                self.note = f"throttled by the vendor: waiting {event.delay or 0:.1f} s"
            case EventKind.REQUEST_RETRIED:
                self.note = f"retrying after {event.error or 'an error'}"
            case EventKind.RECHECK_SCHEDULED:
                self.note = f"{event.records or 0:,} rows would vanish: reading again in {event.delay or 0:.0f} s"
            case _:
                pass

    @property
    def total(self) -> int | None:
        """The estimated number of calls; `None` before the first count."""
        if self.finished:
            return self.records
        if not self._seconds_counted:
            return None
        share = max(1.0, self._range_seconds / self._seconds_counted)
        return max(round(self._counted * share), self.records)


class ProgressDisplay:
    """An event hook that shows the progress of all runs of a client.

        async with CdrClient.from_env(hook=ProgressDisplay()) as client:
            records = await client.fetch_all(start, end)

    In a notebook (Jupyter, VS Code, Colab) it is a bar below the cell, in a terminal a line on stderr, elsewhere
    nothing. It shows counts, no call. It never raises, and draws at most five times a second.
    """

    def __init__(self, title: str = "fetching", *, html: bool | None = None) -> None:
        """Prepare a display.

        Args:
            title: The text before the counts.
            html: Whether to draw a bar with IPython; by default where a notebook runs.
        """
        self._title = shorten(title)
        self._html = _runs_in_notebook() if html is None else html
        self._state = ProgressState()
        self._running = 0
        self._update: Callable[[Any], object] | None = None
        self._drawn = float("-inf")

    def wants(self, kind: EventKind) -> bool:
        """Return whether events of requests are to be sent: no.

        For example:

            ProgressDisplay().wants(EventKind.REQUEST_SENT)  # False
        """
        return kind not in QUIET

    def __call__(self, event: Event, /) -> None:
        """Update the display from `event`."""
        if event.kind is EventKind.RUN_STARTED:
            self._running += 1
            self._state.include(event.window.seconds if event.window else 0)
        self._state.update(event)
        if event.kind is EventKind.RUN_STARTED:
            return  # runs that only count show nothing
        if event.kind is EventKind.RUN_FINISHED:
            self._running = max(0, self._running - 1)
            if not self._running:
                self._finish(str(event.report) if event.error is None and event.report is not None else event.error)
                return
        now = time.monotonic()
        if now - self._drawn >= _SECONDS_BETWEEN:
            self._drawn = now
            self._draw(_View(self._title, self._state))

    def _finish(self, sentence: str | None) -> None:
        state = self._state
        state.finished, state.note = True, sentence or ""
        if self._update is not None:
            self._draw(_View(self._title, state))
        # The next run gets a bar of its own.
        self._state, self._update, self._drawn = ProgressState(), None, float("-inf")

    def _draw(self, view: "_View") -> None:
        with suppress(Exception):  # a display that fails must not stop a run
            if self._update is None:
                self._update = _open_bar(view) if self._html else _open_line()
            self._update(view)


class _View:
    """The state at one moment, as text and as HTML."""

    def __init__(self, title: str, state: ProgressState) -> None:
        total = state.total
        self._value, self._total, self.is_last = state.records, total, state.finished
        counts = f"{state.records:,}/{'?' if total is None else f'{total:,}'} calls"
        if state.finished:
            counts = counted(state.records, "call", "calls")
        self._text = f"{title}: {counts}, {counted(state.windows, 'window', 'windows')}"
        if state.note:
            self._text += f"; {shorten(state.note) if not state.finished else state.note}"

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        # Without a value it is a bar that moves: nothing is counted yet.
        total = self._total
        value = "" if total is None else f' value="{self._value}" max="{max(1, total)}"'
        return f"<progress{value}></progress> {escape(self._text)}"


def _runs_in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _open_bar(view: _View) -> Callable[[Any], object]:
    from IPython import display

    show: Callable[..., Any] = display.display  # untyped
    handle = show(view, display_id=True)
    update: Callable[[Any], object] = handle.update
    return update


def _open_line() -> Callable[[Any], object]:
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda _: None
    width = 0

    def update(view: _View) -> None:
        nonlocal width
        text = repr(view)
        sys.stderr.write(f"\r{text.ljust(width)}" + ("\n" if view.is_last else ""))
        sys.stderr.flush()
        width = len(text)

    return update
