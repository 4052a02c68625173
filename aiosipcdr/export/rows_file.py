"""The rows file of a journal: append-only, hashed while written, truncated to its last complete window.

The running hash detects damage when a later run resumes and when the target is built. Synchronous. Rows are opaque
bytes here.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aiosipcdr.export.filesystem import (
    check_private,
    create_private,
    describe_foreign_file,
    open_private,
    sync_file,
    write_all,
)
from aiosipcdr.export.frames import read_bytes
from aiosipcdr.model.errors import ExportConflictError

__all__ = ["Mark", "RowsFile"]

_BLOCK = 1024 * 1024


class Mark(NamedTuple):
    """An offset in the file and the SHA-256 of all rows before it, without the file's header, in hexadecimal."""

    end: int = 0
    sha256: str = hashlib.sha256().hexdigest()


class RowsFile:
    """An open rows file; the caller holds the lock of its journal."""

    __slots__ = ("_descriptor", "_digest", "_end", "_header", "path", "start")

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self.start: int = 0
        """The offset of the first row, after the header."""
        self._descriptor = -1
        self._digest = hashlib.sha256()
        self._end = 0
        self._header = b""

    @property
    def descriptor(self) -> int:
        """The descriptor of the open file; negative when closed."""
        return self._descriptor

    @property
    def mark(self) -> Mark:
        """The current end of the rows."""
        return Mark(self._end, self._digest.hexdigest())

    def open(self, header: bytes, *, was_private: bool = True) -> None:
        """Open the file that begins with `header`, or create it.

        Args:
            header: Its first line, which is unique to it.
            was_private: See `check_private`.

        Raises:
            ExportConflictError: The file has another header; it is left unchanged.
            OSError: It cannot be opened.
        """
        try:
            self._descriptor = open_private(self.path)
        except FileNotFoundError:
            self._create(header)
            return
        check_private(self._descriptor, self.path, was_private=was_private)
        begin = read_bytes(self._descriptor, 0, len(header))
        if not header.startswith(begin):
            raise ExportConflictError(describe_foreign_file(self.path))
        if begin == header:
            self._begin(header)
        else:  # torn during creation, or cut off
            self.remove()
            self.close()
            self._create(header)

    def _create(self, header: bytes) -> None:
        try:
            self._descriptor = create_private(self.path)
        except FileExistsError:
            raise ExportConflictError(describe_foreign_file(self.path)) from None
        write_all(self._descriptor, memoryview(header))
        self._begin(header)

    def _begin(self, header: bytes) -> None:
        self._header = header
        self.start = self._end = len(header)
        self._digest = hashlib.sha256()

    def has_header(self) -> bool:
        """Return whether the file still begins with its header, which no mark covers."""
        return self.read(0, self.start) == self._header

    def check(self, marks: list[Mark]) -> int:
        """Return how many of `marks`, in ascending order, match the file; the end is then the last matching one."""
        size = os.fstat(self._descriptor).st_size
        self._digest = hashlib.sha256()
        self._end = self.start
        if not self.has_header():
            return 0
        for number, mark in enumerate(marks):
            before = self._digest.copy()
            if mark.end > size:
                return number
            for offset in range(self._end, mark.end, _BLOCK):
                self._digest.update(read_bytes(self._descriptor, offset, min(_BLOCK, mark.end - offset)))
            if self._digest.hexdigest() != mark.sha256:
                self._digest = before
                return number
            self._end = mark.end
        return len(marks)

    def truncate(self) -> None:
        """Truncate the file at the end of the rows."""
        os.ftruncate(self._descriptor, self._end)

    def append(self, rows: bytes) -> Mark:
        """Write `rows` at the end; return the new end."""
        os.lseek(self._descriptor, self._end, os.SEEK_SET)
        try:
            write_all(self._descriptor, memoryview(rows))
        except OSError:
            # The next run would drop half of them anyway; truncating now may free space that others need.
            with suppress(OSError):
                self.truncate()
            raise
        self._digest.update(rows)
        self._end += len(rows)
        return self.mark

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`."""
        return read_bytes(self._descriptor, start, size)

    def sync(self) -> None:
        """Flush the file to disk."""
        if self._descriptor >= 0:
            sync_file(self._descriptor)

    def remove(self) -> None:
        """Delete the open file; a foreign file at its name stays."""
        with suppress(FileNotFoundError):
            if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
                self.path.unlink()

    def close(self) -> None:
        """Close the file; it stays."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
