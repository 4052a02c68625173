"""Lock of a table in a file or folder: a file beside it that one run at a time holds locked."""

import os
from pathlib import Path

from aiosipcdr.export.filesystem import LOCKS_UNSUPPORTED, create_private, lock_file, open_private, storage_errors
from aiosipcdr.model.errors import ExportConflictError
from aiosipcdr.sync.targets.location import Location
from aiosipcdr.sync.targets.sql import describe_other_run

__all__ = ["TableLock"]


class TableLock:
    """Held from `take` to `release`, or to the end of the process, however it ends. The file stays."""

    def __init__(self, location: Location) -> None:
        """Choose the file: `calls.db.calls.lock` for the table calls in calls.db."""
        path = Path(location.path).resolve()  # a link has the lock of its target
        self.path: Path = path.with_name(f"{path.name}.{location.table.lower()}.lock")
        self._location = location
        self._descriptor: int | None = None

    def take(self) -> None:
        """Lock the table; a file system without locks is accepted, as each transaction checks the table's version.

        Raises:
            ExportConflictError: Another run holds the lock.
            StorageError: The file cannot be created.
        """
        with storage_errors(self.path):
            try:
                descriptor = create_private(self.path)
            except FileExistsError:
                descriptor = open_private(self.path)
            self._descriptor = descriptor
            try:
                is_free = lock_file(descriptor)
            except OSError as error:
                if error.errno not in LOCKS_UNSUPPORTED:
                    raise
                is_free = True
        if not is_free:
            self.release()
            raise ExportConflictError(describe_other_run(self._location))

    def release(self) -> None:
        """Unlock the table; may be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
