"""Manifest and quarantine beside a target: what a new export may replace.

Only what is a manifest of that target, or a quarantine, is replaced or
deleted; any other file at their names is refused and stays as it is.
"""

from pathlib import Path

import msgspec

from aiosipcdr.errors import ExportConflictError, ExportError
from aiosipcdr.export.formats import has_format
from aiosipcdr.export.manifest import read_manifest
from aiosipcdr.export.reading import open_plain, read_lines
from aiosipcdr.export.storage import check_ours, describe_stranger
from aiosipcdr.export.target import JOURNAL, MANIFEST, QUARANTINE, ROWS, beside
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


def check_sidecars(target: Path) -> None:
    """Refuse what is at the names of the manifest and the quarantine of `target`, unless an export made it.

    Raises:
        ExportConflictError: it is no manifest of `target`, or no quarantine; it stays as it is.
    """
    manifest, quarantine = beside(target, MANIFEST), beside(target, QUARANTINE)
    for path, is_ours in ((manifest, _is_manifest), (quarantine, _is_quarantine)):
        check_ours(path)
        if path.exists() and not is_ours(path, target):
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

    A file that has the ending of a format counts, too: its manifest may have been lost.
    """
    found = {path.with_name(path.name.removesuffix(MANIFEST)) for path in folder.rglob(f"*{MANIFEST}")}
    sidecars = (MANIFEST, QUARANTINE, JOURNAL, ROWS)
    for path in folder.rglob("*"):
        if not path.name.endswith(sidecars) and path.is_file() and has_format(path):
            found.add(path)
    return sorted(found)
