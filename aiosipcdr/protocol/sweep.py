"""One reading of a window: which of its pages comes next, and what they hold together.

Synchronous and without I/O.  Whether a window is complete is for the proof to
say.
"""

from collections import Counter
from collections.abc import Set as AbstractSet
from operator import attrgetter

from aiosipcdr.protocol.ascent import Ascent, join_ascents
from aiosipcdr.protocol.codec import PageAnswer
from aiosipcdr.protocol.paging import count_pages
from aiosipcdr.protocol.records import CallDetailRecord, Page
from aiosipcdr.report import QuarantinedRecord

__all__ = ["Sweep"]


class Sweep:
    """The pages of one window, read in any order and united by id.

    One id with different contents is a conflict: within one page both records
    are kept (they are two rows), across pages the later answer wins.

    Where ids rise from page to page, that alone shows that each stands for one record.  Otherwise pages wait until
    somebody looks at what they hold, and are united in one pass.

    Attributes:
        quarantined: what could not be decoded, by id; by a hash of its bytes where its id is not readable, or
            stands on the same page for another row.
        is_ambiguous: whether something counts by its bytes.  Another page may tell the same row with other bytes, or
            readable: then the number of distinct calls means nothing, unless all of them came in one answer.
        single: whether one page was the whole window: then one SELECT told and sent everything.
        unknown_fields: names that this version does not know, with their number.
        extras: what stood under those names, as JSON, for the records that had some.
    """

    def __init__(self, size: int) -> None:
        """Begin a reading with pages of `size`."""
        self.size = size
        self.largest_total: int = 0
        self.pages: int = 0
        self.quarantined: dict[str, QuarantinedRecord] = {}
        self.is_ambiguous: bool = False
        self.single: bool = False
        self.unknown_fields: Counter[str] = Counter()
        self.extras: dict[CallDetailRecord, str] = {}
        self._records: dict[object, CallDetailRecord] = {}
        self._waiting: list[Page] = []
        self._ascents: list[Ascent] = []
        self._rises = True
        self._twins: set[str] = set()
        self._duplicates = 0
        self._conflicting: set[str] = set()
        self._odd = 0
        self._odd_taken = 0
        self._asked = 0
        self._outstanding = 0

    @property
    def ascent(self) -> Ascent | None:
        """All that was read so far, if it rises throughout: then nothing was told twice, and nothing set aside."""
        if self._rises and len(self._ascents) > 1:
            joined = join_ascents(self._ascents)
            self._rises, self._ascents = joined is not None, [] if joined is None else [joined]
        return self._ascents[0] if self._rises and self._ascents else None

    @property
    def records(self) -> dict[object, CallDetailRecord]:
        """What was read so far, by id; by itself where its id stands for several rows."""
        self._unite_waiting()
        return self._records

    @property
    def duplicates(self) -> int:
        """How many records were told once more as they are."""
        if self.ascent is None:
            self._unite_waiting()
        return self._duplicates

    @property
    def conflicting(self) -> AbstractSet[str]:
        """The ids that were told with different contents."""
        if self.ascent is None:
            self._unite_waiting()
        return self._conflicting

    @property
    def unique(self) -> int:
        """Distinct records read so far, those that could not be decoded included."""
        if (ascent := self.ascent) is not None:
            return len(ascent.records)
        records = self.records
        return len(records) + sum(identity not in records for identity in self.quarantined)

    @property
    def has_twins(self) -> bool:
        """Whether an id stands for several rows."""
        if self.ascent is None:
            self._unite_waiting()
        return bool(self._twins)

    @property
    def ids(self) -> AbstractSet[object]:
        """The ids of all that was read; what could not be decoded counts by its own."""
        ids: AbstractSet[object] = self.records.keys()
        if self._twins:
            ids = {record.voice_id for record in self._records.values()}
        return ids | self.quarantined.keys() if self.quarantined else ids

    def plan_pages(self) -> range:
        """Return the numbers of the pages that are due now and mark them as asked.

        The first page alone at first; the rest once it has told a total, and
        more when a later page tells a larger one.
        """
        known = count_pages(self.largest_total, self.size) if self.pages else 1
        due = range(self._asked + 1, known + 1)
        if due:
            self._asked = known
            self._outstanding += len(due)
        return due

    @property
    def is_read(self) -> bool:
        """Whether every page that is known of was answered."""
        return not self._outstanding

    def add_page(self, answer: PageAnswer, ascent: Ascent | None, *, past_the_end: bool = False) -> None:
        """Take the answer to one page; `ascent` are its records, if they rise."""
        page = answer.page
        self._outstanding -= 1
        self.pages += 1
        self.largest_total = max(self.largest_total, page.total)
        if past_the_end:
            self._odd += 1
            return
        self._waiting.append(page)
        if ascent is not None:
            self._ascents.append(ascent)
        elif page.records:
            self._rises = False
        if answer.quarantined:
            self._rises = False
            self._set_aside(answer)
        if answer.unknown_fields:
            self.unknown_fields.update(answer.unknown_fields)
            self.extras |= answer.extras
        told = len(page.records) + len(answer.quarantined)
        behind = page.total - (page.current - 1) * page.size
        if told > behind:
            self.largest_total = max(self.largest_total, _least_total(answer))
        is_whole = self.pages == self._asked == 1 and told == page.total < page.size
        self.single = is_whole and self.unique == told
        self._odd += (told != min(page.size, max(0, behind))) + (page.pages != -(-page.total // page.size))
        self._odd += answer.anomalies

    def take_oddities(self) -> int:
        """Return how many oddities, repeated ids among them, were met since this was last asked."""
        odd = self._odd + self.duplicates + len(self.conflicting)
        new, self._odd_taken = odd - self._odd_taken, odd
        return new

    def _unite_waiting(self) -> None:
        if not self._waiting:
            return
        pages, self._waiting = self._waiting, []
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
        if not self._twins and len(by_id) == len(records) and self._records.keys().isdisjoint(by_id):
            self._records |= by_id
            return
        in_page: dict[str, CallDetailRecord] = {}
        for record in records:
            voice_id = record.voice_id
            if in_page.setdefault(voice_id, record) != record and voice_id not in self._twins:
                self._conflicting.add(voice_id)
                self._separate(voice_id, in_page[voice_id])
            self._keep(record)

    def _set_aside(self, answer: PageAnswer) -> None:
        rows = {(quarantined.voice_id, quarantined.raw) for quarantined in answer.quarantined}
        holders = Counter(voice_id for voice_id, _ in rows) + Counter({r.voice_id for r in answer.page.records})
        for quarantined in answer.quarantined:
            key = quarantined.identity
            if quarantined.voice_id is None or holders[key] > 1:
                key = quarantined.digest
                self.is_ambiguous = True
            self.quarantined.setdefault(key, quarantined)

    def _separate(self, voice_id: str, first: CallDetailRecord) -> None:
        # From here on records of this id count by their contents.
        self._twins.add(voice_id)
        self._records.pop(voice_id, None)
        self._records[first] = first

    def _keep(self, record: CallDetailRecord) -> None:
        key: object = record if record.voice_id in self._twins else record.voice_id
        before = self._records.get(key)
        if before is None:
            self._records[key] = record
        elif before == record:
            self._duplicates += 1
        else:
            self._conflicting.add(record.voice_id)
            self._records[key] = record

    def carry_on(self, earlier: "Sweep") -> None:
        """Unite with what an earlier sweep of the window read; what this one read wins."""
        records, told_before = self.records, earlier.records  # both united before their twins are looked at
        self._rises = False
        for voice_id in earlier._twins - self._twins:  # noqa: SLF001 - another of our own kind
            if voice_id in records:
                self._separate(voice_id, records[voice_id])
        self._twins |= earlier._twins  # noqa: SLF001 - likewise
        newly_twins = self._twins - earlier._twins  # noqa: SLF001 - likewise
        for record in told_before.values():
            if record.voice_id in newly_twins:
                continue
            key: object = record if record.voice_id in self._twins else record.voice_id
            if records.setdefault(key, record) != record:
                self._conflicting.add(record.voice_id)
        self.quarantined = earlier.quarantined | self.quarantined
        self.extras = earlier.extras | self.extras
        self._conflicting |= earlier.conflicting
        self._odd_taken = self._odd + self._duplicates + len(self._conflicting)  # the earlier one has told its own
        self.is_ambiguous = self.is_ambiguous or earlier.is_ambiguous
        self.largest_total = max(self.largest_total, earlier.largest_total)


def _least_total(answer: PageAnswer) -> int:
    # What OFFSET skipped and what came after it was there: whatever the vendor's count says.
    page = answer.page
    identities = {record.voice_id for record in page.records}
    identities.update(quarantined.identity for quarantined in answer.quarantined)
    return (page.current - 1) * page.size + len(identities) if identities else 0
