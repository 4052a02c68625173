"""The journal of an export: planned and read windows, so that a killed run loses no certified window.

Two files. The journal itself holds frames: the first has a random id and the query; each split window has one, written
before its parts are requested; each delivered window has one with the offset and the hash at the end of its rows. The
rows file begins with the same id and query and holds the rows as NDJSON, in the order of the target.

Only files that begin like this are resumed, truncated or deleted. A journal that is damaged, locked or of another query
is left unchanged. Synchronous: the job calls it in a worker thread, one call at a time.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from aiosipcdr.export.atomic import publish_new
from aiosipcdr.export.filesystem import (
    LOCKS_UNSUPPORTED,
    check_private,
    create_private,
    describe_foreign_file,
    is_private,
    is_same_file,
    lock_file,
    open_private,
    sync_file,
    sync_folder,
    write_all,
)
from aiosipcdr.export.frames import MAGIC, Frame, encode_frame, read_bytes, read_frame_body, read_frames
from aiosipcdr.export.journal_records import (
    LAYOUT,
    Building,
    Built,
    Entry,
    Header,
    WrittenWindow,
    decode_entry,
    decode_header,
    encode_entry,
    encode_rows_header,
)
from aiosipcdr.export.keys import KeyDerivation
from aiosipcdr.export.masking import read_numbers
from aiosipcdr.export.paths import temporary_path
from aiosipcdr.export.render import decode_rows
from aiosipcdr.export.rows_file import RowsFile
from aiosipcdr.export.spec import RELATIVE
from aiosipcdr.model.errors import ExportConflictError, JournalDamagedError, StorageError
from aiosipcdr.model.windows import OVERLAP
from aiosipcdr.proof.checkpoint import Checkpoint, Delivered, JournalEvent, ReadWindow

__all__ = ["Journal", "read_span"]

SYNC_SECONDS = 1.0
"""Entries older than this survive a power cut."""


class Journal:
    """One journal, locked from `open` to `close`; with `locks=False` it is not locked."""

    __slots__ = ("_descriptor", "_end", "_frames", "_locks", "_path", "_synced", "entries", "header", "rows_file")

    def __init__(self, path: Path, rows_path: Path, *, locks: bool = True) -> None:
        self._locks = locks
        self.entries: list[Entry] = []
        self.header: Header = Header(settings={}, tiles=[])
        self.rows_file: RowsFile = RowsFile(rows_path)
        self._path = path
        self._descriptor = -1
        self._frames: list[Frame] = []
        self._end = 0
        self._synced = 0.0

    def open(
        self,
        begin: Callable[[KeyDerivation | None], Header],
        may_discard: Callable[[Header, Collection[str]], bool] = lambda _, __: False,
    ) -> None:
        """Resume the existing journal or create one; an existing one is not changed yet.

        Args:
            begin: Returns the header of the query, with fingerprints under the key of an existing journal.
            may_discard: Returns whether to delete an existing journal, given its header and the settings that differ.

        Raises:
            ExportConflictError: Another export holds the lock, or the journal is of another query or a foreign file.
            JournalDamagedError: It was changed.
            OSError: It cannot be opened.
        """
        try:
            if self._open():
                self._read_entries(self._read_header())
                if self.entries:
                    settings = begin(self.header.key).settings
                    different = self._find_different(settings)
                    if not different or not may_discard(self.header, different):
                        self._refuse_different(different, settings)
                        self._check_contiguous()
                        return
                # Nothing was read for it, whatever its query, or it is to be discarded.
                self._open_rows()
                self.remove()
            self._create(begin(None))
        except BaseException:
            self.close()
            raise

    def recover(self) -> None:
        """Prepare for writing: a torn end is dropped, to be read again.

        Raises:
            ExportConflictError: The rows file is a foreign file.
            JournalDamagedError: The rows were changed.
            OSError: A file cannot be opened or written.
        """
        self._forget_building()
        self._open_rows()
        self._check_rows()
        # Up to here nothing was changed.
        os.ftruncate(self._descriptor, self._end)
        self.rows_file.truncate()
        if not self.entries:
            self.sync()
            sync_folder(self._path.parent)

    def open_to_remove(self) -> bool:
        """Open the existing journal, whatever its query and however damaged; return whether there is one.

        Raises:
            ExportConflictError: Another export holds the lock, or it is a foreign file.
            JournalDamagedError: Its first frame cannot be read, so it cannot be identified as a journal.
            OSError: It cannot be opened.
        """
        try:
            if not self._open():
                return False
            rest = self._read_header()
            with suppress(JournalDamagedError):
                self._read_entries(rest)
            self._open_rows()
        except BaseException:
            self.close()
            raise
        return True

    @property
    def is_open(self) -> bool:
        """Whether the journal is open."""
        return self._descriptor >= 0

    @property
    def windows(self) -> Iterator[WrittenWindow]:
        """The written windows, in the order of the target."""
        return (entry for entry in self.entries if isinstance(entry, WrittenWindow))

    @property
    def is_building(self) -> bool:
        """Whether the target was being written, so that the temporary files were created by this export."""
        return any(isinstance(entry, Building | Built) for entry in self.entries)

    @property
    def built(self) -> Built | None:
        """The hashes of the built target and manifest, if it was built."""
        return next((entry for entry in reversed(self.entries) if isinstance(entry, Built)), None)

    def begin_building(self) -> None:
        """Record that the target is about to be written."""
        self.append(Building())
        self.sync()

    def end_building(self) -> None:
        """Drop the record of `begin_building`: the temporary file was removed, and the target was not built."""
        if self.is_open and self.built is None:
            self._forget_building()
            os.ftruncate(self._descriptor, self._end)

    def append(self, entry: Entry, body: bytes = b"") -> None:
        """Append `entry`; within `SYNC_SECONDS` it also survives a power cut."""
        self._frames.append(self._append(encode_entry(entry), body))
        self.entries.append(entry)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def keep(self, number: int) -> None:
        """Drop all entries but the first `number`, and their rows."""
        if number < len(self.entries):
            self._forget(number)
            os.ftruncate(self._descriptor, self._end)
            self._check_rows()
            self.rows_file.truncate()

    def checkpoint(self) -> Checkpoint:
        """Return the outcome of the windows so far."""
        entries: list[JournalEvent | Delivered] = []
        for entry in self.entries:
            if isinstance(entry, WrittenWindow):
                entries.append(entry.delivered)
            elif not isinstance(entry, Building | Built):
                entries.append(entry)
        return Checkpoint(tiles=self.header.tiles, entries=entries, latest=self._latest())

    def rows(self, *, verify: bool = True) -> Iterator[bytes]:
        """Yield the rows of each window, in the order of the target.

        Args:
            verify: Hash each window while it is read, and compare it with its mark before it is yielded. Else the
                caller has to compare the hash of all rows with the mark of the rows file.

        Raises:
            JournalDamagedError: The rows file was changed since they were written.
        """
        if not self.rows_file.has_header():
            raise self._damaged_rows(self.rows_file.start)
        digest = hashlib.sha256()
        for window in self.windows:
            rows = self._read_rows(window)
            if verify:
                digest.update(rows)
                if digest.hexdigest() != window.mark.sha256:
                    raise self._damaged_rows(window.mark.end)
            if rows:
                yield rows

    def sync(self) -> None:
        """Flush both files, the rows before the entries that refer to them."""
        self.rows_file.sync()
        sync_file(self._descriptor)
        self._synced = time.monotonic()

    def remove(self) -> None:
        """Delete both files of the journal; foreign files at their names stay."""
        try:
            if self.rows_file.descriptor < 0 and self.rows_file.path.exists():
                self._open_rows()
            self.rows_file.remove()
            self._unlink_at(self._path)
        finally:
            self.close()

    def _unlink_at(self, path: Path) -> None:
        # Only if the open file is the one at `path`.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._descriptor), path.lstat()):
                path.unlink()

    def close(self) -> None:
        """Close and unlock the journal; the files stay."""
        self.rows_file.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> bool:
        # Returns whether there is a journal; it is locked then.
        while True:
            if is_same_file(temporary_path(self._path), self._path):  # killed between linking and unlinking
                temporary_path(self._path).unlink(missing_ok=True)
            try:
                self._descriptor = open_private(self._path)
            except FileNotFoundError:
                return False
            self._lock()
            # The previous owner of the lock may have removed the file after it was opened here.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._descriptor), self._path.lstat()):
                    return True
            self.close()

    def _create(self, header: Header) -> None:
        # It is locked and has its first frame before it gets its name: any other file at that name is foreign.
        temporary = temporary_path(self._path)
        while True:
            with suppress(FileExistsError):
                self._descriptor = create_private(temporary)
                break
            self._discard_torn(temporary)
        try:
            self._lock()
            header = msgspec.structs.replace(header, id=secrets.token_hex(16), is_private=is_private(self._descriptor))
            self.entries, self._frames, self._end = [], [], 0
            self._append(encode_entry(header))
            sync_file(self._descriptor)
            publish_new(temporary, self._path)
        except BaseException:
            with suppress(OSError):
                self._unlink_at(temporary)
            raise
        self.header = header

    def _discard_torn(self, temporary: Path) -> None:
        # Left by a run that was killed before its journal had its name.
        with suppress(FileNotFoundError):
            self._descriptor = open_private(temporary)
            try:
                self._lock()
                if not MAGIC.startswith(read_bytes(self._descriptor, 0, len(MAGIC))):
                    raise ExportConflictError(describe_foreign_file(temporary))
                self._unlink_at(temporary)
            finally:
                self.close()

    def _lock(self) -> None:
        if not self._locks:
            return
        try:
            is_locked = lock_file(self._descriptor)
        except OSError as error:
            if error.errno not in LOCKS_UNSUPPORTED:
                raise
            raise StorageError(
                f"{self._path.parent} is on a file system without locks, so two exports could overwrite each other;"
                " write elsewhere, or pass lock=False if no other export writes to this file"
            ) from None
        if not is_locked:
            raise ExportConflictError(f"another export of {self._path.stem} is running; wait until it has ended")

    def _open_rows(self) -> None:
        self.rows_file.open(encode_rows_header(self.header), was_private=self.header.is_private)

    def _read_entries(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            try:
                self.entries.append(decode_entry(frame.text))
            except msgspec.DecodeError:
                raise self._undecodable() from None
            self._frames.append(frame._replace(text=b""))
            self._end = frame.end

    def _read_header(self) -> Iterator[Frame]:
        # Consumes the first frame and returns the others.
        frames = read_frames(self._descriptor, self._path)
        first = next(frames, None)
        if first is None:
            raise ExportConflictError(f"{self._path} is not a journal of aiosipcdr; move the file away")
        try:
            self.header, self._end = decode_header(first.text), first.end
        except msgspec.DecodeError:
            raise self._undecodable() from None
        if self.header.layout != LAYOUT:
            raise ExportConflictError(
                f"the journal {self._path} was written by another version of aiosipcdr (layout {self.header.layout},"
                f" this is {LAYOUT}); finish the export with that version, or remove the journal to start over"
            )
        check_private(self._descriptor, self._path, was_private=self.header.is_private)
        return frames

    def _undecodable(self) -> JournalDamagedError:
        return JournalDamagedError(
            f"the journal {self._path} cannot be decoded, most likely because another version of aiosipcdr wrote it;"
            " finish the export with that version, or remove the journal to start over"
        )

    def _find_different(self, settings: dict[str, str | None]) -> list[str]:
        # A relative range may be resumed with its absolute times.
        before = self._stored_settings()
        names = [name for name in {**before, **settings} if name != RELATIVE]
        return [name for name in names if before.get(name) != settings.get(name)]

    def _stored_settings(self) -> dict[str, str | None]:
        # In today's terms. The header keeps its own: the rows file begins with the same ones.
        settings = self.header.settings
        numbers = settings.get("numbers")
        return settings if numbers is None else {**settings, "numbers": read_numbers(numbers)}

    def _refuse_different(self, different: list[str], settings: dict[str, str | None]) -> None:
        before = self._stored_settings()
        if different:
            raise ExportConflictError(
                f"the journal {self._path} belongs to another export: "
                + "; ".join(_describe(name, before.get(name), settings.get(name)) for name in different)
                + "; finish that export with its own settings, or start over with restart=True"
            )

    def _check_contiguous(self) -> None:
        end = len(encode_rows_header(self.header))
        for window in self.windows:
            if window.mark.end - window.size != end:
                raise self._damaged("the rows of its windows are not contiguous")
            end = window.mark.end

    def _damaged(self, why: str) -> JournalDamagedError:
        return JournalDamagedError(f"the journal {self._path} was changed or damaged: {why}; remove it to start over")

    def _damaged_rows(self, end: int) -> JournalDamagedError:
        return JournalDamagedError(
            f"the journal's rows {self.rows_file.path} were changed or damaged before byte {end:,};"
            f" remove them and {self._path} to start over"
        )

    def check_unmoved(self) -> None:
        """Refuse to continue if the files were removed or replaced.

        Raises:
            ExportConflictError: A file was removed, replaced or linked.
            OSError: The folder is gone.
        """
        for descriptor, path in ((self._descriptor, self._path), (self.rows_file.descriptor, self.rows_file.path)):
            path.parent.stat()  # raises if the folder is gone
            with suppress(FileNotFoundError):
                status = os.fstat(descriptor)
                if os.path.samestat(status, path.lstat()) and status.st_nlink <= 1:
                    continue
            raise ExportConflictError(f"{path} was removed, replaced or linked during the export; run the export again")

    def _check_rows(self) -> None:
        # Rows are written before the frame that refers to them: rows missing at the end were cut off.
        windows = [(number, entry) for number, entry in enumerate(self.entries) if isinstance(entry, WrittenWindow)]
        intact = self.rows_file.check([window.mark for _, window in windows])
        if intact == len(windows):
            return
        number, window = windows[intact]
        is_last = number == len(self.entries) - 1
        if not is_last and self.rows_file.path.stat().st_size >= window.mark.end:
            raise self._damaged_rows(window.mark.end)
        self._forget(number)

    def _forget_building(self) -> None:
        numbers = (number for number, entry in enumerate(self.entries) if isinstance(entry, Building | Built))
        if (number := next(numbers, None)) is not None:
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._end = self._frames[number].start
        del self.entries[number:], self._frames[number:]

    def _latest(self) -> list[ReadWindow]:
        latest: list[ReadWindow] = []
        overlap_start = None
        for frame, entry in zip(reversed(self._frames), reversed(self.entries), strict=True):
            if not isinstance(entry, WrittenWindow):
                continue
            window = entry.delivered.reported.window
            if overlap_start is None:
                overlap_start = window.end - OVERLAP
            if window.end < overlap_start:
                break
            records = decode_rows(self._read_rows(entry)) + decode_rows(
                read_frame_body(self._descriptor, frame, self._path)
            )
            ids = {record.voice_id for record in records} | set(entry.unread_ids)
            latest.append(ReadWindow(window=window, ids=ids, records=records))
        return latest[::-1]

    def _read_rows(self, window: WrittenWindow) -> bytes:
        return self.rows_file.read(window.mark.end - window.size, window.size)

    def _append(self, text: bytes, body: bytes = b"") -> Frame:
        start = self._end
        data = memoryview(encode_frame(text, body))
        try:
            os.lseek(self._descriptor, start, os.SEEK_SET)
            write_all(self._descriptor, data)
        except OSError:
            # The next run would drop half a frame anyway; truncating now may free space that others need.
            with suppress(OSError):
                os.ftruncate(self._descriptor, start)
            raise
        self._end = start + len(data)
        return Frame(start, b"", self._end - len(body), self._end)


def read_span(path: Path) -> tuple[str | None, str | None] | None:
    """Return start and end of the range of the journal at `path`, or `None` if no journal can be read there."""
    try:
        descriptor = open_private(path)
    except (OSError, ExportConflictError):
        return None
    try:
        first = next(read_frames(descriptor, path), None)
        settings = decode_header(first.text).settings if first is not None else {}
    except (OSError, JournalDamagedError, msgspec.DecodeError):
        return None
    finally:
        os.close(descriptor)
    return (settings["start"], settings["end"]) if {"start", "end"} <= settings.keys() else None


def _describe(name: str, before: str | None, now: str | None) -> str:
    if name.startswith("#"):  # fingerprints mean nothing to a reader
        return f"{name[1:]} differs"
    return f"{name} was {before}, now {now}"
