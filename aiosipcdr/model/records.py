"""A call detail record, and a page of records.

No repr shows a phone number; `to_dict` and `to_json` contain them.
"""

import re
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Annotated, Any, Literal, NoReturn, get_args

import msgspec
from msgspec import Meta

from aiosipcdr.model.quarantine import QuarantinedRecord

__all__ = [
    "COST_EUR",
    "DURATION_FIELDS",
    "LARGEST_SIZE",
    "MONEY_FIELDS",
    "NO_EXTRA",
    "TIME_FIELDS",
    "WIRE_NAMES",
    "CallDetailRecord",
    "ExtraFields",
    "Page",
    "TimeField",
    "list_faulty_fields",
    "list_unknown_fields",
    "show_id",
]

# The vendor writes an empty text for a missing value: the decoder refuses it here, and the codec turns it into None.
Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]

LARGEST_SIZE = 100
"""The most records that the vendor documents for a page."""

MONEY_FIELDS = ("cost", "rate", "settle_rate", "quote_exchange", "settle_pay")
"""The fields that hold exact `Decimal` values."""

DURATION_FIELDS = ("call_duration", "charged_duration")
"""The fields that hold whole seconds."""

TimeField = Literal["submit_time", "call_time", "ringing_time", "answer_time", "hangup_time"]
"""A time of a call, by the name of its field in `CallDetailRecord`."""

TIME_FIELDS: tuple[TimeField, ...] = get_args(TimeField)
"""The fields that hold aware datetimes; their order within a call is never judged."""

COST_EUR = "costEur"
"""One brand's name for `cost` where it is in euros."""


class ExtraFields(dict[str, str]):
    """Fields without an attribute in the record, by the vendor's names: a read-only dict of JSON texts.

        record.extra  # {"callTime": '"yesterday"', "region": '"EU"'}

    These are unknown fields, `costEur` beside `cost`, and the values of known fields that could not be read. A value is
    the vendor's own text. Invalid JSON (control characters, broken UTF-8) is wrapped in a JSON string; broken UTF-8 is
    kept as Latin-1, which is lossless: `json.loads(value).encode("latin-1")` returns the bytes.

    Two of them are equal if the values of known fields are equal as JSON values. Unknown fields are not compared, so a
    server that adds one does not turn one call into two.
    """

    __slots__ = ("_compared",)
    _compared: frozenset[object]

    @classmethod
    def from_json(cls, text: str | None) -> "ExtraFields":
        """Return the fields of a JSON object; an empty dict for `None`.

        For example:

            ExtraFields.from_json('{"region": "EU"}')
        """
        if text is None:
            return NO_EXTRA
        return cls({name: bytes(raw).decode() for name, raw in _decode_object(text).items()})

    def to_json(self) -> str | None:
        """Return the fields as one JSON object; `None` if there are none.

        For example:

            record.extra.to_json()  # '{"region":"EU"}'
        """
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
        # Decoded once: a server may send thousands of rows of one id that differ only here.
        try:
            return self._compared
        except AttributeError:
            known = [(name, _comparable(raw)) for name, raw in self.items() if name in _FIELD_BY_WIRE_NAME]
            self._compared = frozenset(known)
            return self._compared


def _refuse(_: ExtraFields, *__: object, **___: object) -> NoReturn:
    """Refuse to change them."""
    raise TypeError("the extra fields of a record cannot be changed")


for _changing in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(ExtraFields, _changing, _refuse)


def _restore_extra(fields: dict[str, str]) -> ExtraFields:
    return ExtraFields(fields) if fields else NO_EXTRA


NO_EXTRA = ExtraFields()
"""The extra fields of a record that has none."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(float_hook=Decimal).decode
_decode_plain = msgspec.json.Decoder(float_hook=str).decode


_MAX_DEPTH = 100
"""Values with more levels of nesting are compared as text, however much the interpreter's stack has left."""

_EXACT = Context(prec=100_000, Emin=MIN_EMIN, Emax=MAX_EMAX)


def _read_json(text: str, decode: Callable[[str], object] = _decode_any) -> object:
    try:
        return decode(text)
    except (msgspec.DecodeError, RecursionError):  # too deep, or made by hand
        return text


def _comparable(text: str) -> object:
    try:
        return _freeze(_read_json(text))
    except RecursionError:
        return text


def _freeze(value: object, depth: int = 0) -> object:
    if depth > _MAX_DEPTH:
        raise RecursionError
    # Equal values stay equal. Numbers become text, whose hash is randomised: hashes of numbers are predictable, and a
    # server could send many numbers with the same hash.
    if type(value) is dict:  # not the extra fields of a record, which know their own
        return frozenset((name, _freeze(inner, depth + 1)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_freeze(inner, depth + 1) for inner in value)
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return "number", str(_EXACT.normalize(Decimal(value)))
    return value


def _read_plain(text: str) -> object:
    return _read_json(text, _decode_plain)


class CallDetailRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    rename="camel",
    forbid_unknown_fields=True,
):
    """One call, as the vendor bills it.

    Missing values become `None`: the vendor sent `null`, an empty text or nothing. So do values that could not be read;
    `extra` has those. Times are aware datetimes, durations whole seconds, money is exact `Decimal`.

    The vendor's brands quote `cost` and `rate` in different currencies. Nothing is converted: do not add amounts of
    different fields or currencies.

        record = records[0]
        record.cost, record.currency             # Decimal("0.0124"), None
        record.answered, record.post_dial_delay  # True, timedelta(seconds=4)
        record.to_dict()["submit_time"]          # "2026-10-01T08:00:12+08:00"

    FastAPI and pydantic take it as a response model: `async def call() -> CallDetailRecord`.

    Source: the vendor's page "Inquire Phone Records By Batch", and the public pages of its other brands for `currency`
    to `settle_pay`.
    """

    voice_id: Text
    """The vendor's id of the call: 19 digits as text. The legs of a transferred call share it."""
    sip_group_name: Text | None = None
    """The group of the calling phone, which `sip_group_name=` of the client selects."""
    phone_name: Text | None = None
    """The calling phone (SIP account), which `phone_name=` of the client selects. May be a phone number."""
    callee: Text | None = None
    """The called number as dialled, with or without `+` and country code."""
    display_num: Text | None = None
    """The number shown to the callee (caller ID)."""
    code: Text | None = None
    """The destination that sets the price, country and sometimes area: "Afghanistan(Kandahar)"."""
    submit_time: Time | None = None
    """When the call was submitted to the vendor. Records of a window are ordered by it."""
    call_time: Time | None = None
    """When the vendor dialled. Not reliable: in the sample on the vendor's page it is after `hangup_time`."""
    ringing_time: Time | None = None
    """When the callee's phone started to ring; `None` if it did not."""
    answer_time: Time | None = None
    """When the call was answered; `None` if it was not. See `answered`."""
    hangup_time: Time | None = None
    """When the call ended, answered or not."""
    call_duration: Seconds | None = None
    """Seconds from answer to hang-up; 0 for unanswered calls."""
    charged_duration: Seconds | None = None
    """Charged seconds: `call_duration` rounded up by `bill_period`."""
    termination_code: Text | None = None
    """Why the call ended: on some brands a SIP status ("200": established, "486": busy), on others "1000" or "0" for
    success. To find out whether the call was answered, use `answered`."""
    termination_reason: Text | None = None
    """The vendor's words for `termination_code`: "success"."""
    cost: Decimal | None = None
    """Price of the call in the currency of the quote: `currency`, or US dollars if that is `None`. The vendor's page
    calls it "Consumption amount (USD)"; other brands quote in other currencies. One brand sends `costEur` instead: it
    becomes `cost` with the currency "EUR"."""
    bill_period: Text | None = None
    """First and following billing increments in seconds: "20+20", "60+60"."""
    rate: Decimal | None = None
    """Price per minute, in the currency of `cost`."""
    recording_file_id: Text | None = None
    """Id of the recording, a file name such as "...1b1e.mp3"; `None` if the call was not recorded."""
    currency: Text | None = None
    """Currency of the quote (`cost`, `rate`). Brands that know this field send it only if the quote is *not* in US
    dollars; the brand of the page "Inquire Phone Records By Batch" never sends it and quotes in US dollars. It is not
    the currency of `settle_pay`."""
    settle_rate: Decimal | None = None
    """`rate` in the settlement currency; only on brands that settle in another currency than they quote in."""
    quote_exchange: Decimal | None = None
    """Units of the settlement currency for one unit of the quote's currency."""
    settle_pay: Decimal | None = None
    """`cost` in the settlement currency of the account. No field names that currency."""
    extra: ExtraFields = NO_EXTRA
    """Unknown fields and values that could not be read, as JSON texts by the vendor's names."""

    @property
    def answered(self) -> bool:
        """Whether the call was answered, that is, has an `answer_time`.

            answered = [record for record in records if record.answered]

        `termination_code` does not show it: the brands use different codes for success.
        """
        return self.answer_time is not None

    @property
    def post_dial_delay(self) -> timedelta | None:
        """Time from `submit_time` to `ringing_time`: how long the caller heard nothing.

            record.post_dial_delay  # timedelta(seconds=4)

        `None` if the phone did not ring, a time is missing, or ringing comes first. `call_time` is not used, since it
        is not reliable.
        """
        if self.ringing_time is None or self.submit_time is None or self.ringing_time < self.submit_time:
            return None
        return self.ringing_time - self.submit_time

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON, by the field names of this class: money and times as exact text.

            record.to_dict()
            # {"voice_id": "2610010800121000001", "cost": "0.0124", "submit_time": "2026-10-01T08:00:12+08:00", ...}

        Money is in plain notation, times are ISO 8601 with the vendor's offset, durations are ints, as in exported
        files. `extra` is a dict of JSON values by the vendor's names, numbers with a fraction as text; `None` if it is
        empty.
        """
        fields: dict[str, Any] = dict(zip(self.__struct_fields__, msgspec.structs.astuple(self), strict=True))
        for name in MONEY_FIELDS:
            if fields[name] is not None:
                fields[name] = format(fields[name], "f")
        for name in TIME_FIELDS:
            if fields[name] is not None:
                fields[name] = fields[name].isoformat()
        fields["extra"] = {name: _read_plain(raw) for name, raw in self.extra.items()} or None
        return fields

    def to_json(self) -> str:
        """Return `to_dict` as JSON on one line.

        For example:

            record.to_json()  # '{"voice_id":"2610010800121000001","sip_group_name":...}'
        """
        return msgspec.json.encode(self.to_dict()).decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        """Return the schema for pydantic and FastAPI: that of `to_dict`."""
        return _pydantic_schema(cls, cls.to_dict, _shape_of_record())

    def __hash__(self) -> int:
        """Hash the fields, amounts by their text: see `_freeze`."""
        values = msgspec.structs.astuple(self)
        return hash(tuple([_freeze(value) if type(value) is Decimal else value for value in values]))

    def __repr__(self) -> str:
        """Show id and time; the rest may be personal data."""
        submitted = self.submit_time.isoformat() if self.submit_time else None
        return f"CallDetailRecord(voice_id={show_id(self.voice_id)!r}, submit_time={submitted}, ...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("voice_id", show_id(self.voice_id)), ("submit_time", self.submit_time)]


_is_id = re.compile(r"[0-9]{1,5}|[0-9]{16,24}").fullmatch

WIRE_NAMES = {
    field.name: field.encode_name for field in msgspec.structs.fields(CallDetailRecord) if field.name != "extra"
}
"""The vendor's names of the fields, by ours."""

_FIELD_BY_WIRE_NAME = {wire_name: name for name, wire_name in WIRE_NAMES.items()}


def show_id(voice_id: str) -> str:
    """Return an id for a repr: hidden if it may be something else."""
    # An id has 19 digits, more than a phone number. A server may send a key, a signature or a number instead.
    return voice_id if _is_id(voice_id) else "***"


def list_faulty_fields(record: CallDetailRecord) -> Collection[str]:
    """Return the names of the fields whose value could not be read, in the order of the fields."""
    extra = record.extra
    is_unpriced = COST_EUR in extra and record.cost is None
    return [name for name, wire_name in WIRE_NAMES.items() if wire_name in extra or (name == "cost" and is_unpriced)]


def list_unknown_fields(record: CallDetailRecord) -> Collection[str]:
    """Return the vendor's names of the fields that this version does not know."""
    return record.extra.keys() - _FIELD_BY_WIRE_NAME.keys() - {COST_EUR}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page as the vendor returned it, not verified; also a response model of FastAPI and pydantic.

        page = await client.fetch_page(start, end)

    Attributes:
        total: Calls that the vendor counts in the range.
        size: Records on a full page; may be smaller than requested.
        current: Number of the page, from 1.
        pages: Number of pages that the vendor reports; `ceil(total / size)` is more reliable.
        records: The calls, in the vendor's order.
        quarantined: Records without a readable id, as `fetch_page` returns them.

    Source: `data` of the answer on the vendor's page "Inquire Phone Records By Batch".
    """

    total: int
    size: int
    current: int
    pages: int
    records: list[CallDetailRecord]
    quarantined: list[QuarantinedRecord] = []

    def to_dict(self) -> dict[str, Any]:
        """Return the page for JSON, with records as in `CallDetailRecord.to_dict` and the number of quarantined ones.

        For example:

            page.to_dict()["total"]  # 1204
        """
        fields: dict[str, Any] = msgspec.structs.asdict(self)
        records = [record.to_dict() for record in self.records]
        return fields | {"records": records, "quarantined": len(self.quarantined)}

    def to_json(self) -> str:
        """Return `to_dict` as JSON on one line.

        For example:

            page.to_json()  # '{"total":1204,"size":100,...}'
        """
        return msgspec.json.encode(self.to_dict()).decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        """Return the schema for pydantic and FastAPI: that of `to_dict`."""
        return _pydantic_schema(cls, cls.to_dict, _shape_of_page())

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        return (
            f"Page(total={self.total}, size={self.size}, current={self.current},"
            f" pages={self.pages}, records=<{len(self.records)}>, quarantined=<{len(self.quarantined)}>)"
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [
            ("total", self.total),
            ("size", self.size),
            ("current", self.current),
            ("pages", self.pages),
            ("records", len(self.records)),
            ("quarantined", len(self.quarantined)),
        ]


# Schemas of pydantic are plain dicts (pydantic_core.core_schema): pydantic is not imported.
def _pydantic_schema(
    kind: type[Any], to_dict: Callable[[Any], dict[str, Any]], shape: dict[str, Any]
) -> dict[str, Any]:
    instance = {"type": "is-instance", "cls": kind}
    return {
        "type": "json-or-python",
        "json_schema": {"type": "chain", "steps": [shape, instance]},  # for the schema only: records are not parsed
        "python_schema": instance,
        "serialization": {"type": "function-plain", "function": to_dict, "return_schema": shape},
    }


def _shape_of_record() -> dict[str, Any]:
    return _shape("CallDetailRecord", {name: _shape_of_field(name) for name in CallDetailRecord.__struct_fields__})


def _shape_of_page() -> dict[str, Any]:
    counts = {name: {"type": "int"} for name in Page.__struct_fields__}
    return _shape("Page", counts | {"records": {"type": "list", "items_schema": _shape_of_record()}})


def _shape(name: str, fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    members = {
        field: {"type": "typed-dict-field", "schema": shape, "required": True} for field, shape in fields.items()
    }
    return {"type": "typed-dict", "fields": members, "cls_name": name, "ref": f"aiosipcdr.{name}:0"}


def _shape_of_field(name: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "str"}
    if name == "voice_id":
        return shape
    if name in DURATION_FIELDS:
        shape = {"type": "int"}
    elif name in TIME_FIELDS:
        shape = {"type": "str", "metadata": {"pydantic_js_extra": {"format": "date-time"}}}
    elif name == "extra":
        shape = {"type": "dict", "keys_schema": {"type": "str"}}
    return {"type": "nullable", "schema": shape}
