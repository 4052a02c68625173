"""Typed decoders of an answer, one for each way to write amounts and missing texts.

Amounts stay as the vendor wrote them: `DecimalCache` replaces these. A missing text is `null` or not sent; `""` is
accepted only for the fields that a decoder is made for, so that no other field has to be looked at after decoding.
"""

import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS, WIRE_NAMES, CallDetailRecord

__all__ = [
    "NO_FIELDS",
    "Decoder",
    "Envelope",
    "clear_empty_texts",
    "find_empty_texts",
    "number_decoder",
    "quote_decoder",
    "text_decoder",
]

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class Data(msgspec.Struct):
    """The page within an answer."""

    total: Count
    size: Count
    current: Count
    pages: Count | None = None
    records: list[CallDetailRecord] | None = None


class Envelope(msgspec.Struct):
    """An answer."""

    status: int | str
    reason: str | None = None
    data: Data | None = None


Decoder = msgspec.json.Decoder[Envelope]

NO_FIELDS: Final[frozenset[str]] = frozenset()
# What most calls lack: an unanswered one the recording, and one that is quoted in dollars the currency.
_USUALLY_EMPTY: Final = frozenset({"recording_file_id", "currency"})
_MAX_DECODERS: Final = 64


class _RecordAlias:
    """`CallDetailRecord` to a decoder that takes some of its fields for another type.

    msgspec takes the fields of a generic alias from the annotations of its origin, once, and keeps them in the alias.
    So the annotations are replaced only while this module is imported, and the class is not generic.
    """

    def __init__(self, types: dict[str, object]) -> None:
        kind: Any = CallDetailRecord
        self.__origin__: Any = kind
        self.__args__: tuple[()] = ()
        self.__parameters__: tuple[()] = ()
        msgspec.json.Decoder(kind)  # the class keeps its own fields first
        annotations = kind.__annotations__
        kind.__annotations__ = annotations | types
        kind.__parameters__ = ()  # required by msgspec 0.20
        try:
            msgspec.json.Decoder[Any](self)
        finally:
            kind.__annotations__ = annotations
            del kind.__parameters__


def _subclass(types: dict[str, object]) -> type[msgspec.Struct]:
    # Made while threads run, so that no annotations can be replaced. It adds no fields: its instances have the layout
    # of `CallDetailRecord`, and `clear_empty_texts` makes them instances of that.
    return msgspec.defstruct(
        CallDetailRecord.__name__,
        [(name, kind, None) for name, kind in types.items()],
        bases=(CallDetailRecord,),
        frozen=True,
        kw_only=True,
        gc=False,
        rename="camel",
        forbid_unknown_fields=True,
    )


def _types(amount: object, settled: object, empty: Collection[str]) -> dict[str, object]:
    amounts = dict.fromkeys(MONEY_FIELDS, settled) | {"cost": amount, "rate": amount}
    return amounts | dict.fromkeys(empty, str | None)


def _make_decoder(record: Any) -> Decoder:  # noqa: ANN401 - a class, or an alias of one
    data: Any = msgspec.defstruct("Data", [("records", list[record] | None, None)], bases=(Data,))
    envelope: Any = msgspec.defstruct("Envelope", [("data", data | None, None)], bases=(Envelope,))
    return msgspec.json.Decoder(envelope, float_hook=Decimal)


_text: Final[Any] = str | None
_usual: Final = {
    (amount, settled, empty): _make_decoder(_RecordAlias(_types(amount, settled, empty)))
    for amount, settled in ((_text, None), (_text, _text), (Any, Any))
    for empty in (NO_FIELDS, _USUALLY_EMPTY)
}


@lru_cache(maxsize=_MAX_DECODERS)
def _find_decoder(amount: Any, settled: Any, empty: frozenset[str]) -> Decoder:  # noqa: ANN401 - types
    if empty <= _USUALLY_EMPTY:
        return _usual[amount, settled, _USUALLY_EMPTY if empty else NO_FIELDS]
    return _make_decoder(_subclass(_types(amount, settled, empty | _USUALLY_EMPTY)))


def quote_decoder(empty: frozenset[str] = NO_FIELDS) -> Decoder:
    """Return a decoder of records whose only amounts are `cost` and `rate`, as JSON texts; see `text_decoder`."""
    return _find_decoder(_text, None, empty)


def text_decoder(empty: frozenset[str] = NO_FIELDS) -> Decoder:
    """Return a decoder of amounts that are JSON texts.

    Args:
        empty: Text fields that may be `""`; if there are any, `clear_empty_texts` must follow.
    """
    return _find_decoder(_text, _text, empty)


def number_decoder(empty: frozenset[str] = NO_FIELDS) -> Decoder:
    """Return a decoder of amounts that are any JSON values, numbers with all digits; see `text_decoder`."""
    return _find_decoder(Any, Any, empty)


def clear_empty_texts(records: Sequence[CallDetailRecord], empty: frozenset[str]) -> None:
    """Replace `""` by `None` in `records`, which are not shared yet, of a decoder that was made for `empty`."""
    if not empty <= _USUALLY_EMPTY:
        for record in records:
            force_setattr(record, "__class__", CallDetailRecord)
        for name in empty - _USUALLY_EMPTY:
            for record in records:
                if getattr(record, name) == "":
                    force_setattr(record, name, None)
    for record in records:
        if not record.recording_file_id:
            force_setattr(record, "recording_file_id", None)
        if not record.currency:
            force_setattr(record, "currency", None)


# Quotes are escaped within a text, so that this is a member of an object.
_empty_members: Final = re.compile(rb'"([A-Za-z]++)"[ \t\r\n]*+:[ \t\r\n]*+""').finditer
_TEXT_FIELD_BY_WIRE_NAME: Final = {
    wire_name.encode(): name
    for name, wire_name in WIRE_NAMES.items()
    if name not in {"voice_id", *TIME_FIELDS, *DURATION_FIELDS, *MONEY_FIELDS}
}


def find_empty_texts(body: bytes) -> frozenset[str]:
    """Return the text fields that are `""` somewhere in `body`, by the names of `CallDetailRecord`; without the id."""
    names = {found[1] for found in _empty_members(body)}
    return frozenset(_TEXT_FIELD_BY_WIRE_NAME[name] for name in names & _TEXT_FIELD_BY_WIRE_NAME.keys())
