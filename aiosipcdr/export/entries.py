"""What stands in a journal: its entries, and their bytes.

Facts only: must never hold a row.
"""

from typing import NamedTuple

import msgspec

from aiosipcdr.export.rows_file import Mark
from aiosipcdr.money import MoneyRow
from aiosipcdr.protocol.history import Cut, Delivered, Recounted, Trimmed
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import QuarantinedRecord

__all__ = [
    "LAYOUT",
    "Built",
    "Effort",
    "Entry",
    "Header",
    "WrittenWindow",
    "decode_entry",
    "decode_header",
    "encode_entry",
]

LAYOUT = 1
"""Rises when frames change so that an older version could not go on with them."""


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="journal"):
    """What a journal is of: `settings` by name, in which every command that goes on with it must agree."""

    layout: int = LAYOUT
    settings: dict[str, str | None]
    tiles: list[TimeWindow]


class Effort(NamedTuple):
    """What the runs so far have taken."""

    requests: int = 0
    retries: int = 0
    elapsed: float = 0.0


class WrittenWindow(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """A window that was handed over; the body of its frame is what it repeats of others, as rows.

    Attributes:
        delivered: its proof, and what it adds to the run.
        rows: how many there are.
        size: their bytes.
        mark: where they end in the file of rows.
        quarantined: what could not be decoded.
        unread_ids: what everything that could not be decoded counts by.
        money: sums over its rows.
        effort: what the runs had taken until then.
    """

    delivered: Delivered
    rows: int
    size: int
    mark: Mark
    quarantined: list[QuarantinedRecord] = []
    unread_ids: list[str] = []
    money: list[MoneyRow] = []
    effort: Effort = Effort()


class Built(msgspec.Struct, frozen=True, kw_only=True, tag="built"):
    """The target was written and is about to be published: the hashes that it and its manifest have."""

    target: str
    manifest: str


Entry = Cut | Recounted | Trimmed | WrittenWindow | Built

_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_entry_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry | Header) -> bytes:
    """Return the text of an entry's frame."""
    return _encoder.encode(entry)


def decode_header(text: bytes) -> Header:
    """Return the header that `text` holds.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _header_decoder.decode(text)


def decode_entry(text: bytes) -> Entry:
    """Return the entry that `text` holds.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _entry_decoder.decode(text)
