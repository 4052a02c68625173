"""A file that appears whole under its name, or not at all.

Writes to a private temporary file beside the target, then publishes it.  Must
never truncate or replace a file that it was not told to replace, never block
the event loop, and never leave its temporary file behind.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from aiosipcdr.errors import ExportConflictError, ExportError, StorageError
from aiosipcdr.export.encoders import Encoder
from aiosipcdr.protocol.records import CallDetailRecord

__all__ = ["FileTarget", "check_target"]

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_FLAGS = _NEW_FILE | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_OWNER_ALONE = 0o600
# What a file system answers that knows no hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# What one answers that cannot flush a folder.
_NO_FOLDER_SYNC = {
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EACCES,
    errno.EPERM,
    errno.EBADF,
}

_REASONS = {
    errno.ENOSPC: "the disk is full: free some room, or write elsewhere",
    errno.EDQUOT: "the disk quota is used up: free some room, or write elsewhere",
    errno.EFBIG: "the file would be larger than this process or file system allows",
    errno.EROFS: "the file system is read-only: write elsewhere",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.ENOENT: "there is no such folder: create it first",
    errno.ENOTDIR: "that is not a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk failed",
}


def check_target(path: str | PathLike[str], overwrite: bool = False) -> None:  # noqa: FBT001, FBT002 - fixed
    """Refuse a target that cannot become the file, before anything is fetched for it.

    Asks the file system a few quick questions: call it in a worker thread
    where the event loop must not wait for a slow disk.

    Raises:
        ExportConflictError: something is there that must not be replaced.
        StorageError: the folder is missing or does not take files.
    """
    target = Path(path)
    if not target.name:
        msg = f"{target} is a folder: name a file in it"
        raise ExportConflictError(msg)
    try:
        mode = _mode(target)
        folder_mode = target.parent.stat().st_mode
    except OSError as error:
        raise _export_error(error, target) from None
    if mode is not None:
        _check_replaceable(target, mode, overwrite=overwrite)
    if not stat.S_ISDIR(folder_mode):
        msg = f"{target} cannot be written: {target.parent} is not a folder"
        raise StorageError(msg)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        msg = f"{target} cannot be written: no permission to write in its folder"
        raise StorageError(msg)


class FileTarget:
    """An async context manager: `write` batches in it; leaving it without error publishes.

    What stands in the file is up to `encoder`, which is used up by it.

    Everything that touches the disk, and the encoding, runs in a worker thread.
    """

    __slots__ = ("_descriptor", "_encoder", "_overwrite", "_path", "_temporary")

    def __init__(self, path: str | PathLike[str], encoder: Encoder, *, overwrite: bool = False) -> None:
        """Remember the target; nothing is touched yet."""
        self._encoder = encoder
        # Made absolute: a change of the working folder while we write must not move the target.
        self._path = Path(path).absolute()
        self._overwrite = overwrite
        self._temporary = self._path.parent / f".aiosipcdr-{secrets.token_hex(8)}.tmp"
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        """Check the target and create the temporary file."""
        try:
            await self._in_thread(self._create)
        except BaseException:
            await self._discard()
            raise
        return self

    async def write(self, records: Sequence[CallDetailRecord]) -> None:
        """Append `records`."""
        if records:
            await self._in_thread(lambda: self._append(memoryview(self._encoder.encode(records))))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Publish the file, or remove every trace of it when an error passes through."""
        try:
            if kind is None:
                # A cancellation after this line comes too late: the file is whole.
                await anyio.lowlevel.checkpoint()
                with anyio.CancelScope(shield=True):
                    await self._in_thread(self._publish)
        finally:
            await self._discard()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await anyio.to_thread.run_sync(work)
        except ExportError:
            raise
        except OSError as error:
            raise _export_error(error, self._path) from None

    def _create(self) -> None:
        check_target(self._path, self._overwrite)
        self._descriptor = os.open(self._temporary, _FLAGS, _OWNER_ALONE)
        self._append(memoryview(self._encoder.begin()))

    def _append(self, rest: memoryview) -> None:
        # A view: a traceback may show what stands in a frame, and bytes would show numbers.
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _publish(self) -> None:
        self._append(memoryview(self._encoder.finish()))
        os.fsync(self._descriptor)
        self._close()
        if self._overwrite:
            if (mode := _mode(self._path)) is not None:
                _check_replaceable(self._path, mode, overwrite=True)
            self._temporary.replace(self._path)
        else:
            self._publish_new()
        _sync_folder(self._path.parent)

    def _publish_new(self) -> None:
        # A link fails where the name is taken; a rename would replace what is there.
        try:
            os.link(self._temporary, self._path, follow_symlinks=False)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LINKS:
                raise
        else:
            self._temporary.unlink()
            return
        # No hard links here: take the name with an empty file of our own, then replace that.
        os.close(os.open(self._path, _FLAGS, _OWNER_ALONE))
        self._temporary.replace(self._path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def _discard(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._remove)

    def _remove(self) -> None:
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._temporary.unlink()


def _mode(path: Path) -> int | None:
    # What stands at `path` itself, a link not followed; None: nothing.
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _check_replaceable(path: Path, mode: int, *, overwrite: bool) -> None:
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "not a plain file"
        msg = f"{path} is {what} and is never replaced: choose another name"
        raise ExportConflictError(msg)
    if not overwrite:
        raise ExportConflictError(_exists(path))


def _exists(path: Path) -> str:
    return f"{path} exists already: choose another name, or replace it with overwrite=True"


def _sync_folder(folder: Path) -> None:
    # So that the new name outlives a power cut too.
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _export_error(error: OSError, path: Path) -> ExportError:
    if isinstance(error, FileExistsError):
        return ExportConflictError(_exists(path))
    reason = _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__
    return StorageError(f"{path} cannot be written: {reason}")
