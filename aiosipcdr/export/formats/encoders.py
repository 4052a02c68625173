"""What every format is to the room that writes files: rows in, bytes out.

An encoder knows no file, no folder and no network, and must never keep more
than it needs to go on: what it returns is the caller's to write.
"""

from typing import Protocol

__all__ = ["Encoder", "Metadata"]


class Metadata(dict[str, str]):
    """What a file says of itself, name by name; a value may hold a number, so no repr shows one."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Give the names alone."""
        return f"Metadata({', '.join(self)})"


class Encoder(Protocol):
    """The bytes of one file: `begin` once, `encode` as often as there are batches, `finish` once.

    Rows come as `aiosipcdr.export.render` makes them, as objects; Parquet takes
    lists, too, but not both in one batch.  The file is what was returned, one
    after the other.  The same rows in the same order give the
    same file, whatever the batches they came in, with the same versions of
    Python, zlib, zstd and pyarrow.  One that raised, or
    that is not finished, is of no further use and needs no closing.
    """

    def begin(self) -> bytes:
        """Return what stands before the first row."""
        ...

    def encode(self, rows: bytes) -> bytes:
        """Return what is ready once `rows`, whole lines, have come; it may be nothing yet."""
        ...

    def finish(self) -> bytes:
        """Return the rest."""
        ...
