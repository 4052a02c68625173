"""A file that is written under a temporary name and published atomically.

Synchronous. An existing file is replaced only on request.
"""

import errno
import hashlib
import os
import stat
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from aiosipcdr.export.filesystem import (
    check_plain_file,
    create_private,
    describe_existing,
    describe_foreign_file,
    describe_kind,
    is_same_file,
    set_mode,
    storage_errors,
    sync_file,
    sync_folder,
    write_all,
)
from aiosipcdr.export.frames import read_bytes
from aiosipcdr.export.paths import ExportPaths, temporary_path
from aiosipcdr.model.errors import ExportConflictError, StorageError

__all__ = ["AtomicFile", "check_folder", "check_target", "publish_new"]

# Errors of file systems without hard links.
_LINKS_UNSUPPORTED = {
    *(errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES, errno.EINVAL)
}

_BLOCK = 1024 * 1024


def check_target(path: str | PathLike[str], overwrite: bool = False) -> None:  # noqa: FBT001, FBT002 - fixed
    """Refuse a target that cannot be written, before anything is fetched for it.

    Reads the file system: call it in a worker thread where the event loop must not wait for a slow disk.

    Raises:
        ExportConflictError: The target exists and must not be replaced.
        StorageError: The folder is missing or not writable.
    """
    target = Path(path)
    check_folder(ExportPaths.sidecar_path(target))
    with storage_errors(target):
        mode = _mode(target)
    if mode is not None:
        _check_replaceable(target, mode, overwrite=overwrite)


def check_folder(paths: ExportPaths) -> None:
    """Refuse a target whose folder, or the folder of its sidecars, is not writable.

    Raises:
        ExportConflictError: The target is itself a folder.
        StorageError: A folder is missing or not writable, or the name is too long.
    """
    target = paths.target
    if not target.name:
        raise ExportConflictError(f"{target} is a folder; add a file name")
    for path in (target, paths.manifest):
        with storage_errors(path):
            folder_mode = path.parent.stat().st_mode
        if not stat.S_ISDIR(folder_mode):
            raise StorageError(f"{path} cannot be written: {path.parent} is not a folder; choose another path")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise StorageError(
                f"{path} cannot be written: no permission to write in its folder; change the permissions or write"
                " elsewhere"
            )
    for path in paths:
        with storage_errors(target):
            _mode(temporary_path(path))  # raises if the name is too long


class AtomicFile:
    """A file being written: `create`, `write`, `finish`, `check`, `publish`; always `discard` at the end.

    Its bytes are hashed while they are written, unless `sha256` says before what their hash will be.

    Attributes:
        path: The final path.
        temporary: The path while the file is being written.
        size: Bytes written so far.
    """

    __slots__ = ("_checked", "_descriptor", "_digest", "_known", "_mode", "path", "size", "temporary")

    def __init__(self, path: Path, *, mode: int | None = None, sha256: str | None = None) -> None:
        self.path: Path = path
        self._mode = mode
        self.temporary: Path = temporary_path(path)
        self._checked: _Identity | None = None
        self._descriptor = -1
        self._digest = hashlib.sha256()
        self._known = sha256
        self.size: int = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes written so far, or the one that was given, in hexadecimal."""
        return self._known or self._digest.hexdigest()

    def create(self) -> None:
        """Create the temporary file.

        Raises:
            ExportConflictError: The temporary name is taken.
        """
        try:
            self._descriptor = create_private(self.temporary)
        except FileExistsError:
            raise ExportConflictError(describe_foreign_file(self.temporary)) from None

    def write(self, data: bytes) -> None:
        """Append `data`."""
        if self._known is None:
            self._digest.update(data)
        self.size += len(data)
        write_all(self._descriptor, memoryview(data))

    def finish(self) -> None:
        """Set the mode of the file, if one was given, and flush it to disk."""
        if self._mode is not None:
            set_mode(self._descriptor, self._mode, self.path)
        sync_file(self._descriptor)

    def check(self) -> None:
        """Read the file again and compare it with what was written, or with the hash that was given.

        Raises:
            ExportConflictError: The file was changed, removed or replaced.
        """
        self._checked = _Identity.of(os.fstat(self._descriptor))
        digest = hashlib.sha256()
        for offset in range(0, self._checked.size, _BLOCK):
            digest.update(read_bytes(self._descriptor, offset, _BLOCK))
        if (self._checked.size, digest.hexdigest()) != (self.size, self.sha256):
            raise self._changed()
        self._check_identity()

    def publish(self, *, overwrite: bool) -> None:
        """Move the finished file to its final path, atomically.

        Raises:
            ExportConflictError: The target exists and must not be replaced, or the file was changed.
        """
        if self._checked is None:
            self.check()
        self._check_identity()
        if overwrite:
            if (mode := _mode(self.path)) is not None:
                _check_replaceable(self.path, mode, overwrite=True)
            self.temporary.replace(self.path)
        else:
            publish_new(self.temporary, self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove the temporary file if it was created and not published; a foreign file at that name stays."""
        if self._descriptor < 0:
            return
        # The descriptor stays open until here, so that no other file can have the same inode.
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self.temporary.lstat()):
                self.temporary.unlink()
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            os.close(descriptor)

    def discard_leftover(self) -> None:
        """Remove the temporary file of a killed run; the journal says that this export created it.

        Raises:
            ExportConflictError: It is no plain file, or has another hard link than the target.
        """
        with suppress(FileNotFoundError):
            status = self.temporary.lstat()
            check_plain_file(self.temporary)
            if status.st_nlink > 1 and not is_same_file(self.temporary, self.path):
                raise ExportConflictError(describe_foreign_file(self.temporary))
            self.temporary.unlink()

    def _check_identity(self) -> None:
        self.path.parent.stat()  # raises if the folder is gone
        with suppress(FileNotFoundError):
            if self._checked == _Identity.of(self.temporary.lstat()):
                return
        raise self._changed()

    def _changed(self) -> ExportConflictError:
        return ExportConflictError(
            f"{self.temporary} was changed, removed or replaced during the export; run the export again"
        )


def publish_new(temporary: Path, path: Path) -> None:
    """Rename a file within its folder, unless the new name is taken.

    Raises:
        ExportConflictError: The name is taken.
    """
    # A link fails where the name is taken; a rename would replace the existing file.
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise ExportConflictError(describe_existing(path)) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _LINKS_UNSUPPORTED:
            raise
    else:
        temporary.unlink(missing_ok=True)
        return
    # No hard links here. Reserving the name with an empty file would exclude concurrent writers, but leave that file
    # behind if this process is killed before the replacement.
    if _mode(path) is not None:
        raise ExportConflictError(describe_existing(path))
    temporary.replace(path)


class _Identity(NamedTuple):
    # Identity and modification state of a file.
    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_Identity":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _mode(path: Path) -> int | None:
    # The mode of `path` itself, symbolic links not followed; None if there is nothing.
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _check_replaceable(path: Path, mode: int, *, overwrite: bool) -> None:
    if kind := describe_kind(mode):
        raise ExportConflictError(f"{path} is {kind}, which is never replaced; choose another name")
    if not overwrite:
        raise ExportConflictError(describe_existing(path))
