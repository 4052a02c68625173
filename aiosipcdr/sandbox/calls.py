"""Generator of realistic calls: submission times of a busy week, then one wire record for each.

The same seed, number and start give the same bytes. Cost is `rate / 60 * chargedDuration`, where chargedDuration is
callDuration rounded up by the billing period ("a+b": at least a seconds, then whole steps of b), in exact decimal text;
settleRate and settlePay are rate and cost times quoteExchange. Opens no file, reads no clock and uses no random source
but its own.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import msgspec

from aiosipcdr.sandbox.catalogue import (
    DESTINATIONS,
    GROUPS,
    HOURS,
    OUTCOMES,
    WEEKEND,
    Group,
)
from aiosipcdr.sandbox.config import SandboxConfig

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CACHED_TIMES: Final = 50_000
_SLOT: Final = 900
_DAY: Final = 86_400
_SATURDAY: Final = 5
_SAME_SECOND: Final = 0.03
_ODD_CALL_TIME: Final = 0.005
_RECORDED: Final = 0.9
# Time for the last call of the range to ring, be answered and end before the range does.
_TAIL: Final = 300
_DECIMALS: Final = 4
_DURATIONS: Final = tuple(
    min(7_200, max(1, int(2.718281828 ** (4.3 + 1.1 * NormalDist().inv_cdf((n + 0.5) / 1024))))) for n in range(1024)
)


class Row(NamedTuple):
    """One call as stored.

    Attributes:
        submitted: Unix time of submitTime in seconds; the listing is ordered by it.
        ranged: Unix time in seconds that ranges are compared with; None if the call has none.
        voice_id: Its voiceId; None if it has no usable one.
        sip_group: Its group.
        phone: Its phone.
        body: The record as JSON on the wire.
    """

    submitted: int
    ranged: int | None
    voice_id: str | None
    sip_group: str | None
    phone: str | None
    body: bytes


class _Phone(NamedTuple):
    """One phone of a group."""

    group: Group
    phone: str


@lru_cache(maxsize=1 << 16)
def decimal_text(units: int, decimals: int) -> str:
    """Return `units` of 10 to the power -`decimals` as the shortest exact decimal."""
    integer, part = divmod(units, 10**decimals)
    return f"{integer}.{part:0{decimals}d}".rstrip("0").rstrip(".") if part else str(integer)


@lru_cache(maxsize=1 << 14)
def charged_seconds(duration: int, bill_period: str) -> int:
    """Round a duration up by a billing period such as "20+20"."""
    if duration <= 0:
        return 0
    first, step = map(int, bill_period.split("+"))
    return first + max(0, -(-(duration - first) // step)) * step


class WireTimes(dict[int, str]):
    """Unix times in the vendor's notation, with one fixed offset; created on first access and cached.

    Calls of a busy day share most of their seconds; calls of different weeks share none.
    """

    def __init__(self, utc_offset: timedelta) -> None:
        super().__init__()
        self._shift = int(utc_offset.total_seconds())
        minutes, sign = abs(self._shift) // 60, "-" if self._shift < 0 else "+"
        offset = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
        self._seconds = [f":{n:02d}{offset}" for n in range(60)]
        self._minutes: dict[int, str] = {}

    def __missing__(self, second: int) -> str:
        """Return `second` in ISO 8601 with the offset."""
        minute, left = divmod(second + self._shift, 60)
        text = self._minutes.get(minute)
        if text is None:
            text = (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")[: -len("+00:00")]
            self._minutes[minute] = text
        if len(self) >= _MAX_CACHED_TIMES:
            self.clear()
            self._minutes.clear()
        self[second] = text = text + self._seconds[left]
        return text


@lru_cache(maxsize=64)
def _cumulative_load(start: int, end: int, shift: int) -> tuple[float, ...]:
    """Return the cumulative weight of each quarter of an hour; cached, since the same ranges are generated often."""
    weights = []
    for slot in range(start, end, _SLOT):
        days, rest = divmod(slot + shift, _DAY)
        weekday = (days + 3) % 7  # 1 January 1970 was a Thursday
        weights.append(HOURS[rest // 3600] * (WEEKEND if weekday >= _SATURDAY else 1.0))
    return tuple(accumulate(weights))


def plan_seconds(config: SandboxConfig, start: int, end: int) -> Iterator[list[int]]:
    """Yield the submission times in ascending order, those of a quarter of an hour at a time."""
    if not config.records:
        return
    rng = Random(f"{config.seed}/{config.records}/{start}/seconds")
    slots = range(start, end - _TAIL, _SLOT)
    load = _cumulative_load(start, end - _TAIL, int(config.utc_offset.total_seconds()))
    done = 0
    for slot, reached in zip(slots, load, strict=True):
        due = config.records if slot == slots[-1] else round(config.records * reached / load[-1])
        if due == done:
            continue
        # Strictly after `start`, so that the range holds every call, with exclusive bounds too.
        chosen = range(max(slot, start + 1), min(slot + _SLOT, end - _TAIL))
        seconds = sorted(rng.choices(chosen, k=due - done))
        for n in range(1, len(seconds)):
            if rng.random() < _SAME_SECOND:
                seconds[n] = seconds[n - 1]
        done = due
        yield seconds


class CallGenerator:
    """Generates calls at given times; every call ends before `end` (Unix time in seconds)."""

    def __init__(self, config: SandboxConfig, start: int, end: int) -> None:
        self._config = config
        self._start = start
        self._end = end
        self._times = WireTimes(config.utc_offset)
        self.rewind()
        self._phones = [
            _Phone(group, f"sip{(number + 1) * 100 + phone}")
            for number, group in enumerate(GROUPS)
            for phone in range(group.phones)
        ]
        self._destinations = [destination for destination in DESTINATIONS for _ in range(destination.weight)]
        self._outcomes = [outcome for outcome in OUTCOMES for _ in range(outcome.weight)]
        self._time_field = config.time_field
        self._cost_field = config.cost_field
        self._success_code = config.success_code
        self._plain = config.absent == "null" and not config.extra_record_keys
        self._encode = msgspec.json.Encoder().encode

    def rewind(self) -> None:
        """Make the same calls again, from the first."""
        self._rng = Random(f"{self._config.seed}/{self._config.records}/{self._start}/calls")
        self._made = 0

    def batches(self) -> Iterator[list[Row]]:
        """Yield every call of the sandbox, in ascending order of submission."""
        make, every, leg_every = self.make, self._config.repeat_every, self._config.leg_every
        legs: list[tuple[int, int, Row]] = []
        number = 0
        for seconds in plan_seconds(self._config, self._start, self._end):
            batch = []
            for second in seconds:
                while legs and legs[0][0] <= second:
                    batch.append(heappop(legs)[2])
                row = make(second)
                batch.append(row)
                number += 1
                if every and number % every == 0:
                    batch.append(row)
                if leg_every and number % leg_every == 0 and (leg := self._make_leg(row)) is not None:
                    heappush(legs, (leg.submitted, number, leg))
            if batch:
                yield batch
        if legs:
            yield [heappop(legs)[2] for _ in range(len(legs))]

    def _make_leg(self, first: Row) -> Row | None:
        """Return the leg that begins when `first` hangs up; None if it could not end inside the range."""
        hangup = datetime.fromisoformat(msgspec.json.decode(first.body)["hangupTime"])
        submitted = int(hangup.timestamp())
        if submitted >= self._end - _TAIL:
            return None
        return self.make(submitted, first.sip_group, first.phone, voice_id=first.voice_id)

    def make_at(self, second: int, group: str | None = None, phone: str | None = None) -> Row:
        """Return an answered call that lies in a range around `second`, with a group and phone."""
        before = self._rng.getstate()
        row = self.make(second, group, phone, answered=True)
        if row.ranged in {None, second}:
            return row
        # Ranges are compared with a later time of the call: submit it that much earlier.
        self._rng.setstate(before)
        self._made -= 1
        return self.make(2 * second - (row.ranged or second), group, phone, answered=True)

    def make_ended(self, second: int) -> Row:
        """Return a call, answered or not, that hangs up at `second`."""
        before = self._rng.getstate()
        hangup = datetime.fromisoformat(msgspec.json.decode(self.make(second, bounded=False).body)["hangupTime"])
        self._rng.setstate(before)
        self._made -= 1
        return self.make(2 * second - int(hangup.timestamp()), bounded=False)

    def make(
        self,
        submitted: int,
        group: str | None = None,
        phone: str | None = None,
        *,
        answered: bool = False,
        bounded: bool = True,
        voice_id: str | None = None,
    ) -> Row:
        """Return one call submitted at `submitted`.

        Args:
            submitted: Unix time in seconds.
            group: Its group; by default a random one.
            phone: Its phone; by default a random one.
            answered: The call is answered, and may end after the range.
            bounded: The call ends before the range does.
            voice_id: The voiceId of the call that this is a further leg of.
        """
        bounded = bounded and not answered
        random = self._rng.random
        line = self._phones[int(random() * len(self._phones))]
        destination = self._destinations[int(random() * len(self._destinations))]
        outcome = self._outcomes[0 if answered else int(random() * len(self._outcomes))]
        called = submitted + int(random() * 2)
        rang = called + 1 + int(random() * 4)
        answer = rang + 2 + int(random() * 28)
        duration = 0
        hangup = answer if outcome.rings else called + int(random() * 3)
        if outcome.answered:
            duration = _DURATIONS[int(random() * len(_DURATIONS))]
            if bounded:
                # Every time of a generated call is before the end of the range.
                duration = max(1, min(duration, self._end - 1 - answer))
            hangup = answer + duration
        if random() < _ODD_CALL_TIME and bounded and hangup + 180 < self._end:
            called = hangup + 180  # as in the vendor's own sample
        name = group if group is not None else line.group.name
        sip = phone if phone is not None else line.phone
        times = self._times
        stamp = times[submitted]
        self._made += 1
        # 2026-01-31T23:59:58+08:00 becomes 260131235958; seven digits make it unique.
        day = stamp[2:4] + stamp[5:7] + stamp[8:10]
        hour = stamp[11:13] + stamp[14:16] + stamp[17:19]
        voice_id = voice_id or f"{day}{hour}{1_000_000 + self._made % 9_000_000}"
        recording = None
        if outcome.answered and random() < _RECORDED:
            recording = f"{voice_id}{self._rng.getrandbits(60):015x}.mp3"
        tail = 10**destination.digits
        charged = charged_seconds(duration, destination.bill_period)
        cost, rate, exchange = destination.price * charged, destination.price * 60, line.group.exchange
        quoted = line.group.currency is not None
        record: dict[str, Any] = {
            "voiceId": voice_id,
            "sipGroupName": name,
            "phoneName": sip,
            "callee": destination.prefix + str(tail + int(random() * tail))[1:],
            "displayNum": line.group.display,
            "code": destination.code,
            "submitTime": stamp,
            "callTime": times[called],
            "ringingTime": times[rang] if outcome.rings else None,
            "answerTime": times[answer] if outcome.answered else None,
            "hangupTime": times[hangup],
            "callDuration": duration,
            "chargedDuration": charged,
            "terminationCode": self._success_code if outcome.answered else outcome.code,
            "terminationReason": outcome.reason,
            self._cost_field: decimal_text(cost, _DECIMALS),
            "billPeriod": destination.bill_period,
            "rate": decimal_text(rate, _DECIMALS),
            "recordingFileId": recording,
            "currency": line.group.currency,
            "settleRate": decimal_text(rate * exchange, _DECIMALS + 2) if quoted else None,
            "quoteExchange": decimal_text(exchange, 2) if quoted else None,
            "settlePay": decimal_text(cost * exchange, _DECIMALS + 2) if quoted else None,
        }
        ranged: int | None = submitted
        if self._time_field != "submitTime":
            ranged = {
                "callTime": called,
                "ringingTime": rang if outcome.rings else None,
                "answerTime": answer if outcome.answered else None,
                "hangupTime": hangup,
            }[self._time_field]
        body = self._encode(record if self._plain else self._with_config(record))
        return Row(submitted, ranged, voice_id, name, sip, body)

    def _with_config(self, record: dict[str, Any]) -> dict[str, Any]:
        """Apply `absent` and `extra_record_keys` to a record."""
        if self._config.extra_record_keys:
            record |= {"callType": 2, "hangupSide": None, "tags": [{"name": "vip"}]}
        if self._config.absent == "missing":
            return {name: value for name, value in record.items() if value is not None}
        if self._config.absent == "empty":
            return {name: "" if value is None else value for name, value in record.items()}
        return record
