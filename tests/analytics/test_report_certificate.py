"""Certificates of files: what their manifests prove together, and what keeps them from it."""

import shutil
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from aiosipcdr import CdrClient
from aiosipcdr.analytics import Certificate, summarize
from aiosipcdr.export import read_manifest
from aiosipcdr.export.keys import derive_key
from aiosipcdr.export.manifest import encode_manifest
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials
from tests.made_up_exports import DERIVATION, sidecar_path

SANDBOX = {"records": 300}


async def export(client: CdrClient, sandbox: Sandbox, path: Path, first: int, last: int, **settings: object) -> Path:
    """Export the days from `first` up to `last` of the sandbox's range."""
    start = sandbox.start.replace(hour=0, minute=0, second=0)
    span = start + timedelta(days=first), start + timedelta(days=last)
    await client.export(*span, path, **settings)  # type: ignore[arg-type]
    return path


async def test_a_file_is_certified_by_its_manifest(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    path = await export(client, sandbox, tmp_path / "calls.ndjson", 2, 9)
    found = Certificate.of_files(path)
    manifest = read_manifest(sidecar_path(path, ".manifest.json"))

    assert (found.verdict, found.reasons, found.notes) == ("certified", (), ())
    assert found.calls == found.counted == manifest.rows == summarize(path).total.attempts
    assert (found.start, found.end) == (manifest.query.start, manifest.query.end)
    assert [(one.name, one.calls, one.sha256) for one in found.files] == [
        ("calls.ndjson", manifest.rows, manifest.sha256)
    ]
    assert found.is_complete
    assert not found.is_unreadable
    assert found.compared_with(manifest.rows) is found
    other = found.compared_with(manifest.rows + 1)
    assert other.verdict == "not certified"
    assert "another" not in repr(other)


async def test_days_that_meet_are_certified_together(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    files = [
        await export(client, sandbox, tmp_path / f"{day}.ndjson", day, day + 1, adjacent=True) for day in (4, 2, 3)
    ]
    found = Certificate.of_files(files)

    assert (found.verdict, found.reasons, found.notes) == ("certified", (), ())
    assert found.end is not None
    assert found.start is not None
    assert found.end - found.start == timedelta(days=3)

    gap = Certificate.of_files(files[:2])
    assert gap.verdict == "not certified"
    assert gap.reasons == ("Between 2.ndjson and 4.ndjson there is a gap, whose calls are missing.",)
    assert not gap.is_complete


async def test_files_that_overlap_are_not_certified(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    one = await export(client, sandbox, tmp_path / "one.ndjson", 2, 4)
    other = await export(client, sandbox, tmp_path / "other.ndjson", 3, 5)
    later = await export(client, sandbox, tmp_path / "later.ndjson", 5, 6)
    group = await export(client, sandbox, tmp_path / "group.ndjson", 2, 4, sip_group_name="sales-us")

    assert Certificate.of_files([one, other]).reasons == (
        "one.ndjson and other.ndjson overlap: calls that both hold are counted twice.",
    )
    meeting = Certificate.of_files([other, later])
    assert meeting.verdict == "certified"
    assert "a call exactly there may be in both" in meeting.notes[0]
    assert Certificate.of_files(group).sip_group_name == "sales-us"
    mixed = Certificate.of_files([one, group])
    assert mixed.sip_group_name is None
    assert mixed.verdict == "not certified"
    assert mixed.reasons == ("one.ndjson and group.ndjson overlap: calls that both hold are counted twice.",)


async def test_groups_are_certified_together_for_one_period(
    client: CdrClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    names = {"us": "sales-us", "de": "retail-de"}
    one, other = [
        await export(client, sandbox, tmp_path / f"{short}.ndjson", 2, 4, sip_group_name=name)
        for short, name in names.items()
    ]
    later = await export(client, sandbox, tmp_path / "later.ndjson", 4, 6, sip_group_name="retail-de")

    both = Certificate.of_files([one, other])
    assert (both.verdict, both.notes) == (
        "certified",
        ("The files hold only calls of these groups: sales-us, retail-de.",),
    )
    apart = Certificate.of_files([one, later])
    assert apart.verdict == "not certified"
    assert "cover different periods" in apart.reasons[0]


async def test_files_of_two_folders_are_compared_with_the_credentials(
    client: CdrClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    for folder in ("one", "other"):  # their fingerprints cannot be compared
        (tmp_path / folder).mkdir()
    files = [await export(client, sandbox, tmp_path / folder / "calls.ndjson", 2, 4) for folder in ("one", "other")]

    unknown = Certificate.of_files(files)
    assert unknown.verdict == "unknown"
    assert "may be of one account" in unknown.reasons[0]
    own = Certificate.of_files(files, credentials=Credentials(sandbox.api_key, sandbox.api_secret))
    assert own.verdict == "not certified"
    assert own.reasons == ("calls.ndjson and calls.ndjson overlap: calls that both hold are counted twice.",)


async def test_a_file_that_was_changed_is_not_certified(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    path = await export(client, sandbox, tmp_path / "calls.ndjson", 2, 4)
    manifest = sidecar_path(path, ".manifest.json")
    credentials = Credentials(sandbox.api_key, sandbox.api_secret)
    signed = Certificate.of_files(path, credentials=credentials)
    assert (signed.verdict, signed.is_signed) == ("certified", True)
    assert Certificate.of_files(path).is_signed is False

    stored = read_manifest(manifest)
    forged = msgspec.structs.replace(stored, versions={"aiosipcdr": "7"})
    genuine = manifest.read_bytes()
    manifest.write_bytes(encode_manifest(forged, derive_key(Credentials("other", "secret"), stored.key or DERIVATION)))
    found = Certificate.of_files(path, credentials=credentials)
    assert (found.verdict, found.is_signed, found.is_complete) == ("not certified", False, False)
    assert "changed together: the signature is invalid" in found.reasons[0]
    manifest.write_bytes(genuine)

    renamed = tmp_path / "renamed.ndjson"
    shutil.copy(path, renamed)
    shutil.copy(manifest, sidecar_path(renamed, ".manifest.json"))
    assert "a file with another name" in Certificate.of_files(renamed).reasons[0]

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    found = Certificate.of_files(path)
    assert found.verdict == "not certified"
    assert "changed after it was written" in found.reasons[0]
    assert not found.is_complete

    path.write_bytes(b"".join(lines))
    manifest.write_bytes(manifest.read_bytes().replace(b'"certified": true', b'"certified": null'))
    found = Certificate.of_files(path)
    assert (found.verdict, found.reasons) == (
        "not certified",
        ("The manifest of calls.ndjson is damaged or was changed.",),
    )

    manifest.unlink()
    found = Certificate.of_files([path])
    assert (found.verdict, found.calls, found.start, found.is_signed) == ("unknown", None, None, None)
    assert "has no manifest beside it" in found.reasons[0]


async def test_missing_fields_of_a_file_are_a_note(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    path = await export(
        client, sandbox, tmp_path / "calls.csv", 2, 4, spreadsheet=True, mask_numbers="mask", phone_name="none"
    )
    found = Certificate.of_files(path)

    assert found.is_one_phone
    assert [note.partition(":")[0].partition(",")[0] for note in found.notes] == [
        "calls.csv was written for spreadsheets",
        "Numbers in calls.csv are hidden",
    ]


def test_no_file_is_no_certificate() -> None:
    assert Certificate.of_files([]).verdict == "unknown"


@pytest.mark.parametrize("missing", ["calls.ndjson", "folder"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, missing: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot be read"):
        Certificate.of_files(tmp_path / missing)
