"""The state of an existing target and its sidecars before an export.

Only a manifest of the same target or a quarantine file is replaced or deleted; any other file at their names is refused
and left unchanged.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from aiosipcdr.export.filesystem import check_plain_file, describe_foreign_file
from aiosipcdr.export.formats import has_format
from aiosipcdr.export.keys import PSEUDONYMS, derive_key
from aiosipcdr.export.manifest import Manifest, compare_owner, read_manifest
from aiosipcdr.export.paths import DATASET_PREFIX, MANIFEST, SUFFIXES, ExportPaths
from aiosipcdr.export.quarantine import is_quarantine
from aiosipcdr.export.spec import ExportSpec
from aiosipcdr.export.verify import check_quarantine, hash_file
from aiosipcdr.model.errors import ExportConflictError, ExportError
from aiosipcdr.model.report import FetchReport

__all__ = ["ExistingFile", "check_sidecars", "find_exports", "inspect_existing"]


def check_sidecars(paths: ExportPaths) -> None:
    """Refuse foreign files at the paths of the manifest and the quarantine.

    Raises:
        ExportConflictError: A file there is no manifest of the target, or no quarantine file.
    """
    for path, is_valid in ((paths.manifest, _is_manifest), (paths.quarantine, is_quarantine)):
        check_plain_file(path)
        if path.exists() and not is_valid(path, paths.target):
            raise ExportConflictError(describe_foreign_file(path))


def _is_manifest(path: Path, target: Path) -> bool:
    try:
        return read_manifest(path).file == target.name
    except ExportError:
        return False


def find_exports(folder: Path) -> list[Path]:
    """Return the exported files in `folder` and below, sorted by path.

    Includes every file with a manifest, and every file with the extension of a format: its manifest may be lost.
    """
    found = {_find_target(path) for path in folder.rglob(f"*{MANIFEST}")}
    for path in folder.rglob("*"):
        if not path.name.endswith(SUFFIXES) and path.is_file() and has_format(path):
            found.add(path)
    return sorted(found)


def _find_target(manifest: Path) -> Path:
    stem = manifest.name.removesuffix(MANIFEST)
    if stem.startswith(DATASET_PREFIX):  # the full name is only in the manifest
        with suppress(ExportError):
            return manifest.with_name(Path(read_manifest(manifest).file).name)
    return manifest.with_name(stem)


class ExistingFile(NamedTuple):
    """The state of a target.

    Attributes:
        state: "absent"; "finished": the final result of the same query; "unfinished": a result of the same query that
            is provisional, incomplete or, with `strict`, contains something that could not be read; "other": any
            other file.
        manifest: The manifest, unless the state is "absent" or "other".
        reason: Why the state is "other".
    """

    state: Literal["absent", "finished", "unfinished", "other"]
    manifest: Manifest | None = None
    reason: str = ""


def inspect_existing(spec: ExportSpec) -> ExistingFile:
    """Compare the existing target of `spec` with the query; reads the whole file to hash it.

    May derive a key: call it in a worker thread.
    """
    paths = spec.paths
    if not paths.target.exists():
        return ExistingFile("absent")
    if not paths.manifest.exists():
        return ExistingFile("other", reason="it has no manifest")
    try:
        manifest = read_manifest(paths.manifest)
        if different := _find_different(spec, manifest):
            return ExistingFile("other", reason=f"it is the result of another query ({different})")
        if hash_file(paths.target) != (manifest.bytes, manifest.sha256):
            return ExistingFile("other", reason="it was changed after it was written")
        if problems := check_quarantine(paths.quarantine, manifest):
            return ExistingFile("other", reason="; ".join(problems))
    except ExportError as error:
        return ExistingFile("other", reason=str(error))
    report = manifest.report
    is_refused = spec.strict and bool(report.quarantined or report.faulty_fields)
    return ExistingFile("finished" if _is_final(report) and not is_refused else "unfinished", manifest)


def _find_different(spec: ExportSpec, manifest: Manifest) -> str:
    before, now = manifest.query, spec.query
    pairs = {
        "format": (manifest.format, spec.format),
        "spreadsheet": (manifest.spreadsheet, spec.spreadsheet),
        "tz": (manifest.tz, spec.tz),
        "numbers": (manifest.numbers, spec.numbers),
        "start": (before.start, now.start),
        "end": (before.end, now.end),
        "sip_group_name": (before.sip_group_name, now.sip_group_name),
        "time_field": (before.time_field, now.time_field),
        "assume_tz": (before.assume_tz, now.assume_tz),
        "adjacent": (before.adjacent, now.adjacent),
    }
    different = [name for name, (one, other) in pairs.items() if one != other]
    if different:
        return ", ".join(different)  # comparing accounts would need a key derivation
    phone = spec.filters.phone_name
    is_same_account, is_same_phone = compare_owner(manifest, spec.credentials, phone)
    different += [name for name, is_same in (("account", is_same_account), ("phone", is_same_phone)) if not is_same]
    if manifest.key is not None and is_same_account:
        sealed = spec.seal(derive_key(spec.credentials, manifest.key))
        different += ["pseudonyms"] if sealed[PSEUDONYMS] != manifest.pseudonyms else []
    return ", ".join(different)


def _is_final(report: FetchReport) -> bool:
    # A gap that was never requested is older than the vendor's retention: it cannot be filled.
    is_proven = all(window.certified or not window.requests for window in report.window_reports)
    return not report.provisional and (report.is_complete or is_proven)
