"""The entries of a journal and their encoding; none holds a row."""

from typing import NamedTuple

import msgspec

from aiosipcdr.export.keys import KeyDerivation
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.model.quarantine import QuarantinedRecord
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

LAYOUT = 3
"""The version of the frames; raised when an older version could not resume from them."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """An existing file of the same query that the export may replace: its hash and number of rows."""

    sha256: str
    rows: int


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="journal"):
    """The first frame of a journal.

    Attributes:
        layout: The layout version of journal and rows file.
        id: Random; the rows file begins with the same id, which identifies it.
        key: The key derivation of the fingerprints in `settings`.
        is_private: Whether owner and mode were private when read back; some file systems force both.
        settings: The query and the form of the file, by name; a run that resumes must use the same.
        tiles: The windows of the first run's plan.
        replaces: The existing target when the first run began, if it is to be replaced.
    """

    layout: int = LAYOUT
    id: str = ""
    key: KeyDerivation | None = None
    is_private: bool = True
    settings: dict[str, str | None]
    tiles: list[TimeWindow]
    replaces: Replaced | None = None


class Effort(NamedTuple):
    """What the runs so far have cost; `elapsed` in seconds."""

    requests: int = 0
    retries: int = 0
    elapsed: float = 0.0


class WrittenWindow(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """A delivered window; the body of its frame holds the rows that it repeats of other windows.

    Attributes:
        delivered: Its proof and its share of the run's counters.
        rows: Number of rows.
        size: Bytes of the rows.
        mark: The end of the rows in the rows file.
        quarantined: Records without a readable id.
        unread_ids: The keys by which undecodable records are counted.
        money: Sums over its rows.
        unfit: Number of values per field that the file's format cannot hold and that are in `extra` instead.
        effort: The cost of the runs up to this window.
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
    """The target is about to be written: from now on temporary files were created by this export."""


class Built(msgspec.Struct, frozen=True, kw_only=True, tag="built"):
    """The target was written and is about to be published: the SHA-256 of it and of its manifest."""

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
    """Decode a header.

    Raises:
        msgspec.DecodeError: `text` is no header.
    """
    return _header_decoder.decode(text)


def decode_entry(text: bytes) -> Entry:
    """Decode an entry.

    Raises:
        msgspec.DecodeError: `text` is no entry.
    """
    return _entry_decoder.decode(text)
