"""Metrics of voice traffic: counters that add up exactly, and the ratios computed from them.

Counters are integers and exact decimals, so the metrics of parts add up to those of the whole, in any order. Ratios
are computed when they are read, and are `None` where nothing can be divided.
"""

from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from math import ceil
from typing import Literal, NamedTuple

import msgspec

from aiosipcdr.analytics.seconds import ConcurrentCalls, SecondCounts, second_of
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.model.records import CallDetailRecord

__all__ = ["OTHER", "SHORT_SECONDS", "CallFacts", "CurrencyTotals", "TrafficMetrics", "name_currency"]

OTHER = "other"
"""Stands for termination codes of more than four characters, and for currencies of more than sixteen."""

SHORT_SECONDS = 6
"""Answered calls below this are short."""

_LONGEST_DELAY = 3_600
_LONGEST_CODE = 4
_LONGEST_CURRENCY = 16
_MOST_CURRENCIES = 1_000
_SIP_CODES = frozenset(map(str, range(100, 700)))
# The network has done its part: no answer, busy, given up by the caller, busy everywhere, declined.
_EFFECTIVE = frozenset({"480", "486", "487", "600", "603"})
_RATE = Context(prec=28)


def name_currency(currency: str | None) -> str | None:
    """Return the name under which a currency is counted."""
    return currency if currency is None or len(currency) <= _LONGEST_CURRENCY else OTHER


class CallFacts(NamedTuple):
    """What metrics need of a call, read once for all tables.

    Attributes:
        duration: Seconds of conversation; 0 if it was not answered.
        charged: Charged seconds.
        is_answered: It has an `answer_time` and a `call_duration` above 0.
        answered_at: Unix time of the answer, floored.
        ended_at: Unix time of the hang-up, floored; `None` if it is missing or before the answer.
        code: The name under which its `termination_code` is counted.
        currency: The name under which its money is counted.
        cost: Its cost.
        settle_pay: Its cost in the settlement currency.
        submitted_at: Unix time of the submission, floored.
        delay: Post-dial delay in whole seconds, at most 3600; -1 if the phone rang before the submission.
        lacks_duration: It has an `answer_time` and no `call_duration`.
        has_negative: A duration is negative, or the hang-up is before the answer.
    """

    duration: int
    charged: int
    is_answered: bool
    answered_at: int | None
    ended_at: int | None
    code: str | None
    currency: str | None
    cost: Decimal | None
    settle_pay: Decimal | None
    submitted_at: int | None
    delay: int | None
    lacks_duration: bool
    has_negative: bool

    @classmethod
    def of(cls, record: CallDetailRecord) -> "CallFacts":
        """Read a record.

        For example:

            CallFacts.of(record).is_answered  # True
        """
        duration, charged = record.call_duration, record.charged_duration
        answer, hangup, submitted, code = (
            record.answer_time,
            record.hangup_time,
            record.submit_time,
            record.termination_code,
        )
        is_reversed = answer is not None and hangup is not None and hangup < answer
        is_answered = answer is not None and duration is not None and duration > 0
        return cls(
            duration if is_answered and duration is not None else 0,
            charged if charged is not None and charged > 0 else 0,
            is_answered,
            second_of(answer) if answer is not None and is_answered else None,
            second_of(hangup) if hangup is not None and is_answered and not is_reversed else None,
            code if code is None or len(code) <= _LONGEST_CODE else OTHER,
            name_currency(record.currency),
            record.cost,
            record.settle_pay,
            None if submitted is None else second_of(submitted),
            None if submitted is None or record.ringing_time is None else _delay(submitted, record.ringing_time),
            answer is not None and duration is None,
            is_reversed or (duration is not None and duration < 0) or (charged is not None and charged < 0),
        )


def _delay(submitted: datetime, rang: datetime) -> int:
    waited = rang - submitted
    return max(-1, min(waited.days * 86_400 + waited.seconds, _LONGEST_DELAY))


class CurrencyTotals(msgspec.Struct):
    """Money and seconds of the calls that are quoted in one currency.

    Attributes:
        cost: Sum of `cost`; exact.
        settle_pay: Sum of `settle_pay`, which is in the settlement currency of the account; exact.
        priced: Calls that have a `cost`.
        settled: Calls that have a `settle_pay`.
        seconds: Seconds of conversation of the calls that have a `cost`.
        charged_seconds: Charged seconds of the calls that have a `cost`.
    """

    cost: Decimal = Decimal()
    settle_pay: Decimal = Decimal()
    priced: int = 0
    settled: int = 0
    seconds: int = 0
    charged_seconds: int = 0

    def add(self, call: CallFacts) -> None:
        """Add a call that is quoted in this currency.

        For example:

            totals.add(CallFacts.of(record))
        """
        if call.cost is not None:
            self.cost += call.cost
            self.priced += 1
            self.seconds += call.duration
            self.charged_seconds += call.charged
        if call.settle_pay is not None:
            self.settle_pay += call.settle_pay
            self.settled += 1

    def update(self, other: "CurrencyTotals") -> None:
        """Add `other`.

        For example:

            month.update(day)
        """
        self.cost += other.cost
        self.settle_pay += other.settle_pay
        self.priced += other.priced
        self.settled += other.settled
        self.seconds += other.seconds
        self.charged_seconds += other.charged_seconds


class TrafficMetrics(msgspec.Struct):
    """The metrics of a set of calls; each row of the vendor is an attempt, also each leg of a transferred call.

        metrics = summarize(records).total
        metrics.attempts, metrics.answered  # 3000, 1827
        metrics.asr                         # 0.609
        metrics.pdd(0.95)                   # 5

    Attributes:
        attempts: Calls.
        answered: Calls with an `answer_time` and a `call_duration` above 0. The termination code is not used: brands
            use "200", "1000" or "0" for success.
        short: Answered calls with a `call_duration` below 6 s.
        seconds: Seconds of conversation: sum of `call_duration` over answered calls.
        charged_seconds: Sum of `charged_duration` over all calls, answered or not.
        delays: Calls by post-dial delay in whole seconds, see `pdd`; 3600 stands for an hour or more.
        endings: Calls by `termination_code`. `None`: without a code; "other": a code of more than four characters.
        effective: Unanswered calls that ended with SIP 480, 486, 487, 600 or 603: the network did its part.
        coded: Unanswered calls that ended with a SIP code (100 to 699).
        by_currency: Money by `currency`. `None`: calls that name none, which means US dollars on the brands that fill
            it only otherwise. "other": names of more than sixteen characters.
        first_second: Unix time of the first `submit_time`, floored; `None` without one.
        last_second: That of the last one.
        undated: Calls without a `submit_time`.
        missing_durations: Calls with an `answer_time` but no `call_duration`: they do not count as answered.
        negative_durations: Calls with a negative `call_duration` or `charged_duration`, or a hang-up before the answer;
            the value counts as missing.
        unplaced: Answered calls without a usable `hangup_time`: they are not in `concurrent`.
        negative_delays: Calls whose phone rang before `submit_time`: they are not in `delays`.
        concurrent: Calls that were connected at once, by the second; `None` where it was not asked for.
        starts: Calls by the second of `submit_time`; likewise.
    """

    attempts: int = 0
    answered: int = 0
    short: int = 0
    seconds: int = 0
    charged_seconds: int = 0
    delays: dict[int, int] = {}
    endings: dict[str | None, int] = {}
    effective: int = 0
    coded: int = 0
    by_currency: dict[str | None, CurrencyTotals] = {}
    first_second: int | None = None
    last_second: int | None = None
    undated: int = 0
    missing_durations: int = 0
    negative_durations: int = 0
    unplaced: int = 0
    negative_delays: int = 0
    concurrent: ConcurrentCalls | None = None
    starts: SecondCounts | None = None

    @property
    def asr(self) -> float | None:
        """Answer-seizure ratio: answered / attempts, from 0 to 1.

        Source: ITU-T E.425. Each attempt counts as a seizure; RFC 6076 calls the ratio SER, with redirections left out.
        """
        return self.answered / self.attempts if self.attempts else None

    @property
    def ner(self) -> float | None:
        """Network effectiveness ratio: (answered + busy + no answer + declined) / attempts, from 0 to 1.

        Only where codes are SIP: unanswered calls without a SIP code are left out of the attempts, and it is `None` if
        all of them are. Busy, no answer and declined are the codes 480, 486, 487, 600 and 603.

        Source: ITU-T E.425; the codes are those of SEER in RFC 6076, and 487 (the caller gave up).
        """
        if not self.attempts or (self.attempts > self.answered and not self.coded):
            return None
        return (self.answered + self.effective) / (self.answered + self.coded)

    @property
    def acd(self) -> float | None:
        """Average call duration in seconds, also ALOC: seconds of conversation / answered calls.

        Source: ITU-T E.437 (average length of conversation); SDT in RFC 6076.
        """
        return self.seconds / self.answered if self.answered else None

    @property
    def short_share(self) -> float | None:
        """Answered calls below 6 s / answered calls, from 0 to 1. A convention of carriers for dialler traffic."""
        return self.short / self.answered if self.answered else None

    @property
    def erlang_hours(self) -> Fraction:
        """Traffic volume: seconds of conversation / 3600. Exact.

        Source: ITU-T E.600 (traffic volume). Traffic intensity is this over the hours observed, or
        `concurrent.busy_hour()`.
        """
        return Fraction(self.seconds, 3_600)

    @property
    def minutes(self) -> Fraction:
        """Minutes of conversation: seconds / 60. Exact."""
        return Fraction(self.seconds, 60)

    @property
    def charged_minutes(self) -> Fraction:
        """Charged minutes: charged seconds / 60. Exact."""
        return Fraction(self.charged_seconds, 60)

    @property
    def calls_per_second(self) -> float | None:
        """Mean rate of attempts: dated attempts / seconds from the first submission to the last, both included.

        `starts.peak()` is the highest rate.
        """
        if self.first_second is None or self.last_second is None:
            return None
        return (self.attempts - self.undated) / (self.last_second - self.first_second + 1)

    def pdd(self, quantile: float = 0.5) -> int | None:
        """Return a quantile of the post-dial delay: `ringing_time` - `submit_time`, floored to whole seconds.

        The smallest delay that at least this share of the calls does not exceed (nearest rank, as `quantile_disc` of
        SQL databases), over the calls whose phone rang. `call_time` is not used, as it is not reliable.

            metrics.pdd(0.95)  # 5

        Args:
            quantile: From 0 to 1; 0.5 is the median.

        Returns:
            Seconds; 3600 stands for an hour or more, `None` for no call that rang.

        Raises:
            ValueError: `quantile` is not between 0 and 1.

        Source: ITU-T E.721 (post-selection delay); SRD in RFC 6076.
        """
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile must be between 0 and 1, not {quantile}")
        # The share as it is written: 0.07 as a double is a little more, and would skip a rank.
        rank = max(1, ceil(Fraction(str(quantile)) * sum(self.delays.values())))
        reached = 0
        for delay in sorted(self.delays):
            reached += self.delays[delay]
            if reached >= rank:
                return delay
        return None

    def money(self) -> list[MoneyRow]:
        """Return the sums of `cost` and `settle_pay` for each currency, ordered by field and currency, `None` first.

        They are never converted, nor added across fields or currencies.

            metrics.money()  # [MoneyRow(field="cost", currency=None, amount=Decimal("68.4236")), ...]
        """
        ordered = sorted(self.by_currency.items(), key=lambda item: (item[0] is not None, item[0] or ""))
        costs = [MoneyRow("cost", currency, one.cost) for currency, one in ordered if one.priced]
        return costs + [MoneyRow("settle_pay", currency, one.settle_pay) for currency, one in ordered if one.settled]

    def effective_rate(
        self, currency: str | None = None, *, per: Literal["minute", "charged minute"] = "charged minute"
    ) -> Decimal | None:
        """Return what a minute cost: sum of `cost` / minutes, over the calls in `currency` that have a cost.

            metrics.effective_rate("EUR", per="minute")  # Decimal("0.02514071632653061224489795918")

        Args:
            currency: As the calls name it; `None` for those that name none.
            per: Minutes of conversation, or charged ones.

        Returns:
            Money per minute, rounded to 28 digits; `None` without minutes.
        """
        totals = self.by_currency.get(currency)
        seconds = 0 if totals is None else totals.charged_seconds if per == "charged minute" else totals.seconds
        return _RATE.divide(_RATE.multiply(totals.cost, Decimal(60)), Decimal(seconds)) if totals and seconds else None

    def add(self, record: CallDetailRecord) -> None:
        """Add a call. Sums are exact within `decimal.localcontext(aiosipcdr.analytics.EXACT)`, which the caller sets.

        For example:

            metrics.add(record)
        """
        self.add_facts(CallFacts.of(record))

    def add_facts(self, call: CallFacts) -> None:
        """Add a call of which the facts are known.

        For example:

            metrics.add_facts(CallFacts.of(record))
        """
        duration, charged = call.duration, call.charged
        self.attempts += 1
        self.charged_seconds += charged
        self.endings[call.code] = self.endings.get(call.code, 0) + 1
        if call.is_answered:
            self.answered += 1
            self.seconds += duration
            self.short += duration < SHORT_SECONDS
            if call.answered_at is None or call.ended_at is None:
                self.unplaced += 1
            elif self.concurrent is not None:
                self.concurrent.add_call(call.answered_at, call.ended_at)
        elif call.code in _SIP_CODES:
            self.coded += 1
            self.effective += call.code in _EFFECTIVE
        if call.cost is not None or call.settle_pay is not None:
            self._totals_of(call.currency).add(call)
        self._add_times(call.submitted_at, call.delay)
        self.missing_durations += call.lacks_duration
        self.negative_durations += call.has_negative

    def _add_times(self, second: int | None, delay: int | None) -> None:
        if second is None:
            self.undated += 1
            return
        if self.first_second is None or second < self.first_second:
            self.first_second = second
        if self.last_second is None or second > self.last_second:
            self.last_second = second
        if self.starts is not None:
            self.starts.add(second, 1)
        if delay is None:
            return
        if delay < 0:
            self.negative_delays += 1
        else:
            self.delays[delay] = self.delays.get(delay, 0) + 1

    def _totals_of(self, currency: str | None) -> CurrencyTotals:
        totals = self.by_currency.get(currency)
        if totals is None:
            if len(self.by_currency) == _MOST_CURRENCIES:
                raise ValueError(f"the calls name more than {_MOST_CURRENCIES} currencies; check where they come from")
            totals = self.by_currency[currency] = CurrencyTotals()
        return totals

    def update(self, other: "TrafficMetrics") -> None:
        """Add the metrics of other calls, exactly, in the same context as `add`.

        For example:

            month.update(day)
        """
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for delay, calls in other.delays.items():
            self.delays[delay] = self.delays.get(delay, 0) + calls
        for code, calls in other.endings.items():
            self.endings[code] = self.endings.get(code, 0) + calls
        for currency, totals in other.by_currency.items():
            self._totals_of(currency).update(totals)
        if other.first_second is not None and other.last_second is not None:
            seconds = (self.first_second, self.last_second, other.first_second, other.last_second)
            known = [second for second in seconds if second is not None]
            self.first_second, self.last_second = min(known), max(known)
        if self.concurrent is not None and other.concurrent is not None:
            self.concurrent.update(other.concurrent)
        if self.starts is not None and other.starts is not None:
            self.starts.update(other.starts)

    def __repr__(self) -> str:
        """Show the counts alone."""
        return f"TrafficMetrics(attempts={self.attempts}, answered={self.answered}, seconds={self.seconds})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("attempts", self.attempts), ("answered", self.answered), ("seconds", self.seconds)]


_SUMMED = (
    "attempts",
    "answered",
    "short",
    "seconds",
    "charged_seconds",
    "effective",
    "coded",
    "undated",
    "missing_durations",
    "negative_durations",
    "unplaced",
    "negative_delays",
)
