"""The interface of file formats: rows in, bytes out.

An encoder opens no file and buffers no more than it needs; the caller writes what it returns.
"""

import io
from typing import Any, Protocol

__all__ = ["Encoder", "Metadata", "Sink"]


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


class Sink(io.RawIOBase):
    """A file object for libraries that write files: keeps the output until it is taken."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        """Keep `data`."""
        size = len(data)
        self._buffer += data
        self._position += size
        return size

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken
