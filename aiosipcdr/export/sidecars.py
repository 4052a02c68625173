"""Manifest and quarantine beside a target: what a new export may replace.

Only what is a manifest of that target, or a quarantine, is replaced or
deleted; any other file at their names is refused and stays as it is.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from aiosipcdr.errors import ExportConflictError, ExportError
from aiosipcdr.export.formats import has_format
from aiosipcdr.export.manifest import read_manifest
from aiosipcdr.export.paths import ENDINGS, IN_DATASET, MANIFEST, ExportPaths
from aiosipcdr.export.reading import open_plain, read_lines
from aiosipcdr.export.storage import check_ours, describe_stranger
from aiosipcdr.protocol.scanning import decode_broken
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import QuarantinedRecord

__all__ = ["check_sidecars", "encode_quarantined", "find_exports"]


class _QuarantineLine(msgspec.Struct, forbid_unknown_fields=True):
    window: TimeWindow | None
    page: int
    reason: str
    voice_id: str | None
    raw: str | None


def encode_quarantined(quarantined: QuarantinedRecord) -> bytes:
    """Return the line of a record in the quarantine."""
    line = _QuarantineLine(
        window=quarantined.window,
        page=quarantined.page,
        reason=quarantined.reason,
        voice_id=quarantined.voice_id,
        raw=decode_broken(quarantined.raw) or None,
    )
    return msgspec.json.encode(line) + b"\n"


def check_sidecars(paths: ExportPaths) -> None:
    """Refuse what is at the names of the manifest and the quarantine, unless an export made it.

    Raises:
        ExportConflictError: it is no manifest of the target, or no quarantine; it stays as it is.
    """
    for path, is_ours in ((paths.manifest, _is_manifest), (paths.quarantine, _is_quarantine)):
        check_ours(path)
        if path.exists() and not is_ours(path, paths.target):
            raise ExportConflictError(describe_stranger(path))


def _is_manifest(path: Path, target: Path) -> bool:
    try:
        return read_manifest(path).file == target.name
    except ExportError:
        return False


def _is_quarantine(path: Path, _: Path) -> bool:
    decoder = msgspec.json.Decoder(_QuarantineLine)
    try:
        with open_plain(path, follow_links=False) as file:
            return [decoder.decode(line).page for line in read_lines(file)] != []
    except (msgspec.DecodeError, ValueError, ExportError):
        return False


def find_exports(folder: Path) -> list[Path]:
    """Return the exported files in `folder` and below, by name: what has a manifest, and what should have one.

    A file that has the extension of a format counts, too: its manifest may have been lost.
    """
    found = {_find_target(path) for path in folder.rglob(f"*{MANIFEST}")}
    for path in folder.rglob("*"):
        if not path.name.endswith(ENDINGS) and path.is_file() and has_format(path):
            found.add(path)
    return sorted(found)


def _find_target(manifest: Path) -> Path:
    stem = manifest.name.removesuffix(MANIFEST)
    if stem.startswith(IN_DATASET):  # only the manifest has the whole name
        with suppress(ExportError):
            return manifest.with_name(Path(read_manifest(manifest).file).name)
    return manifest.with_name(stem)
