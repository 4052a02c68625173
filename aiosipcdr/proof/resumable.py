"""A coverage that is written down while it goes on, and taken up again after an interruption.

Synchronous and without I/O: notes come out, a history goes in.  No part of a
window is asked for before the note of the cut was written.
"""

from collections import deque
from collections.abc import Collection
from datetime import datetime
from typing import Any

from aiosipcdr.model.report import WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Cut, Delivered, History, Note, Recounted, Trimmed
from aiosipcdr.proof.range import Coverage
from aiosipcdr.proof.splits import Whole, announce

__all__ = ["ResumableCoverage"]

_Wholes = tuple[Whole, ...]


class ResumableCoverage(Coverage):
    """Covers a range for a reader that writes down what it takes: notes first, then windows."""

    def __init__(self, *question: Any, **settings: Any) -> None:  # noqa: ANN401 - those of Coverage
        """Take what `Coverage` takes."""
        self._notes: deque[tuple[Note, Whole | None]] = deque()
        self._unwritten: list[Whole] = []
        super().__init__(*question, **settings)

    @property
    def has_result(self) -> bool:
        """Whether a note or a window can be taken, or nothing is left to wait for."""
        return bool(self._notes) or super().has_result

    def take_note(self) -> Note | None:
        """Return what has to be written down next; all that was taken before is written by now."""
        for written in self._unwritten:
            written.is_noted = True
        self._unwritten.clear()
        if not self._notes:
            return None
        note, whole = self._notes.popleft()
        if whole is not None:
            self._unwritten.append(whole)
        return note

    def resume(self, history: History, *, counted_again: Collection[TimeWindow] = ()) -> None:
        """Go on where an earlier run of the same question ended, before anything is asked.

        Windows that were cut and whose parts hold less than they told are counted once more.

        Args:
            history: what the earlier run has read.
            counted_again: windows of it that still hold as many rows: their certificates are as of now.

        Raises:
            OutOfTimeRangeError: that run has left out what the vendor keeps no more, and this one must not.
            KeyError: `history` is none: it speaks of a window that was never planned.
        """
        reports = {entry.told.window: entry.told for entry in history.entries if isinstance(entry, Delivered)}
        self._judge_ages([reports[window] for window in counted_again if window in reports])
        self._note_clipping(history.tiles)
        chains: dict[TimeWindow, _Wholes] = {}
        wholes: dict[TimeWindow, Whole] = {}
        self._pending.take_all()
        waiting: dict[TimeWindow, _Wholes] = dict.fromkeys(history.tiles, ())
        for entry in history.entries:
            match entry:
                case Cut(told=told):
                    chain = self._plan_again(told, waiting.pop(told.window))
                    self._assembly.count_effort(told)
                    wholes[told.window] = self._pending.add_parts(entry, chain)
                case Delivered(told=told, share=share):
                    chain = chains[told.window] = self._plan_again(told, waiting.pop(told.window))
                    self._unproven = self._unproven or not told.certified
                    self._assembly.restore(told, share, chain)
                case Recounted(window=window, total=total):
                    wholes[window].told = total
                case Trimmed(kept_from=kept_from):
                    # What was read already when the edge had moved was handed over behind the note, as it was.
                    held = {window: waiting.pop(window) for window in reports.keys() & waiting.keys()}
                    self._restore_edge(kept_from, waiting)
                    waiting = held
            waiting |= self._pending.take_all()
        for window, chain in waiting.items():
            self._pending.add(window, chain)
        for read in history.latest:
            self._assembly.remember(read, chains[read.window])
        self._edge.report_gaps(self.report.window_reports, [])
        for whole in wholes.values():
            if whole.falls_short:
                self._recount(whole)
        self._certify()

    def _judge_ages(self, counted_now: list[WindowReport]) -> None:
        for told in counted_now:
            told.provisional = self._ages.is_young(told.window.end)
            told.local_clock = self._ages.read_clock().is_local

    def _plan_again(self, told: WindowReport, chain: _Wholes) -> _Wholes:
        if chain:
            announce(chain, told.total)
        else:
            self._budget.plan(told.total)
            self.planned.append((told.window, told.total))
        return chain

    def _restore_edge(self, kept_from: datetime, waiting: dict[TimeWindow, _Wholes]) -> None:
        error = self._edge.restore(kept_from)
        if not self._skip_out_of_range:
            raise error
        self._unproven = True
        for window, chain in waiting.items():
            self._pending.add(window, chain)
        self._pending.trim(kept_from)

    def _note(self, note: Note, whole: Whole | None = None) -> None:
        if whole is not None:
            whole.is_noted = False
        self._notes.append((note, whole))
