"""Counts of fields that could not be read or are not known, and the decision when they are too many to go on.

A vendor that has changed its format must not become a file of empty columns.  Synchronous and without I/O.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter, is_not
from typing import Final

from aiosipcdr.model.errors import SchemaMismatchError
from aiosipcdr.model.records import (
    MONEY_FIELDS,
    TIME_FIELDS,
    CallDetailRecord,
    list_faulty_fields,
    list_unknown_fields,
)
from aiosipcdr.model.report import FetchReport, WindowShare, counted
from aiosipcdr.wire.lenient import MOST_UNKNOWN, clean_names, count_names

__all__ = ["FieldCounts", "find_unidentified"]

LEAST_FAULTS: Final = 5
"""Fewer faults than these prove nothing about the format."""

_SAMPLE: Final = 100
_JUDGED: Final = (*TIME_FIELDS, *MONEY_FIELDS)
_ORDER: Final = {name: place for place, name in enumerate(CallDetailRecord.__struct_fields__)}


class FieldCounts:
    """Counts over the records that a run hands over, window by window."""

    def __init__(self, report: FetchReport) -> None:
        """Write into `report`."""
        self._report = report
        # For each column: its values, and the calls of the windows in which they were counted.
        self._filled: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    @staticmethod
    def count(records: Sequence[CallDetailRecord], share: WindowShare) -> None:
        """Write into `share` what the extra fields of a window's `records` come to, and how many values there are."""
        odd = [record for record in records if record.extra]
        share.unknown_fields = dict(clean_names(count_names(map(list_unknown_fields, odd))))
        share.faulty_fields = dict(count_names(map(list_faulty_fields, odd)))
        FieldCounts.count_values(records, share)

    @staticmethod
    def count_values(records: Sequence[CallDetailRecord], share: WindowShare) -> None:
        """Write into `share` how many values the columns of times and money have.

        Without faulty fields a sample will do: looking at each value would add a fifth to what decoding costs.
        """
        step = 1 if share.faulty_fields else max(1, len(records) // _SAMPLE)
        sample = records[::step]
        for name in _JUDGED:
            readable = sum(map(is_not, map(attrgetter(name), sample), repeat(None)))
            share.filled_fields[name] = min(readable * step, len(records)) + share.faulty_fields.get(name, 0)

    def add_left_over(self, records: Sequence[CallDetailRecord]) -> None:
        """Add `records` that belong to no window that was read to its end."""
        share = WindowShare(unique=len(records))
        self.count(records, share)
        self.add(share)

    def add(self, share: WindowShare) -> None:
        """Add a window."""
        report = self._report
        for name, number in share.unknown_fields.items():
            if name in report.unknown_fields or len(report.unknown_fields) < MOST_UNKNOWN:
                report.unknown_fields[name] = report.unknown_fields.get(name, 0) + number
        if share.faulty_fields:
            faulty = Counter(report.faulty_fields) + Counter(share.faulty_fields)
            report.faulty_fields = {name: faulty[name] for name in sorted(faulty, key=_ORDER.__getitem__)}
        self._filled.update(share.filled_fields)
        self._calls.update(dict.fromkeys(share.filled_fields, share.unique))

    def find_mismatch(self) -> SchemaMismatchError | None:
        """Return the error that ends the run, if most of what it reads cannot be read."""
        report = self._report
        if (unidentified := find_unidentified(report.quarantined, report.unique)) is not None:
            return unidentified
        columns = [
            f"{name} ({number:,} of {values:,})"
            for name, number in report.faulty_fields.items()
            if name in self._filled
            and _are_most(number, values := report.unique - self._calls[name] + self._filled[name])
        ]
        if not columns:
            return None
        return SchemaMismatchError(
            f"most values cannot be read of {', '.join(columns)}: has the vendor changed its format?"
            " doctor --probe shows what it sends; for times without an offset, set assume_tz"
        )


def find_unidentified(quarantined: int, unique: int) -> SchemaMismatchError | None:
    """Return the error for records of which most have no readable id."""
    if not _are_most(quarantined, unique):
        return None
    return SchemaMismatchError(
        f"{quarantined:,} of {counted(unique, 'record', 'records')} have no readable voiceId: has the vendor changed"
        " its format? doctor --probe shows what it sends"
    )


def _are_most(faults: int, of: int) -> bool:
    return faults >= LEAST_FAULTS and 2 * faults > of
