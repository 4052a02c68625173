"""What a disk answers becomes a sentence, and nothing is left half done."""

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from aiosipcdr.export import filesystem as storage
from aiosipcdr.export.filesystem import (
    check_free_space,
    check_plain_file,
    check_private,
    check_unused,
    create_private,
    describe_kind,
    is_private,
    is_same_file,
    open_private,
    storage_errors,
    sync_file,
    sync_folder,
    write_all,
)
from aiosipcdr.model.errors import ExportConflictError, ExportError, JournalDamagedError, StorageError


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the disk quota is exceeded"),
        (errno.EFBIG, "exceed the size limit of this process"),
        (errno.EROFS, "read-only; write elsewhere"),
        (errno.EACCES, "no permission"),
        (errno.ENOENT, "the folder does not exist; create it first"),
        (errno.ENOTDIR, "not a folder"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.ENOLCK, "has no locks"),
        (errno.EIO, "the disk reported an I/O error"),
        (errno.EBUSY, "busy"),
        (0, "OSError"),
    ],
)
def test_errors_of_the_system_become_a_sentence(number: int, text: str) -> None:
    with pytest.raises(StorageError, match=text) as caught, storage_errors(Path("calls.csv")):
        raise OSError(number, os.strerror(number)) if number else OSError
    assert isinstance(caught.value, ExportError)
    assert str(caught.value).startswith("calls.csv cannot be written: ")


def test_a_name_that_is_taken_is_a_conflict_and_our_own_errors_pass() -> None:
    with pytest.raises(ExportConflictError, match="overwrite=True"), storage_errors(Path("calls.csv")):
        raise FileExistsError(errno.EEXIST, "taken")
    damaged = JournalDamagedError("as it is")
    with pytest.raises(JournalDamagedError) as caught, storage_errors(Path("calls.csv")):
        raise damaged
    assert caught.value is damaged
    with pytest.raises(KeyError), storage_errors(Path("calls.csv")):
        raise KeyError


def test_a_file_of_ours_is_its_owners_alone_and_no_childs(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        descriptor = create_private(tmp_path / "file")
    finally:
        os.umask(before)
    try:
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def strangers(folder: Path) -> dict[str, Path]:
    (folder / "a link").symlink_to(folder / "elsewhere")
    (folder / "a folder").mkdir()
    os.mkfifo(folder / "not a plain file")
    return {path.name: path for path in folder.iterdir()}


def test_an_obstacle_is_named_and_kept(tmp_path: Path) -> None:
    for what, path in strangers(tmp_path).items():
        mode = path.lstat().st_mode
        for attempt in (check_plain_file, open_private):
            with pytest.raises(
                ExportConflictError, match=f"{what}, but the export needs a plain file of that name; remove it"
            ):
                attempt(path)
        assert path.lstat().st_mode == mode
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_that_appears_meanwhile_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiosipcdr.export.filesystem.check_plain_file", lambda _: None)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        open_private(tmp_path / "link")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_plain_file_and_none_are_no_obstacle(tmp_path: Path) -> None:
    check_plain_file(tmp_path / "none")
    (tmp_path / "file").touch()
    check_plain_file(tmp_path / "file")
    assert describe_kind((tmp_path / "file").stat().st_mode) is None


def test_a_file_with_a_second_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    os.link(tmp_path / "mine", tmp_path / "linked")
    with pytest.raises(
        ExportConflictError, match="linked is a hard link, so others could read or change it by its other name"
    ):
        open_private(tmp_path / "linked")
    assert is_same_file(tmp_path / "mine", tmp_path / "linked")
    assert not is_same_file(tmp_path / "mine", tmp_path / "none")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_pipe_that_takes_the_name_meanwhile_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiosipcdr.export.filesystem.check_plain_file", lambda _: None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportConflictError, match="not a plain file"):
        open_private(tmp_path / "pipe")


def test_a_name_that_is_taken_is_not_unused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    check_unused(tmp_path / "one", tmp_path / "other")
    with pytest.raises(ExportConflictError, match="link was not created by this export"):
        check_unused(tmp_path / "one", tmp_path / "link")


@pytest.mark.parametrize("status", [(os.geteuid(), 0o640), (os.geteuid(), 0o777), (os.geteuid() + 1, 0o600)])
def test_owner_and_mode_are_checked_unless_the_file_system_forces_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: tuple[int, int]
) -> None:
    descriptor = create_private(tmp_path / "file")
    inode = os.fstat(descriptor).st_ino
    reported = storage._owner_and_mode
    try:
        assert is_private(descriptor)
        check_private(descriptor, tmp_path / "file", was_private=True)
        # Of this file alone, as after chmod and chown: never right, in any state that the creating run has recorded.
        monkeypatch.setattr(
            storage, "_owner_and_mode", lambda one: status if os.fstat(one).st_ino == inode else reported(one)
        )
        for was_private in (True, False):
            with pytest.raises(ExportConflictError, match="belongs to another user, or others can read"):
                check_private(descriptor, tmp_path / "file", was_private=was_private)
        # Of every file: forced by the file system, if the creating run saw the same.
        monkeypatch.setattr(storage, "_owner_and_mode", lambda _: status)
        check_private(descriptor, tmp_path / "file", was_private=False)
        with pytest.raises(ExportConflictError):
            check_private(descriptor, tmp_path / "file", was_private=True)
    finally:
        os.close(descriptor)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_is_written_however_little_the_disk_takes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    descriptor = create_private(tmp_path / "file")
    write_all(descriptor, memoryview(b"ten bytes."))
    write_all(descriptor, memoryview(b""))
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"ten bytes."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StorageError, match="the disk is full"), storage_errors(Path("calls.csv")):
            write_all(descriptor, memoryview(b"x"))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_is_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refused = []

    def refuse(descriptor: int) -> None:
        refused.append(descriptor)
        raise OSError(number, "cannot")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_file(0)
    sync_folder(tmp_path)
    assert len(refused) == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_to_flush_is_not_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="failed"):
        sync_file(0)
    with pytest.raises(OSError, match="failed"):
        sync_folder(tmp_path)


def test_disk_space_is_reserved_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_free_space(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 0, 5_000_000))
    check_free_space(tmp_path, 5_000_000)
    with pytest.raises(StorageError, match=r"has 5 MB free, and this export needs about 7 MB; free some space"):
        check_free_space(tmp_path, 7_000_000)
