"""Exported files as the source of a command: files, folders and patterns, with what their manifests certify.

A file that differs from its manifest is refused: numbers of it would carry a proof that does not hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from aiosipcdr.cli.exit_codes import CommandError
from aiosipcdr.export import Manifest, find_exports, find_paths, read_manifest
from aiosipcdr.export.formats import has_format
from aiosipcdr.export.overlaps import find_overlaps
from aiosipcdr.export.verify import hash_file
from aiosipcdr.model.report import describe_unreadable

__all__ = ["ExportedFile", "describe_proofs", "find_files", "overlapping"]


@dataclass(frozen=True)
class ExportedFile:
    """A file, and its manifest if it has one."""

    path: Path
    manifest: Manifest | None

    @property
    def certified(self) -> bool | None:
        """What the manifest says; `None` without one."""
        return None if self.manifest is None else self.manifest.certified


def find_files(paths: Sequence[Path], sidecars: Path | None = None) -> list[ExportedFile]:
    """Return the files that `paths` name, each once: files, folders with their subfolders, and patterns.

    Args:
        paths: As given; a pattern such as `2026-10-*.parquet` is expanded here, too, for shells that do not.
        sidecars: The folder of the manifests, if they are not beside the files.

    Raises:
        CommandError: A path names nothing, or a file differs from its manifest.
        ExportError: A manifest cannot be read.
    """
    found = {path.resolve(): path for given in paths for path in _expand(given)}
    return [_inspect(path, sidecars) for path in found.values()]


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        files = [file for file in find_exports(path) if file.is_file()]
    elif path.exists() or not has_magic(str(path)):
        files = [path]
    else:
        names = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [Path(name) for name in names if has_format(Path(name))]
    if not files:
        raise CommandError(f"{path} names no exported file; check the path")
    for file in files:
        if not file.exists():
            raise CommandError(f"{file} does not exist; check the path")
        if not has_format(file):
            raise CommandError(f"{file} is no exported file; use .ndjson, .csv, .parquet or .xlsx")
    yield from files


def _inspect(path: Path, sidecars: Path | None) -> ExportedFile:
    manifest_path = find_paths(path, sidecars).manifest
    if not manifest_path.exists():
        return ExportedFile(path, None)
    manifest = read_manifest(manifest_path)
    if hash_file(path) != (manifest.bytes, manifest.sha256):
        raise CommandError(
            f"{path} differs from its manifest: it was changed after it was exported; export it again, or remove"
            f" {manifest_path.name} to use it without a proof"
        )
    return ExportedFile(path, manifest)


def describe_proofs(files: Sequence[ExportedFile]) -> Iterator[str]:
    """Yield what people must know about the proofs of `files`, one sentence each."""
    overlaps = overlapping(files)
    certified = sum(file.certified is True for file in files)
    for file in files:
        if file.manifest is None:
            yield f"{file.path} has no manifest: whether its calls are complete is not known"
        elif not file.certified:
            yield f"{file.path} is NOT certified: {file.manifest.as_report()}"
        elif unreadable := describe_unreadable(file.manifest.as_report()):
            yield f"{file.path}: {unreadable}"
    if certified == len(files) and not overlaps:
        yield f"{certified:,} file{'s' if certified > 1 else ''}, certified complete"
    for one, other, _ in overlaps:
        yield f"{one.path} and {other.path} cover the same time: their calls may be counted twice"


def overlapping(files: Sequence[ExportedFile]) -> list[tuple[ExportedFile, ExportedFile, bool | None]]:
    """Return the pairs that may hold the same calls, and whether both are of one account, see `find_overlaps`."""
    by_manifest = {id(file.manifest): file for file in files}
    found = find_overlaps([file.manifest for file in files if file.manifest is not None])
    return [(by_manifest[id(one)], by_manifest[id(other)], is_same) for one, other, is_same in found]
