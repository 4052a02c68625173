"""NDJSON: the rows unchanged, one JSON object per line with every field."""

__all__ = ["NdjsonEncoder"]


class NdjsonEncoder:
    """An `Encoder` that returns the rows unchanged."""

    __slots__ = ()

    def begin(self) -> bytes:
        """Return nothing: the first line is the first row."""
        return b""

    def encode(self, rows: bytes) -> bytes:
        """Return `rows`."""
        return rows

    def finish(self) -> bytes:
        """Return nothing: the last line is already ended."""
        return b""
