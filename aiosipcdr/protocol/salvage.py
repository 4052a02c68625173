"""Decoding for pages that the fast decoder refuses, record by record where it must be.

A page is refused for fields that this version does not know, for `costEur`
beside `cost`, or for a record that is broken.  Here the first two are read and
counted, and a broken record costs itself alone: it is set aside with its bytes.
Never raises for what the vendor sent, and no reason quotes a value.
"""

import re
from collections import Counter
from decimal import Decimal
from operator import attrgetter

import msgspec

from aiosipcdr.classification import clean_words
from aiosipcdr.protocol.amounts import money_is_possible
from aiosipcdr.protocol.records import MONEY_FIELDS, CallDetailRecord, Text
from aiosipcdr.report import QuarantinedRecord

__all__ = ["DECODE_FAULTS", "Salvage", "salvage_records"]

DECODE_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for foreign bytes: the last two are no `DecodeError`."""

_BLANK = rb':[ \t\r\n]*""'


class Salvage(msgspec.Struct, kw_only=True):
    """What could be read of a page, and what could not."""

    records: list[CallDetailRecord]
    quarantined: list[QuarantinedRecord]
    unknown_fields: Counter[str]
    extras: dict[CallDetailRecord, str]
    anomalies: int = 0

    def __repr__(self) -> str:
        """Count instead of printing: under a name that is not known may stand a number."""
        counted = f"records=<{len(self.records)}>, quarantined=<{len(self.quarantined)}>"
        return f"Salvage({counted}, extras=<{len(self.extras)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [(name, len(getattr(self, name))) for name in ("records", "quarantined", "extras")]


class _WireRecord(CallDetailRecord, frozen=True, kw_only=True, gc=False, rename="camel", forbid_unknown_fields=False):
    voice_id: Text | int  # type: ignore[assignment]  # some servers write long ids as numbers; JSON keeps them exact
    cost_eur: Decimal | None = None


class _Identified(msgspec.Struct, rename="camel"):
    voice_id: str | int


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_records = msgspec.json.Decoder(list[_WireRecord]).decode
_decode_names = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode_extra = msgspec.json.Encoder().encode
_decode_identity = msgspec.json.Decoder(_Identified).decode
_KNOWN_NAMES = frozenset(field.encode_name for field in msgspec.structs.fields(_WireRecord))


def salvage_records(raw: bytes, *, page: int) -> Salvage:
    """Decode a page's array of records; set aside what cannot be decoded.

    Raises:
        msgspec.DecodeError: `raw` is no JSON array.
    """
    salvage = Salvage(records=[], quarantined=[], unknown_fields=Counter(), extras={})
    if _salvage(raw, salvage) is None:
        return salvage
    for one in _decode_array(raw):
        record = bytes(one)
        reason = _salvage(b"[" + record + b"]", salvage)
        if reason is not None:
            identity = _identity(record)
            salvage.quarantined.append(
                QuarantinedRecord(raw=record, window=None, page=page, reason=reason, voice_id=identity)
            )
    return salvage


def _salvage(raw: bytes, salvage: Salvage) -> str | None:
    # Reads all of the array or nothing; returns why it cannot be read.
    try:
        wires = _decode_records(re.sub(_BLANK, b":null", raw))
        names = _decode_names(raw)
    except msgspec.ValidationError as error:
        return str(error).replace("$[0]", "$")
    except DECODE_FAULTS as error:
        return f"not readable as JSON ({type(error).__name__})"
    for name in (*MONEY_FIELDS, "cost_eur"):
        column = map(attrgetter(name), wires)
        if not money_is_possible([amount for amount in column if amount is not None]):
            return f"{name} is not finite or does not fit 26 digits before the point and 12 behind it"
    records = _plain(wires, salvage)
    salvage.records += records
    strange: Counter[str] = Counter()
    for record, members in zip(records, names, strict=True):
        if unknown := sorted(members.keys() - _KNOWN_NAMES):
            strange.update(unknown)
            extra = _encode_extra({name: members[name] for name in unknown})
            salvage.extras[record] = extra.decode(errors="replace")
    for name, count in strange.items():
        salvage.unknown_fields[clean_words(name) or "***"] += count  # a name may be a number, too
    return None


def _plain(wires: list[_WireRecord], salvage: Salvage) -> list[CallDetailRecord]:
    # These records are not yet anybody's: they may still be written to.
    for wire in wires:
        if isinstance(wire.voice_id, int):
            msgspec.structs.force_setattr(wire, "voice_id", str(wire.voice_id))
            salvage.anomalies += 1
    records = msgspec.convert(wires, list[CallDetailRecord], from_attributes=True)
    for record, wire in zip(records, wires, strict=True):
        if wire.cost_eur is None:
            continue
        if wire.cost is None:
            msgspec.structs.force_setattr(record, "cost", wire.cost_eur)
            msgspec.structs.force_setattr(record, "currency", "EUR")
        else:
            salvage.anomalies += 1
    return records


def _identity(raw: bytes) -> str | None:
    try:
        return str(_decode_identity(raw).voice_id) or None
    except DECODE_FAULTS:
        return None
