"""Records of every shape that the decoder accepts, as hypothesis strategies; all numbers are fictional."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aiosipcdr.model.records import MONEY_FIELDS, TIME_FIELDS, CallDetailRecord

SHANGHAI = timezone(timedelta(hours=8))
START = datetime(2026, 10, 1, 8, 30, tzinfo=SHANGHAI)
DURATIONS = ("call_duration", "charged_duration")
TEXTS = [
    name
    for name in CallDetailRecord.__struct_fields__
    if name not in {"voice_id", "extra", *MONEY_FIELDS, *TIME_FIELDS, *DURATIONS}
]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
times = st.builds(
    lambda micros, zone: (datetime(1970, 1, 2, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(zone),
    st.integers(0, 7 * 10**15),
    st.sampled_from([UTC, SHANGHAI, timezone(-timedelta(hours=3, minutes=30))]),
)
amounts = st.decimals(-(10**20), 10**20, places=12, allow_nan=False) | st.sampled_from(
    [Decimal("0.10"), Decimal("0.0000001"), Decimal("-5E-8"), Decimal("1E+5"), Decimal("0.007")]
)
seconds = st.integers(0, 1_000_000_000)

_kinds: dict[str, st.SearchStrategy[Any]] = (
    dict.fromkeys(TEXTS, texts)
    | dict.fromkeys(TIME_FIELDS, times)
    | dict.fromkeys(MONEY_FIELDS, amounts)
    | dict.fromkeys(DURATIONS, seconds)
)


def _record(fields: dict[str, Any]) -> CallDetailRecord:
    return CallDetailRecord(**fields)


calls = st.fixed_dictionaries({"voice_id": st.text("0123456789", min_size=1, max_size=19)}, optional=_kinds).map(
    _record
)


def call(number: int) -> CallDetailRecord:
    """Return an ordinary call with this number."""
    reported = START + timedelta(seconds=number)
    return CallDetailRecord(
        voice_id=str(2_610_241_209_441_000_000 + number),
        sip_group_name=f"客服{number % 7}组",
        callee=f"+1{201 + number % 700}55501{number % 100:02}",
        display_num=f"+447700900{number % 1000:03}",
        code="United States(New York)" if number % 3 else None,
        submit_time=reported,
        hangup_time=reported.astimezone(UTC),
        call_duration=number % 600,
        charged_duration=60,
        cost=Decimal(number % 977).scaleb(-4),
        currency="EUR",
    )
