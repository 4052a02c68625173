"""Bytes that change on the disk during an export never reach a certified file."""
# ruff: noqa: ANN401 - any argument of a watched function; small local files

import os
import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.export import FORMATS, JOURNAL, MANIFEST, ExportJob, read_manifest, verify_file
from aiosipcdr.export.atomic import AtomicFile
from aiosipcdr.export.frames import encode_frame, read_frame_body, read_frames
from aiosipcdr.export.paths import ROWS
from aiosipcdr.model.errors import ExportConflictError, ExportError, JournalDamagedError
from tests.made_up_exports import STORY, contents, export, names, order, report_of, sidecar_path
from tests.selection import some

pytestmark = pytest.mark.usefixtures("unflushed")


def change_digit(path: Path, after: int = 0) -> int:
    """Replace the first digit at or behind `after` by another one, in place; return where it stood."""
    data = bytearray(path.read_bytes())
    place = next(place for place in range(after, len(data)) if chr(data[place]).isdigit())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"3" if data[place] != ord("3") else b"4")
    return place


def cut_off(path: Path, by: int = 5) -> None:
    os.truncate(path, path.stat().st_size - by)


def before_call(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, act: Callable[[], object]) -> list[str]:
    """Run `act` once, before the first call of a method; return what says that it was run."""
    original = getattr(owner, method)
    done: list[str] = []

    def acting(*arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(method)
            act()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, method, acting)
    return done


def noted(places: set[int], act: Callable[[], int]) -> None:
    places.add(act())


async def check_refused(path: Path, expected: type[ExportError], **settings: Any) -> None:
    """Export to `path`, which must fail without a file, a manifest or a leftover of either."""
    with pytest.raises(expected):
        await export(path, **settings)
    left = names(path.parent)
    assert not [name for name in left if name not in (path.name + JOURNAL, path.name + ROWS)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("change", [change_digit, cut_off])
@pytest.mark.parametrize("is_resumed", [False, True], ids=["fresh", "resumed"])
async def test_rows_that_change_before_the_file_is_built_stop_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Path], object], *, is_resumed: bool
) -> None:
    path = tmp_path / f"calls.{name}"
    if is_resumed:
        await export(path, until=len(STORY))
    done = before_call(monkeypatch, ExportJob, "_build", lambda: change(sidecar_path(path, ROWS)))
    await check_refused(path, JournalDamagedError)
    assert done


@pytest.mark.parametrize("name", some(["calls.csv", "calls.ndjson", "calls.parquet"], every=2))
async def test_a_digit_that_changes_anywhere_in_the_rows_stops_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await export(tmp_path / name, until=len(STORY))
    size = sidecar_path(tmp_path / name, ROWS).stat().st_size
    places: set[int] = set()
    for number, after in enumerate(range(0, size - 300, 41)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for ending in (JOURNAL, ROWS):
            shutil.copy(sidecar_path(tmp_path / name, ending), sidecar_path(folder / name, ending))
        with monkeypatch.context() as patch:
            act = partial(change_digit, sidecar_path(folder / name, ROWS), after)
            before_call(patch, ExportJob, "_build", partial(noted, places, act))
            await check_refused(folder / name, JournalDamagedError)
    assert len(places) > 30


@pytest.mark.parametrize("name", ["calls.csv", "calls.ndjson", "calls.parquet"])
async def test_rows_that_change_while_the_file_is_built_stop_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    encoder = type(order(path).open_encoder())
    done = before_call(monkeypatch, encoder, "encode", lambda: cut_off(sidecar_path(path, ROWS)))
    await check_refused(path, JournalDamagedError)
    assert done


async def test_rows_that_change_between_two_windows_stop_the_export(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    with pytest.raises(JournalDamagedError):  # noqa: PT012 - raised at the end
        async with ExportJob(order(path)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
                if entry is STORY[1]:
                    change_digit(sidecar_path(path, ROWS), sidecar_path(path, ROWS).stat().st_size - 600)
            await job.publish(report_of())
    assert names(tmp_path) == ["calls.csv.journal", "calls.csv.journal.rows"]
    with pytest.raises(JournalDamagedError, match="remove them and"):
        await export(path)


def replace(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("name", some(FORMATS, every=2))
@pytest.mark.parametrize("change", [lambda path: change_digit(path, 1), cut_off, replace, Path.unlink])
@pytest.mark.parametrize("method", ["check", "publish"])
async def test_a_part_that_changes_before_it_is_published_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Path], object], method: str
) -> None:
    expected = tmp_path / "expected"
    expected.mkdir()
    await export(expected / f"calls.{name}")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / f"calls.{name}"
    target = AtomicFile(path)
    original = getattr(AtomicFile, method)
    done: list[str] = []

    def changing(file: AtomicFile, **options: Any) -> None:
        if file.path == path and not done:
            done.append(method)
            change(target.temporary)
        original(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicFile, method, changing)
        with pytest.raises(ExportConflictError, match="was changed, removed or replaced during the export"):
            await export(path)
    assert done
    assert not path.exists()
    target.temporary.unlink(missing_ok=True)  # what replaced it is not ours
    await export(path)
    assert contents(folder) == contents(expected)


@pytest.mark.parametrize("ending", [".manifest.json", ".quarantine"])
async def test_a_file_changed_before_publishing_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = tmp_path / "calls.csv"
    original = AtomicFile.publish

    def changing(file: AtomicFile, *, overwrite: bool) -> None:
        if file.path.name.endswith(ending):
            file.check()
            change_digit(file.temporary)
        original(file, overwrite=overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicFile, "publish", changing)
        with pytest.raises(ExportConflictError, match="was changed, removed or replaced"):
            await export(path)
    assert not path.exists()
    assert not sidecar_path(path, ending).exists()
    await export(path)
    assert verify_file(path, read_manifest(sidecar_path(path, MANIFEST))) == []


async def test_a_body_that_changes_after_its_frame_was_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(encode_frame(b"text", b"body 1") + encode_frame(b"more", b"body 2"))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        frames = list(read_frames(descriptor, path))
        assert [read_frame_body(descriptor, frame._replace(text=b""), path) for frame in frames] == [
            b"body 1",
            b"body 2",
        ]
        data = path.read_bytes()
        edges = [0, *(frame.end for frame in frames)]
        for number, (start, end) in enumerate(pairwise(edges)):
            for place in range(start, end):
                with path.open("r+b") as file:
                    file.seek(place)
                    file.write(bytes([data[place] ^ 1]))
                with pytest.raises(JournalDamagedError, match="while it was in use"):
                    read_frame_body(descriptor, frames[number], path)
                path.write_bytes(data)
    finally:
        os.close(descriptor)
