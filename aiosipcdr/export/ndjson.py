"""NDJSON: one JSON object a line, the record's own field names, every field in every line.

Money is text in plain notation and exact, times are ISO 8601 with their
offset, absent is `null`, text is UTF-8.  Pure: must never open a file.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import starmap
from typing import Any

import msgspec
from msgspec.structs import astuple

from aiosipcdr.protocol.records import CallDetailRecord

__all__ = ["NdjsonEncoder", "encode_lines"]

# CallDetailRecord is encoded under the names of the wire; a struct with the
# same fields under their own names is much faster than a dict for each record.
_Line = msgspec.defstruct("_Line", [(name, Any) for name in CallDetailRecord.__struct_fields__], frozen=True, gc=False)
_encoder = msgspec.json.Encoder()


def encode_lines(records: Sequence[CallDetailRecord]) -> bytes:
    """Return one line for each of `records`, the last one ended too."""
    lines = _encoder.encode_lines(list(starmap(_Line, map(astuple, records))))
    if b"E-" in lines or b"E+" in lines:
        # Either a word, or the scientific notation in which Decimal prints "0.0000001".
        lines = _encoder.encode_lines([_Line(*_plain(astuple(record))) for record in records])
    return lines


class NdjsonEncoder:
    """An `Encoder`: one line for each record, and nothing else."""

    __slots__ = ()

    def begin(self) -> bytes:
        """Return nothing: the first line is the first record."""
        return b""

    def encode(self, records: Sequence[CallDetailRecord]) -> bytes:
        """Return a line for each of `records`."""
        return encode_lines(records)

    def finish(self) -> bytes:
        """Return nothing: the last line is ended already."""
        return b""


def _plain(values: Iterable[object]) -> list[object]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in values]
