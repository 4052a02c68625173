"""File system operations: locks, private files, modes, flushing and free space.

A lock belongs to an open file and ends with its process; taking one never waits and leaves nothing to clean up.
"""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiosipcdr.model.errors import ExportConflictError, ExportError, StorageError

__all__ = [
    "LOCKS_UNSUPPORTED",
    "PRIVATE_FLAGS",
    "check_free_space",
    "check_mode",
    "check_plain_file",
    "check_private",
    "check_sole_file",
    "check_unused",
    "create_private",
    "describe_existing",
    "describe_foreign_file",
    "describe_kind",
    "is_private",
    "is_same_file",
    "lock_file",
    "open_private",
    "set_mode",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "write_all",
]

LOCKS_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""Errors of file systems without locks."""

_LOCK_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    # Beyond the end of every file: a locked byte cannot be read by other processes.
    _LOCK_OFFSET = 2**62

    def _lock(descriptor: int) -> None:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(descriptor: int) -> bool:
    """Lock the open file; return False if another process, or another descriptor of the file, holds the lock.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _LOCK_HELD:
            return False
        raise
    return True


# Follows no symbolic link; no child process inherits the descriptor.
PRIVATE_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0)  # do not wait for the writer of a pipe
_OWNER_ONLY = 0o600
_LINKED = "a hard link, so others could read or change it by its other name"

# Errors of file systems that cannot flush.
_SYNC_UNSUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_FOLDER_SYNC_UNSUPPORTED = {*_SYNC_UNSUPPORTED, errno.EACCES, errno.EPERM, errno.EBADF}

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere",
    errno.EDQUOT: "the disk quota is exceeded; free some space or write elsewhere",
    errno.EFBIG: "the file would exceed the size limit of this process or file system",
    errno.EROFS: "the file system is read-only; write elsewhere",
    errno.EACCES: "no permission to write there; change the permissions or write elsewhere",
    errno.EPERM: "no permission to write there; change the permissions or write elsewhere",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "too many levels of symbolic links",
    errno.ENOLCK: "the file system has no locks",
    errno.EIO: "the disk reported an I/O error",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert OSErrors raised in the block into ExportErrors about `path`."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise ExportConflictError(describe_existing(path)) from None
        reason = _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__
        raise StorageError(f"{path} cannot be written: {reason}") from None


def describe_existing(path: Path, reason: str = "") -> str:
    """Return the message about a target that must not be replaced, with the reason if one is given."""
    reason = f": {reason}" if reason else ""
    return f"{path} already exists{reason}; choose another name or replace it with overwrite=True"


def describe_foreign_file(path: Path) -> str:
    """Return the message about a file at the path of one of the export's own files that the export did not create."""
    return f"{path} was not created by this export, which needs that name; move the file away"


def check_unused(*paths: Path) -> None:
    """Refuse paths of the export's own files that are taken.

    Raises:
        ExportConflictError: Something is there.
    """
    for path in paths:
        with suppress(FileNotFoundError):
            path.lstat()
            raise ExportConflictError(describe_foreign_file(path))


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether both paths are the same file; symbolic links are not followed."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def describe_kind(mode: int) -> str | None:
    """Return the kind of a file that is not a plain file, from its `st_mode`; `None` for a plain file."""
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "not a plain file"


def check_plain_file(path: Path) -> None:
    """Refuse anything but a plain file at the path of one of the export's own files.

    Raises:
        ExportConflictError: It is a symbolic link, a folder, a pipe, ...
    """
    with suppress(FileNotFoundError):
        if kind := describe_kind(path.lstat().st_mode):
            raise _not_plain(path, kind)


def check_sole_file(path: Path) -> None:
    """Refuse anything but a plain file with one name, without opening it.

    Raises:
        ExportConflictError: It is no plain file, or has several hard links.
    """
    check_plain_file(path)
    if path.lstat().st_nlink > 1:
        raise _not_plain(path, _LINKED)


def _not_plain(path: Path, kind: str) -> ExportConflictError:
    return ExportConflictError(f"{path} is {kind}, but the export needs a plain file of that name; remove it")


def create_private(path: Path) -> int:
    """Create a file that only its owner can read and write; return its descriptor.

    Raises:
        FileExistsError: The name is taken.
        OSError: The file cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | PRIVATE_FLAGS, _OWNER_ONLY)
    if os.name != "nt":
        with suppress(OSError):  # some file systems force a mode; `is_private` reports the result
            os.fchmod(descriptor, _OWNER_ONLY)  # the umask may have removed too much
    return descriptor


def open_private(path: Path) -> int:
    """Open an existing file for reading and writing, without following a link; return its descriptor.

    The caller must check from the content that the export created the file before writing to it.

    Raises:
        FileNotFoundError: It does not exist.
        ExportConflictError: It is no plain file, or has several hard links.
        OSError: It cannot be opened.
    """
    check_plain_file(path)
    descriptor = os.open(path, os.O_RDWR | PRIVATE_FLAGS | _NONBLOCKING)
    status = os.fstat(descriptor)
    kind = describe_kind(status.st_mode)
    if kind is None and status.st_nlink > 1:
        kind = _LINKED
    if kind is not None:
        os.close(descriptor)
        raise _not_plain(path, kind)
    return descriptor


def is_private(descriptor: int) -> bool:
    """Return whether an open file belongs to this user and only this user can read and write it."""
    if os.name == "nt":
        return True
    owner, mode = _owner_and_mode(descriptor)
    return owner == os.geteuid() and mode == _OWNER_ONLY


def check_private(descriptor: int, path: Path, *, was_private: bool) -> None:
    """Refuse an open file whose owner or mode was changed since it was created.

    Some file systems force owner and mode. There `was_private`, read back by the creating run, is false; it is trusted
    only if a new file in the same folder is not private either.

    Raises:
        ExportConflictError: It was changed.
        OSError: No file can be created in the folder.
    """
    if is_private(descriptor):
        return
    if not was_private:
        probe, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            if not is_private(probe):
                return
        finally:
            os.close(probe)
            os.unlink(name)  # noqa: PTH108 - mkstemp returns a string
    raise ExportConflictError(
        f"{path} belongs to another user, or others can read or change it; remove it, or chown and chmod 600 it"
    )


def _owner_and_mode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_uid, stat.S_IMODE(status.st_mode)


def write_all(descriptor: int, rest: memoryview) -> None:
    """Write all of `rest`, in as many pieces as the disk accepts."""
    # A memoryview: the locals in a traceback would show the phone numbers in a bytes object.
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_file(descriptor: int) -> None:
    """Flush an open file, so that its content survives a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _SYNC_UNSUPPORTED:
            raise


def sync_folder(folder: Path) -> None:
    """Flush the entries of `folder`, so that new names survive a power cut."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise


def check_mode(mode: int, path: Path) -> None:
    """Refuse a mode that the file system of `path` does not keep, before anything is fetched.

    Raises:
        StorageError: It does not keep the mode.
        OSError: No file can be created in the folder.
    """
    probe, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        set_mode(probe, mode, path)
    finally:
        os.close(probe)
        os.unlink(name)  # noqa: PTH108 - mkstemp returns a string


def set_mode(descriptor: int, mode: int, path: Path) -> None:
    """Set the mode of an open file.

    Raises:
        StorageError: The file system forces another mode.
    """
    if os.name == "nt":
        return
    with suppress(OSError):
        os.fchmod(descriptor, mode)
    actual = _owner_and_mode(descriptor)[1]
    if actual != mode:
        raise StorageError(
            f"{path} cannot get the mode {mode:04o}: its file system forces {actual:04o}; leave the mode out"
        )


def check_free_space(folder: Path, needed: int) -> None:
    """Refuse an export for which the disk has too little free space; an unknown size counts as enough.

    Raises:
        StorageError: The disk of `folder` has less than `needed` bytes free.
    """
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return
    if total and free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:,.0f} MB free, and this export needs about {needed / 1e6:,.0f} MB;"
            " free some space or write elsewhere"
        )
