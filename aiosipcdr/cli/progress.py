"""The progress bar of a run, drawn on stderr from its events.

Draws nothing if stderr is not a terminal. Never blocks and never raises: it is called between requests.
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


class FetchProgress:
    """An event hook that draws a progress bar; a context manager that restores the terminal."""

    def __init__(self, title: str, seconds: int = 0, *, wanted: bool = True) -> None:
        """Prepare a bar for ranges of `seconds`; no bar if it is not `wanted` or stderr is no terminal."""
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
        """Start the bar."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw the last state and stop the bar."""
        if self._progress is not None:
            self.state.finished = kind is None
            self.state.note = ""
            self._draw(self._progress)
            self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Update the bar from `event`."""
        if self._progress is not None and event.kind not in _QUIET:
            self.state.update(event)
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
    """Calls fetched and expected, windows, and calls per second."""

    def render(self, task: Task) -> Text:
        """Return the text for `task`."""
        total = "?" if task.total is None else f"{int(task.total):,}"
        speed = task.finished_speed or task.speed
        rate = f", {int(speed):,}/s" if speed else ""
        windows = counted(task.fields["windows"], "window", "windows")
        text = f"{int(task.completed):,}/{total} calls, {windows}{rate}"
        return Text(text, style="progress.download")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner and `text` while the block runs, if stderr is a terminal."""
    if not shows_progress():
        yield
        return
    with Console(stderr=True).status(escape(visible(text))):
        yield
