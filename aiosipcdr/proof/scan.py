"""One reading of a window: which of its pages comes next, and the rows they hold together.

Synchronous and without I/O.  The proof decides whether a window is complete.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Any

import msgspec

from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.report import QuarantinedRecord
from aiosipcdr.proof.page import SortedRun, count_pages, join_sorted_runs
from aiosipcdr.wire.codec import PageAnswer

__all__ = ["WindowScan"]


MOST_PLANNED = 2_000
"""How many pages of a window are planned ahead, whatever total is reported."""


class _Rows(msgspec.Struct, frozen=True):
    """The rows of one id that was read with different contents.

    They are legs of one call, or versions of a row that changed between two answers.

    Attributes:
        seen: all contents that were read, in the order in which they came; several are keys of a dict, since a server
            may send thousands.
        now: those that count as rows.
        sure: how many of them are known to be rows of their own: one answer held all of them, or a later reading of
            the same pages repeated all of them.
    """

    seen: Collection[CallDetailRecord]
    now: Collection[CallDetailRecord]
    sure: int = 1

    @property
    def is_settled(self) -> bool:
        """Whether it is known which of several rows exist; what counts once is decided by the control count."""
        return self.sure == 1 or len(self.now) == self.sure

    @property
    def is_doubtful(self) -> bool:
        """Whether the contents may be more rows, or fewer, than are counted."""
        return not self.is_settled or (self.sure == 1 and len(self.seen) > 1)


class WindowScan:
    """The pages of one window, read in any order, as distinct rows.

    A row is an id with its contents.  Several contents of one id within one answer are several rows (legs of a
    transferred call).  In different answers they may also be one row that changed: it counts once, with its latest
    contents, until a second reading repeats the others.

    Where ids rise from page to page, that alone shows that each stands for one row.  Otherwise pages wait until
    their contents are needed, and are united in one pass.

    Attributes:
        quarantined: what could not be decoded, by id; by a hash of its bytes where its id is not readable, or
            stands on the same page for another row.
        is_ambiguous: whether something counts by its bytes.  Another answer may give the same row with other bytes, or
            readable: then the number of distinct rows means nothing, unless all of them came in one answer.
        single: whether one page was the whole window: then one SELECT counted and sent everything.
        has_extras: whether records hold more than known, readable fields.
    """

    def __init__(self, size: int, only: Sequence[int] | None = None) -> None:
        """Begin a reading with pages of `size`: all of them, or `only` those numbers."""
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
        self._united = 0
        self._ascents: list[SortedRun] = []
        self._rises = True
        self._duplicates = 0
        self._odd = 0
        self._odd_taken = 0
        self._only = only
        self._asked = 0
        self._outstanding = 0

    @property
    def sorted_run(self) -> SortedRun | None:
        """All that was read so far, if it rises throughout: then no row was repeated, and none set aside."""
        if self._rises and len(self._ascents) > 1:
            joined = join_sorted_runs(self._ascents)
            self._rises, self._ascents = joined is not None, [] if joined is None else [joined]
        return self._ascents[0] if self._rises and self._ascents else None

    @property
    def records(self) -> dict[object, CallDetailRecord]:
        """The rows read so far, by id; by itself where its id stands for several rows."""
        self._unite_waiting()
        return self._records

    @property
    def duplicates(self) -> int:
        """How many rows were repeated as they are."""
        if self.sorted_run is None:
            self._unite_waiting()
        return self._duplicates

    @property
    def conflicting(self) -> set[str]:
        """The ids of rows that changed between two answers, or may have changed."""
        if self.sorted_run is None:
            self._unite_waiting()
        several = self._several.items()
        return {voice_id for voice_id, rows in several if len(rows.seen) > len(rows.now) or not rows.is_settled}

    @property
    def unique(self) -> int:
        """Distinct rows read so far, those that could not be decoded included."""
        if (sorted_run := self.sorted_run) is not None:
            return len(sorted_run.records)
        records = self.records
        return len(records) + sum(identity not in records for identity in self.quarantined)

    @property
    def copies(self) -> int:
        """How many rows more are stored for certain: one answer held the same bytes several times."""
        return 0 if self._rises else self.count_copies(set())

    def count_copies(self, without: AbstractSet[object]) -> int:
        """Return how many copies there are of the rows whose keys are not in `without`."""
        if self._rises and self.sorted_run is not None:
            return 0
        self._unite_waiting()
        return sum(copies for key, copies in self._find_copies() if key not in without)

    def _find_copies(self) -> Iterator[tuple[object, int]]:
        for row, copies in self._copies.items():
            if isinstance(row, CallDetailRecord) and self._records.get(row.voice_id) == row:
                yield row.voice_id, copies
            elif row in self._records or (row in self.quarantined and row not in self._records):
                yield row, copies

    @property
    def rows(self) -> int:
        """How many rows the vendor has for certain: distinct ones, and copies of them."""
        unique = self.unique
        return unique + self.copies if self._copies else unique

    def count_identical(self) -> int:
        """Return how many rows were listed beyond the distinct ones, if every reading listed the same rows."""
        readings: dict[int, Counter[CallDetailRecord]] = {}
        times: Counter[int] = Counter()
        for page in self._read:
            times[page.current] += 1
            readings.setdefault(times[page.current], Counter()).update(page.records)
        first, *others = readings.values() or [Counter()]
        return first.total() - len(first) if others and all(other == first for other in others) else 0

    @property
    def has_duplicate_ids(self) -> bool:
        """Whether an id stands for several rows."""
        if self.sorted_run is None:
            self._unite_waiting()
        return any(rows.sure > 1 for rows in self._several.values())

    @property
    def is_unsettled(self) -> bool:
        """Whether several rows of one id were read, and one of them may be an older version of another."""
        if self.sorted_run is None:
            self._unite_waiting()
        return any(not rows.is_settled for rows in self._several.values())

    @property
    def ids(self) -> AbstractSet[object]:
        """The ids of all that was read; what could not be decoded counts by its own."""
        ids: AbstractSet[object] = self.records.keys()
        if self._several:
            ids = {record.voice_id for record in self._records.values()}
        return ids | self.quarantined.keys() if self.quarantined else ids

    def holds(self, record: CallDetailRecord) -> bool:
        """Tell whether the row counts."""
        return self.records.get(record.voice_id) == record or record in self.records

    def plan_pages(self) -> Sequence[int]:
        """Return the numbers of the pages that are due now and mark them as asked.

        The first page alone at first; the rest once it has reported a total, at most
        2,000 at once, and more when a later page reports a larger one.
        """
        due: Sequence[int]
        room = MOST_PLANNED - self._outstanding
        if self._only is not None:
            due, self._only = self._only[:room], self._only[room:]
        else:
            known = count_pages(self.largest_total, self.size) if self.pages else 1
            last = min(known, self._asked + room)
            due = range(self._asked + 1, last + 1)
            self._asked = max(self._asked, last)
        self._outstanding += len(due)
        return due

    @property
    def is_read(self) -> bool:
        """Whether every page that is known of was answered."""
        return not self._outstanding

    def add_page(self, answer: PageAnswer, sorted_run: SortedRun | None, *, past_the_end: bool = False) -> None:
        """Take the answer to one page; `sorted_run` are its records, if they rise."""
        page = answer.page
        self._outstanding -= 1
        self.pages += 1
        self.largest_total = max(self.largest_total, page.total)
        if past_the_end:
            self._odd += 1
            return
        self._read.append(page)
        if sorted_run is not None:
            self._ascents.append(sorted_run)
        elif page.records:
            self._rises = False
        if answer.quarantined:
            self._rises = False
            self._set_aside(answer)
        self.has_extras = self.has_extras or bool(answer.unknown_fields or answer.faulty_fields)
        reported = len(page.records) + len(answer.quarantined)
        behind = page.total - (page.current - 1) * page.size
        if reported > behind:
            self.largest_total = max(self.largest_total, _least_total(answer))
        is_whole = self.pages == self._asked == 1 and reported == page.total < page.size
        self.single = is_whole and self.rows == reported
        self._odd += (reported != min(page.size, max(0, behind))) + (page.pages != -(-page.total // page.size))
        self._odd += answer.anomalies

    def drain_anomalies(self) -> int:
        """Return how many oddities, repeated rows among them, were met since the last call."""
        odd = self._odd + self.duplicates
        new, self._odd_taken = odd - self._odd_taken, odd
        return new

    def may_hold(self, count: int) -> bool:
        """Tell whether the window may hold `count` rows if its doubtful ids are resolved one way or the other."""
        doubtful = [rows for rows in self._several.values() if rows.is_doubtful]
        fewest = self.rows - sum(len(rows.now) - rows.sure for rows in doubtful)
        return bool(doubtful) and fewest <= count <= fewest + sum(len(rows.seen) - rows.sure for rows in doubtful)

    @property
    def doubtful_ids(self) -> set[str]:
        """The ids of which more rows may exist, or fewer, than are counted."""
        return {voice_id for voice_id, rows in self._several.items() if rows.is_doubtful}

    def find_pages(self, ids: AbstractSet[str]) -> list[int]:
        """Return the numbers of the pages that hold rows of `ids`."""
        return sorted({page.current for page in self._read for record in page.records if record.voice_id in ids})

    def _unite_waiting(self) -> None:
        pages = self._read[self._united :]
        if not pages:
            return
        self._united = len(self._read)
        if not self._records:
            # Pages come back in any order; in their own, what the vendor has sorted stays sorted.
            in_order = sorted(pages, key=attrgetter("current"))
            records: dict[object, CallDetailRecord] = {
                record.voice_id: record for page in in_order for record in page.records
            }
            if len(records) == sum([len(page.records) for page in pages]):
                self._records = records
                return
        for page in pages:
            self._unite(page.records)

    def _unite(self, records: list[CallDetailRecord]) -> None:
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
            self._take(voice_id, rows)

    def _take(self, voice_id: str, rows: list[CallDetailRecord]) -> None:
        # `rows` came in one answer.
        before = self._rows_of(voice_id)
        known = () if before is None else before.seen
        new = [row for row in rows if row not in known]
        self._duplicates += len(rows) - len(new)
        if len(known) + len(new) == 1:
            (self._records[voice_id],) = [*known, *new]
            return
        sure = max(len(rows), 1 if before is None else before.sure)
        seen = _add(known, new)
        if before is not None and before.sure > 1 and before.now is known:
            self._several[voice_id] = _Rows(seen, seen, sure)
            self._records.update((row, row) for row in new)
        else:
            self._file(voice_id, _Rows(seen, seen if sure > 1 else rows, sure))

    def _set_aside(self, answer: PageAnswer) -> None:
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

    def _file(self, voice_id: str, rows: _Rows) -> None:
        self._records.pop(voice_id, None)
        if (before := self._several.get(voice_id)) is not None:
            for row in before.now:
                self._records.pop(row, None)
        self._several[voice_id] = rows
        self._records.update((row if rows.sure > 1 else voice_id, row) for row in rows.now)

    def merge(self, earlier: "WindowScan", *, repeats: AbstractSet[str] = frozenset()) -> None:
        """Unite with what an earlier sweep of the window read; what this one read wins.

        Of the ids in `repeats`, only rows count that this one has read.
        """
        records, read_before = self.records, earlier.records  # both are united before their ids are compared
        read_now = {voice_id: rows.seen for voice_id in repeats if (rows := self._rows_of(voice_id)) is not None}
        self._rises = False
        self._read = [*earlier._read, *self._read]  # noqa: SLF001 - another of our own kind
        self._united = len(self._read)
        for voice_id in {**self._several, **earlier._several}:  # noqa: SLF001 - likewise
            self._merge(voice_id, earlier)
        for record in read_before.values():
            voice_id = record.voice_id
            if voice_id not in self._several and records.setdefault(voice_id, record) != record:
                self._merge(voice_id, earlier)
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
        kept = [row for row in before.now if row in rows]
        if len(kept) < len(before.now):
            self._file(voice_id, _Rows(kept, kept, len(kept)))

    def _merge(self, voice_id: str, earlier: "WindowScan") -> None:
        latest, before = self._rows_of(voice_id), earlier._rows_of(voice_id)  # noqa: SLF001 - likewise
        if latest is None or before is None:
            self._file(voice_id, latest or before or _Rows([], []))
            return
        # A row that was read before and after another one exists beside it.
        repeated = [row for row in latest.seen if row in before.seen]
        sure = max(latest.sure, before.sure, len(repeated))
        seen = _add([row for row in before.seen if row not in latest.seen], latest.seen)
        if sure == 1:
            now = latest.now
        elif len(latest.seen) == sure and sure in {latest.sure, len(repeated)}:
            now = latest.seen
        elif before.is_settled and len(before.now) == sure and len(repeated) == len(latest.seen):
            now = before.now
        else:
            now = seen
        self._file(voice_id, _Rows(seen, now, sure))


def _add(known: Collection[CallDetailRecord], new: Iterable[CallDetailRecord]) -> dict[CallDetailRecord, None]:
    # A copy of a dict hashes nothing again.
    return {**(known if isinstance(known, dict) else dict.fromkeys(known)), **dict.fromkeys(new)}


def _least_total(answer: PageAnswer) -> int:
    # What OFFSET skipped and what came after it was there: whatever the vendor's count says.
    page = answer.page
    identities: set[object] = {*page.records}
    identities.update(quarantined.identity for quarantined in answer.quarantined)
    return (page.current - 1) * page.size + len(identities) if identities else 0
