"""One export from the first look at the target to the published file, whatever interrupts it.

What is fetched goes into the journal; the target is made of the journal alone,
so that a run that was killed and one that was not end with the same bytes.
Must never block the event loop, and never leave anything half-published.

The order at the end: the file is written beside its name from rows that are
hashed while they are read, made safe and read back; the journal notes what it
is, quarantine and manifest appear, then the file itself, then the journal goes.
Killed anywhere in between, the next run finds where.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from aiosipcdr.errors import ClientStateError, IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.export.encoders import Encoder
from aiosipcdr.export.entries import Built, Effort, Header
from aiosipcdr.export.journal import Journal
from aiosipcdr.export.keys import DerivedKey, KeyDerivation, derive_key
from aiosipcdr.export.manifest import QuarantineFile, describe_file, encode_manifest, find_derivation, read_manifest
from aiosipcdr.export.masking import CurrencyNames
from aiosipcdr.export.order import ExportOrder
from aiosipcdr.export.preparing import PreparedWindow, prepare_window
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.sidecars import check_sidecars, encode_quarantined
from aiosipcdr.export.storage import check_ours, check_room, check_unused, storage_errors
from aiosipcdr.export.target import (
    JOURNAL,
    MANIFEST,
    QUARANTINE,
    ROWS,
    NewFile,
    beside,
    check_folder,
    check_target,
    part_of,
)
from aiosipcdr.protocol.history import Cut, History, Note, find_doubt
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CompleteWindow, FetchReport, WindowReport

__all__ = ["ExportJob"]

T = TypeVar("T")

# What a call takes, about: what is asked of the disk before much is fetched.
_ROW_BYTES = 700
_TARGET_BYTES = {"ndjson": 700, "csv": 350}
_COMPRESSED_BYTES = 200
_LEAST_ROOM = 1024 * 1024

# What is read of the rows at a time: a thread's turn costs as much as a hundred calls, and a cancellation waits for it.
_TURN_BYTES = 2 * 1024 * 1024


class ExportJob:
    """An async context manager: `history`, then `write` what is read, then `publish`."""

    def __init__(self, order: ExportOrder) -> None:
        """Remember what is to be done; nothing is touched yet."""
        self._order = order
        self._journal = Journal(beside(order.path, JOURNAL), beside(order.path, ROWS))
        self._turn = threading.Lock()
        self._is_over = False
        self._key: DerivedKey | None = None
        self._process = 0
        self.published: FetchReport | None = None
        """The report of a run that was killed when its file had already appeared."""

    async def __aenter__(self) -> Self:
        """Check the target, and take up the journal or begin one."""
        self._process = os.getpid()
        try:
            await self._in_thread(self._open)
        except BaseException:  # a cancellation, too, and then it may be open
            await self._let_go()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep the journal if it holds anything, and let go of it."""
        await self._let_go()

    @property
    def provisional(self) -> list[WindowReport]:
        """The windows that were so young that calls may have been added to them since."""
        told = (window.delivered.told for window in self._journal.windows)
        return [report for report in told if report.provisional]

    @property
    def effort(self) -> Effort:
        """What earlier runs have taken."""
        return next((window.effort for window in reversed(list(self._journal.windows))), Effort())

    async def history(
        self, *, allow_incomplete: bool, changed: Collection[TimeWindow], strict: bool = False
    ) -> History:
        """Return what earlier runs have read; forget what must be read again: see `find_doubt`."""

        def recall() -> History:
            self._forget_doubtful(allow_incomplete=allow_incomplete, changed=changed, strict=strict)
            self._check_room()
            return self._journal.history()

        return await self._in_thread(recall)

    async def doubt(self, error: IncompleteRangeError | OutOfTimeRangeError) -> None:
        """Forget a window whose parts hold too little, and all later; or a plan by which nothing was read."""

        def forget() -> None:
            if isinstance(error, OutOfTimeRangeError):
                if not any(self._journal.windows):
                    self._journal.keep(0)
            elif error.window is not None:
                self._forget_doubtful(allow_incomplete=True, changed=[error.window])

        await self._in_thread(forget)

    async def write(self, entry: Note | CompleteWindow, report: FetchReport) -> None:
        """Write down what has become of a window, before the next is asked for."""
        if isinstance(entry, CompleteWindow):
            effort = Effort(requests=report.requests, retries=report.retries, elapsed=report.elapsed)
            order = self._order
            names = CurrencyNames(order.credentials.mask)
            prepared = await prepare_window(entry, order.mask, as_lists=order.as_lists, name_currency=names)
            await self._in_thread(lambda: self._write_window(prepared, effort))
        else:
            await self._in_thread(lambda: self._write_note(entry))

    async def publish(self, report: FetchReport) -> None:
        """Make the target of the journal, and let it appear."""
        target = NewFile(self._order.path)
        try:
            await self._in_thread(self._journal.begin_building)
            await self._build(target, await self._in_thread(self._order.open_encoder))
            # A cancellation after this line comes too late: the file is whole.
            await anyio.lowlevel.checkpoint()
            with anyio.CancelScope(shield=True):
                await self._in_thread(lambda: self._appear(target, report))
        finally:
            if self._is_here:
                with anyio.CancelScope(shield=True):
                    await self._in_thread(lambda: self._discard(target))

    @property
    def _is_here(self) -> bool:
        # A forked child has neither threads nor files of its own.
        return self._process == os.getpid()

    async def _let_go(self) -> None:
        if not self._is_here:
            return
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._close)

    async def _build(self, target: NewFile, encoder: Encoder) -> None:
        rows = self._journal.rows()

        def begin() -> None:
            target.create()
            target.write(encoder.begin())

        def go_on() -> bool:
            done = 0
            while done < _TURN_BYTES:
                if not (lines := next(rows, b"")):
                    return False
                target.write(encoder.encode(lines))
                done += len(lines)
            return True

        def finish() -> None:
            target.write(encoder.finish())
            target.finish()

        await self._in_thread(begin)
        while await self._in_thread(go_on):
            pass
        await self._in_thread(finish)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def mapped() -> T:
            # A task that asyncio itself cancels does not wait for its thread: what comes next must.
            with self._turn, storage_errors(self._order.path):
                if self._is_over:
                    raise ClientStateError("the export has ended")
                return work()

        return await anyio.to_thread.run_sync(mapped)

    def _open(self) -> None:
        order, journal = self._order, self._journal
        order.open_encoder()  # it says what is missing, before anything is fetched for it
        check_folder(order.path)
        for ending in (JOURNAL, ROWS, MANIFEST, QUARANTINE):
            check_ours(beside(order.path, ending))
        if order.restart and journal.open_to_remove():
            self._discard_leftovers()
            journal.remove()
        if not beside(order.path, JOURNAL).exists():
            check_target(order.path, order.overwrite)
            check_sidecars(order.path)
            check_unused(beside(order.path, ROWS), *map(part_of, self._places))
            check_room(order.path.parent, _LEAST_ROOM)
        journal.open(self._begin)
        self._discard_leftovers()
        check_unused(*map(part_of, self._places))
        if journal.built is not None and journal.built == _find_built(order.path):
            self.published = read_manifest(beside(order.path, MANIFEST)).report
            journal.remove()
            return
        check_target(order.path, order.overwrite)
        check_sidecars(order.path)
        journal.recover()

    def _begin(self, of_journal: KeyDerivation | None) -> Header:
        # Files of one folder share a salt, so that whoever looks at a year of days derives one key.
        order = self._order
        derivation = of_journal or find_derivation(order.path.parent, order.credentials) or KeyDerivation.new()
        self._key = derive_key(order.credentials, derivation)
        return Header(key=derivation, settings=order.seal(self._key), tiles=order.tiles)

    @property
    def _places(self) -> list[Path]:
        # Every file that appears whole, by way of a part.
        path = self._order.path
        return [path, beside(path, MANIFEST), beside(path, QUARANTINE)]

    def _discard_leftovers(self) -> None:
        if self._journal.is_building:
            for place in self._places:
                NewFile(place).discard_leftover()

    def _discard(self, target: NewFile) -> None:
        target.discard()
        with suppress(OSError):  # else the next run does it; the error on its way matters more
            self._journal.end_building()

    def _close(self) -> None:
        self._is_over = True
        if self._journal.is_open and not self._journal.entries:
            self._journal.remove()
        elif self._journal.is_open:
            try:
                self._journal.sync()
            finally:
                self._journal.close()

    def _forget_doubtful(
        self, *, allow_incomplete: bool, changed: Collection[TimeWindow], strict: bool = False
    ) -> None:
        entries = self._journal.history().entries
        doubt = find_doubt(entries, allow_incomplete=allow_incomplete, changed=changed, strict=strict)
        if doubt is not None:
            self._journal.keep(doubt)

    def _write_window(self, prepared: PreparedWindow, effort: Effort) -> None:
        mark = self._journal.rows_file.append(prepared.rows)
        self._journal.append(prepared.as_entry(mark, effort), prepared.repeated)

    def _write_note(self, note: Note) -> None:
        if isinstance(note, Cut) and note.told.window in self._order.tiles:
            check_room(self._order.path.parent, note.told.total * (_ROW_BYTES + self._target_bytes))
        self._journal.append(note)

    @property
    def _target_bytes(self) -> int:
        return _TARGET_BYTES.get(self._order.format, _COMPRESSED_BYTES)

    def _check_room(self) -> None:
        planned = sum(
            entry.told.total
            for entry in self._journal.entries
            if isinstance(entry, Cut) and entry.told.window in self._order.tiles
        )
        written = sum(window.rows for window in self._journal.windows)
        missing = max(0, planned - written) * _ROW_BYTES + max(planned, written) * self._target_bytes
        check_room(self._order.path.parent, missing)

    def _appear(self, target: NewFile, report: FetchReport) -> None:
        order = self._order
        target.check()
        end = Mark(target.size, target.sha256)
        self._journal.check_place()  # else the rows of whoever came after us would be published
        check_target(order.path, order.overwrite)  # else our manifest would stand beside a file of somebody else
        check_sidecars(order.path)
        windows = list(self._journal.windows)
        lines = b"".join(encode_quarantined(one) for window in windows for one in window.quarantined)
        quarantine = beside(order.path, QUARANTINE)
        told = QuarantineFile(quarantine.name, hashlib.sha256(lines).hexdigest()) if lines else None
        assert self._key is not None  # noqa: S101 - since the journal was opened
        described = describe_file(order, self._journal.header, end=end, windows=windows, report=report, quarantine=told)
        manifest = encode_manifest(described, self._key)
        self._journal.append(Built(target=end.sha256, manifest=hashlib.sha256(manifest).hexdigest()))
        self._journal.sync()
        if lines:
            _write(quarantine, lines)
        else:
            quarantine.unlink(missing_ok=True)
        _write(beside(order.path, MANIFEST), manifest)
        target.publish(overwrite=order.overwrite)
        self._journal.remove()


def _find_built(path: Path) -> Built | None:
    # The manifest, too: what was there before may have the same rows.
    hashes = []
    for place in (path, beside(path, MANIFEST)):
        if place.is_symlink() or not place.is_file():
            return None
        with place.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return Built(target=hashes[0], manifest=hashes[1])


def _write(path: Path, data: bytes) -> None:
    file = NewFile(path)
    try:
        file.create()
        file.write(data)
        file.finish()
        file.publish(overwrite=True)
    finally:
        file.discard()
