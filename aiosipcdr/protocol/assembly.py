"""Putting read windows together: each call once, in order, and the parts held against the whole.

Synchronous and without I/O.  Takes windows oldest first, drops what the
one-second overlaps repeat, and never looks back further than they reach.
"""

from bisect import insort
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter, eq

import msgspec

from aiosipcdr.protocol.completeness import WindowProof
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.wholes import Whole
from aiosipcdr.report import CompleteWindow, FetchReport, WindowReport

__all__ = ["Assembly", "sort_records"]


class _Recent(msgspec.Struct):
    # A window handed over lately: its ids may be repeated by the next ones.
    end: datetime
    ids: set[str]
    records: dict[object, CallDetailRecord]
    wholes: tuple[Whole, ...]


class Assembly:
    """Turns windows that were read into complete ones, and keeps the run's report."""

    def __init__(
        self, report: FetchReport, *, range_field: str | None, exact: tuple[datetime, datetime] | None
    ) -> None:
        """Write into `report`; with `exact`, trim to records whose `range_field` lies within it."""
        self._report = report
        self._range_field = range_field
        self._exact = exact
        self._recent: list[_Recent] = []

    def assemble(self, proof: WindowProof, wholes: tuple[Whole, ...]) -> CompleteWindow:
        """Return the window of `proof` without what earlier windows have handed over."""
        sweep, told = proof.sweep, proof.report
        ids = _ids_of(proof)
        self._recent = [recent for recent in self._recent if recent.end >= proof.window.start]
        for whole in wholes:
            # What another part of the same whole has handed over is not new to it.
            seen = self._repeated(ids, (recent for recent in self._recent if whole in recent.wholes))
            whole.union += sweep.unique - len(seen)
            whole.open_parts -= 1
        told.conflicts += sum(
            sweep.records.get(identity) != recent.records.get(identity)
            for recent in self._recent
            for identity in recent.ids & ids
        )
        repeated = self._repeated(ids, self._recent)
        complete = CompleteWindow(
            window=proof.window,
            records=self._pick(proof, repeated),
            quarantined=[
                msgspec.structs.replace(record, window=proof.window)
                for identity, record in sweep.quarantined.items()
                if identity not in repeated and identity not in sweep.records
            ],
            report=told,
        )
        self._recent.append(_Recent(proof.window.end, ids, sweep.records, wholes))
        report = self._report
        delivered = len(complete.records) + len(complete.quarantined)
        report.unique += delivered
        report.total += told.total - (sweep.unique - delivered)
        report.quarantined += len(complete.quarantined)
        report.windows += 1
        report.provisional += told.provisional
        insort(report.window_reports, told, key=attrgetter("window"))  # gaps may lie behind it
        self.count(told)
        return complete

    def pick_left_over(self, proofs: Iterable[WindowProof]) -> list[CallDetailRecord]:
        """Return what windows that will never be handed over have read, each call once."""
        left: list[CallDetailRecord] = []
        seen: set[str] = set()
        for proof in proofs:
            ids = _ids_of(proof)
            left += self._pick(proof, self._repeated(ids, self._recent) | seen)
            seen |= ids
        return left

    def _pick(self, proof: WindowProof, repeated: set[str]) -> list[CallDetailRecord]:
        return sort_records(
            record
            for record in proof.sweep.records.values()
            if record.voice_id not in repeated and self._is_asked_for(record)
        )

    def count(self, told: WindowReport) -> None:
        """Add the effort that a window took, also of one that was given up."""
        report = self._report
        report.pages += told.pages
        report.sweeps += told.sweeps
        report.duplicates += told.duplicates
        report.conflicts += told.conflicts
        report.anomalies += told.anomalies

    def _repeated(self, ids: set[str], recent: Iterable[_Recent]) -> set[str]:
        repeated: set[str] = set()
        for window in recent:
            repeated |= window.ids & ids
        return repeated

    def _is_asked_for(self, record: CallDetailRecord) -> bool:
        if self._exact is None or self._range_field is None:
            return True
        time: datetime | None = getattr(record, self._range_field)
        # What has no such time cannot be judged by it, and is never dropped for that.
        return time is None or self._exact[0] <= time < self._exact[1]


def _ids_of(proof: WindowProof) -> set[str]:
    return {record.voice_id for record in proof.sweep.records.values()} | proof.sweep.quarantined.keys()


def sort_records(records: Iterable[CallDetailRecord]) -> list[CallDetailRecord]:
    """Order by (`submit_time`, `None` last, `voice_id`)."""
    # Stable passes by one key each are faster than one by a pair.
    in_order = sorted(records, key=attrgetter("voice_id"))
    if any(map(eq, map(attrgetter("voice_id"), in_order), map(attrgetter("voice_id"), in_order[1:]))):
        # One id with several contents: their bytes decide, not the order of arrival.
        in_order.sort(key=lambda record: (record.voice_id, msgspec.json.encode(record)))
    undated = [record for record in in_order if record.submit_time is None]
    if undated:
        in_order = [record for record in in_order if record.submit_time is not None]
    in_order.sort(key=attrgetter("submit_time"))
    return in_order + undated
