"""Counts of fields that could not be read or are not known, and the decision when they are too many to go on.

A vendor that has changed its format must not become a file of empty columns.  Synchronous and without I/O.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiosipcdr.errors import SchemaMismatchError
from aiosipcdr.protocol.lenient import MOST_UNKNOWN, clean_names, count_names
from aiosipcdr.protocol.records import (
    MONEY_FIELDS,
    TIME_FIELDS,
    CallDetailRecord,
    list_faulty_fields,
    list_unknown_fields,
)
from aiosipcdr.report import FetchReport, WindowShare, counted

__all__ = ["FieldCounts", "find_unidentified"]

LEAST_FAULTS: Final = 5
"""Fewer faults than these prove nothing about the format."""

_JUDGED: Final = (*TIME_FIELDS, *MONEY_FIELDS)
_ORDER: Final = {name: place for place, name in enumerate(CallDetailRecord.__struct_fields__)}


class FieldCounts:
    """Counts over the records that a run hands over, window by window."""

    def __init__(self, report: FetchReport) -> None:
        """Write into `report`."""
        self._report = report
        # Of the windows in which some values of a column are faulty: their values, and their calls.
        self._filled: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    @staticmethod
    def count(records: Sequence[CallDetailRecord], share: WindowShare) -> None:
        """Write into `share` what the extra fields of a window's `records` come to."""
        odd = [record for record in records if record.extra]
        share.unknown_fields = dict(clean_names(count_names(map(list_unknown_fields, odd))))
        share.faulty_fields = dict(count_names(map(list_faulty_fields, odd)))
        for name in share.faulty_fields.keys() & set(_JUDGED):
            readable = sum(getattr(record, name) is not None for record in records)
            share.filled_fields[name] = readable + share.faulty_fields[name]

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
        """Return the error that ends the run, if most of what it reads cannot be read.

        A window in which every value of a column can be read counts as if all of its calls had one.
        """
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
