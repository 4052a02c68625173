"""The quarantine: records without a readable id, each as a JSON object on a line of its own.

Its lines hold the vendor's bytes, phone numbers among them, unless the export masks.
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aiosipcdr.export.atomic import AtomicFile, check_target
from aiosipcdr.export.filesystem import storage_errors
from aiosipcdr.export.reading import open_plain, read_lines
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.report import QuarantinedRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.raw_json import decode_broken

__all__ = ["StreamQuarantine", "encode_quarantined", "is_quarantine"]


class _QuarantineLine(msgspec.Struct, forbid_unknown_fields=True):
    window: TimeWindow | None
    page: int
    reason: str
    voice_id: str | None
    raw: str | None


def encode_quarantined(quarantined: QuarantinedRecord) -> bytes:
    """Return the line of a record in the quarantine."""
    line = _QuarantineLine(
        window=quarantined.window,
        page=quarantined.page,
        reason=quarantined.reason,
        voice_id=quarantined.voice_id,
        raw=decode_broken(quarantined.raw) or None,
    )
    return msgspec.json.encode(line) + b"\n"


def is_quarantine(path: Path, _: Path) -> bool:
    """Tell whether an export wrote the file at `path`."""
    decoder = msgspec.json.Decoder(_QuarantineLine)
    try:
        with open_plain(path, follow_links=False) as file:
            return [decoder.decode(line).page for line in read_lines(file)] != []
    except (msgspec.DecodeError, ValueError, ExportError):
        return False


class StreamQuarantine:
    """A file for what a stream sets aside: a context manager; it appears at the end if anything was written."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Remember the path; nothing is touched yet."""
        self._path = path.absolute()
        self._overwrite = overwrite
        self._file = AtomicFile(self._path)

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
