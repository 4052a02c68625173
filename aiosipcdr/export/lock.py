"""A lock on an open file that ends with the process that holds it, however that ends.

Must never wait for it, and must never leave anything to clean up.
"""

import errno
import os
import sys

__all__ = ["NO_LOCKS", "lock_file"]

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
