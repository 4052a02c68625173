"""Reader of files with calls to serve: wire records, or an export of the client.

Rows that no response could list are refused, with the line and the reason. No message quotes a value, which may be a
phone number.
"""

import gzip
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fixtures import FIELDS, is_snake_case, plan_row, snake_case
from aiosipcdr.sandbox.sandbox import read_clock
from aiosipcdr.sandbox.time_bounds import earliest

__all__ = ["read_calls"]

_GZIP: Final = b"\x1f\x8b"
_NAME: Final = re.compile(r"[A-Za-z_]{1,40}").fullmatch
# Numbers with a fraction become texts, as the vendor writes amounts.
_decode: Final = msgspec.json.Decoder(float_hook=str).decode


def read_calls(file: str | PathLike[str], /, **config: Any) -> list[Any]:  # noqa: ANN401 - SandboxConfig checks them
    """Return the calls in a file, for `Sandbox(calls=...)`.

        with Sandbox(calls=read_calls("october.ndjson")) as sandbox: ...

    Args:
        file: NDJSON with one record per line, or one JSON list; either may be compressed with gzip. A record has the
            field names of the API (`voiceId`), or those of the client's exports (`voice_id`; fields in `extra` are
            restored).
        **config: The settings that the sandbox will have: see `SandboxConfig`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no calls, or a row that no response could list: without a `voiceId` or a readable time,
            older than the sandbox's retention, or with an unknown field name.
    """
    chosen = SandboxConfig(**config)
    oldest = earliest(chosen, read_clock(chosen)[1])
    calls = []
    for place, call in _rows(Path(file)):
        if problem := _find_problem(call, chosen, oldest):
            raise ValueError(f"{place}: {problem}")
        calls.append(call)
    if not calls:
        raise ValueError("the file holds no calls; add at least one record")
    return calls


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    content = path.read_bytes()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError):
            raise ValueError("the file is a damaged gzip file; create it again") from None
    if content.lstrip()[:1] == b"[":
        yield from ((f"row {number}", row) for number, row in enumerate(_read(content, "the file"), 1))
        return
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            row = _read(line, f"line {number}")
            # The last line of a range that was streamed over HTTP.
            if not (isinstance(row, dict) and row.keys() == {"report"}):
                yield f"line {number}", row


def _read(text: bytes, place: str) -> Any:  # noqa: ANN401 - whatever it is
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"{place} is not JSON; use NDJSON, one object per line, or a list of objects") from None


def _find_problem(call: object, config: SandboxConfig, oldest: datetime) -> str | None:
    """Return why no response could list a call; None if one can."""
    if not isinstance(call, Mapping):
        return "a call must be a JSON object"
    if is_snake_case(call) and (problem := _find_unknown_name(call)):
        return problem
    try:
        row = plan_row(call, config, at=None, otherwise=0)
    except ValueError as error:
        return str(error)
    if not row.voice_id:
        return "voiceId (voice_id) must be a non-empty string"
    if not row.ranged:
        time = config.time_field
        return f"{time} ({snake_case(time)}) must be an ISO 8601 time; without it no range could find the call"
    if datetime.fromtimestamp(row.ranged, UTC) < oldest:
        return (
            f"it is older than the sandbox's retention, which begins at {oldest:%Y-%m-%d}; shorten the file, or set"
            " months_back=None"
        )
    return None


def _find_unknown_name(call: Mapping[str, object]) -> str | None:
    known = {snake_case(name) for name in FIELDS} | {"extra"}
    for name in call.keys() - known:
        close = get_close_matches(name, known, n=1)
        shown = name if _NAME(name) else "a name"
        hint = f"; did you mean {close[0]}?" if close else "; put it into extra"
        return f"{shown} is not a field of a record{hint}"
    return None
