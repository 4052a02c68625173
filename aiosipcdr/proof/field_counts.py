"""Counts of unreadable and unknown fields, and the check that ends a run with too many of them.

Without the check, a change of the vendor's format would produce a file of empty columns.
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
from aiosipcdr.model.report import ReportBuilder, WindowShare, counted
from aiosipcdr.wire.lenient import MAX_UNKNOWN, clean_names, count_names

__all__ = ["FieldCounts", "find_unidentified"]

MIN_FAULTS: Final = 5
"""Min faults for a conclusion about the format."""

_SAMPLE: Final = 25
_CHECKED_FIELDS: Final = (*TIME_FIELDS, *MONEY_FIELDS)
_ORDER: Final = {name: position for position, name in enumerate(CallDetailRecord.__struct_fields__)}


class FieldCounts:
    """Counts of readable, unreadable and unknown fields over the records that a run delivers."""

    def __init__(self, report: ReportBuilder) -> None:
        """Add the counts to `report`."""
        self._report = report
        # For each field: its values, and the number of calls among which they were counted.
        self._filled: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    @staticmethod
    def count(records: Sequence[CallDetailRecord], share: WindowShare) -> None:
        """Set the counts of unknown, faulty and filled fields of a window's `records` in `share`."""
        extended = [record for record in records if record.extra]
        share.unknown_fields.update(clean_names(count_names(map(list_unknown_fields, extended))))
        share.faulty_fields.update(count_names(map(list_faulty_fields, extended)))
        FieldCounts.count_values(records, share)

    @staticmethod
    def count_values(records: Sequence[CallDetailRecord], share: WindowShare) -> None:
        """Set the number of values of each field of times and money in `share`.

        Without faulty fields it is estimated from a sample: counting every value would cost a fifth of decoding.
        """
        step = 1 if share.faulty_fields else max(1, len(records) // _SAMPLE)
        sample = records[::step]
        for name in _CHECKED_FIELDS:
            readable = sum(map(is_not, map(attrgetter(name), sample), repeat(None)))
            share.filled_fields[name] = min(readable * step, len(records)) + share.faulty_fields.get(name, 0)

    def add_unclaimed(self, records: Sequence[CallDetailRecord]) -> None:
        """Add records that belong to no delivered window."""
        share = WindowShare(unique=len(records))
        self.count(records, share)
        self.add(share)

    def add(self, share: WindowShare) -> None:
        """Add the counts of a window."""
        report = self._report
        for name, number in share.unknown_fields.items():
            if name in report.unknown_fields or len(report.unknown_fields) < MAX_UNKNOWN:
                report.unknown_fields[name] = report.unknown_fields.get(name, 0) + number
        if share.faulty_fields:
            faulty = Counter(report.faulty_fields) + Counter(share.faulty_fields)
            report.faulty_fields = {name: faulty[name] for name in sorted(faulty, key=_ORDER.__getitem__)}
        self._filled.update(share.filled_fields)
        self._calls.update(dict.fromkeys(share.filled_fields, share.unique))

    def find_mismatch(self) -> SchemaMismatchError | None:
        """Return the error that ends the run if most ids, or most values of a field, cannot be read."""
        report = self._report
        if (unidentified := find_unidentified(report.quarantined, report.unique)) is not None:
            return unidentified
        fields = [
            f"{name} ({number:,} of {values:,})"
            for name, number in report.faulty_fields.items()
            if name in self._filled
            and _are_most(number, values := report.unique - self._calls[name] + self._filled[name])
        ]
        if not fields:
            return None
        return SchemaMismatchError(
            f"most values of {', '.join(fields)} cannot be read: has the vendor changed its format?"
            " doctor --probe shows what it sends; for times without an offset, set assume_tz"
        )


def find_unidentified(quarantined: int, unique: int) -> SchemaMismatchError | None:
    """Return the error if most records have no readable id."""
    if not _are_most(quarantined, unique):
        return None
    return SchemaMismatchError(
        f"{quarantined:,} of {counted(unique, 'record', 'records')} have no readable voiceId: has the vendor changed"
        " its format? doctor --probe shows what it sends"
    )


def _are_most(faults: int, of: int) -> bool:
    return faults >= MIN_FAULTS and 2 * faults > of
