"""The entries of a journal, and their bytes.  None holds a row."""

from typing import NamedTuple

import msgspec

from aiosipcdr.export.keys import KeyDerivation
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.model.report import QuarantinedRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Delivered, Recounted, Trimmed, WindowSplit

__all__ = [
    "LAYOUT",
    "Building",
    "Built",
    "Effort",
    "Entry",
    "Header",
    "Replaced",
    "WrittenWindow",
    "decode_entry",
    "decode_header",
    "encode_entry",
    "encode_rows_header",
]

LAYOUT = 2
"""Rises when frames change so that an older version could not go on with them."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier file of the same query that the export may replace: its hash, and how many rows it has."""

    sha256: str
    rows: int


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="journal"):
    """The first frame of a journal.

    Attributes:
        layout: of journal and rows.
        id: random; the rows file begins with the same, so that nothing else is taken for it.
        key: how the key of the fingerprints in `settings` is derived.
        is_private: whether owner and mode were ours alone when they were read back: some file systems force both.
        settings: the query and the form of the file, by name; every run that resumes must agree in them.
        tiles: the windows that the first run began with.
        replaces: the file that was at the target when the first run began, if it is to be replaced.
    """

    layout: int = LAYOUT
    id: str = ""
    key: KeyDerivation | None = None
    is_private: bool = True
    settings: dict[str, str | None]
    tiles: list[TimeWindow]
    replaces: Replaced | None = None


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
        unfit: values that the file's format cannot hold and that are in `extra` instead, by field.
        effort: what the runs had taken until then.
    """

    delivered: Delivered
    rows: int
    size: int
    mark: Mark
    quarantined: list[QuarantinedRecord] = []
    unread_ids: list[str] = []
    money: list[MoneyRow] = []
    unfit: dict[str, int] = {}
    effort: Effort = Effort()


class Building(msgspec.Struct, frozen=True, kw_only=True, tag="building"):
    """The target is about to be written: what is found at the names of parts from now on is ours."""


class Built(msgspec.Struct, frozen=True, kw_only=True, tag="built"):
    """The target was written and is about to be published: the hashes that it and its manifest have."""

    target: str
    manifest: str


Entry = WindowSplit | Recounted | Trimmed | WrittenWindow | Building | Built

_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_entry_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry | Header) -> bytes:
    """Return the text of an entry's frame."""
    return _encoder.encode(entry)


def encode_rows_header(header: Header) -> bytes:
    """Return the first line of the rows file that belongs to the journal of `header`."""
    return _encoder.encode({"aiosipcdr": "rows", "id": header.id, "query": header.settings}) + b"\n"


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
