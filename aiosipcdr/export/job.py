"""One export, from the check of the target to the published file, resumable after any interruption.

Fetched windows go into the journal, and the target is built from the journal alone, so an interrupted and an
uninterrupted export give the same bytes. Never blocks the event loop.

Publishing: the file is written under a temporary name from rows whose hash is compared with that of their journal,
flushed and read back; the journal records its hash; quarantine and manifest are published, then the file, then the
journal is removed. If the process is killed in between, the next run continues at that step.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.lowlevel

from aiosipcdr.export.atomic import AtomicFile, check_folder, check_target
from aiosipcdr.export.existing import check_sidecars, inspect_existing
from aiosipcdr.export.filesystem import (
    check_free_space,
    check_mode,
    check_plain_file,
    check_unused,
    describe_existing,
    storage_errors,
)
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
from aiosipcdr.export.paths import ExportPaths, temporary_path
from aiosipcdr.export.quarantine import encode_quarantined
from aiosipcdr.export.render import RenderedWindow, render_window
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.spec import RELATIVE, ExportSpec
from aiosipcdr.export.verify import hash_file
from aiosipcdr.model.errors import ClientStateError, ExportConflictError, IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.report import CompleteWindow, FetchReport, WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Checkpoint, JournalEvent, Recounted, WindowSplit, first_stale_entry
from aiosipcdr.threads import run_in_thread
from aiosipcdr.wire.signing import mask_secrets

__all__ = ["ExportJob", "FileWouldShrinkError"]

T = TypeVar("T")

# Approximate bytes per call, for the check of free space before much is fetched.
_ROW_BYTES = 700
_TARGET_BYTES = {"ndjson": 700, "csv": 350}
_COMPRESSED_BYTES = 200
_MIN_FREE_BYTES = 1024 * 1024

# Rows per turn of the worker thread: a switch costs as much as a hundred calls, and a cancellation waits for a turn.
_CHUNK_BYTES = 2 * 1024 * 1024


class FileWouldShrinkError(ExportConflictError):
    """The existing file has more calls than the vendor now returns for the same query."""


class ExportJob:
    """An export as an async context manager: `checkpoint`, then `write` for each event, then `publish`."""

    def __init__(self, spec: ExportSpec) -> None:
        self._spec = spec
        self._journal = Journal(spec.paths.journal, spec.paths.rows, locks=spec.lock)
        self._is_closed = False
        self._key: DerivedKey | None = None
        self._process = 0
        self.published: FetchReport | None = None
        """The report of a file that is already finished, also by a run that was killed right after publishing."""
        self._replaces: Replaced | None = None
        self._is_inspected = False

    async def __aenter__(self) -> Self:
        """Check the target, and open the journal or create one."""
        self._process = os.getpid()
        try:
            await self._in_thread(self._open)
        except BaseException:  # a cancellation, too; the journal may be open by then
            await self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the journal; it stays if it holds anything."""
        await self._release()

    @property
    def provisional(self) -> list[WindowReport]:
        """The windows so young that calls may have been added to them since."""
        reported = (window.delivered.reported for window in self._journal.windows)
        return [report for report in reported if report.provisional]

    @property
    def effort(self) -> Effort:
        """Requests, retries and time of earlier runs."""
        return next((window.effort for window in reversed(list(self._journal.windows))), Effort())

    async def checkpoint(
        self, *, allow_incomplete: bool, changed: Collection[TimeWindow], strict: bool = False
    ) -> Checkpoint:
        """Return the progress of earlier runs, without the entries that must be read again: see `first_stale_entry`."""

        def recall() -> Checkpoint:
            self._forget_stale(allow_incomplete=allow_incomplete, changed=changed, strict=strict)
            self._check_free_space()
            return self._journal.checkpoint()

        return await self._in_thread(recall)

    async def forget_affected(self, error: IncompleteRangeError | OutOfTimeRangeError) -> None:
        """Forget the window of `error` and all later ones; or the whole plan, if nothing was read with it."""

        def forget() -> None:
            if isinstance(error, OutOfTimeRangeError):
                if not any(self._journal.windows):
                    self._journal.keep(0)
            elif error.window is not None:
                self._forget_stale(allow_incomplete=True, changed=[error.window])

        await self._in_thread(forget)

    async def write(self, entry: JournalEvent | CompleteWindow, report: FetchReport) -> None:
        """Record the outcome of a window in the journal, before the next one is requested."""
        if isinstance(entry, CompleteWindow):
            effort = Effort(requests=report.requests, retries=report.retries, elapsed=report.elapsed)
            spec = self._spec
            names = CurrencyNames(partial(mask_secrets, spec.credentials))
            rendered = await render_window(entry, spec.mask, as_lists=spec.as_lists, name_currency=names)
            await self._in_thread(lambda: self._write_window(rendered, effort))
        else:
            await self._in_thread(lambda: self._write_event(entry))

    async def publish(self, report: FetchReport) -> None:
        """Build the target from the journal and publish it."""
        # The bytes of NDJSON are the rows: that the file has their hash, when it is read back, proves both.
        are_rows = self._spec.format == "ndjson"
        known = self._journal.rows_file.mark.sha256 if are_rows else None
        target = AtomicFile(self._spec.path, mode=self._spec.mode, sha256=known)
        rows = self._journal.rows(verify=not are_rows)
        try:
            await self._in_thread(self._journal.begin_building)
            await self._build(target, rows, await self._in_thread(self._spec.open_encoder))
            # From here on a cancellation comes too late: the file is complete.
            await anyio.lowlevel.checkpoint()
            with anyio.CancelScope(shield=True):
                await self._in_thread(lambda: self._publish_files(target, report))
        finally:
            if self._is_same_process:
                with anyio.CancelScope(shield=True):
                    await self._in_thread(lambda: self._discard(target))

    @property
    def _is_same_process(self) -> bool:
        # A forked child has neither the threads nor the files of its parent.
        return self._process == os.getpid()

    async def _release(self) -> None:
        if not self._is_same_process:
            return
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._close)

    async def _build(self, target: AtomicFile, rows: Iterator[bytes], encoder: Encoder) -> None:
        def begin() -> None:
            target.create()
            target.write(encoder.begin())

        def write_chunk() -> bool:
            done = 0
            while done < _CHUNK_BYTES:
                if not (lines := next(rows, b"")):
                    return False
                target.write(encoder.encode(lines))
                done += len(lines)
            return True

        def finish() -> None:
            target.write(encoder.finish())
            target.finish()

        await self._in_thread(begin)
        while await self._in_thread(write_chunk):
            pass
        await self._in_thread(finish)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def mapped() -> T:
            with storage_errors(self._spec.path):
                if self._is_closed:
                    raise ClientStateError("the export has ended; start a new one")
                return work()

        return await run_in_thread(mapped)

    def _open(self) -> None:
        spec, journal = self._spec, self._journal
        spec.open_encoder()  # raises for a missing extra, before anything is fetched
        if spec.paths.manifest.parent != spec.path.parent:
            spec.paths.manifest.parent.mkdir(parents=True, exist_ok=True)
        check_folder(spec.paths)
        for path in spec.paths.sidecars:
            check_plain_file(path)
        if spec.restart and journal.open_to_remove():
            self._discard_leftovers()
            journal.remove()
        if not spec.paths.journal.exists():
            if self._find_published():
                return
            self._check_target(self._replaces)
            check_sidecars(spec.paths)
            check_unused(spec.paths.rows, *map(temporary_path, spec.paths.published))
            check_free_space(spec.path.parent, _MIN_FREE_BYTES)
        if spec.mode is not None:
            check_mode(spec.mode, spec.path)
        journal.open(self._begin, self._may_discard)
        if self.published is not None:
            journal.remove()
            return
        self._discard_leftovers()
        check_unused(*map(temporary_path, spec.paths.published))
        if journal.built is not None and journal.built == _find_built(spec.paths):
            self.published = read_manifest(spec.paths.manifest).as_report()
            journal.remove()
            return
        self._check_target(journal.header.replaces)
        check_sidecars(spec.paths)
        journal.recover()

    def _find_published(self) -> bool:
        # The existing file may be the finished one, or one to be replaced by the finished one.
        self._is_inspected = True
        if self._spec.if_exists != "verify":
            return False
        check_target(self._spec.path, overwrite=True)
        existing = inspect_existing(self._spec)
        if existing.state == "other":
            raise ExportConflictError(describe_existing(self._spec.path, existing.reason))
        if existing.manifest is not None:
            if existing.state == "finished" and not self._spec.is_outdated:
                self.published = existing.manifest.as_report()
                return True
            self._replaces = Replaced(sha256=existing.manifest.sha256, rows=existing.manifest.rows)
        return False

    def _check_target(self, replaces: Replaced | None) -> None:
        # Only the file that was inspected is replaced, and not by a smaller one; with a journal, that of its first run.
        path = self._spec.path
        may_replace = self._spec.if_exists == "replace" or (
            replaces is not None and path.is_file() and hash_file(path)[1] == replaces.sha256
        )
        check_target(path, may_replace)

    def _may_discard(self, header: Header, different: Collection[str]) -> bool:
        if self._spec.if_exists != "replace":
            # A range relative to the present differs each time, so its journal could never be finished.
            are_relative = header.settings.get(RELATIVE) == "yes" == self._spec.settings[RELATIVE]
            if not are_relative or not {*different} <= {"start", "end"}:
                return False
            self._find_published()  # raises before anything is discarded
        self._discard_leftovers()
        return True

    def _begin(self, of_journal: KeyDerivation | None) -> Header:
        # Files of one folder share a salt, so that checking a year of days takes one key derivation.
        spec = self._spec
        if of_journal is None and not self._is_inspected:  # a journal was there, but it is discarded
            self._find_published()
        derivation = of_journal or find_derivation(spec.paths.manifest, spec.credentials) or KeyDerivation.new()
        self._key = derive_key(spec.credentials, derivation)
        return Header(key=derivation, settings=spec.seal(self._key), tiles=spec.tiles, replaces=self._replaces)

    def _discard_leftovers(self) -> None:
        if self._journal.is_building:
            for path in self._spec.paths.published:
                AtomicFile(path).discard_leftover()

    def _discard(self, target: AtomicFile) -> None:
        target.discard()
        with suppress(OSError):  # the next run does it; the current error matters more
            self._journal.end_building()

    def _close(self) -> None:
        self._is_closed = True
        if self._journal.is_open and not self._journal.entries:
            self._journal.remove()
        elif self._journal.is_open:
            try:
                self._journal.sync()
            finally:
                self._journal.close()

    def _forget_stale(self, *, allow_incomplete: bool, changed: Collection[TimeWindow], strict: bool = False) -> None:
        entries = self._journal.checkpoint().entries
        stale = first_stale_entry(entries, allow_incomplete=allow_incomplete, changed=changed, strict=strict)
        if stale is not None:
            self._journal.keep(stale)

    def _write_window(self, rendered: RenderedWindow, effort: Effort) -> None:
        mark = self._journal.rows_file.append(rendered.rows)
        self._journal.append(rendered.as_entry(mark, effort), rendered.repeated)

    def _write_event(self, event: JournalEvent) -> None:
        if isinstance(event, WindowSplit) and event.reported.window in self._spec.tiles:
            check_free_space(self._spec.path.parent, event.reported.total * (_ROW_BYTES + self._target_bytes))
        self._journal.append(event)

    @property
    def _target_bytes(self) -> int:
        return _TARGET_BYTES.get(self._spec.format, _COMPRESSED_BYTES)

    def _check_free_space(self) -> None:
        planned = sum(
            entry.reported.total
            for entry in self._journal.entries
            if isinstance(entry, WindowSplit) and entry.reported.window in self._spec.tiles
        )
        written = sum(window.rows for window in self._journal.windows)
        missing = max(0, planned - written) * _ROW_BYTES + max(planned, written) * self._target_bytes
        check_free_space(self._spec.path.parent, missing)

    def _publish_files(self, target: AtomicFile, report: FetchReport) -> None:
        spec = self._spec
        try:
            target.check()
        except ExportConflictError:
            for _ in self._journal.rows():  # raises if it was the rows that were changed
                pass
            raise
        end = Mark(target.size, target.sha256)
        self._journal.check_unmoved()  # else the rows of a later export could be published
        replaces = self._journal.header.replaces
        self._check_target(replaces)  # else this manifest could end up beside a foreign file
        check_sidecars(spec.paths)
        windows = list(self._journal.windows)
        lines = b"".join(encode_quarantined(one) for window in windows for one in window.quarantined)
        rows = sum(window.rows for window in windows)
        if spec.if_exists == "verify" and replaces is not None and rows < replaces.rows:
            self._journal.remove()
            raise FileWouldShrinkError(
                f"{spec.path} was kept: it has {replaces.rows:,} calls, and the vendor now returns {rows:,} for the"
                ' same query; to replace it anyway, set if_exists="replace"'
            )
        quarantine = spec.paths.quarantine
        reported = QuarantineFile(quarantine.name, hashlib.sha256(lines).hexdigest()) if lines else None
        assert self._key is not None  # noqa: S101 - set when the journal was opened
        described = describe_file(
            spec,
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
        _write(spec.paths.manifest, manifest, mode=spec.mode)
        target.publish(overwrite=spec.if_exists == "replace" or replaces is not None)
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
        return [TileCount(window=tile, count=counts[tile]) for tile in self._spec.tiles if tile in counts]


def _find_built(paths: ExportPaths) -> Built | None:
    # The manifest is compared, too: an earlier file may have the same rows.
    hashes = []
    for path in (paths.target, paths.manifest):
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
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
