"""The file of rows: appended, hashed, and truncated to its intact part."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiosipcdr.export import rows_file
from aiosipcdr.export.filesystem import create_private
from aiosipcdr.export.rows_file import Mark, RowsFile
from aiosipcdr.model.errors import ExportConflictError

HEADER = b'{"aiosipcdr":"rows","id":"0"}\n'
ROWS = [b"one\n", b"", b"two\nthree\n", b"four\n"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RowsFile]:
    file = RowsFile(tmp_path / "rows")
    yield file
    file.close()


def mark_of(data: bytes) -> Mark:
    return Mark(len(HEADER + data), hashlib.sha256(data).hexdigest())


def put(file: RowsFile, data: bytes) -> None:
    file.path.write_bytes(data)
    file.path.chmod(0o600)


def test_each_mark_has_the_end_and_the_hash_so_far(file: RowsFile) -> None:
    file.open(HEADER)
    marks = [file.append(rows) for rows in ROWS]
    assert marks == [mark_of(b"".join(ROWS[: place + 1])) for place in range(len(ROWS))]
    assert file.mark == marks[-1]
    assert file.read(file.start + 4, 10) == ROWS[2]
    assert file.path.read_bytes() == HEADER + b"".join(ROWS)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_file_is_taken_up_where_its_last_mark_is(file: RowsFile) -> None:
    marks = [mark_of(b"".join(ROWS[: place + 1])) for place in range(3)]
    put(file, HEADER + b"".join(ROWS) + b"half a r")
    file.open(HEADER)
    assert file.check(marks) == 3
    assert file.mark == marks[-1]
    file.truncate()
    assert file.append(b"other\n") == mark_of(b"".join(ROWS[:3]) + b"other\n")
    assert file.path.read_bytes() == HEADER + b"".join(ROWS[:3]) + b"other\n"


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_a_missing_or_changed_byte_ends_the_intact_part(
    file: RowsFile, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(rows_file, "_BLOCK", block)
    whole = b"".join(ROWS)
    marks = [mark_of(b"".join(ROWS[: place + 1])) for place in range(len(ROWS))]
    for place in range(len(whole)):
        good = sum(mark.end <= len(HEADER) + place for mark in marks)
        for data in (whole[:place], whole[:place] + b"?" + whole[place + 1 :]):
            put(file, HEADER + data)
            file.open(HEADER)
            assert file.check(marks) == good
            assert file.mark == (marks[good - 1] if good else mark_of(b""))
            assert file.check(marks[:good]) == good
            assert file.path.read_bytes() == HEADER + data
            file.close()


def test_a_header_that_changes_while_the_file_is_open_ends_the_intact_part(file: RowsFile) -> None:
    file.open(HEADER)
    mark = file.append(ROWS[0])
    put(file, HEADER.replace(b"0", b"1") + ROWS[0])
    assert file.check([mark]) == 0


def test_a_file_with_another_header_is_not_ours_and_stays(file: RowsFile) -> None:
    for place in range(len(HEADER)):
        data = HEADER[:place] + bytes([HEADER[place] ^ 1]) + HEADER[place + 1 :] + ROWS[0]
        for foreign in (data, data[: place + 1]):
            put(file, foreign)
            with pytest.raises(ExportConflictError, match="rows was not created by this export"):
                file.open(HEADER)
            file.close()
            assert file.path.read_bytes() == foreign


def test_a_header_that_was_cut_off_is_written_anew_into_another_file(file: RowsFile) -> None:
    for length in range(len(HEADER)):
        put(file, HEADER[:length])
        with file.path.open("rb") as before:
            file.open(HEADER)
            assert file.path.read_bytes() == HEADER
            file.close()
            assert before.read() == HEADER[:length]


def test_a_file_that_others_can_read_or_that_has_a_second_name_is_refused(file: RowsFile, tmp_path: Path) -> None:
    put(file, HEADER)
    file.path.chmod(0o640)
    with pytest.raises(ExportConflictError, match="others can read or change it"):
        file.open(HEADER)
    file.close()
    file.path.chmod(0o600)
    os.link(file.path, tmp_path / "other")
    with pytest.raises(ExportConflictError, match="a hard link"):
        file.open(HEADER)
    assert (tmp_path / "other").read_bytes() == HEADER


def test_a_file_that_takes_the_name_meanwhile_stays(file: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(path: Path) -> int:
        path.write_bytes(b"theirs")
        return create_private(path)

    monkeypatch.setattr(rows_file, "create_private", create)
    with pytest.raises(ExportConflictError, match="was not created by this export"):
        file.open(HEADER)
    assert file.path.read_bytes() == b"theirs"


def test_rows_that_do_not_fit_on_the_disk_leave_the_mark_unchanged(
    file: RowsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.open(HEADER)
    before = file.append(ROWS[0])
    write = os.write

    def fill(descriptor: int, data: memoryview) -> int:
        if len(data) < 3:
            raise OSError(28, "full")
        return write(descriptor, data[:2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        with pytest.raises(OSError, match="full"):
            file.append(b"12345\n")
    assert file.mark == before
    assert file.path.read_bytes() == HEADER + ROWS[0]
    assert file.append(ROWS[2]) == mark_of(ROWS[0] + ROWS[2])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported(file: RowsFile) -> None:
    file._descriptor = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError, match="No space left"):
        file.append(b"row\n")
    assert file.mark == Mark()


def test_only_a_plain_file_is_used_or_removed(file: RowsFile, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    file.path.symlink_to(tmp_path / "mine")
    with pytest.raises(ExportConflictError, match="a link"):
        file.open(HEADER)
    file.remove()
    assert file.path.is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"
    file.path.unlink()
    file.path.mkdir()
    with pytest.raises(ExportConflictError, match="a folder"):
        file.open(HEADER)
    file.remove()
    assert file.path.is_dir()


def test_a_rows_file_can_be_closed_removed_and_flushed_at_any_time(file: RowsFile) -> None:
    file.sync()
    file.close()
    file.remove()
    file.open(HEADER)
    file.append(b"row\n")
    file.sync()
    file.close()
    file.close()
    file.remove()
    assert file.path.read_bytes() == HEADER + b"row\n"
    file.open(HEADER)
    file.remove()
    assert not file.path.exists()
