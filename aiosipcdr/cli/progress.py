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
from aiosipcdr.events import Event
from aiosipcdr.model.report import counted
from aiosipcdr.progress import QUIET, ProgressState

__all__ = ["FetchProgress", "ProgressState", "waiting"]

_REDRAWS_A_SECOND = 5


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
        if self._progress is not None and event.kind not in QUIET:
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
