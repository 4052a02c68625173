"""A lock on an open file that ends with the process that holds it, however that ends.

Must never wait for it, and must never leave anything to clean up.
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
    "NO_LOCKS",
    "PRIVATE_FLAGS",
    "check_mode",
    "check_ours",
    "check_private",
    "check_room",
    "check_unused",
    "create_ours",
    "describe_kind",
    "describe_stranger",
    "exists_already",
    "is_private",
    "is_same_file",
    "lock_file",
    "open_ours",
    "set_mode",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "write_all",
]

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What a file system answers that knows no locks."""

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    # Beyond all that is ever written: a locked byte cannot be read by others.
    _PLACE = 2**62

    def _lock(descriptor: int) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(descriptor: int) -> bool:
    """Lock the open file; return False if another process, or another opening of the file, has it.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


# No link is followed, no child process inherits it.
PRIVATE_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # for the writer of a pipe that took the name meanwhile
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
    errno.ENOLCK: "its file system knows no locks",
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


def describe_stranger(path: Path) -> str:
    """Return the sentence about a file where one of our own belongs, which was not made by this export."""
    return f"{path} was not made by this export, which needs the name, and stays as it is: move it away"


def check_unused(*paths: Path) -> None:
    """Refuse names of our own files that are taken.

    Raises:
        ExportConflictError: something is there.
    """
    for path in paths:
        with suppress(FileNotFoundError):
            path.lstat()
            raise ExportConflictError(describe_stranger(path))


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether both are names of one file; links are not followed."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


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


def create_ours(path: Path) -> int:
    """Create a file that only its owner can read and write; return its descriptor.

    Raises:
        FileExistsError: the name is taken, by whatever it is.
        OSError: it cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | PRIVATE_FLAGS, _OWNER_ALONE)
    if os.name != "nt":
        with suppress(OSError):  # some file systems force a mode; `is_private` says what came of it
            os.fchmod(descriptor, _OWNER_ALONE)  # a umask may have taken too much
    return descriptor


def open_ours(path: Path) -> int:
    """Open an existing file for reading and writing, without following a link; return its descriptor.

    Whether it is ours is for its content to prove: nothing may be written to it before.

    Raises:
        FileNotFoundError: there is none.
        ExportConflictError: it is no plain file, or has a second name.
        OSError: it cannot be opened.
    """
    check_ours(path)
    descriptor = os.open(path, os.O_RDWR | PRIVATE_FLAGS | _NO_WAITING)
    status = os.fstat(descriptor)
    what = describe_kind(status.st_mode)
    if what is None and status.st_nlink > 1:
        what = "a hard link, by whose other name others could read or change it"
    if what is not None:
        os.close(descriptor)
        raise ExportConflictError(f"{path} is {what}, where a file of our own belongs: remove it")
    return descriptor


def is_private(descriptor: int) -> bool:
    """Return whether an open file belongs to this user and only this user can read and write it."""
    if os.name == "nt":
        return True
    owner, mode = _owner_and_mode(descriptor)
    return owner == os.geteuid() and mode == _OWNER_ALONE


def check_private(descriptor: int, path: Path, *, was_private: bool) -> None:
    """Refuse an open file of ours whose owner or mode was changed since it was created.

    Some file systems force owner and mode.  There `was_private`, which the creating run read back, is false; it is
    believed only where a new file in the same folder is not private either.

    Raises:
        ExportConflictError: it was changed.
        OSError: no file can be created in the folder.
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
            os.unlink(name)  # noqa: PTH108 - a text, as mkstemp returns it
    raise ExportConflictError(
        f"{path} belongs to somebody else, or others can read or change it: remove it, or chown and chmod 600 it"
    )


def _owner_and_mode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_uid, stat.S_IMODE(status.st_mode)


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


def check_mode(mode: int, path: Path) -> None:
    """Refuse a mode that the file system of `path` does not keep, before anything is fetched.

    Raises:
        StorageError: it does not.
        OSError: no file can be created in the folder.
    """
    probe, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        set_mode(probe, mode, path)
    finally:
        os.close(probe)
        os.unlink(name)  # noqa: PTH108 - a text, as mkstemp returns it


def set_mode(descriptor: int, mode: int, path: Path) -> None:
    """Give an open file of ours its mode.

    Raises:
        StorageError: its file system forces another one.
    """
    if os.name == "nt":
        return
    with suppress(OSError):
        os.fchmod(descriptor, mode)
    actual = _owner_and_mode(descriptor)[1]
    if actual != mode:
        raise StorageError(f"{path} cannot get the mode {mode:04o}: its file system forces {actual:04o}; leave it out")


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot end well; a file system that does not report its size is believed to have room.

    Raises:
        StorageError: the disk of `folder` has less than `needed` bytes free.
    """
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return
    if total and free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:,.0f} MB free, and this export needs about {needed / 1e6:,.0f} MB:"
            " free some room, or write elsewhere"
        )
