"""The progress bar: what the events of a run say, drawn on stderr.

Draws nothing where stderr is no terminal, and must never block or raise: it
is called between two requests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from aiosipcdr.cli.output import shows_progress
from aiosipcdr.display import visible
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.report import counted

__all__ = ["FetchProgress", "ProgressState", "waiting"]

_REDRAWS_A_SECOND = 5


class ProgressState:
    """Sums up events into what a bar shows; `total` is never below `records`.

    The spans of a range are counted one after the other, so until the last of
    them is known, `total` is estimated from the part of the range that is.
    """

    __slots__ = ("_known", "_range_seconds", "_seconds_known", "finished", "note", "records", "windows")

    def __init__(self, seconds: int = 0) -> None:
        """Start at nothing; `seconds` is the length of all ranges together, where it is known."""
        self._range_seconds = seconds
        self._seconds_known = 0
        self._known = 0
        self.records: int = 0
        self.windows: int = 0
        self.note: str = ""
        self.finished: bool = False

    def leave_out(self, seconds: int) -> None:
        """Note that a part of the ranges holds nothing to be read."""
        self._range_seconds = max(0, self._range_seconds - seconds)

    def take(self, event: Event) -> None:
        """Note what `event` says."""
        match event.kind:
            case EventKind.RUN_STARTED:
                self.records += event.records or 0  # of an earlier run, which this one goes on with
            case EventKind.WINDOW_PLANNED:
                self._known += event.total or 0
                self._seconds_known += event.window.seconds if event.window else 0
            case EventKind.WINDOW_COMPLETE:
                self.records += event.records or 0
                self.windows += 1
                self.note = ""
            case EventKind.THROTTLED:
                self.note = f"the vendor asks for patience: waiting {event.delay or 0:.1f} s"
            case EventKind.REQUEST_RETRIED:
                self.note = f"trying again after {event.error or 'a fault'}"
            case _:
                pass

    @property
    def total(self) -> int | None:
        """How many calls there will be, as far as is known; `None` before anything is."""
        if self.finished:
            return self.records
        if not self._seconds_known:
            return None
        share = max(1.0, self._range_seconds / self._seconds_known)
        return max(round(self._known * share), self.records)


class FetchProgress:
    """An event hook that draws; a context manager that puts the terminal back in order."""

    def __init__(self, title: str, seconds: int = 0, *, wanted: bool = True) -> None:
        """Prepare a bar named `title` for ranges of so many `seconds`; none where it is not `wanted` or cannot be."""
        self.state: ProgressState = ProgressState(seconds)
        self._progress: Progress | None = None
        if wanted and shows_progress():
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                _CallsColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(compact=True),
                TextColumn("[yellow]{task.fields[note]}"),
                console=Console(stderr=True),
                refresh_per_second=_REDRAWS_A_SECOND,
                expand=True,
            )
            self._task = self._progress.add_task(title, total=None, note="", windows=0)

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw the last state and give the terminal back."""
        if self._progress is not None:
            self.state.finished = kind is None
            self.state.note = ""
            self._draw(self._progress)
            self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Take note of `event`."""
        if self._progress is not None and event.kind not in _QUIET:
            self.state.take(event)
            self._draw(self._progress)

    def _draw(self, progress: Progress) -> None:
        state = self.state
        progress.update(
            self._task,
            completed=state.records,
            total=state.total,
            windows=state.windows,
            note=state.note,
        )


_QUIET = frozenset({EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED})


class _CallsColumn(ProgressColumn):
    """Calls done and known, windows, and calls a second."""

    def render(self, task: Task) -> Text:
        """Write the numbers of `task`."""
        total = "?" if task.total is None else f"{int(task.total):,}"
        speed = task.finished_speed or task.speed
        rate = f", {int(speed):,}/s" if speed else ""
        windows = counted(task.fields["windows"], "window", "windows")
        text = f"{int(task.completed):,}/{total} calls, {windows}{rate}"
        return Text(text, style="progress.download")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner beside `text` while the block runs, where stderr is a terminal."""
    if not shows_progress():
        yield
        return
    with Console(stderr=True).status(escape(visible(text))):
        yield
