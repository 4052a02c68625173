"""Calls of a few phones and destinations within three days, for analytics; all numbers are fictional."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aiosipcdr.model.records import CallDetailRecord

MONDAY = datetime(2026, 10, 5, 9, tzinfo=UTC)


def made_call(number: int = 0, **fields: Any) -> CallDetailRecord:  # noqa: ANN401
    """An answered call of 90 s at 0.06 a minute, 60+60: two minutes, 0.12; `fields` differ.

    It is submitted `number` minutes after Monday, 09:00 UTC, rings after 4 s and is answered after 10 s.
    """
    submitted = fields.get("submit_time", MONDAY + timedelta(minutes=number)) or MONDAY
    fields = {
        "voice_id": str(2_610_050_000_000_000_000 + number),
        "sip_group_name": "sales",
        "phone_name": "sip101",
        "callee": f"+447700900{number % 1000:03}",
        "code": "United Kingdom(Mobile)",
        "submit_time": submitted,
        "ringing_time": submitted + timedelta(seconds=4),
        "answer_time": submitted + timedelta(seconds=10),
        "hangup_time": submitted + timedelta(seconds=100),
        "call_duration": 90,
        "charged_duration": 120,
        "termination_code": "200",
        "cost": Decimal("0.12"),
        "bill_period": "60+60",
        "rate": Decimal("0.06"),
    } | fields
    return CallDetailRecord(**fields)


def unanswered(number: int = 0, **fields: Any) -> CallDetailRecord:  # noqa: ANN401
    """A call that rang after 4 s and was given up after 20 s."""
    ended = MONDAY + timedelta(minutes=number, seconds=20)
    free = {"call_duration": 0, "charged_duration": 0, "cost": Decimal(0), "termination_code": "487"}
    return made_call(number, **({"answer_time": None, "hangup_time": ended} | free | fields))


_moments = st.integers(0, 3 * 86_400 * 2).map(lambda halves: MONDAY + timedelta(seconds=halves / 2))
_near = st.sampled_from([MONDAY + timedelta(seconds=second) for second in (0, 1, 2, 3_599, 3_600, 54_000, 54_001)])
_times = st.none() | _near | _moments
_durations = st.none() | st.sampled_from([-5, 0, 1, 5, 6, 59, 60, 61, 3_600])
_money = st.none() | st.sampled_from([Decimal(text) for text in ("0", "0.1", "0.10", "0.0011", "0.011", "-0.02", "7")])

traffic = st.builds(
    CallDetailRecord,
    voice_id=st.sampled_from(["2610050000000000001", "2610050000000000002", "7", "not a number"]),
    sip_group_name=st.sampled_from([None, "sales", "support"]),
    phone_name=st.sampled_from([None, "sip101", "sip102"]),
    callee=st.none() | st.integers(0, 12).map(lambda number: f"4477009000{number:02}"),
    code=st.sampled_from([None, "Ireland(Special)", "United Kingdom(Mobile)"]),
    submit_time=_times,
    ringing_time=_times,
    answer_time=_times,
    hangup_time=_times,
    call_duration=_durations,
    charged_duration=_durations,
    termination_code=st.sampled_from([None, "200", "486", "487", "503", "1000", "+447700900123"]),
    cost=_money,
    settle_pay=_money,
    rate=_money,
    bill_period=st.sampled_from([None, "60+60", "1+1", "30/6", "monthly"]),
    currency=st.sampled_from([None, "EUR", "GBP", "a currency of many characters"]),
)
"""Calls with every kind of gap and contradiction."""
