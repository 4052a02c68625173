"""`aiosipcdr verify`: a file held against its manifest, and with `--online` against what the vendor counts today.

Must never change a file, nor fetch a record.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from aiosipcdr.cli.connection import Pace, build_client
from aiosipcdr.cli.exits import CommandError, Exit, judge_reports
from aiosipcdr.cli.options import Network
from aiosipcdr.cli.output import print_json, print_line, tell
from aiosipcdr.cli.progress import waiting
from aiosipcdr.cli.running import run_to_end
from aiosipcdr.cli.settings import Account, find_credentials, resolve_settings
from aiosipcdr.cli.timerange import read_phone
from aiosipcdr.cli.usage import UsageError
from aiosipcdr.display import shorten
from aiosipcdr.errors import OutOfTimeRangeError
from aiosipcdr.export import Manifest, find_paths, read_stored, verify_file, was_asked_by
from aiosipcdr.export.manifest import Signature
from aiosipcdr.protocol.signing import Credentials
from aiosipcdr.report import describe_unreadable

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["verify"]


def verify(
    file: Path,
    /,
    *,
    online: bool = False,
    phone: str | None = None,
    phone_file: Path | None = None,
    sidecars: Path | None = None,
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Compare a file with its manifest (name, size, hash, rows, sums), and the manifest with itself; say what differs.

    Where the account's credentials are given, the manifest's signature is checked too: that finds a file and a
    manifest that were changed together.

    Exit code 0: all as it was written; 1: something differs; 3: the file is as it was written, but not complete; 4: it
    is complete, but something of it could not be read.

    Args:
        file: The exported file; its manifest stands beside it.
        online: Ask the vendor for each window's number of calls, too: one request a window.
        phone: The phone that the export was asked for, if it was: files do not tell it.
        phone_file: Instead of phone, a file whose first line names it, or "-" for stdin.
        sidecars: The folder of the manifests, if they are not beside the files.
        account: The account.
        network: The network.
        pace: The pace.
        json: Print the result as JSON.
    """
    phone = read_phone(phone, phone_file)
    if not file.exists():
        msg = f"{file} is not there: name an exported file"
        raise CommandError(msg)
    stored = read_stored(find_paths(file, sidecars).manifest)
    manifest = stored.manifest
    settings = resolve_settings(account) if online else None
    if settings is None:
        credentials = find_credentials(account)
    else:
        credentials = Credentials(settings.api_key, settings.api_secret)
        _check_same(manifest, credentials, phone)
    with waiting(f"reading {file.name}"):
        differences = verify_file(file, manifest, sidecars)
        signature = _unchecked(manifest) if credentials is None else stored.check_signature(credentials)
    if signature == "invalid":
        differences.append("the manifest's signature is not this account's: file and manifest were changed together")
    if settings is not None:
        differences += run_to_end(_recount(build_client(settings, pace, network=network), manifest, phone))
    if json:
        print_json(
            {
                "file": str(file),
                "rows": manifest.rows,
                "certified": manifest.certified,
                "quarantined": manifest.quarantined,
                "faulty_fields": manifest.faulty_fields,
                "signature": signature,
                "differences": differences,
            }
        )
    for difference in differences:
        tell(f"{file.name}: {difference}")
    if differences:
        return Exit.FAILED
    if not json:
        words = f"{manifest.rows:,} calls, {_words(manifest)}"
        print_line(f"{file.name}: {words}; the file is what its manifest says; {_SIGNED[signature]}")
    return judge_reports([manifest.as_report()])


def _words(manifest: Manifest) -> str:
    words = ["certified complete" if manifest.certified else "NOT certified", describe_unreadable(manifest.as_report())]
    return ", ".join(filter(None, words))


_SIGNED: dict[Signature, str] = {
    "valid": "signature valid",
    "not checked": "signature not checked",
    "unsigned": "unsigned, by an older version",
}


def _unchecked(manifest: Manifest) -> Signature:
    return "unsigned" if manifest.is_older else "not checked"


def _check_same(manifest: Manifest, credentials: Credentials, phone: str | None) -> None:
    is_same_account, is_same_phone = was_asked_by(manifest, credentials, phone)
    if not is_same_account:
        msg = (
            f"{shorten(manifest.file)} was exported from another account, or before its secret was changed: ask that"
            " one"
        )
        raise UsageError(msg)
    if not is_same_phone:
        msg = f"{shorten(manifest.file)} is of another phone: give --phone as it was given to the export"
        if phone is None:
            msg = f"{shorten(manifest.file)} is of one phone, which its manifest does not tell: give --phone"
        raise UsageError(msg)


async def _recount(client: "CdrClient", manifest: Manifest, phone: str | None) -> list[str]:
    told = {report.window: report.counted for report in manifest.report.window_reports if report.requests}
    try:
        async with client:
            counts = await client.recount(told, sip_group_name=manifest.query.sip_group_name, phone_name=phone)
    except OutOfTimeRangeError:
        return ["the vendor no longer keeps all of its calls, so they cannot be counted again: leave out --online"]
    return [
        f"window {window}: the vendor counts {counts[window]:,} calls now, and counted {total:,} when it was read"
        for window, total in told.items()
        if counts[window] != total
    ]
