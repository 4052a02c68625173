"""The plan of a probe, which tests undocumented properties of an account with at most 15 requests, one at a time.

Synchronous and without I/O, with the interface of every plan. Only collects facts, from which `diagnosis` draws
conclusions.
"""

from collections import Counter
from collections.abc import Generator
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from aiosipcdr.doctor.semantics import ALL_SEMANTICS, RangeSemantics, filter_hypotheses, plan_window
from aiosipcdr.model.errors import InvalidQueryError, OutOfTimeRangeError, ProtocolError, ServerFaultError, SipCdrError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import WIDEST, TimeWindow
from aiosipcdr.proof.page import PageRequest, PlanChange, Transition, count_pages
from aiosipcdr.wire.codec import PageAnswer, encode_params

__all__ = ["LARGER", "LARGEST", "ODD", "Answered", "Probe", "ProbeFacts"]

LARGEST = 100
"""The largest documented page size."""
LARGER = 200
ODD = 37
"""A page size that a server with a fixed list of sizes does not have."""

_DAY, _MONTH = timedelta(days=1), timedelta(days=30)
# Two calendar months are at least 59 days.
_KEPT = timedelta(days=58)
# The newest calls are excluded, so that few are added during the probe.
_SETTLING = timedelta(hours=1)
_MAX_WINDOWS = 5
_MAX_QUESTIONS = 15
_FEW = 20

_EXPECTED_ERRORS = (InvalidQueryError, OutOfTimeRangeError, ServerFaultError, ProtocolError)
"""Errors that are an answer to a question. Any other error ends the probe."""


class _Question(msgspec.Struct, frozen=True):
    window: TimeWindow
    size: int = LARGEST
    current: int = 1
    group: str | None = None
    expected_errors: tuple[type[SipCdrError], ...] = _EXPECTED_ERRORS


class Answered(msgspec.Struct, frozen=True):
    """A question and the returned page."""

    window: TimeWindow
    size: int
    current: int
    page: Page
    unreadable: int = 0
    """Number of records that could not be decoded."""

    @property
    def rows(self) -> int:
        """Number of records in the response."""
        return len(self.page.records) + self.unreadable

    @property
    def is_whole(self) -> bool:
        """Whether the response holds all calls of the window: the page had room for more, and no more were reported."""
        has_room = self.page.total <= self.rows < min(self.page.size, self.size)
        return self.current == 1 and not self.unreadable and has_room


ProbeOutcome = Answered | SipCdrError


class ProbeFacts(msgspec.Struct, kw_only=True):
    """Outcomes of the questions of a probe; an outcome is an error if the vendor refused.

    Attributes:
        first: The first page of a span, in the largest documented size.
        again: The same in another size.
        larger: The same in an undocumented size.
        narrow: Windows of two seconds; complete if their pages had room.
        further: Further pages of the first span, if pages are small.
        beyond: A page after the last of `beyond_of`.
        group: The group whose name was varied in filters.
        other_case, outer_blanks, longer: The outcome for its name in the other case, with surrounding blanks, and with
            a suffix.
        hypotheses: The meanings of a range that `narrow` does not rule out; `None` if no call was found.
        vanished: Whether calls disappeared during the probe, so that a missing call proves nothing.
        questions: Number of questions.
        date_sent: Whether responses had a time (`Date`); `None` if unknown.
        rate: Maximum number of requests per second during the probe.
        throttled: Number of throttled requests during the probe.
    """

    first: Answered | None = None
    again: ProbeOutcome | None = None
    larger: ProbeOutcome | None = None
    narrow: list[Answered] = msgspec.field(default_factory=list)
    further: list[Answered] = msgspec.field(default_factory=list)
    beyond: ProbeOutcome | None = None
    beyond_of: Answered | None = None
    group: str | None = None
    other_case: ProbeOutcome | None = None
    outer_blanks: ProbeOutcome | None = None
    longer: ProbeOutcome | None = None
    hypotheses: list[RangeSemantics] | None = None
    vanished: bool = False
    questions: int = 0
    date_sent: bool | None = None
    rate: float | None = None
    throttled: int = 0

    @property
    def answers(self) -> list[Answered]:
        """All pages number 1 that were requested without a filter."""
        reported = (self.first, self.again, self.larger, *self.narrow)
        return [outcome for outcome in reported if isinstance(outcome, Answered)]

    def calls(self) -> list[CallDetailRecord]:
        """Return all calls found, each once."""
        seen = chain.from_iterable(answer.page.records for answer in (*self.answers, *self.further))
        return list({call.voice_id: call for call in seen}.values())


class Probe:
    """A plan that finds a span with enough calls and asks questions about it."""

    def __init__(self, now: datetime, asked: TimeWindow | None = None) -> None:
        """Plan questions about the time before `now` (aware), first about the range `asked` if given."""
        self.facts: ProbeFacts = ProbeFacts()
        self.span: TimeWindow | None = asked
        self._script = self._ask_all(_plan_spans(now.replace(microsecond=0) - _SETTLING, asked))
        self._next: _Question | None = next(self._script)
        self._asked: _Question | None = None

    @property
    def has_result(self) -> bool:
        """Whether every question is answered."""
        return self._next is None and self._asked is None

    def next_request(self) -> PageRequest | None:
        """Return the next question once the last one is answered."""
        if self._next is None:
            return None
        asked, self._next = self._next, None
        self._asked = asked
        self.facts.questions += 1
        params = encode_params(asked.window, Filters(sip_group_name=asked.group))
        return PageRequest(owner=self, window=asked.window, params=params, current=asked.current, size=asked.size)

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Record a response without checking it: the probe looks for unusual ones."""
        return self._advance(
            Answered(request.window, request.size, request.current, answer.page, unreadable=len(answer.quarantined))
        )

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:  # noqa: ARG002 - see Plan
        """Record an error that answers the question; return any other."""
        if self._asked is None or not isinstance(error, self._asked.expected_errors):
            return error
        return self._advance(error)

    def _advance(self, outcome: ProbeOutcome) -> Transition:
        self._asked = None
        try:
            self._next = self._script.send(outcome)
        except StopIteration:
            self._next = None
            return PlanChange.DONE
        return None

    def _ask_all(self, spans: list[TimeWindow]) -> Generator[_Question, ProbeOutcome, None]:
        facts = self.facts
        yield from self._find_span(spans)
        if facts.first is None or not facts.first.page.records:
            return
        window = facts.first.window
        facts.again = yield _Question(window, ODD)
        facts.larger = yield _Question(window, LARGER)
        yield from self._read_range(window)
        yield from self._read_past_end()
        yield from self._vary_filter(window)
        yield from self._read_more_pages(facts.first)

    def _find_span(self, spans: list[TimeWindow]) -> Generator[_Question, ProbeOutcome, None]:
        most = -1
        for span in spans:
            if self.facts.first is not None:
                outcome = yield _Question(span)
            else:  # a span older than the retention is skipped, unless it is the last
                outcome = yield _Question(span, expected_errors=(OutOfTimeRangeError,) if span is not spans[-1] else ())
            if not isinstance(outcome, Answered):
                continue
            calls = max(outcome.page.total, outcome.rows)
            if calls > most:
                self.facts.first, most = outcome, calls
            if calls >= LARGEST:
                return

    def _read_range(self, window: TimeWindow) -> Generator[_Question, ProbeOutcome, None]:
        facts = self.facts
        hypotheses = certain = filter_hypotheses(ALL_SEMANTICS, window, facts.calls())
        asked: set[TimeWindow] = set()
        while len(asked) < _MAX_WINDOWS and (narrow := plan_window(hypotheses, facts.calls(), asked)) is not None:
            asked.add(narrow)
            outcome = yield _Question(narrow)
            if isinstance(outcome, Answered):
                known = facts.calls() if outcome.is_whole else ()
                hypotheses = filter_hypotheses(hypotheses, narrow, outcome.page.records, known)
                certain = filter_hypotheses(certain, narrow, outcome.page.records)
                facts.narrow.append(outcome)
        # A returned call is in the range, but a missing one may have been deleted: its absence proves nothing then.
        recount = yield _Question(window, size=1)
        if facts.first is not None and isinstance(recount, Answered):
            facts.vanished = recount.page.total < facts.first.page.total
        facts.hypotheses = certain if facts.vanished else hypotheses

    def _read_past_end(self) -> Generator[_Question, ProbeOutcome, None]:
        # In the smallest window, since the vendor reads all rows that it skips.
        held = [answer for answer in self.facts.answers if answer.page.records]
        least = min(held, key=lambda answer: max(answer.page.total, answer.rows))
        if not least.page.total and not least.is_whole:
            return
        last = count_pages(max(least.page.total, least.rows), max(least.page.size, 1))
        self.facts.beyond_of = least
        self.facts.beyond = yield _Question(least.window, current=last + 2)

    def _vary_filter(self, window: TimeWindow) -> Generator[_Question, ProbeOutcome, None]:
        facts = self.facts
        groups = Counter(call.sip_group_name for call in facts.calls() if call.sip_group_name)
        # Prefers names with letters, which have another case, and among them the most frequent one.
        name = max(groups, key=lambda name: (name.swapcase() != name, groups[name]), default=None)
        if name is None:
            return
        facts.group = name
        if name.swapcase() != name:
            facts.other_case = yield _Question(window, _FEW, group=name.swapcase())
        facts.outer_blanks = yield _Question(window, _FEW, group=f" {name} ")
        if any(isinstance(outcome, Answered) and outcome.rows for outcome in (facts.other_case, facts.outer_blanks)):
            facts.longer = yield _Question(window, _FEW, group=f"{name}-{name}")

    def _read_more_pages(self, first: Answered) -> Generator[_Question, ProbeOutcome, None]:
        # With small pages, few calls have been found so far.
        facts = self.facts
        pages = count_pages(first.page.total, max(first.rows, 1))
        for current in range(2, pages + 1):
            if len(facts.calls()) >= LARGEST or facts.questions >= _MAX_QUESTIONS:
                return
            outcome = yield _Question(first.window, current=current)
            if not isinstance(outcome, Answered):
                return
            facts.further.append(outcome)


def _plan_spans(end: datetime, asked: TimeWindow | None) -> list[TimeWindow]:
    # The span most likely to fill a page comes first; together they cover the documented retention.
    last = end if asked is None else min(asked.end, end)
    first = TimeWindow(end - _DAY, end)
    if asked is not None and asked.start < last:
        first = TimeWindow(max(asked.start, last - WIDEST), last)
    return [first, TimeWindow(end - _MONTH, end), TimeWindow(end - _KEPT, end - _MONTH)]
