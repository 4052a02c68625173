"""The file appears whole or not at all, and nothing is lost on the way."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from aiosipcdr.errors import ExportConflictError, ExportError, StorageError
from aiosipcdr.export import FileTarget, check_target
from aiosipcdr.export import target as target_module
from aiosipcdr.export.ndjson import NdjsonEncoder
from aiosipcdr.protocol.records import CallDetailRecord

CALLS = [CallDetailRecord(voice_id=str(number)) for number in range(10)]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_the_file_appears_at_the_end_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with FileTarget(path, NdjsonEncoder()) as target:
        await target.write(CALLS)
        await target.write([])
        assert not path.exists()
        (temporary,) = names(tmp_path)
        assert stat.S_IMODE((tmp_path / temporary).stat().st_mode) == 0o600
    assert names(tmp_path) == ["calls.ndjson"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().count(b"\n") == len(CALLS)


async def test_nothing_written_is_an_empty_file(tmp_path: Path) -> None:
    async with FileTarget(tmp_path / "calls.ndjson", NdjsonEncoder()):
        pass
    assert (tmp_path / "calls.ndjson").read_bytes() == b""


async def test_an_existing_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("mine")
    with pytest.raises(ExportConflictError, match="exists already"):
        async with FileTarget(path, NdjsonEncoder()):
            pytest.fail("entered")
    assert names(tmp_path) == ["calls.ndjson"]
    assert path.read_text() == "mine"


async def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    with pytest.raises(ExportConflictError, match="exists already"):  # noqa: PT012 - raised at the end
        async with FileTarget(path, NdjsonEncoder()) as target:
            await target.write(CALLS)
            path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["calls.ndjson"]


async def test_overwriting_replaces_at_once_and_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with path.open() as reader:
        async with FileTarget(path, NdjsonEncoder(), overwrite=True) as target:
            await target.write(CALLS)
            assert path.read_text() == "old"
        assert reader.read() == "old"
    assert path.read_bytes().count(b"\n") == len(CALLS)


async def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with pytest.raises(KeyError):  # noqa: PT012 - that is what passes through
        async with FileTarget(path, NdjsonEncoder(), overwrite=True) as target:
            await target.write(CALLS)
            raise KeyError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["calls.ndjson"]


async def test_a_cancellation_leaves_nothing(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with FileTarget(tmp_path / "calls.ndjson", NdjsonEncoder()) as target:
            await target.write(CALLS)
            scope.cancel()
            await target.write(CALLS)
    assert scope.cancelled_caught
    assert names(tmp_path) == []


async def test_a_cancellation_at_the_end_leaves_nothing_either(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with FileTarget(tmp_path / "calls.ndjson", NdjsonEncoder()) as target:
            await target.write(CALLS)
            scope.cancel()
    assert names(tmp_path) == []


async def test_the_target_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    target = FileTarget("calls.ndjson", NdjsonEncoder())
    async with target:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await target.write(CALLS)
    assert (tmp_path / "calls.ndjson").exists()


async def test_a_file_system_without_hard_links_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "calls.ndjson"
    async with FileTarget(path, NdjsonEncoder()) as target:
        await target.write(CALLS)
    assert path.read_bytes().count(b"\n") == len(CALLS)
    with pytest.raises(ExportConflictError):
        async with FileTarget(tmp_path / "more.ndjson", NdjsonEncoder()) as target:
            (tmp_path / "more.ndjson").write_text("theirs")
    assert (tmp_path / "more.ndjson").read_text() == "theirs"
    assert names(tmp_path) == ["calls.ndjson", "more.ndjson"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_plain_file_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:  # noqa: FBT001
    (tmp_path / "folder.ndjson").mkdir()
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.ndjson")
    for name in ("folder", "link", "pipe"):
        with pytest.raises(ExportConflictError, match="never replaced"):
            check_target(tmp_path / f"{name}.ndjson", overwrite)
    with pytest.raises(ExportConflictError, match="name a file"):
        check_target("/", overwrite)


def test_a_folder_that_is_not_there_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="no such folder: create it first"):
        check_target(tmp_path / "none" / "calls.ndjson")
    with pytest.raises(StorageError, match="not a folder"):
        check_target(tmp_path / "file" / "calls.ndjson")
    with pytest.raises(StorageError, match="name is too long"):
        check_target(tmp_path / f"{'x' * 300}.ndjson")


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):  # the superuser may write anywhere
            (tmp_path / "try").touch()
            pytest.skip("this user may write to a read-only folder")
        with pytest.raises(StorageError, match="no permission"):
            check_target(tmp_path / "calls.ndjson")
    finally:
        tmp_path.chmod(0o700)


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "calls.ndjson")
    check_target(str(tmp_path / "calls.ndjson"), True)  # noqa: FBT003
    assert names(tmp_path) == []


FILLED = """
import resource, signal, sys
import anyio
from aiosipcdr.errors import StorageError
from aiosipcdr.export import FileTarget
from aiosipcdr.export.ndjson import NdjsonEncoder
from aiosipcdr.protocol.records import CallDetailRecord

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        async with FileTarget(sys.argv[1], NdjsonEncoder()) as target:
            for _ in range(10):
                await target.write([CallDetailRecord(voice_id=str(n)) for n in range(10)])
    except StorageError as error:
        print(error)

anyio.run(main)
"""


def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", FILLED, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert "calls.ndjson cannot be written: the file would be larger than" in done.stdout
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EBUSY, "busy"), (0, "OSError")],
)
def test_errors_of_the_system_become_a_sentence(number: int, text: str) -> None:
    error = target_module._export_error(OSError(number, os.strerror(number)) if number else OSError(), Path("a"))
    assert isinstance(error, StorageError)
    assert isinstance(error, ExportError)
    assert text in str(error)
