"""Decoder of pages that the typed decoder refuses: record by record, field by field.

The typed decoder refuses a page for one value in an unexpected format, an unknown field or a broken text. Here each
value is read in every format that vendors use. A value that cannot be read becomes `None`; only a record without a
readable id is quarantined. The content of a record raises no error, and no reason quotes a value.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from itertools import chain
from typing import Any, Final

import msgspec

from aiosipcdr.model.errors import clean_words
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import (
    COST_EUR,
    CallDetailRecord,
    ExtraFields,
    list_faulty_fields,
    list_unknown_fields,
)
from aiosipcdr.wire.field_values import VALUE_FAULTS, field_readers, read_label, read_money
from aiosipcdr.wire.raw_json import DECODE_FAULTS, RawValue, decode_broken, is_nested_deeply, split_object

__all__ = ["MAX_UNKNOWN", "LenientDecoder", "LenientPage", "clean_names", "count_names"]

MAX_UNKNOWN: Final = 100
"""Max unknown names that are kept per page, and that are counted in a report."""

_LONGEST_KEPT: Final = 64 * 1024
_NOTHING: Final = frozenset({b"null", b'""'})


class LenientPage(msgspec.Struct, kw_only=True):
    """The records of a page, and what could not be read.

    Attributes:
        records: Records with a readable id, in the vendor's order.
        quarantined: Records without one.
        unknown_fields: Names that this version does not know, with the number of records that have them.
        faulty_fields: Names of fields that could not be read, with the number of records.
        anomalies: Ids sent as numbers, `costEur` beside `cost`, unknown names beyond the first hundred.
    """

    records: list[CallDetailRecord] = msgspec.field(default_factory=list)
    quarantined: list[QuarantinedRecord] = msgspec.field(default_factory=list)
    unknown_fields: Counter[str] = msgspec.field(default_factory=Counter)
    faulty_fields: Counter[str] = msgspec.field(default_factory=Counter)
    anomalies: int = 0

    def __repr__(self) -> str:
        """Show numbers only: an unknown name may be a phone number."""
        return f"LenientPage(records=<{len(self.records)}>, quarantined=<{len(self.quarantined)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [(name, len(getattr(self, name))) for name in ("records", "quarantined")]


class LenientDecoder:
    """Decodes the raw records of a page."""

    __slots__ = ("_readers",)

    def __init__(self, zone: tzinfo | None = None) -> None:
        """Read times without an offset in `zone`; without a zone they cannot be read."""
        self._readers = field_readers(zone)

    def decode(self, raws: Iterable[RawValue], *, page: int, mask: Callable[[str], str] | None = None) -> LenientPage:
        """Decode the records of `page`; `mask` removes secrets from unknown names, which appear in reports."""
        read = LenientPage()
        names: dict[str, str] = {}
        for raw in raws:
            try:
                read.records.append(self._read_record(split_object(raw), read, names, mask))
            except VALUE_FAULTS as error:
                reason = str(error) if isinstance(error, _UnidentifiedError) else "it is not a JSON object"
                read.quarantined.append(QuarantinedRecord(raw=bytes(raw), window=None, page=page, reason=reason))
        read.faulty_fields = count_names(list_faulty_fields(record) for record in read.records if record.extra)
        read.unknown_fields = clean_names(
            count_names(list_unknown_fields(record) for record in read.records if record.extra)
        )
        return read

    def _read_record(
        self,
        members: Mapping[str, RawValue],
        read: LenientPage,
        names: dict[str, str],
        mask: Callable[[str], str] | None,
    ) -> CallDetailRecord:
        values: dict[str, Any] = {"voice_id": _read_id(members, read)}
        extra: dict[str, str] = {}
        for name, member in members.items():
            raw = bytes(member)
            if (field := self._readers.get(name)) is not None:
                try:
                    values[field[0]] = field[1](raw)
                except VALUE_FAULTS:
                    extra[name] = _as_json(raw)
            elif name not in {"voiceId", COST_EUR}:
                if name not in names and len(names) < MAX_UNKNOWN:
                    names[name] = name if mask is None else mask(name)
                if (kept := names.get(name)) is None:
                    read.anomalies += 1
                else:
                    extra[kept] = _as_json(raw)
        if (euros := members.get(COST_EUR)) is not None:
            _place_euros(bytes(euros), values, extra, read)
        if extra:
            # Sorted: another server may send them in another order.
            values["extra"] = ExtraFields(sorted(extra.items()))
        return CallDetailRecord(**values)


class _UnidentifiedError(ValueError):
    """A record has no readable id."""


def _read_id(members: Mapping[str, RawValue], read: LenientPage) -> str:
    raw = bytes(members.get("voiceId", b"null"))
    if raw in _NOTHING:
        raise _UnidentifiedError("it has no voiceId")
    try:
        voice_id = read_label(raw)
    except VALUE_FAULTS:
        raise _UnidentifiedError("its voiceId cannot be read") from None
    assert voice_id is not None  # noqa: S101 - neither null nor empty
    read.anomalies += not raw.startswith(b'"')
    return voice_id


def _place_euros(raw: bytes, values: dict[str, Any], extra: dict[str, str], read: LenientPage) -> None:
    # One brand sends it instead of `cost`. If both are sent, it is another amount and does not replace `cost`.
    if raw in _NOTHING:
        return
    has_cost = values.get("cost") is not None
    read.anomalies += has_cost
    if has_cost or "cost" in extra:
        extra[COST_EUR] = _as_json(raw)
        return
    try:
        values["cost"] = read_money(raw)
    except VALUE_FAULTS:
        extra[COST_EUR] = _as_json(raw)
        return
    if values["cost"] is not None and values.get("currency") is None and "currency" not in extra:
        values["currency"] = "EUR"


def _as_json(raw: bytes) -> str:
    # Invalid JSON becomes a JSON string, so that `extra` is always valid.
    if len(raw) > _LONGEST_KEPT:
        return f'"<{len(raw)} bytes>"'
    try:
        text = raw.decode()
        msgspec.json.decode(raw, type=msgspec.Raw)
    except DECODE_FAULTS:
        is_json = False
    else:
        is_json = not is_nested_deeply(raw)
    return text if is_json else msgspec.json.encode(decode_broken(raw)).decode()


def count_names(names: Iterable[Iterable[str]]) -> Counter[str]:
    """Return how often each name occurs."""
    return Counter(chain.from_iterable(names))


def clean_names(counts: Counter[str]) -> Counter[str]:
    """Return `counts` with sanitized names: a name from the vendor may be a phone number."""
    cleaned: Counter[str] = Counter()
    for name, number in counts.items():
        cleaned[clean_words(name) or "***"] += number
    return cleaned
