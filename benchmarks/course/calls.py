"""Made-up calls as the bytes in which the endpoint sends them: encoded once, in the order of its pages.

Knows the wire and nothing of any client; numbers are fictional ones.
"""

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal

import msgspec

__all__ = ["END", "PROFILES", "START", "Calls", "Profile"]

ZONE = timezone(timedelta(hours=8))
START = datetime(2024, 10, 1, tzinfo=ZONE)
DAYS = 30
END = START + timedelta(days=DAYS)

_DAY = 86_400
# Calls an hour of the day, from midnight on: an office's, with some at night.
_BUSY = (2, 1, 1, 1, 1, 2, 4, 8, 14, 20, 22, 20, 14, 18, 22, 21, 19, 16, 12, 9, 7, 5, 4, 3)
_DATES = [(START + timedelta(days=day)).date().isoformat() for day in range(DAYS + 1)]
_CLOCK = [f"T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}+08:00" for second in range(_DAY)]

# A minute's price in each of the areas that are called, in dollars; and the minutes of a call: most are short.
_RATES = [0.0012 + 0.0033 * area for area in range(40)]
_MINUTES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8, 11, 15, 22, 34, 57)
_EXCHANGE = 7.2
_GROUPS = 7


class Profile(msgspec.Struct, frozen=True):
    """What the records of an account look like.

    Six in ten calls are answered; of the others, three ring and one does not. What an unanswered call lacks is missing,
    and the currency too where the quote is in dollars.

    Attributes:
        amounts: 2, as on the vendor's page (`cost`, `rate`), or 5 as on the brand that settles in another currency.
        billing: Charged by the minute, so that amounts are repeated, or by the second, so that most costs differ.
        empty: Which missing values are an empty text instead of `null`: none, those of text fields, or all.
        ids: The order of the ids on the pages, where records are in the order of their times; "falling" has the newest
            call first, "shuffled" ids that have nothing to do with times.
    """

    amounts: Literal[2, 5] = 2
    billing: Literal["minute", "second"] = "minute"
    empty: Literal["none", "texts", "all"] = "none"
    ids: Literal["rising", "falling", "shuffled"] = "rising"


PROFILES = {
    "null": Profile(),
    "empty": Profile(empty="texts"),
    "all empty": Profile(empty="all"),
    "second": Profile(billing="second"),
    "second, empty": Profile(billing="second", empty="texts"),
    "five": Profile(amounts=5),
    "five, second": Profile(amounts=5, billing="second"),
    "falling": Profile(ids="falling"),
    "shuffled": Profile(ids="shuffled"),
}
"""The accounts of the race, by name: "null" is the vendor's page, the others differ from it as they say."""

_HEAD = (
    '{"voiceId":"%d","sipGroupName":"group%d","phoneName":"sales-%d","callee":"1212555%04d","displayNum":"447700900%03d",'
    '"code":"United States(New York)","submitTime":"%s","callTime":"%s","ringingTime":%s,"answerTime":%s,'
    '"hangupTime":"%s","callDuration":%d,"chargedDuration":%d,"terminationCode":"%s","terminationReason":"%s",'
    '"cost":"%.4f","billPeriod":"%s","rate":"%.4f","recordingFileId":%s,"currency":%s'
)
_SETTLED = ',"settleRate":"%.6f","quoteExchange":"7.20","settlePay":"%.6f"'
_RECORDING = '"1202610010800cc2484c59d4f8b9745d34226285b1e.mp3"'


class Calls:
    """So many calls over 30 days.

    Attributes:
        block: All records in the order of the pages, each with a comma behind it.
        offsets: Where each begins in `block`, and where the last one ends.
        groups: The places of each group's calls, in order.
    """

    def __init__(self, number: int, profile: Profile = PROFILES["null"], seed: int = 1) -> None:
        """Make them up."""
        draw = random.Random(seed)
        hours = draw.choices(range(24 * DAYS), _BUSY * DAYS, k=number)
        # None in the last minutes of an hour: every call is submitted well before the end.
        seconds = sorted(hour * 3600 + int(draw.random() * 3400) for hour in hours)
        chances = [int(draw.random() * 1000) for _ in seconds]
        ids = list(range(number))
        if profile.ids == "shuffled":
            draw.shuffle(ids)
        places = range(number)
        self._sign = 1
        if profile.ids == "falling":
            self._sign, places = -1, places[::-1]
        self._keys = array("q", [self._sign * seconds[place] for place in places])
        self.block = bytearray()
        self.offsets = array("q", [0])
        self.groups = {f"group{group}": array("q") for group in range(_GROUPS)}
        for position, place in enumerate(places):
            self.groups[f"group{chances[place] % _GROUPS}"].append(position)
            self.block += _encode(profile, place, ids[place], seconds[place], chances[place]).encode()
            self.offsets.append(len(self.block))

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Return the places of the first call from `start` to `end` and after the last, in seconds after `START`."""
        low, high = sorted((self._sign * start, self._sign * end))
        return bisect_left(self._keys, low), bisect_right(self._keys, high)

    def of_group(self, group: str, first: int, last: int) -> Sequence[int]:
        """Return the places of a group's calls, of those from `first` to before `last`."""
        places = self.groups.get(group, array("q"))
        return places[bisect_left(places, first) : bisect_left(places, last)]

    def records(self, places: Sequence[int]) -> bytes | memoryview:
        """Return the records at `places`, with commas between them."""
        if isinstance(places, range):
            return memoryview(self.block)[self.offsets[places.start] : self.offsets[places.stop] - 1]
        return b",".join(self.block[self.offsets[place] : self.offsets[place + 1] - 1] for place in places)


def _encode(profile: Profile, place: int, number: int, second: int, chance: int) -> str:
    no_text, no_time = ("null" if profile.empty in written else '""' for written in (("none",), ("none", "texts")))
    rate = _RATES[(31 * chance + place // 7) % len(_RATES)]
    length = charged = 0
    cost, rang, answered, recording = 0.0, f'"{_text(second + 2)}"', no_time, no_text
    outcome, hung_up = ("480", "Temporarily Unavailable"), _text(second + 20)
    if chance % 10 >= 4:
        minutes = _MINUTES[(chance // 10 + place) % len(_MINUTES)]
        length = charged = 60 * minutes - (chance + place) % 60
        if profile.billing == "minute":
            charged = 60 * minutes
        cost, answered, recording = rate * charged / 60, f'"{_text(second + 9)}"', _RECORDING
        outcome, hung_up = ("200", "OK"), _text(second + 9 + length)
    elif chance % 10 == 0:
        rang, outcome = no_time, ("486", "Busy Here")
    # 555-01xx and 7700 900xxx are reserved for fiction.
    named = (2_410_010_000_001_000_000 + number, chance % _GROUPS, chance % 90, 100 + chance % 100, chance)
    times = (_text(second), _text(second), rang, answered, hung_up)
    period = "60+60" if profile.billing == "minute" else "1+1"
    currency = no_text if profile.amounts == 2 else '"CNY"'
    record = _HEAD % (*named, *times, length, charged, *outcome, cost, period, rate, recording, currency)
    if profile.amounts == 5:
        record += _SETTLED % (rate * _EXCHANGE, cost * _EXCHANGE)
    return record + "},"


def _text(second: int) -> str:
    return _DATES[second // _DAY] + _CLOCK[second % _DAY]
