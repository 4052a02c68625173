"""`aiosipcdr verify`: comparison of files with their manifests and, with `--online`, with the vendor's counts.

Changes no file and fetches no record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.exit_codes import CommandError, Exit, exit_code_for
from aiosipcdr.cli.options import Network
from aiosipcdr.cli.output import print_json, print_line, print_notice
from aiosipcdr.cli.progress import waiting
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, find_credentials, resolve_settings
from aiosipcdr.cli.timerange import read_phone
from aiosipcdr.display import shorten
from aiosipcdr.export import Manifest, compare_owner, find_exports, find_paths, read_stored, verify_file
from aiosipcdr.export.manifest import Signature
from aiosipcdr.model.errors import ExportError, OutOfTimeRangeError
from aiosipcdr.model.report import counted, describe_unreadable
from aiosipcdr.wire.signing import Credentials

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["verify"]


def verify(
    *paths: Path,
    online: bool = False,
    phone: str | None = None,
    phone_file: Path | None = None,
    sidecars: Path | None = None,
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Compare files with their manifests (name, size, hash, rows, sums), and check the manifests for contradictions.

    With the account's credentials the manifests' signatures are checked, too, which detects a consistent change of file
    and manifest.

    Exit code 0: unchanged; 1: a difference; 3: unchanged, but not complete; 4: complete, but something could not be
    read.

    Args:
        paths: Exported files with their manifests; or folders, for all files in them and in their subfolders.
        online: Also ask the vendor for the current number of calls in each window: one request per window.
        phone: The phone in the export's filter, if it has one: manifests do not contain it.
        phone_file: Instead of phone, a file with the name in its first line, or "-" for stdin.
        sidecars: The folder of the manifests, if they are not in the folders of the files.
        account: The account.
        network: The network.
        pace: The pace.
        json: Print the result as JSON: an object for one file, {"files": [...]} for several or a folder.
    """
    phone = read_phone(phone, phone_file)
    if not paths:
        msg = "PATHS is missing; add exported files, or folders that hold them (see aiosipcdr verify --help)"
        raise UsageError(msg)
    is_single = len(paths) == 1 and not paths[0].is_dir()
    settings = resolve_settings(account) if online else None
    credentials = Credentials(settings.api_key, settings.api_secret) if settings else find_credentials(account)
    results = []
    for path in dict.fromkeys(_find_files(paths, sidecars)):
        with waiting(f"reading {path.name}"):
            results.append(_verify(path, credentials, phone, online=online, sidecars=sidecars))
    if settings is not None:
        run_to_end(_recount(build_client(settings, pace, network=network), results, phone))
    _show(results, is_single=is_single, json=json)
    if any(result.differences for result in results):
        return Exit.FAILED
    return exit_code_for([result.manifest.as_report() for result in results if result.manifest])


@dataclass(kw_only=True)
class _Result:
    """The result for one file."""

    path: Path
    manifest: Manifest | None = None
    signature: Signature = "not checked"
    differences: list[str] = field(default_factory=list)
    recounted: int | None = None
    """Number of windows that the vendor has counted again."""

    def facts(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        manifest = self.manifest
        return {
            "file": str(self.path),
            "rows": manifest and manifest.rows,
            "certified": manifest is not None and manifest.certified,
            "provisional": manifest and manifest.report.provisional,
            "quarantined": manifest and manifest.quarantined,
            "faulty_fields": manifest.faulty_fields if manifest else {},
            "signature": self.signature,
            "recounted": self.recounted,
            "differences": self.differences,
        }

    def sentence(self) -> str:
        """Return the message for a file without differences."""
        manifest = self.manifest
        assert manifest is not None  # noqa: S101 - without one there is a difference
        verdict = "certified complete" if manifest.certified else "NOT certified"
        words = [f"{manifest.rows:,} calls, {verdict}"]
        if unreadable := describe_unreadable(manifest.as_report()):
            words[0] += f", {unreadable}"
        words.append("the file matches its manifest")
        words.append(_SIGNATURE_TEXTS[self.signature])
        if self.recounted is not None:
            words.append(f"the vendor counts the same now ({counted(self.recounted, 'window', 'windows')})")
        if provisional := manifest.report.provisional:
            windows = counted(provisional, "window was", "windows were")
            words.append(f"{windows} provisional, calls may have been added since{_advice(self.recounted)}")
        return "; ".join(words)


def _show(results: "Sequence[_Result]", *, is_single: bool, json: bool) -> None:
    if json:
        facts = [result.facts() for result in results]
        print_json(facts[0] if is_single else {"files": facts})
    for result in results:
        name = result.path.name if is_single else str(result.path)
        for difference in result.differences:
            print_notice(f"{name}: {difference}")
        if not result.differences and not json:
            print_line(f"{name}: {result.sentence()}")
    if not is_single and not json:
        wrong = sum(bool(result.differences) for result in results)
        print_line(f"{counted(len(results), 'file', 'files')}, {wrong:,} with differences")


def _advice(recounted: int | None) -> str:
    return "" if recounted is not None else ": check with --online, or export again"


def _find_files(paths: Sequence[Path], sidecars: Path | None) -> Iterator[Path]:
    sidecar_folder = None if sidecars is None else sidecars.resolve()
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        # A manifest in the folder of sidecars may belong to a file elsewhere.
        found = [file for file in find_exports(path) if file.exists() or sidecar_folder not in file.resolve().parents]
        if not found:
            msg = f"{path} holds no exported file; add the path of an exported file or its folder"
            raise CommandError(msg)
        yield from found


def _verify(
    path: Path, credentials: Credentials | None, phone: str | None, *, online: bool, sidecars: Path | None
) -> _Result:
    result = _Result(path=path)
    if not path.exists():
        result.differences.append("the file does not exist; check the path")
        return result
    try:
        stored = read_stored(find_paths(path, sidecars).manifest)
        result.manifest = manifest = stored.manifest
        if online and credentials is not None:
            _check_same(manifest, credentials, phone)
        result.differences += verify_file(path, manifest, sidecars)
        result.signature = _unchecked(manifest) if credentials is None else stored.check_signature(credentials)
    except ExportError as error:
        result.differences.append(str(error))
    if result.signature == "invalid":
        result.differences.append(
            "the manifest's signature is invalid: file and manifest were changed together; export the file again"
        )
    return result


_SIGNATURE_TEXTS: dict[Signature, str] = {
    "valid": "signature valid",
    "not checked": "signature not checked",
    "unsigned": "unsigned, written by an older version",
}


def _unchecked(manifest: Manifest) -> Signature:
    return "unsigned" if manifest.is_older else "not checked"


def _check_same(manifest: Manifest, credentials: Credentials, phone: str | None) -> None:
    is_same_account, is_same_phone = compare_owner(manifest, credentials, phone)
    if not is_same_account:
        msg = (
            f"{shorten(manifest.file)} was exported from another account, or before its secret was changed; use that"
            " account's credentials"
        )
        raise UsageError(msg)
    if not is_same_phone:
        msg = f"{shorten(manifest.file)} was exported for another phone; use the same --phone as the export"
        if phone is None:
            msg = (
                f"{shorten(manifest.file)} was exported for one phone, which its manifest does not contain; add --phone"
            )
        raise UsageError(msg)


async def _recount(client: "CdrClient", results: Sequence[_Result], phone: str | None) -> None:
    async with client:
        for result in results:
            if result.manifest is not None:
                await _recount_file(client, result, result.manifest, phone)


async def _recount_file(client: "CdrClient", result: _Result, manifest: Manifest, phone: str | None) -> None:
    read = {report.window: report for report in manifest.report.window_reports if report.requests}
    try:
        counts = await client.recount(read, sip_group_name=manifest.query.sip_group_name, phone_name=phone)
    except OutOfTimeRangeError:
        result.differences.append(
            "the vendor no longer keeps all of its calls, so they cannot be counted again; leave out --online"
        )
        return
    result.recounted = len(counts)
    for window, report in read.items():
        if counts[window] != report.counted:
            then = "when it was read, provisionally" if report.provisional else "when it was read"
            now = f"the vendor now counts {counts[window]:,} calls, and counted {report.counted:,} {then}"
            result.differences.append(f"window {window}: {now}")
