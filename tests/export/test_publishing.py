"""A kill, or a full disk, at every single system call: the next run makes the same files, and none is partial.

What a killed process leaves is what stood in the folder before its next call,
so one run is watched and its folder copied before each of them.
"""
# ruff: noqa: ASYNC240 - small local files

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiosipcdr.export import JOURNAL, MANIFEST, find_differences, read_facts, read_manifest
from aiosipcdr.export.paths import QUARANTINE, ROWS
from aiosipcdr.model.errors import ExportConflictError, StorageError
from tests.made_up_exports import CUT, END, contents, export, names, report_of, sealed, sidecar_path, window
from tests.selection import pairs, some

pytestmark = pytest.mark.usefixtures("unflushed")

NAMES = ["calls.ndjson", "calls.csv.gz", "calls.parquet"]
BUILT = b'"type":"built"'

State = dict[str, tuple[int, bytes]]
"""Contents of a folder: inode and bytes by name."""


def state_of(folder: Path) -> State:
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


def restore(state: State, folder: Path) -> Path:
    """Put back what stood in a folder, with two names for one file where it had two."""
    folder.mkdir()
    known: dict[int, Path] = {}
    for name, (inode, data) in state.items():
        if inode in known:
            os.link(known[inode], folder / name)
        else:
            known[inode] = folder / name
            known[inode].write_bytes(data)
            known[inode].chmod(0o600)
    return folder


@contextmanager
def each_call(before: Callable[[str], None]) -> Iterator[None]:
    """Run `before` with its name before each call that changes a folder; each write is split into two."""
    in_half = cycle((True, False))
    with pytest.MonkeyPatch.context() as patch:

        def watch(name: str) -> None:
            original = getattr(os, name)

            def watched(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
                if name == "open" and not arguments[1] & os.O_CREAT:
                    return original(*arguments, **options)
                before(name)
                if name == "write" and next(in_half):
                    descriptor, data = arguments
                    return original(descriptor, data[: len(data) // 2 or 1])
                return original(*arguments, **options)

            patch.setattr(os, name, watched)

        for name in ("open", "write", "ftruncate", "link", "unlink", "replace"):
            watch(name)
        yield


async def watched(path: Path, **settings: Any) -> list[State]:  # noqa: ANN401
    """Export to `path`; return all that a kill might have left on the way."""
    states: list[State] = []

    def look(_: str) -> None:
        state = state_of(path.parent)
        if not states or state != states[-1]:
            states.append(state)

    with each_call(look):
        await export(path, **settings)
    return [state for state in states if path.name + JOURNAL in state or path.name not in state]


async def nothing_before(_: Path) -> None:
    pass


async def another_before(path: Path) -> None:
    path.write_bytes(b"old")


async def the_same_before(path: Path) -> None:
    # An earlier export of the same rows: the file alone does not differ from the new one.
    await export(path)
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    manifest = msgspec.structs.replace(manifest, report=msgspec.structs.replace(manifest.report, elapsed=99.0))
    sidecar_path(path, MANIFEST).write_bytes(sealed(manifest))


async def the_same_without_manifest_before(path: Path) -> None:
    await export(path)
    sidecar_path(path, MANIFEST).unlink()


BEFORE = [nothing_before, another_before, the_same_before, the_same_without_manifest_before]


async def begun(folder: Path, name: str, before: Any) -> Path:  # noqa: ANN401
    folder.mkdir()
    await before(folder / name)
    return folder / name


@pytest.mark.parametrize(("name", "before"), pairs(NAMES, BEFORE))
async def test_killed_at_any_call_the_next_run_makes_the_same_files(tmp_path: Path, name: str, before: Any) -> None:  # noqa: ANN401
    overwrite = before is not nothing_before
    path = await begun(tmp_path / "undisturbed", name, before)
    report = await export(path, overwrite=overwrite)
    expected = contents(path.parent)

    path = await begun(tmp_path / "watched", name, before)
    old = path.read_bytes() if overwrite else None
    states = await watched(path, overwrite=overwrite)
    assert contents(path.parent) == expected
    assert len(states) > 15
    for number, state in enumerate(states):
        assert state.get(name, (0, None))[1] in {old, expected[name]}  # whole, or as it was
        target = restore(state, tmp_path / str(number)) / name
        assert await export(target, overwrite=overwrite) == report
        assert contents(target.parent) == expected
        shutil.rmtree(target.parent)
    check_points(states, name, expected[name])


def check_points(states: list[State], name: str, whole: bytes) -> None:
    """See that the places where an order might be wrong were among those that were tried."""

    def seen(condition: Callable[[State], bool]) -> bool:
        return any(condition(state) for state in states)

    def is_built(state: State) -> bool:
        return BUILT in state.get(name + JOURNAL, (0, b""))[1]

    fresh = [state for state in states if is_built(state) and state.get(name, (0, b""))[1] != whole]
    if fresh:  # the file is another one than before
        assert any(name + MANIFEST not in state for state in fresh), "built, no manifest"
        assert any(name + QUARANTINE in state and name + MANIFEST not in state for state in fresh), "only quarantine"
        assert any(name + MANIFEST in state for state in fresh), "all but the file itself"
    assert seen(lambda state: is_built(state) and state.get(name, (0, b""))[1] == whole), "published, journal there"
    if fresh and name not in states[0]:
        assert seen(lambda state: len({inode for inode, _ in state.values()}) < len(state)), "two names of one file"
    assert seen(lambda state: name + ROWS in state and state[name + ROWS][1] != b"")


@pytest.mark.parametrize("name", some(NAMES, every=3))
async def test_killed_at_the_next_run_too_the_third_makes_the_same_files(tmp_path: Path, name: str) -> None:
    path = await begun(tmp_path / "undisturbed", name, nothing_before)
    await export(path)
    expected = contents(path.parent)
    path = await begun(tmp_path / "first", name, nothing_before)
    await export(path, until=3)
    frames = sidecar_path(path, JOURNAL)
    frames.write_bytes(frames.read_bytes() + b"\x89CDRtorn")
    for number, state in enumerate(await watched(path)):
        target = restore(state, tmp_path / str(number)) / name
        await export(target)
        assert contents(target.parent) == expected
        shutil.rmtree(target.parent)


@pytest.mark.parametrize("name", some(NAMES[::-1], every=3))
async def test_killed_while_a_provisional_file_is_read_again_the_next_run_finishes(tmp_path: Path, name: str) -> None:
    async def provisional_before(path: Path) -> None:
        await export(path, [CUT, window(0), window(1, calls=0), window(2, calls=1, provisional=True)])

    path = await begun(tmp_path / "undisturbed", name, provisional_before)
    await export(path, if_exists="verify")
    expected = contents(path.parent)
    path = await begun(tmp_path / "watched", name, provisional_before)
    states = await watched(path, if_exists="verify")
    assert contents(path.parent) == expected
    assert len(states) > 15
    for number, state in enumerate(states):
        target = restore(state, tmp_path / str(number)) / name
        await export(target, if_exists="verify")
        assert contents(target.parent) == expected
        shutil.rmtree(target.parent)


DISCARDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "relative": ({"is_relative": True}, {"is_relative": True, "end": END + timedelta(seconds=9)}),
    "replace": ({}, {"if_exists": "replace", "sip_group_name": "客服一组"}),
}


@pytest.mark.parametrize(("name", "kind"), pairs(some(NAMES, every=2), list(DISCARDED)))
async def test_killed_at_any_call_a_run_of_another_query_finishes_that_may_discard_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    one, other = ({"if_exists": "verify"} | settings for settings in DISCARDED[kind])
    path = await begun(tmp_path / "undisturbed", name, nothing_before)
    await export(path, **other)
    expected = contents(path.parent)
    path = await begun(tmp_path / "watched", name, nothing_before)
    for number, state in enumerate(await watched(path, **one)):
        target = restore(state, tmp_path / str(number)) / name
        if name in state and kind == "relative":  # published: a later range is another query
            with pytest.raises(ExportConflictError, match="it is the result of another query"):
                await export(target, **other)
            target.unlink()
        await export(target, **other)
        assert contents(target.parent) == expected
        shutil.rmtree(target.parent)


class Full:
    """A disk that is full after so many calls."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.was_full = False

    def __call__(self, name: str) -> None:
        if name in {"unlink", "ftruncate"}:  # they free some
            return
        self.left -= 1
        if self.left < 0:
            self.was_full = True
            raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize(("name", "before"), pairs(some(NAMES, every=2), BEFORE[:2]))
async def test_a_full_disk_at_any_system_call_is_reported_and_the_next_run_resumes(
    tmp_path: Path,
    name: str,
    before: Any,  # noqa: ANN401
) -> None:
    overwrite = before is not nothing_before
    path = await begun(tmp_path / "undisturbed", name, before)
    await export(path, overwrite=overwrite)
    expected = contents(path.parent)
    ours = {name + ending for ending in (JOURNAL, ROWS, MANIFEST, QUARANTINE)}
    kept = 0
    for left in range(100):
        path = await begun(tmp_path / str(left), name, before)
        old = path.read_bytes() if overwrite else None
        full = Full(left)
        with each_call(full):
            try:
                await export(path, overwrite=overwrite)
            except StorageError as error:
                assert f"{name} cannot be written: the disk is full; free some space" in str(error)  # noqa: PT017
            else:
                break
        assert (path.read_bytes() if path.exists() else None) == old
        assert set(names(path.parent)) - {name} <= ours
        kept += name + JOURNAL in names(path.parent)
        await export(path, overwrite=overwrite)
        assert contents(path.parent) == expected
        shutil.rmtree(path.parent)
    assert not full.was_full
    assert left > 15
    assert kept > 10


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_without_hard_links_survives_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    path = await begun(tmp_path / "undisturbed", name, nothing_before)
    await export(path)
    expected = contents(path.parent)
    monkeypatch.setattr(os, "link", refuse)
    path = await begun(tmp_path / "watched", name, nothing_before)
    states = await watched(path)
    assert contents(path.parent) == expected
    for number, state in enumerate(states[-12:]):
        target = restore(state, tmp_path / str(number)) / name
        await export(target)
        assert contents(target.parent) == expected
        shutil.rmtree(target.parent)


async def test_a_published_file_returns_its_report_and_is_not_made_again(tmp_path: Path) -> None:
    path = await begun(tmp_path / "watched", "calls.csv", nothing_before)
    published = next(state for state in await watched(path) if "calls.csv" in state)
    target = restore(published, tmp_path / "killed") / "calls.csv"
    manifest = sidecar_path(target, MANIFEST).read_bytes()
    assert await export(target) == report_of()
    assert sidecar_path(target, MANIFEST).read_bytes() == manifest
    assert names(target.parent) == ["calls.csv", "calls.csv.manifest.json", "calls.csv.quarantine"]
    assert find_differences(read_manifest(sidecar_path(target, MANIFEST)), read_facts(target, "csv")) == []


async def test_a_file_that_was_published_and_changed_since_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = await begun(tmp_path / "watched", "calls.csv", nothing_before)
    states = await watched(path)
    published = next(state for state in states if "calls.csv" in state and ".calls.csv.part" not in state)
    target = restore(published, tmp_path / "killed") / "calls.csv"
    target.write_bytes(b"theirs")
    with pytest.raises(Exception, match="already exists"):
        await export(target)
    assert target.read_bytes() == b"theirs"
    await export(target, overwrite=True)
    assert contents(target.parent) == contents(path.parent)


def test_a_state_is_put_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_bytes(msgspec.json.encode("text"))
    (tmp_path / "one" / "b").hardlink_to(tmp_path / "one" / "a")
    again = restore(state_of(tmp_path / "one"), tmp_path / "two")
    assert contents(again) == contents(tmp_path / "one")
    assert (again / "a").stat().st_nlink == 2
