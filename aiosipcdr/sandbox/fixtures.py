"""Conversion of calls from a test to stored rows.

Values are not corrected: invalid ones go over the wire unchanged. Records with the client's field names (`voice_id`)
get those of the API.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final

import msgspec

from aiosipcdr.sandbox.calls import Row
from aiosipcdr.sandbox.config import SandboxConfig

FIELDS: Final = (
    *("voiceId", "sipGroupName", "phoneName", "callee", "displayNum", "code"),
    *("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime", "callDuration", "chargedDuration"),
    *("terminationCode", "terminationReason", "cost", "billPeriod", "rate", "recordingFileId"),
    *("currency", "settleRate", "quoteExchange", "settlePay"),
)
"""The field names of the API."""

_CAPITAL: Final = re.compile(r"(?=[A-Z])")
_encode: Final = msgspec.json.Encoder().encode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def snake_case(name: str) -> str:
    """Return the client's name of an API field."""
    return _CAPITAL.sub("_", name).lower()


_WIRE_NAMES: Final = {snake_case(name): name for name in FIELDS}


def is_snake_case(call: Mapping[str, object]) -> bool:
    """Return whether a record has the client's field names."""
    return "voice_id" in call and "voiceId" not in call


def to_wire(call: Mapping[str, object]) -> dict[str, object]:
    """Return a record with the client's field names as a wire record, with the fields in `extra` restored.

    Raises:
        ValueError: `extra` is neither a JSON object nor the text of one.
    """
    extra = call.get("extra") or {}
    if isinstance(extra, str):
        try:
            extra = _decode_object(extra)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            extra = None
    if not isinstance(extra, Mapping):
        raise ValueError("extra must be a JSON object, or the text of one")  # noqa: TRY004 - one kind of error
    return {_WIRE_NAMES.get(name, name): value for name, value in call.items() if name != "extra"} | dict(extra)


def plan_row(call: object, config: SandboxConfig, *, at: datetime | None, otherwise: int) -> Row:
    """Return a call as a row to store.

    Args:
        call: A wire record, or one with the client's field names; any other JSON value; or bytes, which are sent
            unchanged.
        config: For the time field and the UTC offset of naive times.
        at: The time under which it is stored, whatever its own fields say.
        otherwise: The time (Unix, in seconds) under which it is stored if neither has one.
    """
    if isinstance(call, Mapping) and is_snake_case(call):
        call = to_wire(call)
    body = call if isinstance(call, bytes) else _encode(call)
    if isinstance(call, bytes):
        try:
            call = msgspec.json.decode(call)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            call = None
    record: Mapping[str, object] = call if isinstance(call, Mapping) else {}
    if at is not None:
        submitted = int(at.timestamp())
        ranged: int | None = submitted
    else:
        found = _second(record.get("submitTime"), config.utc_offset)
        submitted = otherwise if found is None else found
        ranged = submitted
        if config.time_field != "submitTime":
            ranged = _second(record.get(config.time_field), config.utc_offset)
    return Row(
        submitted,
        ranged,
        _text(record.get("voiceId")),
        _text(record.get("sipGroupName")),
        _text(record.get("phoneName")),
        body,
    )


def update_row(row: Row, fields: Mapping[str, object], config: SandboxConfig) -> Row:
    """Return a row whose record has new values for `fields`, named as in the API or as in the client.

    A record that is not an object stays as it is.
    """
    try:
        record = msgspec.json.decode(row.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return row
    if not isinstance(record, dict):
        return row
    changed = record | {_WIRE_NAMES.get(name, name): value for name, value in fields.items()}
    moved = {config.time_field, "submitTime"} & {_WIRE_NAMES.get(name, name) for name in fields}
    updated = plan_row(changed, config, at=None, otherwise=row.submitted)
    return updated if moved else updated._replace(submitted=row.submitted, ranged=row.ranged)


def _second(value: object, utc_offset: timedelta) -> int | None:
    """Return a wire time as Unix time in seconds, or None if it is not a time."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone(utc_offset))
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    """Return a value if it is a string, else None."""
    return value if isinstance(value, str) else None
