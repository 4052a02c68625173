"""Hints of fraud: patterns in traffic that somebody should look at. They prove nothing.

Kept by the clock hour in UTC, so that the order of calls does not matter and hints of parts add up to those of the
whole. Memory is bounded but for 13 bytes a call, by which runs of numbers and bursts of short calls are found.
"""

from array import array
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Literal

import msgspec

from aiosipcdr.analytics.metrics import SHORT_SECONDS, CallFacts
from aiosipcdr.analytics.seconds import HOUR, second_of, time_of
from aiosipcdr.model.money import EXACT
from aiosipcdr.model.records import CallDetailRecord

__all__ = ["FraudHint", "FraudHints", "HintKind", "HintThresholds"]

HintKind = Literal["cost spike", "new destination", "sequential callees", "short calls", "no ringing time"]
"""The kinds of hints, see `HintThresholds`."""

_FEWEST_DIGITS, _MOST_DIGITS = 5, 18
_MOST_GROUPS = 1_000_000
_ANSWERED, _SHORT = 1, 2

_Phone = tuple[str | None, str | None]  # sip_group_name, phone_name


class HintThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """From where on something is a hint. The defaults are conventions, not a standard: adjust them to your traffic.

        summary.hints.find(HintThresholds(spike_factor=Decimal(3)))

    Attributes:
        spike_factor: "cost spike": the cost of a destination in an hour is more than this times its trailing median ...
        spike_calls: ... and at least this many calls made it.
        spike_hours: Hours before it that the median looks back on; only those in which the destination had cost count.
        spike_least_hours: The fewest such hours; with less there is no hint.
        new_days: "new destination": the first call to it comes at least this many days after the first call of all.
        run_length: "sequential callees": a phone dialled this many consecutive numbers in an hour, in whatever order.
        short_calls: "short calls": a phone had this many answered calls below 6 s in an hour ...
        short_share: ... and they were at least this share of its answered calls.
        ring_calls: "no ringing time": a destination has this many answered calls whose phone rang ...
        ring_share: ... and at least this share of them was answered in the second in which it rang, as where
            answers are false (false answer supervision).
    """

    spike_factor: Decimal = Decimal(5)
    spike_calls: int = 5
    spike_hours: int = 168
    spike_least_hours: int = 24
    new_days: int = 7
    run_length: int = 10
    short_calls: int = 30
    short_share: Decimal = Decimal("0.5")
    ring_calls: int = 20
    ring_share: Decimal = Decimal("0.5")


class FraudHint(msgspec.Struct, frozen=True, kw_only=True):
    """One hint.

    Attributes:
        kind: What it is about.
        start: The hour, or the first call of a new destination, in UTC; `None` if it is about the whole time.
        code: The destination, for hints about destinations.
        sip_group_name: The group of the phone, for hints about phones.
        phone_name: The phone; it may be a number.
        calls: Calls that the hint counts: those with cost, short ones, numbers in the run, calls answered at once.
        amount: Cost of the hour, or of the new destination as a whole.
        usual: The trailing median.
        currency: What the calls name as currency of `amount`.
    """

    kind: HintKind
    start: datetime | None = None
    code: str | None = None
    sip_group_name: str | None = None
    phone_name: str | None = None
    calls: int = 0
    amount: Decimal | None = None
    usual: Decimal | None = None
    currency: str | None = None

    def __repr__(self) -> str:
        """Leave out the phone, which may be a number."""
        return f"FraudHint(kind={self.kind!r}, start={self.start}, calls={self.calls}, amount={self.amount}, ...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("kind", self.kind), ("start", self.start), ("calls", self.calls), ("amount", self.amount)]


class FraudHints:
    """What hints are computed from: add calls, or other hints, in any order; then `find`.

    Money is summed within `decimal.localcontext(aiosipcdr.analytics.EXACT)`, which the caller of `add` sets.

        summary = summarize("october.parquet")
        summary.hints.find()  # [FraudHint(kind='cost spike', start=..., calls=0, amount=Decimal('81.2'), ...)]
    """

    __slots__ = ("_dialled", "_first", "_numbers", "_phones", "_rung", "_spent")

    def __init__(self) -> None:
        # Of a destination in a currency, by the hour: cost, and calls that made it.
        self._spent: dict[tuple[str | None, str | None], dict[int, tuple[Decimal, int]]] = {}
        self._first: dict[str | None, int] = {}
        self._phones: list[_Phone] = []
        self._numbers: dict[_Phone, int] = {}
        # Of each call by the hour: its phone, its callee (0: no number), and whether it was answered or short.
        self._dialled: dict[int, tuple[array[int], array[int], array[int]]] = {}
        # Of a destination: answered calls whose phone rang, and those that were answered in that second.
        self._rung: dict[str | None, tuple[int, int]] = {}

    def __repr__(self) -> str:
        """Count the destinations."""
        return f"FraudHints(destinations={len(self._first)})"

    def add(self, record: CallDetailRecord, call: CallFacts | None = None) -> None:
        """Add a call; one without `submit_time` is not looked at.

            hints.add(record)

        Args:
            record: The call.
            call: Its facts, where they are known.
        """
        call = call or CallFacts.of(record)
        second = call.submitted_at
        if second is None:
            return
        hour = second // HOUR
        code, cost, callee = record.code, call.cost, record.callee
        if second < self._first.get(code, second + 1):
            self._add_first(code, second)
        if cost:
            self._add_cost((code, call.currency), hour, cost, 1)
        flags = _ANSWERED * call.is_answered | _SHORT * (call.is_answered and call.duration < SHORT_SECONDS)
        phone = record.sip_group_name, record.phone_name
        self._add_call(hour, phone, 0 if callee is None else _read_number(callee), flags)
        if call.answered_at is not None and record.ringing_time is not None:
            known = self._rung.get(code, (0, 0))
            self._rung[code] = known[0] + 1, known[1] + (second_of(record.ringing_time) == call.answered_at)

    def update(self, other: "FraudHints") -> None:
        """Add the calls of other hints, exactly.

        For example:

            month.update(day)
        """
        for code, second in other._first.items():
            if second < self._first.get(code, second + 1):
                self._add_first(code, second)
        for destination, hours in other._spent.items():
            for hour, (cost, calls) in hours.items():
                self._add_cost(destination, hour, cost, calls)
        for hour, columns in other._dialled.items():
            for number, callee, flags in zip(*columns, strict=True):
                self._add_call(hour, other._phones[number], callee, flags)
        for code, (answered, unheard) in other._rung.items():
            known = self._rung.get(code, (0, 0))
            self._rung[code] = known[0] + answered, known[1] + unheard

    def find(self, thresholds: HintThresholds | None = None) -> list[FraudHint]:
        """Return the hints, ordered by kind, then time, then the highest amount or number of calls.

            summary.hints.find(HintThresholds(run_length=5))

        Args:
            thresholds: From where on something is a hint; the defaults of `HintThresholds` if left out.
        """
        limits = thresholds or HintThresholds()
        with localcontext(EXACT):
            found = [
                *self._spikes(limits),
                *self._new_destinations(limits),
                *self._runs(limits),
                *self._bursts(limits),
                *self._unheard(limits),
            ]
            return sorted(found, key=_order)

    def _spikes(self, limits: HintThresholds) -> Iterator[FraudHint]:
        for (code, currency), hours in self._spent.items():
            window: deque[tuple[int, Decimal]] = deque()
            ordered: list[Decimal] = []
            for hour in sorted(hours):
                while window and window[0][0] < hour - limits.spike_hours:
                    ordered.pop(bisect_left(ordered, window.popleft()[1]))
                cost, calls = hours[hour]
                if calls >= limits.spike_calls and len(ordered) >= max(1, limits.spike_least_hours):
                    usual = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
                    if cost > limits.spike_factor * usual:
                        yield FraudHint(
                            kind="cost spike",
                            start=time_of(hour * HOUR),
                            code=code,
                            calls=calls,
                            amount=cost,
                            usual=usual,
                            currency=currency,
                        )
                window.append((hour, cost))
                insort(ordered, cost)

    def _new_destinations(self, limits: HintThresholds) -> Iterator[FraudHint]:
        since = min(self._first.values(), default=0) + limits.new_days * 24 * HOUR
        new = {code: second for code, second in self._first.items() if second >= since}
        costs: dict[str | None, list[tuple[str | None, Decimal, int]]] = {}
        for (code, currency), hours in self._spent.items():
            if code in new:
                amount = sum((cost for cost, _ in hours.values()), Decimal())
                costs.setdefault(code, []).append((currency, amount, sum(calls for _, calls in hours.values())))
        for code, second in new.items():
            for currency, amount, calls in costs.get(code, [(None, Decimal(), 0)]):
                yield FraudHint(
                    kind="new destination",
                    start=time_of(second),
                    code=code,
                    calls=calls,
                    amount=amount,
                    currency=currency,
                )

    def _runs(self, limits: HintThresholds) -> Iterator[FraudHint]:
        for hour, (numbers, callees, _) in self._dialled.items():
            before: tuple[int, int] | None = None
            length = 0
            called = sorted({pair for pair in zip(numbers, callees, strict=True) if pair[1]})
            for dialled in [*called, (-1, -1)]:  # the last one belongs to no run
                if before is not None and dialled != (before[0], before[1] + 1):
                    if length >= limits.run_length:
                        yield self._phone_hint("sequential callees", hour, self._phones[before[0]], length)
                    length = 0
                length += 1
                before = dialled

    def _bursts(self, limits: HintThresholds) -> Iterator[FraudHint]:
        for hour, (numbers, _, flags) in self._dialled.items():
            answered = Counter(number for number, flag in zip(numbers, flags, strict=True) if flag & _ANSWERED)
            short = Counter(number for number, flag in zip(numbers, flags, strict=True) if flag & _SHORT)
            for number, calls in short.items():
                if calls >= limits.short_calls and calls >= limits.short_share * answered[number]:
                    yield self._phone_hint("short calls", hour, self._phones[number], calls)

    def _unheard(self, limits: HintThresholds) -> Iterator[FraudHint]:
        for code, (answered, unheard) in self._rung.items():
            if answered >= limits.ring_calls and unheard >= limits.ring_share * answered:
                yield FraudHint(kind="no ringing time", code=code, calls=unheard)

    @staticmethod
    def _phone_hint(kind: HintKind, hour: int, phone: _Phone, calls: int) -> FraudHint:
        group, name = phone
        return FraudHint(kind=kind, start=time_of(hour * HOUR), sip_group_name=group, phone_name=name, calls=calls)

    def _add_first(self, code: str | None, second: int) -> None:
        if code not in self._first and len(self._first) == _MOST_GROUPS:
            raise ValueError("the calls have more than a million destinations; check where they come from")
        self._first[code] = second

    def _add_cost(self, destination: tuple[str | None, str | None], hour: int, cost: Decimal, calls: int) -> None:
        hours = self._spent.setdefault(destination, {})
        known = hours.get(hour)
        hours[hour] = (cost, calls) if known is None else (known[0] + cost, known[1] + calls)

    def _add_call(self, hour: int, phone: _Phone, callee: int, flags: int) -> None:
        number = self._numbers.get(phone)
        if number is None:
            number = self._numbers[phone] = len(self._phones)
            self._phones.append(phone)
        columns = self._dialled.get(hour)
        if columns is None:
            columns = self._dialled[hour] = array("I"), array("Q"), array("B")
        columns[0].append(number)
        columns[1].append(callee)
        columns[2].append(flags)


def _read_number(callee: str) -> int:
    digits = callee.removeprefix("+")
    is_number = _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS and digits.isascii() and digits.isdigit()
    return int(digits) if is_number else 0


def _order(hint: FraudHint) -> tuple[object, ...]:
    start = hint.start.timestamp() if hint.start else 0.0
    names = (hint.code, hint.sip_group_name, hint.phone_name, hint.currency)
    return hint.kind, start, -(hint.amount or 0), -hint.calls, [name or "" for name in names]
