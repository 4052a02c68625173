"""The interface of file formats: rows in, bytes out.

An encoder opens no file and buffers no more than it needs; the caller writes what it returns.
"""

from typing import Protocol

__all__ = ["Encoder", "Metadata"]


class Metadata(dict[str, str]):
    """Metadata of a file by name; the repr hides the values, which may hold phone numbers."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show the names only."""
        return f"Metadata({', '.join(self)})"


class Encoder(Protocol):
    """The bytes of one file: call `begin` once, `encode` for each batch, `finish` once.

    Rows are those of `aiosipcdr.export.render`, as objects; Parquet also takes lists, but not both in one batch. The
    file is the concatenation of what was returned. The same rows in the same order give the same file, whatever the
    batches, with the same versions of Python, zlib, zstd and pyarrow. An encoder that raised or was not finished cannot
    be used again and needs no closing.
    """

    def begin(self) -> bytes:
        """Return the bytes before the first row."""
        ...

    def encode(self, rows: bytes) -> bytes:
        """Return the bytes that are ready after `rows`, which are whole lines; may be empty."""
        ...

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        ...
