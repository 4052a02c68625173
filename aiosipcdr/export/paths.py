"""The paths of an export: the target and its sidecars, also of the file of a day.

Sidecars (manifest, quarantine, journal) never have the extension of a format, so that readers of a folder do not take
them for data. If a folder is read as one table, as `lake/dt={date}/calls.parquet` or `lake/{date}.parquet`, they also
begin with an underscore: pyarrow, Spark and Hive skip such names.
"""

import re
from collections.abc import Sequence
from datetime import date
from os import PathLike, fspath
from pathlib import Path
from typing import Final, NamedTuple

from aiosipcdr.model.windows import Day

__all__ = [
    "DATASET_PREFIX",
    "JOURNAL",
    "MANIFEST",
    "PLACEHOLDER",
    "QUARANTINE",
    "ROWS",
    "SUFFIXES",
    "DayFile",
    "ExportPaths",
    "day_paths",
    "find_paths",
    "temporary_path",
]

JOURNAL: Final = ".journal"
ROWS: Final = ".journal.rows"
MANIFEST: Final = ".manifest.json"
QUARANTINE: Final = ".quarantine"
SUFFIXES: Final = (MANIFEST, QUARANTINE, JOURNAL, ROWS)
DATASET_PREFIX: Final = "_"
"""The prefix of sidecars in datasets, whose readers skip such names."""
PLACEHOLDER: Final = "{date}"
"""The placeholder for the date in the path of a day."""


_EXTENSIONS: Final = re.compile(r"(?<=.)\.(ndjson|jsonl|csv|parquet|xlsx)(\.(gz|zst))?$", re.IGNORECASE)


class ExportPaths(NamedTuple):
    """The paths of one export.

    Attributes:
        target: The exported file.
        manifest: The query, the proof and the hash of the file.
        quarantine: Records without a readable id.
        journal: Progress until the file is published.
        rows: The rows of the journal.
    """

    target: Path
    manifest: Path
    quarantine: Path
    journal: Path
    rows: Path

    @classmethod
    def sidecar_path(cls, target: str | PathLike[str]) -> "ExportPaths":
        """Return the paths with sidecars `<name>.manifest.json` and so on, in the folder of the target."""
        path = Path(target)
        return cls._in(path.parent, path.name, path)

    @classmethod
    def in_dataset(cls, target: str | PathLike[str]) -> "ExportPaths":
        """Return the paths with sidecars `_<stem>.manifest.json` and so on, in the folder of the target.

        The stem is the name without the extensions of its format.
        """
        path = Path(target)
        return cls._in(path.parent, DATASET_PREFIX + _EXTENSIONS.sub("", path.name), path)

    @classmethod
    def apart(cls, target: str | PathLike[str], folder: str | PathLike[str]) -> "ExportPaths":
        """Return the paths with sidecars `<name>.manifest.json` and so on, in `folder`."""
        path = Path(target)
        return cls._in(Path(folder), path.name, path)

    @classmethod
    def _in(cls, folder: Path, stem: str, target: Path) -> "ExportPaths":
        return cls(target, *(folder / f"{stem}{suffix}" for suffix in SUFFIXES))

    def absolute(self) -> "ExportPaths":
        """Return the paths as absolute ones, which a change of the working directory does not affect."""
        return ExportPaths(*(path.absolute() for path in self))

    @property
    def sidecars(self) -> Sequence[Path]:
        """All paths but the target."""
        return self[1:]

    @property
    def published(self) -> Sequence[Path]:
        """The files that are published atomically: target, manifest and quarantine."""
        return self[:3]


class DayFile(NamedTuple):
    """A day of a time zone, from its first instant to the first of the next day, and its files."""

    day: Day
    paths: ExportPaths


def day_paths(path: str | PathLike[str], day: date, sidecars: str | PathLike[str] | None = None) -> ExportPaths:
    """Return the paths of a day's file and its sidecars.

    Args:
        path: The path, with `{date}` anywhere in it. Without the placeholder the date is inserted before the extension:
            `calls.csv.gz` becomes `calls-2026-10-01.csv.gz`, with its sidecars under their usual names.
        day: The date.
        sidecars: The folder of the sidecars. If each day has its own folder, it has one there, too.
    """
    text = fspath(path)
    in_dataset = PLACEHOLDER in text
    if not in_dataset:
        name = Path(text).name
        dots = name[: len(name) - len(name.lstrip("."))]  # leading dots of a hidden file
        stem, *extensions = name.lstrip(".").split(".")
        text = str(Path(text).with_name(dots + ".".join([f"{stem}-{PLACEHOLDER}", *extensions])))
    target = Path(text.replace(PLACEHOLDER, str(day)))
    dated = [number for number, part in enumerate(Path(text).parent.parts) if PLACEHOLDER in part]
    if sidecars is None:
        return ExportPaths.in_dataset(target) if in_dataset else ExportPaths.sidecar_path(target)
    folder = Path(fspath(sidecars).replace(PLACEHOLDER, str(day)))
    return ExportPaths.apart(target, folder.joinpath(*target.parent.parts[dated[0] :]) if dated else folder)


def find_paths(target: str | PathLike[str], sidecars: str | PathLike[str] | None = None) -> ExportPaths:
    """Return the paths of an existing export: those whose manifest exists.

    Args:
        target: The exported file.
        sidecars: The folder of its sidecars, unless they are in the folder of the file. If each day has its own folder,
            the sidecars are in folders of the same names there.
    """
    if sidecars is not None:
        folders = Path(target).absolute().parent.parts[1:]
        likely = (Path(sidecars, *folders[-number:]) for number in range(1, len(folders) + 1))
        candidates = [ExportPaths.apart(target, folder) for folder in (Path(sidecars), *likely)]
        return next((paths for paths in candidates if paths.manifest.exists()), candidates[0])
    usual, dataset = ExportPaths.sidecar_path(target), ExportPaths.in_dataset(target)
    return dataset if dataset.manifest.exists() and not usual.manifest.exists() else usual


def temporary_path(path: Path) -> Path:
    """Return the temporary path of a file being written; always the same, so that the next run finds it."""
    return path.with_name(f".{path.name}.part")
