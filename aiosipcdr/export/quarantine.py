"""The quarantine: records without a readable id, each as a JSON object on a line of its own.

Its lines hold the vendor's bytes, phone numbers among them, unless the export masks.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aiosipcdr.export.sidecars import encode_quarantined
from aiosipcdr.export.storage import storage_errors
from aiosipcdr.export.target import NewFile, check_target
from aiosipcdr.report import QuarantinedRecord

__all__ = ["StreamQuarantine", "shape_quarantined"]


def shape_quarantined(
    records: Iterable[QuarantinedRecord], mask: Callable[[str], str] | None
) -> list[QuarantinedRecord]:
    """Return `records` as they go into a file: with `mask` without their bytes, in which a number may be anywhere."""
    return [one if mask is None else msgspec.structs.replace(one, raw=b"") for one in records]


class StreamQuarantine:
    """A file for what a stream sets aside: a context manager; it appears at the end if anything was written."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Remember the path; nothing is touched yet."""
        self._path = path.absolute()
        self._overwrite = overwrite
        self._file = NewFile(self._path)

    def __enter__(self) -> Self:
        """Check the path and begin the file.

        Raises:
            ExportConflictError: something is there that must not be replaced.
            StorageError: the file cannot be written.
        """
        check_target(self._path, self._overwrite)
        with storage_errors(self._path):
            self._file.create()
        return self

    def write(self, records: Iterable[QuarantinedRecord]) -> None:
        """Append `records`.

        Raises:
            StorageError: the file cannot be written.
        """
        with storage_errors(self._path):
            self._file.write(b"".join(map(encode_quarantined, records)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the file appear, also after an error: the rows before it are written already."""
        try:
            if self._file.size:
                with storage_errors(self._path):
                    self._file.finish()
                    self._file.publish(overwrite=self._overwrite)
        finally:
            self._file.discard()
