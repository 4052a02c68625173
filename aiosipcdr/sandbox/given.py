"""Calls that a test hands in, taken as they are, odd ones included.

What cannot be understood of them is not mended: it goes over the wire as it came. This
module must never generate, store or judge a call.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final

import msgspec

from aiosipcdr.sandbox.calls import Row
from aiosipcdr.sandbox.switches import Switches

_encode: Final = msgspec.json.Encoder().encode


def plan_row(call: object, switches: Switches, *, at: datetime | None, otherwise: int) -> Row:
    """Return a call as it is stored.

    Args:
        call: A wire record; any other JSON value; or bytes, which are sent as they are.
        switches: For the time field and the offset in which a naive time is meant.
        at: The time at which the sandbox keeps it, whatever its own fields say.
        otherwise: The second at which it is kept when neither says anything.
    """
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
        found = _second(record.get("submitTime"), switches.utc_offset)
        submitted = otherwise if found is None else found
        ranged = submitted
        if switches.time_field != "submitTime":
            ranged = _second(record.get(switches.time_field), switches.utc_offset)
    return Row(
        submitted,
        ranged,
        _text(record.get("voiceId")),
        _text(record.get("sipGroupName")),
        _text(record.get("phoneName")),
        body,
    )


def _second(value: object, utc_offset: timedelta) -> int | None:
    """Read a wire time as a Unix second, None where it is none."""
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
    """Return a value that is text."""
    return value if isinstance(value, str) else None
