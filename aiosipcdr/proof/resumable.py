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
from aiosipcdr.proof.checkpoint import Checkpoint, Delivered, JournalEvent, Recounted, Trimmed, WindowSplit
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.proof.splits import SplitWindow, add_reported

__all__ = ["ResumableCoverage"]

_Wholes = tuple[SplitWindow, ...]


class ResumableCoverage(RangeReader):
    """Covers a range for a reader that writes down what it takes: notes first, then windows."""

    def __init__(self, *question: Any, **settings: Any) -> None:  # noqa: ANN401 - those of Coverage
        """Take what `RangeReader` takes."""
        self._notes: deque[tuple[JournalEvent, SplitWindow | None]] = deque()
        self._unwritten: list[SplitWindow] = []
        super().__init__(*question, **settings)

    @property
    def has_result(self) -> bool:
        """Whether a note or a window can be taken, or nothing is left to wait for."""
        return bool(self._notes) or super().has_result

    def take_note(self) -> JournalEvent | None:
        """Return what has to be written down next; all that was taken before is written by now."""
        for written in self._unwritten:
            written.is_noted = True
        self._unwritten.clear()
        if not self._notes:
            return None
        note, split = self._notes.popleft()
        if split is not None:
            self._unwritten.append(split)
        return note

    def resume(self, checkpoint: Checkpoint, *, counted_again: Collection[TimeWindow] = ()) -> None:
        """Go on where an earlier run of the same question ended, before anything is asked.

        Windows that were cut and whose parts hold less than they told are counted once more.

        Args:
            checkpoint: what the earlier run has read.
            counted_again: windows of it that still hold as many rows: their certificates are as of now.

        Raises:
            OutOfTimeRangeError: that run has left out what the vendor keeps no more, and this one must not.
            KeyError: `checkpoint` is none: it speaks of a window that was never planned.
        """
        reports = {
            entry.reported.window: entry.reported for entry in checkpoint.entries if isinstance(entry, Delivered)
        }
        self._judge_ages([reports[window] for window in counted_again if window in reports])
        self._note_clipping(checkpoint.tiles)
        chains: dict[TimeWindow, _Wholes] = {}
        splits: dict[TimeWindow, SplitWindow] = {}
        self._pending.take_all()
        waiting: dict[TimeWindow, _Wholes] = dict.fromkeys(checkpoint.tiles, ())
        for entry in checkpoint.entries:
            match entry:
                case WindowSplit(reported=reported):
                    chain = self._plan_again(reported, waiting.pop(reported.window))
                    self._merger.count_effort(reported)
                    splits[reported.window] = self._pending.add_parts(entry, chain)
                case Delivered(reported=reported, share=share):
                    chain = chains[reported.window] = self._plan_again(reported, waiting.pop(reported.window))
                    self._unproven = self._unproven or not reported.certified
                    self._merger.restore(reported, share, chain)
                case Recounted(window=window, total=total):
                    splits[window].reported = total
                case Trimmed(kept_from=kept_from):
                    # What was read already when the edge had moved was handed over behind the note, as it was.
                    held = {window: waiting.pop(window) for window in reports.keys() & waiting.keys()}
                    self._restore_edge(kept_from, waiting)
                    waiting = held
            waiting |= self._pending.take_all()
        for window, chain in waiting.items():
            self._pending.add(window, chain)
        for read in checkpoint.latest:
            self._merger.remember(read, chains[read.window])
        self._boundary.report_gaps(self.report.window_reports, [])
        for split in splits.values():
            if split.is_short:
                self._recount(split)
        self._certify()

    def _judge_ages(self, counted_now: list[WindowReport]) -> None:
        for reported in counted_now:
            reported.provisional = self._ages.is_young(reported.window.end)
            reported.local_clock = self._ages.read_clock().is_local

    def _plan_again(self, reported: WindowReport, chain: _Wholes) -> _Wholes:
        if chain:
            add_reported(chain, reported.total)
        else:
            self._budget.plan(reported.total)
            self.planned.append((reported.window, reported.total))
        return chain

    def _restore_edge(self, kept_from: datetime, waiting: dict[TimeWindow, _Wholes]) -> None:
        error = self._boundary.restore(kept_from)
        if not self._skip_out_of_range:
            raise error
        self._unproven = True
        for window, chain in waiting.items():
            self._pending.add(window, chain)
        self._pending.trim(kept_from)

    def _note(self, note: JournalEvent, split: SplitWindow | None = None) -> None:
        if split is not None:
            split.is_noted = False
        self._notes.append((note, split))
