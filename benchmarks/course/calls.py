"""Made-up calls as the bytes in which the endpoint sends them: encoded once, oldest first.

Knows the wire and nothing of any client; numbers are fictional ones.
"""

import random
from array import array
from datetime import datetime, timedelta, timezone

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

# Four in ten are never answered; id, group, phone, callee, times, lengths and money are filled in for each.
_ANSWERED = (
    '{"voiceId":"%d","sipGroupName":"group%d","phoneName":"sales-%d","callee":"1212555%04d","displayNum":"447700900%03d",'
    '"code":"United States(New York)","submitTime":"%s","callTime":"%s","ringingTime":"%s","answerTime":"%s",'
    '"hangupTime":"%s","callDuration":%d,"chargedDuration":%d,"terminationCode":"200","terminationReason":"OK",'
    '"cost":"%.4f","billPeriod":"60+60","rate":"%.4f",'
    '"recordingFileId":"1202610010800cc2484c59d4f8b9745d34226285b1e.mp3","currency":"USD","settleRate":"%.6f",'
    '"quoteExchange":"7.20","settlePay":"%.6f"},'
)
_MISSED = (
    '{"voiceId":"%d","sipGroupName":"group%d","phoneName":"sales-%d","callee":"1212555%04d","displayNum":"447700900%03d",'
    '"code":"United States(New York)","submitTime":"%s","callTime":"%s","ringingTime":"%s","answerTime":null,'
    '"hangupTime":"%s","callDuration":0,"chargedDuration":0,"terminationCode":"486","terminationReason":"Busy Here",'
    '"cost":"0.0000","billPeriod":"60+60","rate":"%.4f","recordingFileId":null,"currency":"USD",'
    '"settleRate":"%.6f","quoteExchange":"7.20","settlePay":"0.000000"},'
)


class Calls:
    """So many calls over 30 days.

    Attributes:
        seconds: when each was submitted, in seconds after `START`.
        block: all records, each with a comma behind it.
        offsets: where each begins in `block`, and where the last one ends.
    """

    def __init__(self, number: int, seed: int = 1) -> None:
        """Make them up."""
        draw = random.Random(seed)
        hours = draw.choices(range(24 * DAYS), _BUSY * DAYS, k=number)
        # None in the last minutes of an hour: every call is submitted well before the end.
        self.seconds = array("q", sorted(hour * 3600 + int(draw.random() * 3400) for hour in hours))
        self.block = bytearray()
        self.offsets = array("q", [0])
        for place, second in enumerate(self.seconds):
            self.block += _encode(place, second, int(draw.random() * 1000))
            self.offsets.append(len(self.block))


def _encode(place: int, second: int, chance: int) -> bytes:
    # 555-01xx and 7700 900xxx are reserved for fiction.
    reported = (2_410_010_000_001_000_000 + place, chance % 7, chance % 90, 100 + chance % 100, chance)
    called, rang = _text(second), _text(second + 2)
    rate = _RATES[(31 * chance + place // 7) % len(_RATES)]
    if chance % 10 < 4:
        return (_MISSED % (*reported, called, called, rang, _text(second + 20), rate, rate * _EXCHANGE)).encode()
    minutes = _MINUTES[(chance // 10 + place) % len(_MINUTES)]
    length = 60 * minutes - chance % 60
    cost = rate * minutes
    times = (called, called, rang, _text(second + 9), _text(second + 9 + length))
    money = (cost, rate, rate * _EXCHANGE, cost * _EXCHANGE)
    return (_ANSWERED % (*reported, *times, length, 60 * minutes, *money)).encode()


def _text(second: int) -> str:
    return _DATES[second // _DAY] + _CLOCK[second % _DAY]
