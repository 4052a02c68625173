"""The names of an export's files: the file that appears in the end, and its sidecars.

Sidecars (manifest, quarantine, journal) have names that no reader of a folder takes for data: none ends in the
extension of a format. Where a folder is to be read as one table, as with a file for each day in
`lake/dt={date}/calls.parquet` or `lake/{date}.parquet`, they also begin with an underscore: pyarrow, Spark and Hive
skip such names.
"""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ENDINGS", "IN_DATASET", "JOURNAL", "MANIFEST", "QUARANTINE", "ROWS", "ExportPaths", "find_paths", "part_of"]

JOURNAL: Final = ".journal"
ROWS: Final = ".journal.rows"
MANIFEST: Final = ".manifest.json"
QUARANTINE: Final = ".quarantine"
ENDINGS: Final = (MANIFEST, QUARANTINE, JOURNAL, ROWS)
IN_DATASET: Final = "_"
"""What sidecars begin with where readers of folders skip such names."""


_EXTENSIONS: Final = re.compile(r"(?<=.)\.(ndjson|jsonl|csv|parquet)(\.(gz|zst))?$", re.IGNORECASE)


class ExportPaths(NamedTuple):
    """Where the files of one export are.

    Attributes:
        target: The exported file.
        manifest: What was asked and proven.
        quarantine: Records without a readable id.
        journal: What was read so far, until the file is whole.
        rows: The rows of the journal.
    """

    target: Path
    manifest: Path
    quarantine: Path
    journal: Path
    rows: Path

    @classmethod
    def sidecar_path(cls, target: str | PathLike[str]) -> "ExportPaths":
        """Name the sidecars `<name>.manifest.json` and so on, in the folder of the target."""
        path = Path(target)
        return cls._in(path.parent, path.name, path)

    @classmethod
    def in_dataset(cls, target: str | PathLike[str]) -> "ExportPaths":
        """Name the sidecars `_<stem>.manifest.json` and so on, in the folder of the target.

        The stem is the name without the extensions of its format, so that files beside each other share no sidecar.
        """
        path = Path(target)
        return cls._in(path.parent, IN_DATASET + _EXTENSIONS.sub("", path.name), path)

    @classmethod
    def apart(cls, target: str | PathLike[str], folder: str | PathLike[str]) -> "ExportPaths":
        """Name the sidecars `<name>.manifest.json` and so on, in `folder`."""
        path = Path(target)
        return cls._in(Path(folder), path.name, path)

    @classmethod
    def _in(cls, folder: Path, stem: str, target: Path) -> "ExportPaths":
        return cls(target, *(folder / f"{stem}{ending}" for ending in ENDINGS))

    def absolute(self) -> "ExportPaths":
        """Return the same files by names that a change of the working folder does not move."""
        return ExportPaths(*(path.absolute() for path in self))

    @property
    def sidecars(self) -> Sequence[Path]:
        """All files but the target."""
        return self[1:]

    @property
    def published(self) -> Sequence[Path]:
        """The files that appear whole, by way of a part: target, manifest and quarantine."""
        return self[:3]


def find_paths(target: str | PathLike[str], sidecars: str | PathLike[str] | None = None) -> ExportPaths:
    """Return the files of an export that was made: those whose manifest is there.

    Args:
        target: The exported file.
        sidecars: The folder of its sidecars, if they are not in the folder of the file; where each day has a folder
            of its own, they are in folders of the same names there.
    """
    if sidecars is not None:
        folders = Path(target).absolute().parent.parts[1:]
        likely = (Path(sidecars, *folders[-number:]) for number in range(1, len(folders) + 1))
        places = [ExportPaths.apart(target, folder) for folder in (Path(sidecars), *likely)]
        return next((paths for paths in places if paths.manifest.exists()), places[0])
    usual, dataset = ExportPaths.sidecar_path(target), ExportPaths.in_dataset(target)
    return dataset if dataset.manifest.exists() and not usual.manifest.exists() else usual


def part_of(path: Path) -> Path:
    """Return where the file at `path` is while it is written: always the same name, so that the next run finds it."""
    return path.with_name(f".{path.name}.part")
