"""Manifest and quarantine beside a target: what a new export may replace.

Only what is a manifest of that target, or a quarantine, is replaced or
deleted; any other file at their names is refused and stays as it is.
"""

from pathlib import Path

import msgspec

from aiosipcdr.errors import ExportConflictError, ExportError
from aiosipcdr.export.manifest import read_manifest
from aiosipcdr.export.paths import ExportPaths
from aiosipcdr.export.reading import open_plain, read_lines
from aiosipcdr.export.storage import check_ours, describe_stranger
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import QuarantinedRecord

__all__ = ["check_sidecars", "encode_quarantined"]


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
        raw=quarantined.raw.decode("utf-8", "backslashreplace") or None,
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
