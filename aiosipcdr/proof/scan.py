"""Scan of a window: which page comes next, and the distinct rows of all pages read.

Whether the window is complete is decided by `aiosipcdr.proof.window`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec

from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.proof.page import SortedRun, count_pages, join_sorted_runs
from aiosipcdr.wire.codec import PageAnswer

__all__ = ["WindowScan"]


_numbers = count(1)

MAX_PLANNED = 2_000
"""Max pages of a window that are requested and not answered, however large the reported total is."""


class _Rows(msgspec.Struct, frozen=True):
    """The rows of one id that was read with different contents.

    They are legs of one call, or versions of one row that changed between two answers.

    Attributes:
        contents: All contents that were read, in order; several are the keys of a dict, since there may be thousands.
        counted: Those that count as rows.
        certain: Number of rows that certainly exist: one answer had that many, or a later scan of the same pages
            repeated that many.
    """

    contents: Collection[CallDetailRecord]
    counted: Collection[CallDetailRecord]
    certain: int = 1

    @property
    def is_settled(self) -> bool:
        """Whether it is known which rows exist; true if only one is certain: a control count decides then."""
        return self.certain == 1 or len(self.counted) == self.certain

    @property
    def is_doubtful(self) -> bool:
        """Whether there may be more rows than in `counted`, or fewer."""
        return not self.is_settled or (self.certain == 1 and len(self.contents) > 1)


class WindowScan:
    """The pages of a window, read in any order, as distinct rows.

    A row is an id with its contents. Several contents of one id within one answer are several rows (legs of a
    transferred call). In different answers they may also be one row that changed: it counts once, with its latest
    contents, until a second scan repeats the others.

    If the pages are sorted, each id has one row, and nothing is merged. Otherwise the rows are merged on first use.

    Attributes:
        number: Identifies the scan within the process; from 1.
        size: Page size.
        largest_total: Largest total that an answer reported or proved.
        pages: Number of pages read.
        quarantined: Records that could not be decoded, by id; by a hash of their bytes if the id is not readable, or
            if another row on the same page has the same id.
        is_ambiguous: Whether a record was identified by its bytes. In another answer the same row may have other bytes,
            or be readable, so the number of distinct rows proves nothing unless one answer had all of them.
        single: Whether one page was the whole window, so that one SELECT returned total and rows.
        has_extras: Whether records have unknown or unreadable fields.
    """

    def __init__(self, size: int, only: Sequence[int] | None = None) -> None:
        """Create a scan of all pages of `size`, or `only` of those numbers."""
        self.number: int = next(_numbers)
        self.size = size
        self.largest_total: int = 0
        self.pages: int = 0
        self.quarantined: dict[str, QuarantinedRecord] = {}
        self.is_ambiguous: bool = False
        self.single: bool = False
        self.has_extras: bool = False
        self._records: dict[object, CallDetailRecord] = {}
        self._several: dict[str, _Rows] = {}
        self._copies: dict[object, int] = {}
        self._read: list[Page] = []
        self._merged = 0
        self._sorted_runs: list[SortedRun] = []
        self._is_sorted = True
        self._duplicates = 0
        self._anomalies = 0
        self._anomalies_drained = 0
        self._only = only
        self._asked = 0
        self._outstanding = 0

    @property
    def sorted_run(self) -> SortedRun | None:
        """All rows read so far if they are sorted, without repeated or quarantined ones; `None` otherwise."""
        if self._is_sorted and len(self._sorted_runs) > 1:
            joined = join_sorted_runs(self._sorted_runs)
            self._is_sorted, self._sorted_runs = joined is not None, [] if joined is None else [joined]
        return self._sorted_runs[0] if self._is_sorted and self._sorted_runs else None

    @property
    def records(self) -> dict[object, CallDetailRecord]:
        """The rows read so far. The key is the id, or the row itself if its id has several rows."""
        self._merge_pages()
        return self._records

    @property
    def duplicates(self) -> int:
        """Number of rows that were repeated unchanged."""
        if self.sorted_run is None:
            self._merge_pages()
        return self._duplicates

    @property
    def conflicting(self) -> set[str]:
        """The ids of rows that changed between two answers, or may have changed."""
        if self.sorted_run is None:
            self._merge_pages()
        several = self._several.items()
        return {voice_id for voice_id, rows in several if len(rows.contents) > len(rows.counted) or not rows.is_settled}

    @property
    def unique(self) -> int:
        """Number of distinct rows read so far, quarantined ones included."""
        if (sorted_run := self.sorted_run) is not None:
            return len(sorted_run.records)
        records = self.records
        return len(records) + sum(identity not in records for identity in self.quarantined)

    @property
    def copies(self) -> int:
        """Number of rows that exist beyond the distinct ones: one answer had the same contents several times."""
        return 0 if self._is_sorted else self.count_copies(set())

    def count_copies(self, without: AbstractSet[object]) -> int:
        """Return the number of `copies`, without those of rows whose keys are in `without`."""
        if self._is_sorted and self.sorted_run is not None:
            return 0
        self._merge_pages()
        return sum(copies for key, copies in self._find_copies() if key not in without)

    def _find_copies(self) -> Iterator[tuple[object, int]]:
        for row, copies in self._copies.items():
            if isinstance(row, CallDetailRecord) and self._records.get(row.voice_id) == row:
                yield row.voice_id, copies
            elif row in self._records or (row in self.quarantined and row not in self._records):
                yield row, copies

    @property
    def rows(self) -> int:
        """Number of rows that exist: distinct ones and copies."""
        unique = self.unique
        return unique + self.copies if self._copies else unique

    def count_identical(self) -> int:
        """Return the number of rows beyond the distinct ones, if the window was read several times, always the same."""
        rows_by_scan: dict[int, Counter[CallDetailRecord]] = {}
        times_read: Counter[int] = Counter()
        for page in self._read:
            times_read[page.current] += 1
            rows_by_scan.setdefault(times_read[page.current], Counter()).update(page.records)
        first, *others = rows_by_scan.values() or [Counter()]
        return first.total() - len(first) if others and all(other == first for other in others) else 0

    @property
    def has_duplicate_ids(self) -> bool:
        """Whether an id has several rows."""
        if self.sorted_run is None:
            self._merge_pages()
        return any(rows.certain > 1 for rows in self._several.values())

    @property
    def is_unsettled(self) -> bool:
        """Whether one of several rows of an id may be an older version of another."""
        if self.sorted_run is None:
            self._merge_pages()
        return any(not rows.is_settled for rows in self._several.values())

    @property
    def ids(self) -> AbstractSet[object]:
        """The ids of all rows, and the keys of quarantined ones."""
        ids: AbstractSet[object] = self.records.keys()
        if self._several:
            ids = {record.voice_id for record in self._records.values()}
        return ids | self.quarantined.keys() if self.quarantined else ids

    def contains(self, record: CallDetailRecord) -> bool:
        """Return whether `record` is one of the rows."""
        return self.records.get(record.voice_id) == record or record in self.records

    def plan_pages(self) -> Sequence[int]:
        """Return the numbers of the pages to request now, and count them as requested.

        Returns the first page, then, when its total is known, the others; at most 2,000 are outstanding at a time.
        """
        due: Sequence[int]
        allowed = MAX_PLANNED - self._outstanding
        if self._only is not None:
            due, self._only = self._only[:allowed], self._only[allowed:]
        else:
            known = count_pages(self.largest_total, self.size) if self.pages else 1
            last = min(known, self._asked + allowed)
            due = range(self._asked + 1, last + 1)
            self._asked = max(self._asked, last)
        self._outstanding += len(due)
        return due

    @property
    def is_read(self) -> bool:
        """Whether every page requested was answered."""
        return not self._outstanding

    def add_page(self, answer: PageAnswer, sorted_run: SortedRun | None, *, past_the_end: bool = False) -> bool:
        """Add the answer to one page.

        Args:
            answer: The answer.
            sorted_run: Its records, if they are sorted.
            past_the_end: Whether the page does not exist, so that only the total is used.

        Returns:
            Whether the reader has to act: all pages were answered, or more can be requested.
        """
        page = answer.page
        self._outstanding -= 1
        self.pages += 1
        self.largest_total = max(self.largest_total, page.total)
        if past_the_end:
            self._anomalies += 1
            return True
        self._read.append(page)
        if sorted_run is not None:
            self._sorted_runs.append(sorted_run)
        elif page.records:
            self._is_sorted = False
        if answer.quarantined:
            self._is_sorted = False
            self._quarantine(answer)
        self.has_extras = self.has_extras or bool(answer.unknown_fields or answer.faulty_fields)
        reported = len(page.records) + len(answer.quarantined)
        expected = page.total - (page.current - 1) * page.size
        if reported > expected:
            self.largest_total = max(self.largest_total, _proven_total(answer))
        is_whole = self.pages == self._asked == 1 and reported == page.total < page.size
        self.single = is_whole and self.rows == reported
        self._anomalies += (reported != min(page.size, max(0, expected))) + (page.pages != -(-page.total // page.size))
        self._anomalies += answer.anomalies
        has_due_pages = self.largest_total > self._asked * self.size if self._only is None else bool(self._only)
        return has_due_pages or not self._outstanding

    def drain_anomalies(self) -> int:
        """Return the number of anomalies since the last call of this method, repeated rows included."""
        anomalies = self._anomalies + self.duplicates
        new, self._anomalies_drained = anomalies - self._anomalies_drained, anomalies
        return new

    def may_hold(self, count: int) -> bool:
        """Return whether doubtful ids can explain a total of `count`: some decision about them gives this number."""
        doubtful = [rows for rows in self._several.values() if rows.is_doubtful]
        fewest = self.rows - sum(len(rows.counted) - rows.certain for rows in doubtful)
        return bool(doubtful) and fewest <= count <= fewest + sum(
            len(rows.contents) - rows.certain for rows in doubtful
        )

    @property
    def doubtful_ids(self) -> set[str]:
        """The ids that may have more rows than are counted, or fewer."""
        return {voice_id for voice_id, rows in self._several.items() if rows.is_doubtful}

    def find_pages(self, ids: AbstractSet[str]) -> list[int]:
        """Return the numbers of the pages that have rows of `ids`."""
        return sorted({page.current for page in self._read for record in page.records if record.voice_id in ids})

    def _merge_pages(self) -> None:
        pages = self._read[self._merged :]
        if not pages:
            return
        self._merged = len(self._read)
        if not self._records:
            # Pages arrive in any order; by their numbers, what the vendor has sorted stays sorted.
            in_order = sorted(pages, key=attrgetter("current"))
            records: dict[object, CallDetailRecord] = {
                record.voice_id: record for page in in_order for record in page.records
            }
            if len(records) == sum([len(page.records) for page in pages]):
                self._records = records
                return
        for page in pages:
            self._merge_page(page.records)

    def _merge_page(self, records: list[CallDetailRecord]) -> None:
        by_id: dict[object, CallDetailRecord] = {record.voice_id: record for record in records}
        if not self._several and len(by_id) == len(records) and self._records.keys().isdisjoint(by_id):
            self._records |= by_id
            return
        in_page: dict[str, list[CallDetailRecord]] = {}
        copies: Counter[CallDetailRecord] = Counter()
        for record in records:
            rows = in_page.setdefault(record.voice_id, [])
            if record in rows:
                copies[record] += 1
            else:
                rows.append(record)
        self._duplicates += copies.total()
        self._note_copies(copies)
        for voice_id, rows in in_page.items():
            self._add_rows(voice_id, rows)

    def _add_rows(self, voice_id: str, rows: list[CallDetailRecord]) -> None:
        # `rows` are from one answer.
        before = self._rows_of(voice_id)
        known = () if before is None else before.contents
        new = [row for row in rows if row not in known]
        self._duplicates += len(rows) - len(new)
        if len(known) + len(new) == 1:
            (self._records[voice_id],) = [*known, *new]
            return
        certain = max(len(rows), 1 if before is None else before.certain)
        contents = _add(known, new)
        if before is not None and before.certain > 1 and before.counted is known:
            self._several[voice_id] = _Rows(contents, contents, certain)
            self._records.update((row, row) for row in new)
        else:
            self._set_rows(voice_id, _Rows(contents, contents if certain > 1 else rows, certain))

    def _quarantine(self, answer: PageAnswer) -> None:
        rows = {(quarantined.voice_id, quarantined.raw) for quarantined in answer.quarantined}
        holders = Counter(voice_id for voice_id, _ in rows) + Counter({r.voice_id for r in answer.page.records})
        copies: Counter[str] = Counter()
        same: Counter[str] = Counter()
        for quarantined in answer.quarantined:
            key = quarantined.identity
            if quarantined.voice_id is None or holders[key] > 1:
                key = quarantined.digest
                self.is_ambiguous = True
            if quarantined.voice_id is None:
                same[key] += 1
                if same[key] > 1:  # without an id, the same bytes twice in one answer may be two calls
                    key = f"{key}#{same[key]}"
            self.quarantined.setdefault(key, quarantined)
            copies[key] += 1
        self._note_copies(copies - Counter(copies.keys()))

    def _note_copies(self, copies: Mapping[Any, int]) -> None:
        for row, number in copies.items():
            self._copies[row] = max(number, self._copies.get(row, 0))

    def _rows_of(self, voice_id: str) -> _Rows | None:
        if (several := self._several.get(voice_id)) is not None:
            return several
        record = self._records.get(voice_id)
        return None if record is None else _Rows([record], [record])

    def _set_rows(self, voice_id: str, rows: _Rows) -> None:
        self._records.pop(voice_id, None)
        if (before := self._several.get(voice_id)) is not None:
            for row in before.counted:
                self._records.pop(row, None)
        self._several[voice_id] = rows
        self._records.update((row if rows.certain > 1 else voice_id, row) for row in rows.counted)

    def merge(self, earlier: "WindowScan", *, repeats: AbstractSet[str] = frozenset()) -> None:
        """Merge an earlier scan of the window; contents of this one take precedence.

        Args:
            earlier: The earlier scan.
            repeats: Ids of which only the rows that this scan has read count.
        """
        records, read_before = self.records, earlier.records  # merges the pages of both
        read_now = {voice_id: rows.contents for voice_id in repeats if (rows := self._rows_of(voice_id)) is not None}
        self._is_sorted = False
        self._read = [*earlier._read, *self._read]  # noqa: SLF001 - the same class
        self._merged = len(self._read)
        for voice_id in {**self._several, **earlier._several}:  # noqa: SLF001 - likewise
            self._merge_id(voice_id, earlier)
        for record in read_before.values():
            voice_id = record.voice_id
            if voice_id not in self._several and records.setdefault(voice_id, record) != record:
                self._merge_id(voice_id, earlier)
        self._note_copies(earlier._copies)  # noqa: SLF001 - likewise
        self.quarantined = earlier.quarantined | self.quarantined
        self.has_extras = self.has_extras or earlier.has_extras
        self.is_ambiguous = self.is_ambiguous or earlier.is_ambiguous
        self.largest_total = max(self.largest_total, earlier.largest_total)
        for voice_id in repeats:
            self._retain(voice_id, read_now.get(voice_id, ()))

    def _retain(self, voice_id: str, rows: Collection[CallDetailRecord]) -> None:
        if (before := self._rows_of(voice_id)) is None:
            return
        kept = [row for row in before.counted if row in rows]
        if len(kept) < len(before.counted):
            self._set_rows(voice_id, _Rows(kept, kept, len(kept)))

    def _merge_id(self, voice_id: str, earlier: "WindowScan") -> None:
        latest, before = self._rows_of(voice_id), earlier._rows_of(voice_id)  # noqa: SLF001 - likewise
        if latest is None or before is None:
            self._set_rows(voice_id, latest or before or _Rows([], []))
            return
        # A row that was read both before and after another one exists in addition to it.
        repeated = [row for row in latest.contents if row in before.contents]
        certain = max(latest.certain, before.certain, len(repeated))
        contents = _add([row for row in before.contents if row not in latest.contents], latest.contents)
        if certain == 1:
            counted = latest.counted
        elif len(latest.contents) == certain and certain in {latest.certain, len(repeated)}:
            counted = latest.contents
        elif before.is_settled and len(before.counted) == certain and len(repeated) == len(latest.contents):
            counted = before.counted
        else:
            counted = contents
        self._set_rows(voice_id, _Rows(contents, counted, certain))


def _add(known: Collection[CallDetailRecord], new: Iterable[CallDetailRecord]) -> dict[CallDetailRecord, None]:
    # Copying a dict does not hash its keys again.
    return {**(known if isinstance(known, dict) else dict.fromkeys(known)), **dict.fromkeys(new)}


def _proven_total(answer: PageAnswer) -> int:
    # The rows that OFFSET skipped and those on the page exist, even if the vendor counts fewer.
    page = answer.page
    identities: set[object] = {*page.records}
    identities.update(quarantined.identity for quarantined in answer.quarantined)
    return (page.current - 1) * page.size + len(identities) if identities else 0
