"""A call detail record and a page of them: the shapes that callers see.

Never shows a phone number: numbers are read from the fields, never from a repr.
"""

import re
from collections.abc import Collection
from datetime import datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Meta

__all__ = [
    "COST_EUR",
    "DURATION_FIELDS",
    "MONEY_FIELDS",
    "NO_EXTRA",
    "TIME_FIELDS",
    "WIRE_NAMES",
    "CallDetailRecord",
    "ExtraFields",
    "Page",
    "list_faulty_fields",
    "list_unknown_fields",
]

# What the wire can carry: an empty text is the vendor's way to write "absent",
# so the decoder refuses it here and the codec turns it into None.
Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]

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


COST_EUR = "costEur"
"""One brand's name for `cost` where it is in euros."""


class ExtraFields(dict[str, str]):
    """The fields of a record that have no place in it, by the vendor's names: read-only, each value as JSON text.

    It holds unknown fields, `costEur` beside `cost`, and the values of known fields that could not be read.  A value is
    the vendor's own text; what is not valid JSON (control characters, broken UTF-8) is wrapped in a JSON string. Broken
    UTF-8 is kept as Latin-1, which is lossless: `json.loads(value).encode("latin-1")` returns the bytes.

    Two of them are equal if the values of known fields are, compared as JSON values: such a value is part of the call.
    Unknown fields do not count, so a server that adds one does not turn one call into two.
    """

    __slots__ = ("_compared",)
    _compared: frozenset[object]

    @classmethod
    def from_json(cls, text: str | None) -> "ExtraFields":
        """Return the fields of a JSON object; none for `None`."""
        if text is None:
            return NO_EXTRA
        return cls({name: bytes(raw).decode() for name, raw in _decode_object(text).items()})

    def to_json(self) -> str | None:
        """Return them as one JSON object, `None` if there are none."""
        if not self:
            return None
        return "{" + ",".join([f"{msgspec.json.encode(name).decode()}:{raw}" for name, raw in self.items()]) + "}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ExtraFields):
            return self._known_values() == other._known_values()
        return super().__eq__(other)

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none, but this one cannot be changed
        return hash(self._known_values())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_extra, (dict(self),)

    def __repr__(self) -> str:
        """Count the fields instead of printing them: names and values may be personal data."""
        return f"ExtraFields(<{len(self)}>)"

    def __rich_repr__(self) -> list[object]:
        """Show as little in a rich traceback as in a plain one."""
        return [f"<{len(self)}>"]

    def _known_values(self) -> frozenset[object]:
        # Decoded once: a server may send thousands of rows of one id that differ in nothing else.
        try:
            return self._compared
        except AttributeError:
            known = [(name, _freeze(_read_json(raw))) for name, raw in self.items() if name in _FIELD_BY_WIRE_NAME]
            self._compared = frozenset(known)
            return self._compared


def _refuse(_: ExtraFields, *__: object, **___: object) -> NoReturn:
    raise TypeError("the extra fields of a record cannot be changed")


for _changing in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(ExtraFields, _changing, _refuse)


def _restore_extra(fields: dict[str, str]) -> ExtraFields:
    return ExtraFields(fields) if fields else NO_EXTRA


NO_EXTRA = ExtraFields()
"""What a record holds that came with known, readable fields alone."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(float_hook=Decimal).decode


_EXACT = Context(prec=100_000, Emin=MIN_EMIN, Emax=MAX_EMAX)


def _read_json(text: str) -> object:
    try:
        return _decode_any(text)
    except (msgspec.DecodeError, RecursionError):  # too deep, or made by hand
        return text


def _freeze(value: object) -> object:
    # What is equal stays equal. Numbers become text, whose hash is randomised: that of a number is known to everybody,
    # and a server could send any amount of numbers with the same one.
    if type(value) is dict:  # not the extra fields of a record, which know their own
        return frozenset((name, _freeze(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return "number", str(_EXACT.normalize(Decimal(value)))
    return value


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
    extra: ExtraFields = NO_EXTRA
    """What came beside these fields, and values that could not be read, as JSON by the vendor's names."""

    def __hash__(self) -> int:
        """Hash the fields; amounts by their text, for the reason in `_freeze`."""
        values = msgspec.structs.astuple(self)
        return hash(tuple([_freeze(value) if type(value) is Decimal else value for value in values]))

    def __repr__(self) -> str:
        """Name the record by its id and time; the rest may be personal data."""
        submitted = self.submit_time.isoformat() if self.submit_time else None
        return f"CallDetailRecord(voice_id={_show_id(self.voice_id)!r}, submit_time={submitted}, ...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("voice_id", _show_id(self.voice_id)), ("submit_time", self.submit_time)]


_is_id = re.compile(r"[0-9]{1,5}|[0-9]{16,24}").fullmatch

WIRE_NAMES = {
    field.name: field.encode_name for field in msgspec.structs.fields(CallDetailRecord) if field.name != "extra"
}
"""The vendor's names of the fields, by ours."""

_FIELD_BY_WIRE_NAME = {wire_name: name for name, wire_name in WIRE_NAMES.items()}


def _show_id(voice_id: str) -> str:
    # An id has 19 digits, more than a phone number. In its place a server may send a key, a signature or a number.
    return voice_id if _is_id(voice_id) else "***"


def list_faulty_fields(record: CallDetailRecord) -> Collection[str]:
    """Return the names of the fields of `record` whose value could not be read, in the order of the fields."""
    extra = record.extra
    is_unpriced = COST_EUR in extra and record.cost is None
    return [name for name, wire_name in WIRE_NAMES.items() if wire_name in extra or (name == "cost" and is_unpriced)]


def list_unknown_fields(record: CallDetailRecord) -> Collection[str]:
    """Return the vendor's names of the fields of `record` that this version does not know."""
    return record.extra.keys() - _FIELD_BY_WIRE_NAME.keys() - {COST_EUR}


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
