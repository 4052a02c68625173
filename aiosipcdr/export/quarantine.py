"""The quarantine file: records without a readable id, one JSON object per line.

Its lines hold the vendor's bytes, including phone numbers, unless the export masks numbers.
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
from aiosipcdr.model.quarantine import QuarantinedRecord
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
    """Return the line of a quarantined record."""
    line = _QuarantineLine(
        window=quarantined.window,
        page=quarantined.page,
        reason=quarantined.reason,
        voice_id=quarantined.voice_id,
        raw=decode_broken(quarantined.raw) or None,
    )
    return msgspec.json.encode(line) + b"\n"


def is_quarantine(path: Path, _: Path) -> bool:
    """Return whether an export wrote the file at `path`."""
    decoder = msgspec.json.Decoder(_QuarantineLine)
    try:
        with open_plain(path, follow_links=False) as file:
            return [decoder.decode(line).page for line in read_lines(file)] != []
    except (msgspec.DecodeError, ValueError, ExportError):
        return False


class StreamQuarantine:
    """The quarantine file of a stream, as a context manager; published at the end if anything was written."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._path = path.absolute()
        self._overwrite = overwrite
        self._file = AtomicFile(self._path)

    def __enter__(self) -> Self:
        """Check the path and create the temporary file.

        Raises:
            ExportConflictError: The path exists and must not be replaced.
            StorageError: The file cannot be written.
        """
        check_target(self._path, self._overwrite)
        with storage_errors(self._path):
            self._file.create()
        return self

    def write(self, records: Iterable[QuarantinedRecord]) -> None:
        """Append `records`.

        Raises:
            StorageError: The file cannot be written.
        """
        with storage_errors(self._path):
            self._file.write(b"".join(map(encode_quarantined, records)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish the file, also after an error: the rows before it are already written."""
        try:
            if self._file.size:
                with storage_errors(self._path):
                    self._file.finish()
                    self._file.publish(overwrite=self._overwrite)
        finally:
            self._file.discard()
