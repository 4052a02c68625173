"""A lock ends with its holder; waiting is not possible."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiosipcdr.export import filesystem as lock
from aiosipcdr.export.filesystem import lock_file

HOLD = """
import os, sys
from aiosipcdr.export.filesystem import lock_file
descriptor = os.open(sys.argv[1], os.O_RDWR)
print(lock_file(descriptor), flush=True)
sys.stdin.read()
"""


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def test_another_opening_of_the_file_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "file"), opened(tmp_path / "file")
    assert lock_file(first)
    assert lock_file(first)
    assert not lock_file(second)
    os.close(first)
    assert lock_file(second)
    os.close(second)


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    descriptor = opened(tmp_path / "file")
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", HOLD, str(tmp_path / "file")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not lock_file(descriptor)
        holder.kill()
        holder.wait(240)
        assert lock_file(descriptor)
    os.close(descriptor)


def test_a_lock_leaves_nothing_and_moves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    descriptor = opened(tmp_path / "file")
    os.lseek(descriptor, 2, os.SEEK_SET)
    assert lock_file(descriptor)
    assert os.read(descriptor, 9) == b"xt"
    os.close(descriptor)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_locks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(lock, "_lock", refuse)
    with pytest.raises(OSError, match="no locks"):
        lock_file(0)
