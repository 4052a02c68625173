"""NDJSON: the rows as they are, one JSON object a line, every field in every line.

Pure: must never open a file.
"""

__all__ = ["NdjsonEncoder"]


class NdjsonEncoder:
    """An `Encoder`: one line for each row, and nothing else."""

    __slots__ = ()

    def begin(self) -> bytes:
        """Return nothing: the first line is the first row."""
        return b""

    def encode(self, rows: bytes) -> bytes:
        """Return `rows`."""
        return rows

    def finish(self) -> bytes:
        """Return nothing: the last line is ended already."""
        return b""
