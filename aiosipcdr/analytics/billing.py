"""Billing audit: the charge of each call recomputed, and calls that should not have been charged, or not twice.

    charge = seconds x rate / 60, rounded

The vendor documents neither the seconds, nor the rounding, nor the unit of `rate` (taken as the price of a minute;
if it is another, no rule fits). So all `ROUNDING_RULES` are tried on every call, and the rule that fits most calls is
the one that the others are held against. Memory is bounded but for 20 bytes a charged call, by which duplicates are
found.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal, localcontext
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from aiosipcdr.analytics.metrics import CallFacts
from aiosipcdr.analytics.seconds import HOUR
from aiosipcdr.model.money import EXACT
from aiosipcdr.model.records import CallDetailRecord

__all__ = [
    "LISTED",
    "ROUNDING_RULES",
    "BilledCall",
    "BillingAudit",
    "BillingMismatch",
    "BillingResult",
    "CallList",
    "DuplicateRows",
    "RateChange",
    "RoundingRule",
    "SecondsBasis",
    "round_up_seconds",
]

SecondsBasis = Literal["bill_period", "charged_duration", "call_duration"]
"""The seconds that are charged: `call_duration` rounded up by `bill_period`, `charged_duration` as it is, or
`call_duration` as it is."""

LISTED = 1_000
"""The most calls of a list; counts and sums are over all."""

_BASES: tuple[SecondsBasis, ...] = ("bill_period", "charged_duration", "call_duration")
_ROUNDINGS = {"half up": ROUND_HALF_UP, "half even": ROUND_HALF_EVEN, "up": ROUND_UP, "down": ROUND_DOWN}
_PLACES = (6, 5, 4, 3, 2)
_UNITS = {places: Decimal(1).scaleb(-places) for places in _PLACES}
# Rounding to two places moves an amount by less than 0.01, in sixtieths 0.6.
_FURTHEST = Decimal("0.6")
_SIXTY = Decimal(60)
_QUOTIENT = Context(prec=28)
_MOST_CACHED = 65_536
_MOST_RATE_GROUPS = 1_000_000
_STEP_DIGITS = 5
_ID_DIGITS = 19  # fit into 64 bits
_Combination = tuple[Decimal | None, str | None, int | None, int | None, Decimal]


class RoundingRule(NamedTuple):
    """A way to compute a charge: seconds x rate / 60, then rounded.

    Attributes:
        seconds: Which seconds are charged.
        rounding: "exact": not rounded; else how the amount is rounded, "up" meaning away from zero.
        places: Decimal places of the amount; 0 for "exact".
    """

    seconds: SecondsBasis
    rounding: Literal["exact", "half up", "half even", "up", "down"]
    places: int = 0

    def __str__(self) -> str:
        """Describe the rule to people."""
        amount = "not rounded" if self.rounding == "exact" else f"rounded {self.rounding} to {self.places} places"
        seconds = "call_duration rounded up by bill_period" if self.seconds == "bill_period" else self.seconds
        return f"{seconds} x rate / 60, {amount}"

    def charge(self, sixtieths: Decimal) -> Decimal:
        """Return the charge for seconds x rate, which is in sixtieths of the amount.

        For example:

            RoundingRule("charged_duration", "half up", 4).charge(61 * Decimal("0.011"))  # Decimal("0.0112")
        """
        if self.rounding == "exact":
            return _QUOTIENT.divide(sixtieths, _SIXTY)
        with localcontext(EXACT):
            return (sixtieths / _SIXTY).quantize(_UNITS[self.places], _ROUNDINGS[self.rounding])


_ROUNDED: tuple[tuple[Literal["half up", "half even", "up", "down"], int], ...] = tuple(
    (rounding, places) for places in _PLACES for rounding in ("half up", "half even", "up", "down")
)
ROUNDING_RULES: tuple[RoundingRule, ...] = tuple(
    rule
    for seconds in _BASES
    for rule in (
        RoundingRule(seconds, "exact"),
        *(RoundingRule(seconds, rounding, places) for rounding, places in _ROUNDED),
    )
)
"""All rules that are tried; of rules that fit equally many calls the first one is reported."""

_RULES_OF_BASIS = len(ROUNDING_RULES) // len(_BASES)


@lru_cache(maxsize=1_024)
def _read_period(text: str) -> tuple[int, int] | None:
    first, _, step = text.replace("/", "+").partition("+")
    steps = first.strip(), (step or first).strip()
    if not all(one.isascii() and one.isdigit() and len(one) <= _STEP_DIGITS for one in steps) or not int(steps[1]):
        return None
    return int(steps[0]), int(steps[1])


def round_up_seconds(duration: int, bill_period: str) -> int | None:
    """Return a duration rounded up by a billing period: at least the first step, then whole further steps.

        round_up_seconds(61, "60+60")  # 120
        round_up_seconds(5, "20+20")   # 20
        round_up_seconds(31, "30/6")   # 36

    Args:
        duration: Seconds; 0 and less are not charged.
        bill_period: First and further step in seconds, "60+60" as on the vendor's page, "60/60", or "60" for both.

    Returns:
        Seconds, or `None` if `bill_period` is none of these.
    """
    steps = _read_period(bill_period)
    if steps is None:
        return None
    if duration <= 0:
        return 0
    first, step = steps
    return first + -(-max(0, duration - first) // step) * step


class BilledCall(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """What a list of the audit says of a call; it holds no number of a caller or callee.

    The fields are those of `CallDetailRecord`.

    Attributes:
        voice_id: The vendor's id of the call.
        submit_time: When the call was submitted, aware.
        code: The destination.
        currency: Currency of the quote; `None` where the call names none.
        rate: Price per minute.
        bill_period: Billing increments in seconds: "60+60".
        call_duration: Seconds from answer to hang-up.
        charged_duration: Charged seconds.
        cost: Price of the call.
    """

    voice_id: str
    submit_time: datetime | None
    code: str | None
    currency: str | None
    rate: Decimal | None
    bill_period: str | None
    call_duration: int | None
    charged_duration: int | None
    cost: Decimal | None

    def __repr__(self) -> str:
        """Show the amounts; a server may put anything in the place of an id."""
        return f"BilledCall(cost={self.cost}, rate={self.rate}, charged_duration={self.charged_duration}, ...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("cost", self.cost), ("rate", self.rate), ("charged_duration", self.charged_duration)]


class BillingMismatch(NamedTuple):
    """A call whose cost is not what the rule says.

    Attributes:
        call: The call.
        expected: Its charge by the rule.
        difference: `cost` minus the charge before rounding, rounded to 28 digits; positive if too much was charged.
    """

    call: BilledCall
    expected: Decimal
    difference: Decimal


class CallList(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that one check of the audit found.

    Attributes:
        total: How many.
        amounts: What they cost too much, by currency; `None`: calls that name none.
        calls: The 1,000 with the highest amounts, up or down.
    """

    total: int
    amounts: dict[str | None, Decimal]
    calls: list[BilledCall]


class DuplicateRows(msgspec.Struct, frozen=True, kw_only=True):
    """Second and further charged rows of one call.

    Two rows are one call if callee, phone, group, all of submission, answer and hang-up, cost and currency are equal,
    whatever their ids: the same row twice, or one call under two ids. The legs of a transferred call differ in times.

    Attributes:
        total: Rows beyond the first one of each call.
        amounts: The sum of their cost by currency; `None`: calls that name none.
        voice_ids: The ids of each such call, first row first, of the most expensive 1,000; `None` for an id that is no
            number of at most 19 digits.
    """

    total: int
    amounts: dict[str | None, Decimal]
    voice_ids: list[tuple[str | None, ...]]


class RateChange(NamedTuple):
    """A destination that was charged at several rates on one day.

    Attributes:
        day: Date of `submit_time` in the zone of the summary.
        sip_group_name: The group of the calls.
        code: The destination.
        currency: The currency that they name.
        bill_period: Their billing period.
        rates: The distinct rates, lowest first.
    """

    day: date | None
    sip_group_name: str | None
    code: str | None
    currency: str | None
    bill_period: str | None
    rates: tuple[Decimal, ...]


class BillingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit found.

    Attributes:
        rule: The rule that fits most calls; `None` if no call could be checked.
        fits: Calls that each rule fits, most first.
        checked: Calls with a cost, a rate and the seconds of `rule`.
        unchecked: Calls that have a cost but lack the rate or the seconds of `rule`.
        mismatched: Checked calls that `rule` does not fit.
        differences: Sum of `cost` minus the charge before rounding over the mismatched calls, by currency.
        mismatches: The 1,000 that differ most.
        misrounded: Calls whose `charged_duration` is not their `call_duration` rounded up by `bill_period`. The amounts
            are the difference in seconds x rate / 60; calls without a cost or a rate are not looked at. A bill can be
            right for `charged_duration` and wrong here.
        unanswered: Calls that cost something though they were not answered; the amounts are their cost. A call with an
            answer time whose duration is missing or negative is not among them.
        duplicates: Rows that were charged again.
        rate_changes: Destinations with several rates on one day.
    """

    rule: RoundingRule | None
    fits: dict[RoundingRule, int]
    checked: int
    unchecked: int
    mismatched: int
    differences: dict[str | None, Decimal]
    mismatches: list[BillingMismatch]
    misrounded: CallList
    unanswered: CallList
    duplicates: DuplicateRows
    rate_changes: list[RateChange]


class _Largest:
    """The calls of the highest rank, at most `LISTED`; the earlier of equals, so that no order of input matters."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[Decimal, int, str, BilledCall]] = []

    def offer(self, rank: Decimal, second: int, record: CallDetailRecord) -> None:
        """Take `record` if it belongs to the highest."""
        if len(self._heap) < LISTED or (rank, -second) >= self._heap[0][:2]:
            call = _billed_call(record)
            self._push((rank, -second, str(msgspec.structs.astuple(call)), call))

    def update(self, other: "_Largest") -> None:
        """Take those of `other` that belong to the highest of both."""
        for entry in other._heap:
            self._push(entry)

    def calls(self) -> list[BilledCall]:
        """Return the calls, highest rank first."""
        return [entry[3] for entry in self.ranked()]

    def ranked(self) -> list[tuple[Decimal, int, str, BilledCall]]:
        """Return the calls with their ranks, highest first."""
        return sorted(self._heap, key=lambda entry: (-entry[0], -entry[1], entry[2]))

    def _push(self, entry: tuple[Decimal, int, str, BilledCall]) -> None:
        if len(self._heap) < LISTED:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)


class _Findings(msgspec.Struct):
    """Running count, sums and list of one check."""

    total: int = 0
    amounts: dict[str | None, Decimal] = {}
    largest: _Largest = msgspec.field(default_factory=_Largest)

    def add(self, currency: str | None, amount: Decimal, second: int, record: CallDetailRecord) -> None:
        self.total += 1
        self.amounts[currency] = self.amounts.get(currency, Decimal()) + amount
        self.largest.offer(abs(amount), second, record)

    def update(self, other: "_Findings") -> None:
        self.total += other.total
        for currency, amount in other.amounts.items():
            self.amounts[currency] = self.amounts.get(currency, Decimal()) + amount
        self.largest.update(other.largest)

    def result(self, divisor: Decimal = Decimal(1)) -> CallList:
        amounts = {currency: amount / divisor for currency, amount in self.amounts.items()}
        return CallList(total=self.total, amounts=_sorted_by_currency(amounts), calls=self.largest.calls())


class _Tally(msgspec.Struct):
    """Calls that the same rules fit.

    Attributes:
        calls: How many.
        excess: By currency, for each basis the sum of `cost` minus the charge before rounding, in sixtieths.
        largest: For each basis those that differ most.
    """

    calls: int = 0
    excess: dict[str | None, list[Decimal]] = {}
    largest: tuple[_Largest, ...] = msgspec.field(default_factory=lambda: tuple(_Largest() for _ in _BASES))

    def add(self, checked: "_Checked", currency: str | None, second: int, record: CallDetailRecord) -> None:
        self.calls += 1
        if checked.bases:
            self.add_excess(currency, checked.excess)
        for largest, amount in zip(self.largest, checked.excess, strict=True):
            if amount is not None:
                largest.offer(abs(amount), second, record)

    def add_excess(self, currency: str | None, excess: Iterable[Decimal | None]) -> None:
        sums = self.excess.setdefault(currency, [Decimal()] * len(_BASES))
        for basis, amount in enumerate(excess):
            if amount:
                sums[basis] += amount

    def update(self, other: "_Tally") -> None:
        self.calls += other.calls
        for currency, excess in other.excess.items():
            self.add_excess(currency, excess)
        for mine, others in zip(self.largest, other.largest, strict=True):
            mine.update(others)


class _Checked(NamedTuple):
    """What the rules say of one combination of amounts: bits of `fits` are rules, those of `bases` can be checked."""

    fits: int
    bases: int
    excess: tuple[Decimal | None, ...]
    misrounded: Decimal


class _ChargedRows:
    """Digests, ids and amounts of charged rows by the hour of submission: 20 bytes a row."""

    __slots__ = ("_amounts", "_hours", "_numbers")

    def __init__(self) -> None:
        self._hours: dict[int, tuple[array[int], array[int], array[int]]] = {}
        self._amounts: list[tuple[str | None, Decimal]] = []
        self._numbers: dict[tuple[str | None, Decimal], int] = {}

    def add(self, second: int, record: CallDetailRecord, currency: str | None, cost: Decimal) -> None:
        """Keep a row that was submitted at a Unix time."""
        answer, hangup = record.answer_time, record.hangup_time
        text = (
            f"{record.callee}\0{record.phone_name}\0{record.sip_group_name}\0"
            f"{record.submit_time and record.submit_time.timestamp()}\0{answer and answer.timestamp()}\0"
            f"{hangup and hangup.timestamp()}\0{hash(cost)}\0{currency}"
        )
        digest = int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
        voice_id = record.voice_id
        is_number = len(voice_id) <= _ID_DIGITS and voice_id.isascii() and voice_id.isdigit() and voice_id[0] != "0"
        self._append(second // HOUR, digest, int(voice_id) if is_number else 0, (currency, cost))

    def update(self, other: "_ChargedRows") -> None:
        """Keep the rows of `other`, too."""
        for hour, columns in other._hours.items():
            for digest, voice_id, number in zip(*columns, strict=True):
                self._append(hour, digest, voice_id, other._amounts[number])

    def find(self) -> DuplicateRows:
        """Return the rows whose digests occur more than once."""
        amounts: dict[str | None, Decimal] = {}
        total = 0
        found: list[tuple[Decimal, tuple[int, ...]]] = []
        for digests, ids, numbers in self._hours.values():
            repeated = {digest for digest, rows in Counter(digests).items() if rows > 1}
            rows: dict[int, list[int]] = {}
            for place, digest in enumerate(digests) if repeated else ():
                if digest in repeated:
                    rows.setdefault(digest, []).append(place)
            for places in rows.values():
                currency, cost = self._amounts[numbers[places[0]]]
                again = len(places) - 1
                total += again
                amounts[currency] = amounts.get(currency, Decimal()) + cost * again
                found.append((-cost, tuple(sorted(ids[place] for place in places))))
        listed = heapq.nsmallest(LISTED, found)
        return DuplicateRows(
            total=total,
            amounts=_sorted_by_currency(amounts),
            voice_ids=[tuple(str(one) if one else None for one in ids) for _, ids in listed],
        )

    def _append(self, hour: int, digest: int, voice_id: int, amount: tuple[str | None, Decimal]) -> None:
        number = self._numbers.get(amount)
        if number is None:
            number = self._numbers[amount] = len(self._amounts)
            self._amounts.append(amount)
        columns = self._hours.get(hour)
        if columns is None:
            columns = self._hours[hour] = array("Q"), array("Q"), array("I")
        columns[0].append(digest)
        columns[1].append(voice_id)
        columns[2].append(number)


class BillingAudit:
    """The running audit: add calls, or other audits, in any order; then read the `result`.

    Money is summed within `decimal.localcontext(aiosipcdr.analytics.EXACT)`, which the caller of `add` sets.

        summary = summarize("october.parquet")
        result = summary.billing.result()
        print(result.rule)         # call_duration rounded up by bill_period x rate / 60, not rounded
        print(result.differences)  # {None: Decimal("1.2600")}
    """

    __slots__ = ("_cache", "_charged", "_misrounded", "_rates", "_tallies", "_unanswered")

    def __init__(self) -> None:
        self._cache: dict[_Combination, _Checked] = {}
        self._tallies: dict[tuple[int, int], _Tally] = {}
        self._charged = _ChargedRows()
        self._misrounded = _Findings()
        self._unanswered = _Findings()
        self._rates: dict[tuple[date | None, str | None, str | None, str | None, str | None], tuple[Decimal, ...]] = {}

    def __repr__(self) -> str:
        """Count the calls."""
        return f"BillingAudit(calls={sum(tally.calls for tally in self._tallies.values())})"

    def add(self, record: CallDetailRecord, day: date | None, call: CallFacts | None = None) -> None:
        """Add a call.

            audit.add(record, date(2026, 10, 1))

        Args:
            record: The call.
            day: The date of its submission, by which changes of rates are found.
            call: Its facts, where they are known.
        """
        call = call or CallFacts.of(record)
        rate, cost, currency = record.rate, call.cost, call.currency
        if rate is not None:
            group = day, record.sip_group_name, record.code, currency, record.bill_period
            self._add_rates(group, (rate,))
        if cost is None:
            return
        second = call.submitted_at or 0
        duration = record.call_duration
        if cost > 0:
            self._charged.add(second, record, currency, cost)
            if _never_answered(record):
                self._unanswered.add(currency, cost, second, record)
        combination = rate, record.bill_period, duration, record.charged_duration, cost
        checked = self._cache.get(combination)
        if checked is None:
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            checked = self._cache[combination] = _check(*combination)
        tally = self._tallies.get(checked[:2])
        if tally is None:
            tally = self._tallies[checked[:2]] = _Tally()
        tally.add(checked, currency, second, record)
        if checked.misrounded:
            self._misrounded.add(currency, checked.misrounded, second, record)

    def update(self, other: "BillingAudit") -> None:
        """Add the calls of another audit, exactly.

        For example:

            month.update(day)
        """
        for key, tally in other._tallies.items():
            self._tallies.setdefault(key, _Tally()).update(tally)
        self._charged.update(other._charged)
        self._misrounded.update(other._misrounded)
        self._unanswered.update(other._unanswered)
        for group, rates in other._rates.items():
            self._add_rates(group, rates)

    def result(self) -> BillingResult:
        """Return what was found so far.

        For example:

            audit.result().mismatched  # 21
        """
        with localcontext(EXACT):
            fits = self._count_fits()
            rule = self._choose_rule(fits)
            number = ROUNDING_RULES.index(rule) if rule else 0
            basis = number // _RULES_OF_BASIS
            calls = sum(tally.calls for tally in self._tallies.values())
            checked = {key: tally for key, tally in self._tallies.items() if rule and key[1] >> basis & 1}
            unfit = [tally for key, tally in checked.items() if not key[0] >> number & 1]
            sums = _Tally()
            for tally in unfit:
                sums.update(tally)
            tried = sum(tally.calls for tally in checked.values())
            return BillingResult(
                rule=rule,
                fits=fits,
                checked=tried,
                unchecked=calls - tried,
                mismatched=sums.calls,
                differences=_sorted_by_currency(
                    {currency: _QUOTIENT.divide(excess[basis], _SIXTY) for currency, excess in sums.excess.items()}
                ),
                mismatches=[*_mismatches(sums.largest[basis].calls(), rule, basis)] if rule else [],
                misrounded=self._misrounded.result(_SIXTY),
                unanswered=self._unanswered.result(),
                duplicates=self._charged.find(),
                rate_changes=self._rate_changes(),
            )

    def _choose_rule(self, fits: dict[RoundingRule, int]) -> RoundingRule | None:
        # Where none fits anything, the first one whose seconds are known of most calls.
        known = [sum(tally.calls for key, tally in self._tallies.items() if key[1] >> basis & 1) for basis in range(3)]
        if not any(known):
            return None
        return max(ROUNDING_RULES, key=lambda rule: (fits.get(rule, 0), known[_BASES.index(rule.seconds)]))

    def _count_fits(self) -> dict[RoundingRule, int]:
        counts: Counter[RoundingRule] = Counter()
        for (fits, _), tally in self._tallies.items():
            for number, rule in enumerate(ROUNDING_RULES):
                if fits >> number & 1:
                    counts[rule] += tally.calls
        return {
            rule: counts[rule] for rule in sorted(counts, key=lambda rule: (-counts[rule], ROUNDING_RULES.index(rule)))
        }

    def _add_rates(
        self, group: tuple[date | None, str | None, str | None, str | None, str | None], rates: tuple[Decimal, ...]
    ) -> None:
        known = self._rates.get(group)
        if known is None:
            if len(self._rates) == _MOST_RATE_GROUPS:
                raise ValueError("more than a million days and destinations have rates; summarize fewer calls at once")
            self._rates[group] = rates
        elif known != rates and not set(rates) <= set(known):
            self._rates[group] = tuple(sorted({*known, *rates}))

    def _rate_changes(self) -> list[RateChange]:
        changes = [RateChange(*group, rates) for group, rates in self._rates.items() if len(rates) > 1]
        return sorted(changes, key=lambda one: [(part is not None, str(part)) for part in one[:5]])


def _check(
    rate: Decimal | None, bill_period: str | None, duration: int | None, charged: int | None, cost: Decimal
) -> _Checked:
    """Try every rule on the amounts of a call."""
    seconds: list[int | None] = [None, None, None]
    if duration is not None and duration >= 0:
        seconds[0] = round_up_seconds(duration, bill_period) if bill_period is not None else None
        seconds[2] = duration
    if charged is not None and charged >= 0:
        seconds[1] = charged
    if rate is None:
        seconds = [None, None, None]
    excess = tuple(None if one is None or rate is None else cost * _SIXTY - rate * one for one in seconds)
    fits = bases = 0
    exponent = cost.normalize(EXACT).as_tuple().exponent
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    for basis, amount in enumerate(excess):
        if amount is None:
            continue
        bases |= 1 << basis
        if abs(amount) < _FURTHEST:
            fits |= _fitting_rules(cost, amount, places) << basis * _RULES_OF_BASIS
    by_period, as_charged = excess[:2]
    return _Checked(
        fits,
        bases,
        excess,
        misrounded=Decimal() if by_period is None or as_charged is None else by_period - as_charged,
    )


def _fitting_rules(cost: Decimal, excess: Decimal, places: int) -> int:
    # Bit 0 is the exact charge, the others follow `_ROUNDED`.
    fits = int(not excess)
    charge = (cost * _SIXTY - excess) / _SIXTY
    for bit, (rounding, kept) in enumerate(_ROUNDED, 1):
        # An amount of more places was not rounded to `kept`; one of fewer may have lost its zeros.
        if places <= kept and (not excess or charge.quantize(_UNITS[kept], _ROUNDINGS[rounding]) == cost):
            fits |= 1 << bit
    return fits


def _never_answered(record: CallDetailRecord) -> bool:
    # Of a call with an answer time, a missing or negative duration says nothing.
    return record.answer_time is None or record.call_duration == 0


def _mismatches(calls: Iterable[BilledCall], rule: RoundingRule, basis: int) -> Iterator[BillingMismatch]:
    found = []
    for call in calls:
        cost = call.cost if call.cost is not None else Decimal()
        excess = _check(call.rate, call.bill_period, call.call_duration, call.charged_duration, cost).excess[basis]
        if excess is not None:
            difference = _QUOTIENT.divide(excess, _SIXTY)
            found.append(BillingMismatch(call, rule.charge(cost * _SIXTY - excess), difference))
    yield from sorted(found, key=lambda one: -abs(one.difference))


def _billed_call(record: CallDetailRecord) -> BilledCall:
    return BilledCall(
        voice_id=record.voice_id,
        submit_time=record.submit_time,
        code=record.code,
        currency=record.currency,
        rate=record.rate,
        bill_period=record.bill_period,
        call_duration=record.call_duration,
        charged_duration=record.charged_duration,
        cost=record.cost,
    )


def _sorted_by_currency(amounts: dict[str | None, Decimal]) -> dict[str | None, Decimal]:
    return dict(sorted(amounts.items(), key=lambda item: (item[0] is not None, item[0] or "")))
