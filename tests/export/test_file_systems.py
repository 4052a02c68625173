"""Exports on shared file systems: each behaves as the real one where it differs from a local disk."""
# ruff: noqa: ASYNC240 - small local files

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any, NoReturn

import pytest

from aiosipcdr import StorageError
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import filesystem as storage
from aiosipcdr.export import read_manifest, verify_file
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of

pytestmark = [
    pytest.mark.usefixtures("unflushed"),
    pytest.mark.skipif(os.name == "nt", reason="modes, owners and flock are POSIX's"),
]


SANDBOX = {"records": 3_000}


def refusing(number: int) -> Any:  # noqa: ANN401 - in place of any function
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


# What differs, by the name of a function: an errno, or what it returns.
FILE_SYSTEMS: dict[str, dict[str, Any]] = {
    "EFS access point": {"owner": 4_242, "link": errno.EACCES},
    "Azure Files (SMB)": {"owner": 0, "mode": 0o777, "fchmod": errno.EPERM, "link": errno.EOPNOTSUPP},
    "SMB": {"mode": 0o755, "fchmod": errno.EACCES, "link": errno.EINVAL, "disk": errno.ENOSYS},
    "NFS with all_squash": {"owner": 65_534, "fchmod": errno.EPERM, "disk": 0},
    "overlay of two devices": {"link": errno.EXDEV},
}


def mount(monkeypatch: pytest.MonkeyPatch, *, owner: int | None = None, mode: int | None = None, **calls: int) -> None:
    asked = storage._owner_and_mode

    def tell(descriptor: int) -> tuple[int, int]:
        true_owner, true_mode = asked(descriptor)
        return true_owner if owner is None else owner + (owner == true_owner), true_mode if mode is None else mode

    monkeypatch.setattr(storage, "_owner_and_mode", tell)
    for name, number in calls.items():
        if name == "disk":
            monkeypatch.setattr(shutil, "disk_usage", refusing(number) if number else lambda _: (0, 0, 0))
        elif name == "flock":
            fcntl = pytest.importorskip("fcntl")
            monkeypatch.setattr(fcntl, "flock", refusing(number))
        else:
            monkeypatch.setattr(os, name, refusing(number))


@pytest.mark.parametrize("name", list(FILE_SYSTEMS))
async def test_an_export_works_and_is_resumed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mount(monkeypatch, **FILE_SYSTEMS[name])
    seen: list[Event] = []

    def stop(event: Event) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE:
            seen.append(event)
            if len(seen) == 2:
                raise LookupError

    target = tmp_path / "calls.ndjson"
    async with client_of(sandbox, hook=stop) as client:
        with pytest.raises(LookupError):
            await client.export(sandbox.start, sandbox.end, target)
    assert (tmp_path / "calls.ndjson.journal").exists()
    async with client_of(sandbox) as client:
        report = await client.export(sandbox.start, sandbox.end, target)
    assert report.certified
    assert verify_file(target, read_manifest(tmp_path / "calls.ndjson.manifest.json")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.ndjson", "calls.ndjson.manifest.json"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
async def test_without_locks_nothing_is_fetched_in_vain_and_the_option_is_named(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    mount(monkeypatch, flock=number)
    sandbox.reset_stats()
    target = tmp_path / "calls.ndjson"
    async with client_of(sandbox) as client:
        with pytest.raises(StorageError, match="lock=False"):
            await client.export(sandbox.start, sandbox.end, target)
        assert sandbox.stats.requests == 0
        assert list(tmp_path.iterdir()) == []
        assert (await client.export(sandbox.start, sandbox.end, target, lock=False)).certified


@pytest.mark.parametrize("mode", [None, 0o600, 0o640, 0o664])
async def test_a_mode_is_that_of_file_and_manifest_alone(sandbox: Sandbox, tmp_path: Path, mode: int | None) -> None:
    modes: dict[str, int] = {}

    def look(_: Event) -> None:
        modes.update({path.name: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.iterdir()})

    async with client_of(sandbox, hook=look) as client:
        await client.export(sandbox.start, sandbox.end, tmp_path / "calls.csv", mode=mode)
    assert {modes["calls.csv.journal"], modes["calls.csv.journal.rows"]} == {0o600}
    reported = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.iterdir()}
    assert reported == dict.fromkeys(("calls.csv", "calls.csv.manifest.json"), mode or 0o600)


async def test_a_mode_that_the_file_system_does_not_keep_is_refused_before_the_fetch(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(monkeypatch, mode=0o755, fchmod=errno.EPERM)
    sandbox.reset_stats()
    async with client_of(sandbox) as client:
        with pytest.raises(StorageError, match="forces 0755"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.csv", mode=0o640)
    assert sandbox.stats.requests == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o646, 0o400, 0o1640, -1, True, "640"])
async def test_a_mode_that_is_none_is_refused(sandbox: Sandbox, tmp_path: Path, mode: Any) -> None:  # noqa: ANN401
    async with client_of(sandbox) as client:
        with pytest.raises(ValueError, match="mode must be one of"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.csv", mode=mode)
