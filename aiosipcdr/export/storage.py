"""What a disk answers, and what an export makes of it.

Every error of the file system leaves as one of ours, with what to do about it.
Must never decide what is written.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiosipcdr.errors import ExportConflictError, ExportError, StorageError

__all__ = [
    "PRIVATE_FLAGS",
    "check_ours",
    "check_room",
    "describe_kind",
    "exists_already",
    "open_ours",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "write_all",
]

# No link is followed, no child process inherits it.
PRIVATE_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_OWNER_ALONE = 0o600

# What a file system answers that cannot flush.
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_FOLDER_SYNC = {*_NO_SYNC, errno.EACCES, errno.EPERM, errno.EBADF}

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
    errno.ELOOP: "the links on the way there lead nowhere",
    errno.ENOLCK: "its file system knows no locks, so two exports could not be told apart: write elsewhere",
    errno.EIO: "the disk failed",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the file system raises in the block into our errors, about `path`."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise ExportConflictError(exists_already(path)) from None
        reason = _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__
        raise StorageError(f"{path} cannot be written: {reason}") from None


def exists_already(path: Path) -> str:
    """Return the sentence about a target that must not be replaced."""
    return f"{path} exists already: choose another name, or replace it with overwrite=True"


def describe_kind(mode: int) -> str | None:
    """Say what stands at a place, by its `st_mode`; nothing of a plain file."""
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "not a plain file"


def check_ours(path: Path) -> None:
    """Refuse what stands where a file of our own belongs, unless it is a plain file.

    Raises:
        ExportConflictError: it is a link, a folder, a pipe, ...
    """
    with suppress(FileNotFoundError):
        if what := describe_kind(path.lstat().st_mode):
            raise ExportConflictError(f"{path} is {what}, where a file of our own belongs: remove it")


def open_ours(path: Path, flags: int) -> int:
    """Open a file of our own, readable by its owner alone; return its descriptor.

    Raises:
        ExportConflictError: see `check_ours`; or it is somebody else's.
        OSError: it cannot be opened.
    """
    check_ours(path)
    descriptor = os.open(path, flags | PRIVATE_FLAGS, _OWNER_ALONE)
    if os.name != "nt":
        if os.fstat(descriptor).st_uid != os.geteuid():
            os.close(descriptor)
            raise ExportConflictError(f"{path} belongs to somebody else, where a file of our own belongs: remove it")
        os.fchmod(descriptor, _OWNER_ALONE)  # it may have been there, and a umask may have taken too much
    return descriptor


def write_all(descriptor: int, rest: memoryview) -> None:
    """Write all of `rest`, in as many pieces as the disk takes it."""
    # A view: a traceback may show what stands in a frame, and bytes would show numbers.
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_file(descriptor: int) -> None:
    """Make what was written to an open file outlive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` outlive a power cut."""
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


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot end well.

    Raises:
        StorageError: the disk of `folder` has less than `needed` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:,.0f} MB free, and this export needs about {needed / 1e6:,.0f} MB:"
            " free some room, or write elsewhere"
        )
