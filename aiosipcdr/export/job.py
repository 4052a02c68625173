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

from aiosipcdr.export.atomic import AtomicFile, check_folder, check_target
from aiosipcdr.export.existing import check_sidecars, judge_existing
from aiosipcdr.export.filesystem import check_mode, check_ours, check_room, check_unused, exists_already, storage_errors
from aiosipcdr.export.formats.encoders import Encoder
from aiosipcdr.export.journal import Journal
from aiosipcdr.export.journal_records import Built, Effort, Header, Replaced, WrittenWindow
from aiosipcdr.export.keys import DerivedKey, KeyDerivation, derive_key
from aiosipcdr.export.manifest import (
    QuarantineFile,
    TileCount,
    describe_file,
    encode_manifest,
    find_derivation,
    read_manifest,
)
from aiosipcdr.export.masking import CurrencyNames
from aiosipcdr.export.paths import ExportPaths, part_of
from aiosipcdr.export.quarantine import encode_quarantined
from aiosipcdr.export.render import PreparedWindow, prepare_window
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.spec import RELATIVE, ExportSpec
from aiosipcdr.export.verify import hash_file
from aiosipcdr.model.errors import ClientStateError, ExportConflictError, IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.report import CompleteWindow, FetchReport, WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Checkpoint, JournalEvent, Recounted, WindowSplit, first_stale_entry

__all__ = ["ExportJob", "FileWouldShrinkError"]

T = TypeVar("T")

# What a call takes, about: what is asked of the disk before much is fetched.
_ROW_BYTES = 700
_TARGET_BYTES = {"ndjson": 700, "csv": 350}
_COMPRESSED_BYTES = 200
_LEAST_ROOM = 1024 * 1024

# What is read of the rows at a time: a thread's turn costs as much as a hundred calls, and a cancellation waits for it.
_TURN_BYTES = 2 * 1024 * 1024


class FileWouldShrinkError(ExportConflictError):
    """The file that is there has more calls than the vendor returns now for the same query."""


class ExportJob:
    """An async context manager: `checkpoint`, then `write` what is read, then `publish`."""

    def __init__(self, order: ExportSpec) -> None:
        """Remember what is to be done; nothing is touched yet."""
        self._order = order
        self._journal = Journal(order.paths.journal, order.paths.rows, locks=order.lock)
        self._turn = threading.Lock()
        self._is_over = False
        self._key: DerivedKey | None = None
        self._process = 0
        self.published: FetchReport | None = None
        """The report of a file that is finished already, also by a run that was killed when it had appeared."""
        self._replaces: Replaced | None = None
        self._is_judged = False

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
        reported = (window.delivered.reported for window in self._journal.windows)
        return [report for report in reported if report.provisional]

    @property
    def effort(self) -> Effort:
        """What earlier runs have taken."""
        return next((window.effort for window in reversed(list(self._journal.windows))), Effort())

    async def checkpoint(
        self, *, allow_incomplete: bool, changed: Collection[TimeWindow], strict: bool = False
    ) -> Checkpoint:
        """Return what earlier runs have read; forget what must be read again: see `first_stale_entry`."""

        def recall() -> Checkpoint:
            self._forget_doubtful(allow_incomplete=allow_incomplete, changed=changed, strict=strict)
            self._check_room()
            return self._journal.checkpoint()

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

    async def write(self, entry: JournalEvent | CompleteWindow, report: FetchReport) -> None:
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
        target = AtomicFile(self._order.path, mode=self._order.mode)
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

    async def _build(self, target: AtomicFile, encoder: Encoder) -> None:
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
        if order.paths.manifest.parent != order.path.parent:
            order.paths.manifest.parent.mkdir(parents=True, exist_ok=True)
        check_folder(order.paths)
        for path in order.paths.sidecars:
            check_ours(path)
        if order.restart and journal.open_to_remove():
            self._discard_leftovers()
            journal.remove()
        if not order.paths.journal.exists():
            if self._find_published():
                return
            self._check_target(self._replaces)
            check_sidecars(order.paths)
            check_unused(order.paths.rows, *map(part_of, order.paths.published))
            check_room(order.path.parent, _LEAST_ROOM)
        if order.mode is not None:
            check_mode(order.mode, order.path)
        journal.open(self._begin, self._may_discard)
        if self.published is not None:
            journal.remove()
            return
        self._discard_leftovers()
        check_unused(*map(part_of, order.paths.published))
        if journal.built is not None and journal.built == _find_built(order.paths):
            self.published = read_manifest(order.paths.manifest).as_report()
            journal.remove()
            return
        self._check_target(journal.header.replaces)
        check_sidecars(order.paths)
        journal.recover()

    def _find_published(self) -> bool:
        # Looks at what is there: it may be the finished file, or one that is to be replaced by a finished one.
        self._is_judged = True
        if self._order.if_exists != "verify":
            return False
        check_target(self._order.path, overwrite=True)
        existing = judge_existing(self._order)
        if existing.state == "other":
            raise ExportConflictError(f"{exists_already(self._order.path)}: {existing.why}")
        if existing.manifest is not None:
            if existing.state == "finished" and not self._order.is_outdated:
                self.published = existing.manifest.as_report()
                return True
            self._replaces = Replaced(sha256=existing.manifest.sha256, rows=existing.manifest.rows)
        return False

    def _check_target(self, replaces: Replaced | None) -> None:
        # Only the very file that was looked at is replaced, and by no smaller one; in a journal, that of its first run.
        path = self._order.path
        may_replace = self._order.if_exists == "replace" or (
            replaces is not None and path.is_file() and hash_file(path)[1] == replaces.sha256
        )
        check_target(path, may_replace)

    def _may_discard(self, header: Header, different: Collection[str]) -> bool:
        if self._order.if_exists != "replace":
            # A range that is relative to the present is another one each time, so its journal can never be finished.
            are_relative = header.settings.get(RELATIVE) == "yes" == self._order.settings[RELATIVE]
            if not are_relative or not {*different} <= {"start", "end"}:
                return False
            self._find_published()  # raises before anything is discarded
        self._discard_leftovers()
        return True

    def _begin(self, of_journal: KeyDerivation | None) -> Header:
        # Files of one folder share a salt, so that whoever looks at a year of days derives one key.
        order = self._order
        if of_journal is None and not self._is_judged:  # a journal was there, but it is begun anew
            self._find_published()
        derivation = of_journal or find_derivation(order.paths.manifest, order.credentials) or KeyDerivation.new()
        self._key = derive_key(order.credentials, derivation)
        return Header(key=derivation, settings=order.seal(self._key), tiles=order.tiles, replaces=self._replaces)

    def _discard_leftovers(self) -> None:
        if self._journal.is_building:
            for place in self._order.paths.published:
                AtomicFile(place).discard_leftover()

    def _discard(self, target: AtomicFile) -> None:
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
        entries = self._journal.checkpoint().entries
        doubt = first_stale_entry(entries, allow_incomplete=allow_incomplete, changed=changed, strict=strict)
        if doubt is not None:
            self._journal.keep(doubt)

    def _write_window(self, prepared: PreparedWindow, effort: Effort) -> None:
        mark = self._journal.rows_file.append(prepared.rows)
        self._journal.append(prepared.as_entry(mark, effort), prepared.repeated)

    def _write_note(self, note: JournalEvent) -> None:
        if isinstance(note, WindowSplit) and note.reported.window in self._order.tiles:
            check_room(self._order.path.parent, note.reported.total * (_ROW_BYTES + self._target_bytes))
        self._journal.append(note)

    @property
    def _target_bytes(self) -> int:
        return _TARGET_BYTES.get(self._order.format, _COMPRESSED_BYTES)

    def _check_room(self) -> None:
        planned = sum(
            entry.reported.total
            for entry in self._journal.entries
            if isinstance(entry, WindowSplit) and entry.reported.window in self._order.tiles
        )
        written = sum(window.rows for window in self._journal.windows)
        missing = max(0, planned - written) * _ROW_BYTES + max(planned, written) * self._target_bytes
        check_room(self._order.path.parent, missing)

    def _appear(self, target: AtomicFile, report: FetchReport) -> None:
        order = self._order
        target.check()
        end = Mark(target.size, target.sha256)
        self._journal.check_place()  # else the rows of whoever came after us would be published
        replaces = self._journal.header.replaces
        self._check_target(replaces)  # else our manifest would be beside a file of somebody else
        check_sidecars(order.paths)
        windows = list(self._journal.windows)
        lines = b"".join(encode_quarantined(one) for window in windows for one in window.quarantined)
        rows = sum(window.rows for window in windows)
        if order.if_exists == "verify" and replaces is not None and rows < replaces.rows:
            self._journal.remove()
            raise FileWouldShrinkError(
                f"{order.path} stays as it is: it has {replaces.rows:,} calls, and the vendor now returns {rows:,} for"
                ' the same query; to replace it anyway, set if_exists="replace"'
            )
        quarantine = order.paths.quarantine
        reported = QuarantineFile(quarantine.name, hashlib.sha256(lines).hexdigest()) if lines else None
        assert self._key is not None  # noqa: S101 - since the journal was opened
        described = describe_file(
            order,
            self._journal.header,
            end=end,
            windows=windows,
            tiles=self._count_tiles(),
            report=report,
            quarantine=reported,
        )
        manifest = encode_manifest(described, self._key)
        self._journal.append(Built(target=end.sha256, manifest=hashlib.sha256(manifest).hexdigest()))
        self._journal.sync()
        if lines:
            _write(quarantine, lines)
        else:
            quarantine.unlink(missing_ok=True)
        _write(order.paths.manifest, manifest, mode=order.mode)
        target.publish(overwrite=order.if_exists == "replace" or replaces is not None)
        self._journal.remove()

    def _count_tiles(self) -> list[TileCount]:
        counts: dict[TimeWindow, int] = {}
        for entry in self._journal.entries:
            if isinstance(entry, WindowSplit):
                counts.setdefault(entry.reported.window, entry.reported.counted)
            elif isinstance(entry, Recounted):
                counts[entry.window] = entry.total
            elif isinstance(entry, WrittenWindow):
                counts.setdefault(entry.delivered.reported.window, entry.delivered.reported.counted)
        return [TileCount(window=tile, count=counts[tile]) for tile in self._order.tiles if tile in counts]


def _find_built(paths: ExportPaths) -> Built | None:
    # The manifest, too: what was there before may have the same rows.
    hashes = []
    for place in (paths.target, paths.manifest):
        if place.is_symlink() or not place.is_file():
            return None
        with place.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return Built(target=hashes[0], manifest=hashes[1])


def _write(path: Path, data: bytes, *, mode: int | None = None) -> None:
    file = AtomicFile(path, mode=mode)
    try:
        file.create()
        file.write(data)
        file.finish()
        file.publish(overwrite=True)
    finally:
        file.discard()
