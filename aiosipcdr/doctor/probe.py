"""The plan that learns what the vendor does not document: at most 15 questions, one after the other.

Synchronous and without I/O, in the shape of every plan.  Gathers facts only:
what follows from them is for `findings` to say.
"""

from collections import Counter
from collections.abc import Generator
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from aiosipcdr.doctor.semantics import ALL_SEMANTICS, RangeSemantics, filter_hypotheses, plan_window
from aiosipcdr.model.errors import InvalidQueryError, OutOfTimeRangeError, ProtocolError, ServerFaultError, SipCdrError
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import WIDEST, TimeWindow
from aiosipcdr.proof.page import PageRequest, count_pages
from aiosipcdr.wire.codec import Filters, PageAnswer, encode_params

__all__ = ["LARGER", "LARGEST", "ODD", "Answered", "Probe", "ProbeFacts"]

LARGEST = 100
"""The largest documented page."""
LARGER = 200
ODD = 37
"""A size that no list of allowed sizes holds."""

_DAY, _MONTH = timedelta(days=1), timedelta(days=30)
# Two calendar months are 59 days at least.
_KEPT = timedelta(days=58)
# The newest calls are left alone, so that few are added while the probe looks.
_SETTLING = timedelta(hours=1)
_MOST_WINDOWS = 5
_MOST_QUESTIONS = 15
_FEW = 20

_TELLING = (InvalidQueryError, OutOfTimeRangeError, ServerFaultError, ProtocolError)
"""Errors that answer a question: this is not to be had. Any other ends the probe."""


class _Question(msgspec.Struct, frozen=True):
    window: TimeWindow
    size: int = LARGEST
    current: int = 1
    group: str | None = None
    telling: tuple[type[SipCdrError], ...] = _TELLING


class Answered(msgspec.Struct, frozen=True):
    """A question and the page that came."""

    window: TimeWindow
    size: int
    current: int
    page: Page
    unreadable: int = 0
    """Records that could not be decoded."""

    @property
    def rows(self) -> int:
        """How many records came."""
        return len(self.page.records) + self.unreadable

    @property
    def is_whole(self) -> bool:
        """Whether all that the window holds came: there was room for more, and no more was told."""
        has_room = self.page.total <= self.rows < min(self.page.size, self.size)
        return self.current == 1 and not self.unreadable and has_room


Outcome = Answered | SipCdrError


class ProbeFacts(msgspec.Struct, kw_only=True):
    """What was asked and what came; an error where the vendor refused.

    Attributes:
        first: the first page of a span, the largest that is documented.
        again: the same in another size.
        larger: the same in a size that is not documented.
        narrow: windows of two seconds, whole where they had room.
        further: further pages of the first span, where pages are small.
        beyond: a page after the last of `beyond_of`.
        group: the group whose name was asked for in other ways.
        other_case, outer_blanks, longer: what came for its name in the other case, with blanks around it, and with
            something behind it.
        readings: what a range may mean, as far as `narrow` tells; `None` where no call was seen.
        vanished: whether calls disappeared meanwhile: then one that does not come tells nothing.
        questions: how many were asked.
        date_sent: whether the answers told a time (`Date`); `None` where nobody looked.
        rate: requests a second at most while the probe asked.
        throttled: how often the vendor asked for patience meanwhile.
    """

    first: Answered | None = None
    again: Outcome | None = None
    larger: Outcome | None = None
    narrow: list[Answered] = msgspec.field(default_factory=list)
    further: list[Answered] = msgspec.field(default_factory=list)
    beyond: Outcome | None = None
    beyond_of: Answered | None = None
    group: str | None = None
    other_case: Outcome | None = None
    outer_blanks: Outcome | None = None
    longer: Outcome | None = None
    readings: list[RangeSemantics] | None = None
    vanished: bool = False
    questions: int = 0
    date_sent: bool | None = None
    rate: float | None = None
    throttled: int = 0

    @property
    def answers(self) -> list[Answered]:
        """Every answer without a filter that came to page 1."""
        reported = (self.first, self.again, self.larger, *self.narrow)
        return [outcome for outcome in reported if isinstance(outcome, Answered)]

    def calls(self) -> list[CallDetailRecord]:
        """Return every call that was seen, once."""
        seen = chain.from_iterable(answer.page.records for answer in (*self.answers, *self.further))
        return list({call.voice_id: call for call in seen}.values())


class Probe:
    """Finds a span with enough calls, and asks about it."""

    def __init__(self, now: datetime, asked: TimeWindow | None = None) -> None:
        """Plan questions about the time before `now`, aware; first about the range `asked`, if there is one."""
        self.facts: ProbeFacts = ProbeFacts()
        self.span: TimeWindow | None = asked
        self._script = self._ask_all(_plan_spans(now.replace(microsecond=0) - _SETTLING, asked))
        self._next: _Question | None = next(self._script)
        self._asked: _Question | None = None

    @property
    def has_result(self) -> bool:
        """Whether every question has its answer."""
        return self._next is None and self._asked is None

    def next_request(self) -> PageRequest | None:
        """Return the next question, when the last is answered."""
        if self._next is None:
            return None
        asked, self._next = self._next, None
        self._asked = asked
        self.facts.questions += 1
        params = encode_params(asked.window, Filters(sip_group_name=asked.group))
        return PageRequest(owner=self, window=asked.window, params=params, current=asked.current, size=asked.size)

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Take an answer as it is: odd ones are what is looked for."""
        self._go_on(
            Answered(request.window, request.size, request.current, answer.page, unreadable=len(answer.quarantined))
        )
        return None

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:  # noqa: ARG002 - a plan's shape
        """Take a refusal that tells something; give in to any other."""
        if self._asked is None or not isinstance(error, self._asked.telling):
            return error
        self._go_on(error)
        return None

    def _go_on(self, outcome: Outcome) -> None:
        self._asked = None
        try:
            self._next = self._script.send(outcome)
        except StopIteration:
            self._next = None

    def _ask_all(self, spans: list[TimeWindow]) -> Generator[_Question, Outcome, None]:
        facts = self.facts
        yield from self._find_span(spans)
        if facts.first is None or not facts.first.page.records:
            return
        window = facts.first.window
        facts.again = yield _Question(window, ODD)
        facts.larger = yield _Question(window, LARGER)
        yield from self._read_range(window)
        yield from self._leave_the_end()
        yield from self._vary_filter(window)
        yield from self._read_on(facts.first)

    def _find_span(self, spans: list[TimeWindow]) -> Generator[_Question, Outcome, None]:
        most = -1
        for span in spans:
            if self.facts.first is not None:
                outcome = yield _Question(span)
            else:  # one that is older than what is kept is done without, unless it is the last
                outcome = yield _Question(span, telling=(OutOfTimeRangeError,) if span is not spans[-1] else ())
            if not isinstance(outcome, Answered):
                continue
            calls = max(outcome.page.total, outcome.rows)
            if calls > most:
                self.facts.first, most = outcome, calls
            if calls >= LARGEST:
                return

    def _read_range(self, window: TimeWindow) -> Generator[_Question, Outcome, None]:
        facts = self.facts
        readings = certain = filter_hypotheses(ALL_SEMANTICS, window, facts.calls())
        asked: set[TimeWindow] = set()
        while len(asked) < _MOST_WINDOWS and (narrow := plan_window(readings, facts.calls(), asked)) is not None:
            asked.add(narrow)
            outcome = yield _Question(narrow)
            if isinstance(outcome, Answered):
                known = facts.calls() if outcome.is_whole else ()
                readings = filter_hypotheses(readings, narrow, outcome.page.records, known)
                certain = filter_hypotheses(certain, narrow, outcome.page.records)
                facts.narrow.append(outcome)
        # A call that is told is in the range, but one that is not may be gone: its absence must not pass for a proof.
        recount = yield _Question(window, size=1)
        if facts.first is not None and isinstance(recount, Answered):
            facts.vanished = recount.page.total < facts.first.page.total
        facts.readings = certain if facts.vanished else readings

    def _leave_the_end(self) -> Generator[_Question, Outcome, None]:
        # Of the smallest window: the vendor skips the rows before a page one by one.
        held = [answer for answer in self.facts.answers if answer.page.records]
        least = min(held, key=lambda answer: max(answer.page.total, answer.rows))
        if not least.page.total and not least.is_whole:
            return
        last = count_pages(max(least.page.total, least.rows), max(least.page.size, 1))
        self.facts.beyond_of = least
        self.facts.beyond = yield _Question(least.window, current=last + 2)

    def _vary_filter(self, window: TimeWindow) -> Generator[_Question, Outcome, None]:
        facts = self.facts
        groups = Counter(call.sip_group_name for call in facts.calls() if call.sip_group_name)
        # A name with letters has another case; among those, the one that most calls have.
        name = max(groups, key=lambda name: (name.swapcase() != name, groups[name]), default=None)
        if name is None:
            return
        facts.group = name
        if name.swapcase() != name:
            facts.other_case = yield _Question(window, _FEW, group=name.swapcase())
        facts.outer_blanks = yield _Question(window, _FEW, group=f" {name} ")
        if any(isinstance(outcome, Answered) and outcome.rows for outcome in (facts.other_case, facts.outer_blanks)):
            facts.longer = yield _Question(window, _FEW, group=f"{name}-{name}")

    def _read_on(self, first: Answered) -> Generator[_Question, Outcome, None]:
        # A server whose pages are small has shown a few calls until here.
        facts = self.facts
        pages = count_pages(first.page.total, max(first.rows, 1))
        for current in range(2, pages + 1):
            if len(facts.calls()) >= LARGEST or facts.questions >= _MOST_QUESTIONS:
                return
            outcome = yield _Question(first.window, current=current)
            if not isinstance(outcome, Answered):
                return
            facts.further.append(outcome)


def _plan_spans(end: datetime, asked: TimeWindow | None) -> list[TimeWindow]:
    # The likeliest to hold a page of calls first; together all that the vendor keeps, as far as is documented.
    last = end if asked is None else min(asked.end, end)
    first = TimeWindow(end - _DAY, end)
    if asked is not None and asked.start < last:
        first = TimeWindow(max(asked.start, last - WIDEST), last)
    return [first, TimeWindow(end - _MONTH, end), TimeWindow(end - _KEPT, end - _MONTH)]
