"""A call detail record and a page of them: the shapes that callers see.

Never shows a phone number: numbers are read from the fields, never from a repr.
"""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

__all__ = ["DURATION_FIELDS", "MONEY_FIELDS", "TIME_FIELDS", "CallDetailRecord", "Page"]

# What the wire can carry: an empty text is the vendor's way to write "absent",
# so the decoder refuses it here and the codec turns it into None.
Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=1_000_000_000)]

MONEY_FIELDS = ("cost", "rate", "settle_rate", "quote_exchange", "settle_pay")
"""The fields that hold exact `Decimal` values."""

DURATION_FIELDS = ("call_duration", "charged_duration")
"""The fields that hold whole seconds."""

TIME_FIELDS = ("submit_time", "call_time", "ringing_time", "answer_time", "hangup_time")
"""The fields that hold aware datetimes; their order within a call is never judged."""

if TYPE_CHECKING:
    Money = Decimal

    class _Priced: ...

else:
    # The codec reads amounts as texts into the very same class first: see `amounts`.  To everybody else they are what
    # the bound says, and to type checkers the class has no parameter.
    Money = TypeVar("Money", bound=Decimal)
    _Priced = Generic[Money]


class CallDetailRecord(
    msgspec.Struct,
    _Priced,
    frozen=True,
    kw_only=True,
    gc=False,
    rename="camel",
    forbid_unknown_fields=True,
):
    """One call, as the vendor bills it.

    Every field but `voice_id` is `None` where the vendor wrote `null`, an
    empty text or nothing.  Times are aware and keep their instant; durations
    are whole seconds; money is exact and stands in whatever currency the
    vendor quotes (`currency`, as told: the brands disagree on its meaning).

    Source: the vendor's page "Inquire Phone Records By Batch", with the
    fields that its other brands add (`currency` to `settle_pay`).
    """

    voice_id: Text
    """The record's unique id: 19 digits, a text and never a number."""
    sip_group_name: Text | None = None
    phone_name: Text | None = None
    callee: Text | None = None
    """The called number."""
    display_num: Text | None = None
    """The number shown to the callee."""
    code: Text | None = None
    """The operator's area, as in "Afghanistan(Kandahar)"."""
    submit_time: Time | None = None
    call_time: Time | None = None
    ringing_time: Time | None = None
    answer_time: Time | None = None
    hangup_time: Time | None = None
    call_duration: Seconds | None = None
    charged_duration: Seconds | None = None
    termination_code: Text | None = None
    """A SIP code on some brands (200 = established), "1000" or "0" = success on others."""
    termination_reason: Text | None = None
    cost: Money | None = None
    bill_period: Text | None = None
    """First and following billing step in seconds: "20+20", "60+60"."""
    rate: Money | None = None
    recording_file_id: Text | None = None
    currency: Text | None = None
    settle_rate: Money | None = None
    quote_exchange: Money | None = None
    settle_pay: Money | None = None

    def __repr__(self) -> str:
        """Name the record by its id and time; the rest may be personal data."""
        submitted = self.submit_time.isoformat() if self.submit_time else None
        return f"CallDetailRecord(voice_id={self.voice_id!r}, submit_time={submitted}, ...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("voice_id", self.voice_id), ("submit_time", self.submit_time)]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page as the vendor answered it, unjudged.

    `total`, `size`, `current` and `pages` are the vendor's own words: `size`
    may be smaller than what was asked for, and `pages` is not to be trusted
    over `ceil(total / size)`.  `records` stand in the vendor's order.
    """

    total: int
    size: int
    current: int
    pages: int
    records: list[CallDetailRecord]

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        return (
            f"Page(total={self.total}, size={self.size}, current={self.current},"
            f" pages={self.pages}, records=<{len(self.records)}>)"
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [
            ("total", self.total),
            ("size", self.size),
            ("current", self.current),
            ("pages", self.pages),
            ("records", len(self.records)),
        ]
