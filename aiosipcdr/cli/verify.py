"""`aiosipcdr verify`: a file held against its manifest, and with `--online` against what the vendor counts today.

Must never change a file, nor fetch a record.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from aiosipcdr.cli.connection import Pace, build_client
from aiosipcdr.cli.exits import CommandError, Exit
from aiosipcdr.cli.output import print_json, print_line, tell
from aiosipcdr.cli.progress import waiting
from aiosipcdr.cli.running import run_to_end
from aiosipcdr.cli.settings import Account, Settings, resolve_settings
from aiosipcdr.cli.usage import UsageError
from aiosipcdr.errors import OutOfTimeRangeError
from aiosipcdr.export import MANIFEST, Manifest, beside, read_manifest, verify_file
from aiosipcdr.protocol.signing import Credentials

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["verify"]


def verify(
    file: Path,
    /,
    *,
    online: bool = False,
    phone: str | None = None,
    account: Account = Account(),  # noqa: B008 - frozen
    pace: Pace = Pace(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Compare a file with its manifest (name, size, hash, rows, sums), and the manifest with itself; say what differs.

    Exit code 0: all as it was written; 1: something differs; 3: the file is as it was written, but not certified.

    Args:
        file: The exported file; its manifest stands beside it.
        online: Ask the vendor for each window's number of calls, too: one request a window.
        phone: The phone that the export was asked for, if it was: files do not tell it.
        account: The account.
        pace: The pace.
        json: Print the result as JSON.
    """
    if not file.exists():
        msg = f"{file} is not there: name an exported file"
        raise CommandError(msg)
    manifest = read_manifest(beside(file, MANIFEST))
    settings = resolve_settings(account) if online else None
    if settings is not None:
        _check_same(manifest, settings, phone)
    with waiting(f"reading {file.name}"):
        differences = verify_file(file, manifest)
    if settings is not None:
        differences += run_to_end(_recount(build_client(settings, pace), manifest, phone))
    if json:
        print_json(
            {"file": str(file), "rows": manifest.rows, "certified": manifest.certified, "differences": differences}
        )
    for difference in differences:
        tell(f"{file.name}: {difference}")
    if differences:
        return Exit.FAILED
    if not json:
        proof = "certified complete" if manifest.certified else "NOT certified"
        older = " (an older manifest, without a hash of its own)" if manifest.is_older else ""
        print_line(f"{file.name}: {manifest.rows:,} calls, {proof}; the file is what its manifest says{older}")
    return Exit.DONE if manifest.certified else Exit.INCOMPLETE


def _check_same(manifest: Manifest, settings: Settings, phone: str | None) -> None:
    credentials = Credentials(settings.api_key, settings.api_secret)
    if credentials.fingerprint() != manifest.account:
        msg = f"{manifest.file} was exported from another account: ask that one"
        raise UsageError(msg)
    if (None if phone is None else credentials.fingerprint(phone)) != manifest.phone:
        msg = f"{manifest.file} is of another phone: give --phone as it was given to the export"
        if phone is None:
            msg = f"{manifest.file} is of one phone, which its manifest does not tell: give --phone"
        raise UsageError(msg)


async def _recount(client: "CdrClient", manifest: Manifest, phone: str | None) -> list[str]:
    told = {report.window: report.total for report in manifest.report.window_reports if report.requests}
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
