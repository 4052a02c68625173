"""The file appears whole or not at all, and nothing is lost on the way."""
# ruff: noqa: FBT001 - a parameter of a test

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from aiosipcdr.export import check_target
from aiosipcdr.export.atomic import AtomicFile, check_folder
from aiosipcdr.export.paths import JOURNAL, MANIFEST, QUARANTINE, ROWS, ExportPaths
from aiosipcdr.model.errors import ExportConflictError, StorageError
from tests.made_up_exports import names

DATA = b"line\n" * 10


def written(path: Path, data: bytes = DATA) -> AtomicFile:
    file = AtomicFile(path)
    file.create()
    file.write(data)
    file.finish()
    return file


def test_the_file_appears_at_the_end_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    file = AtomicFile(path)
    file.create()
    file.write(DATA[:7])
    file.write(b"")
    file.write(DATA[7:])
    assert names(tmp_path) == [".calls.ndjson.part"]
    assert stat.S_IMODE(file.temporary.stat().st_mode) == 0o600
    file.finish()
    assert not path.exists()
    file.publish(overwrite=False)
    assert names(tmp_path) == ["calls.ndjson"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == DATA
    assert (file.size, file.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("data", [DATA, DATA[:-1] + b"?", DATA[:-1], b""])
def test_a_file_whose_hash_is_known_before_is_published_with_that_hash_only(tmp_path: Path, data: bytes) -> None:
    known = hashlib.sha256(DATA).hexdigest()
    file = AtomicFile(tmp_path / "calls.ndjson", sha256=known)
    file.create()
    file.write(data)
    file.finish()
    assert (file.size, file.sha256) == (len(data), known)
    if data == DATA:
        file.publish(overwrite=False)
        assert names(tmp_path) == ["calls.ndjson"]
    else:
        with pytest.raises(ExportConflictError, match="was changed, removed or replaced"):
            file.publish(overwrite=False)
        assert names(tmp_path) == [".calls.ndjson.part"]
    file.discard()


@pytest.mark.parametrize("overwrite", [False, True])
def test_after_a_power_cut_a_name_has_its_bytes_and_a_published_name_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    done: list[str] = []
    flush, link, replace = os.fsync, os.link, os.replace

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "bytes")
        flush(descriptor)

    def linked(source: Path, target: Path, **how: bool) -> None:
        done.append("name")
        link(source, target, **how)

    def replaced(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "replace", replaced)
    path = tmp_path / "calls.ndjson"
    written(path).publish(overwrite=overwrite)
    assert done == ["bytes", "name", "folder"]


def test_nothing_written_is_an_empty_file(tmp_path: Path) -> None:
    written(tmp_path / "calls.ndjson", b"").publish(overwrite=False)
    assert (tmp_path / "calls.ndjson").read_bytes() == b""


def test_nothing_is_touched_before_the_file_is_created(tmp_path: Path) -> None:
    AtomicFile(tmp_path / "calls.ndjson").discard()
    assert names(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_existing_file_is_refused_unless_it_may_be_replaced(tmp_path: Path, overwrite: bool) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("mine")
    if overwrite:
        check_target(path, overwrite)
    else:
        with pytest.raises(ExportConflictError, match="already exists; choose another name or replace it"):
            check_target(path, overwrite)
    assert names(tmp_path) == ["calls.ndjson"]
    assert path.read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    file = written(path)
    path.write_text("theirs")
    with pytest.raises(ExportConflictError, match="already exists"):
        file.publish(overwrite=False)
    assert path.read_text() == "theirs"
    assert file.temporary.read_bytes() == DATA
    file.discard()
    assert names(tmp_path) == ["calls.ndjson"]


def test_overwriting_replaces_at_once_and_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with path.open() as reader:
        file = written(path)
        assert path.read_text() == "old"
        file.publish(overwrite=True)
        assert reader.read() == "old"
    assert path.read_bytes() == DATA
    assert names(tmp_path) == ["calls.ndjson"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_discarded_file_leaves_the_folder_as_it_was(tmp_path: Path, finished: bool) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    file = AtomicFile(path)
    file.create()
    file.write(DATA)
    if finished:
        file.finish()
    file.discard()
    file.discard()
    assert names(tmp_path) == ["calls.ndjson"]
    assert path.read_text() == "old"


def test_leftovers_of_a_killed_export_are_removed_if_the_journal_owns_them(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    AtomicFile(path).discard_leftover()
    AtomicFile(path).temporary.write_bytes(b"half of an older and much longer file" * 9)
    with pytest.raises(ExportConflictError, match=r"\.part was not created by this export"):
        written(path)
    AtomicFile(path).discard_leftover()
    written(path).publish(overwrite=False)
    assert path.read_bytes() == DATA


def test_a_leftover_may_have_the_target_for_a_second_name_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_bytes(b"published")
    os.link(path, AtomicFile(path).temporary)
    AtomicFile(path).discard_leftover()
    assert names(tmp_path) == ["calls.ndjson"]
    (tmp_path / "mine").write_bytes(b"mine")
    os.link(tmp_path / "mine", AtomicFile(path).temporary)
    with pytest.raises(ExportConflictError, match=r"\.part was not created by this export"):
        AtomicFile(path).discard_leftover()
    assert names(tmp_path) == [".calls.ndjson.part", "calls.ndjson", "mine"]


def test_a_foreign_file_at_the_temporary_name_is_not_discarded(tmp_path: Path) -> None:
    file = written(tmp_path / "calls.ndjson")
    file.temporary.unlink()
    file.temporary.write_bytes(b"theirs")
    file.discard()
    assert file.temporary.read_bytes() == b"theirs"


def test_whatever_is_at_the_temporary_name_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    linked, folder = AtomicFile(tmp_path / "linked"), AtomicFile(tmp_path / "folder")
    linked.temporary.symlink_to(tmp_path / "mine")
    folder.temporary.mkdir()
    for file in (linked, folder):
        with pytest.raises(ExportConflictError, match=r"\.part was not created by this export"):
            file.create()
        with pytest.raises(ExportConflictError, match=r"\.part is .* but the export needs a plain file"):
            file.discard_leftover()
        file.discard()
    assert (tmp_path / "mine").read_text() == "mine"
    assert names(tmp_path) == [".folder.part", ".linked.part", "mine"]


def test_a_file_system_without_hard_links_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "calls.ndjson"
    written(path).publish(overwrite=False)
    assert path.read_bytes() == DATA
    more = written(tmp_path / "more.ndjson")
    (tmp_path / "more.ndjson").write_text("theirs")
    with pytest.raises(ExportConflictError):
        more.publish(overwrite=False)
    more.discard()
    assert (tmp_path / "more.ndjson").read_text() == "theirs"
    assert names(tmp_path) == ["calls.ndjson", "more.ndjson"]


def test_another_error_of_a_link_is_no_excuse_to_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "link", fail)
    file = written(tmp_path / "calls.ndjson")
    with pytest.raises(OSError, match="failed"):
        file.publish(overwrite=False)
    assert names(tmp_path) == [".calls.ndjson.part"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_a_plain_file_is_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "folder.ndjson").mkdir()
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.ndjson")
    for name in ("folder", "link", "pipe"):
        with pytest.raises(ExportConflictError, match="never replaced"):
            check_target(tmp_path / f"{name}.ndjson", overwrite)
    with pytest.raises(ExportConflictError, match="add a file name"):
        check_target("/", overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_target_that_is_no_longer_a_plain_file_is_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    path = tmp_path / "calls.ndjson"
    file = written(path)
    (tmp_path / "mine").write_text("mine")
    path.symlink_to(tmp_path / "mine")
    with pytest.raises(ExportConflictError):
        file.publish(overwrite=overwrite)
    assert path.is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_missing_folder_or_a_file_in_its_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for check in (check_target, lambda path: check_folder(ExportPaths.sidecar_path(path))):
        with pytest.raises(StorageError, match="the folder does not exist; create it first"):
            check(tmp_path / "none" / "calls.ndjson")
        with pytest.raises(StorageError, match="not a folder"):
            check(tmp_path / "file" / "calls.ndjson")
        with pytest.raises(StorageError, match="name is too long"):
            check(tmp_path / f"{'x' * 300}.ndjson")


def test_a_name_too_long_for_its_sidecars_is_reported_at_once(tmp_path: Path) -> None:
    longest = max(len(ending) for ending in (JOURNAL, ROWS, MANIFEST, QUARANTINE)) + len("..part")
    check_target(tmp_path / ("x" * (255 - longest)))
    with pytest.raises(StorageError, match="name is too long"):
        check_target(tmp_path / ("x" * (256 - longest)))


def test_a_folder_without_write_permission_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):  # the superuser may write anywhere
            (tmp_path / "try").touch()
            pytest.skip("this user may write to a read-only folder")
        with pytest.raises(StorageError, match="no permission"):
            check_target(tmp_path / "calls.ndjson")
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # For the superuser no folder is, so the system's answer is put in its mouth.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="no permission to write in its folder"):
        check_target(tmp_path / "calls.ndjson")


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "calls.ndjson")
    check_target(str(tmp_path / "calls.ndjson"), True)  # noqa: FBT003
    assert names(tmp_path) == []
