"""Files beside the target are ours only if an export made them: attacks by others who can write to the folder."""
# ruff: noqa: ASYNC240, FBT001 - small local files; a parameter of a test

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aiosipcdr.export import JOURNAL, MANIFEST, ExportJob, read_manifest, verify_file
from aiosipcdr.export.filesystem import create_private, lock_file
from aiosipcdr.export.frames import encode_frame
from aiosipcdr.export.journal_records import encode_entry
from aiosipcdr.export.paths import QUARANTINE, ROWS, temporary_path
from aiosipcdr.model.errors import ExportConflictError, JournalDamagedError
from tests.made_up_exports import STORY, contents, export, names, order, report_of, sidecar_path, window

pytestmark = pytest.mark.usefixtures("unflushed")

NAME = "calls.csv"
FOREIGN = b"my own notes\n"
PLACES = {
    "journal": NAME + JOURNAL,
    "rows": NAME + ROWS,
    "part": f".{NAME}.part",
    "manifest": NAME + MANIFEST,
    "quarantine": NAME + QUARANTINE,
    "part of the manifest": f".{NAME}{MANIFEST}.part",
    "part of the quarantine": f".{NAME}{QUARANTINE}.part",
}


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {path.name: (path.lstat().st_ino, path.lstat().st_mode, path.read_bytes()) for path in folder.iterdir()}


async def check_refused(folder: Path, *, overwrite: bool, restart: bool = False) -> str:
    """See that an export to `folder` is refused and changes nothing; return why."""
    before = state_of(folder)
    with pytest.raises(ExportConflictError) as caught:
        async with ExportJob(order(folder / NAME, overwrite=overwrite, restart=restart)):
            pytest.fail("entered")
    assert state_of(folder) == before
    return str(caught.value)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("data", [FOREIGN, b""], ids=["text", "empty"])
async def test_a_file_that_is_not_ours_is_refused_and_stays(
    tmp_path: Path, place: str, overwrite: bool, data: bytes
) -> None:
    (tmp_path / PLACES[place]).write_bytes(data)
    assert PLACES[place] in await check_refused(tmp_path, overwrite=overwrite)
    if overwrite:
        (tmp_path / NAME).write_bytes(b"an older file")
        assert PLACES[place] in await check_refused(tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("journal", "rows")])
async def test_a_file_that_is_not_ours_is_refused_by_a_run_that_resumes_too(
    tmp_path: Path, place: str, overwrite: bool
) -> None:
    await export(tmp_path / NAME, until=3)
    (tmp_path / PLACES[place]).write_bytes(FOREIGN)
    assert PLACES[place] in await check_refused(tmp_path, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", PLACES)
async def test_a_file_that_comes_while_an_export_is_at_work_stays(tmp_path: Path, place: str, overwrite: bool) -> None:
    taken = tmp_path / PLACES[place]
    with pytest.raises(ExportConflictError):  # noqa: PT012 - raised at the end
        async with ExportJob(order(tmp_path / NAME, overwrite=overwrite)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
            taken.unlink(missing_ok=True)
            taken.write_bytes(FOREIGN)
            await job.publish(report_of())
    assert taken.read_bytes() == FOREIGN
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("make", [os.link, os.symlink], ids=["hard", "symbolic"])
@pytest.mark.parametrize("place", [*PLACES, "part of the journal"])
async def test_a_link_to_the_file_of_somebody_else_is_refused(
    tmp_path: Path, place: str, make: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    theirs = tmp_path / "theirs"
    theirs.write_bytes(FOREIGN)
    name = PLACES.get(place, f".{NAME}{JOURNAL}.part")
    make(theirs, folder / name)
    for overwrite in (False, True):
        assert name in await check_refused(folder, overwrite=overwrite)
    assert theirs.read_bytes() == FOREIGN


@pytest.mark.parametrize("ending", [JOURNAL, ROWS])
async def test_a_second_name_of_our_journal_is_refused(tmp_path: Path, ending: str) -> None:
    # Whoever has that name reads every call, or changes them.
    folder = tmp_path / "folder"
    folder.mkdir()
    await export(folder / NAME, until=3)
    os.link(folder / (NAME + ending), tmp_path / "listening")
    assert "a hard link" in await check_refused(folder, overwrite=False)
    (tmp_path / "listening").unlink()
    await export(folder / NAME)
    assert (folder / NAME).exists()


@pytest.mark.parametrize("ending", [JOURNAL, ROWS])
async def test_a_second_name_that_comes_while_an_export_is_at_work_stops_it(tmp_path: Path, ending: str) -> None:
    with pytest.raises(ExportConflictError, match="was removed, replaced or linked"):  # noqa: PT012
        async with ExportJob(order(tmp_path / NAME)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
            os.link(tmp_path / (NAME + ending), tmp_path / "listening")
            await job.publish(report_of())
    assert not (tmp_path / NAME).exists()


async def test_the_rows_of_another_export_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        await export(folder / NAME, until=3)
    rows = [(folder / (NAME + ROWS)).read_bytes() for folder in folders]
    assert rows[0] != rows[1]
    (folders[0] / (NAME + ROWS)).write_bytes(rows[1])
    assert "rows was not created by this export" in await check_refused(folders[0], overwrite=False)
    assert "rows was not created by this export" in await check_refused(folders[0], overwrite=False, restart=True)


async def test_no_number_is_in_the_header_of_journal_or_rows(tmp_path: Path) -> None:
    await export(tmp_path / NAME, until=1, phone_name="+12125550123")
    reported = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"phone_name" in reported
    assert b"5550123" not in reported


# What is ours, and may be replaced.


async def test_manifest_and_quarantine_of_an_earlier_export_are_replaced(tmp_path: Path) -> None:
    await export(tmp_path / NAME)
    await export(tmp_path / NAME, [window(0), window(1, bad=1), window(2)], overwrite=True)
    assert read_manifest(sidecar_path(tmp_path / NAME, MANIFEST)).rows == 9
    (tmp_path / NAME).unlink()  # what was beside it may stay without it
    await export(tmp_path / NAME, [window(0), window(1), window(2)])
    assert names(tmp_path) == [NAME, NAME + MANIFEST]


@pytest.mark.parametrize("ending", [MANIFEST, QUARANTINE])
async def test_files_of_other_names_and_edited_files_are_kept(tmp_path: Path, ending: str) -> None:
    await export(tmp_path / NAME)
    place = tmp_path / (NAME + ending)
    whole = place.read_bytes()
    for changed in (whole[:-2], whole.replace(b"reason", b"Reason").replace(b"sha256", b"SHA256"), whole + b"?"):
        place.write_bytes(changed)
        assert ending in await check_refused(tmp_path, overwrite=True)
    place.write_bytes(whole)
    await export(tmp_path / "other.csv")
    shutil.copy(tmp_path / f"other.csv{MANIFEST}", tmp_path / (NAME + MANIFEST))
    assert MANIFEST in await check_refused(tmp_path, overwrite=True)


# Leftovers of a run that was killed while its journal was created.


@pytest.mark.parametrize("size", [0, 1, 4, 30, 10_000])
async def test_a_journal_that_was_killed_at_its_birth_is_begun_anew(tmp_path: Path, size: int) -> None:
    await export(tmp_path / NAME, until=0)
    journal = tmp_path / (NAME + JOURNAL)
    expected = tmp_path / "expected"
    expected.mkdir()
    await export(expected / NAME)
    frame = encode_frame(encode_entry(STORY[0]))  # type: ignore[arg-type]
    temporary_path(journal).write_bytes(frame[:size])
    await export(tmp_path / NAME)
    shutil.move(expected, tmp_path.parent / f"{tmp_path.name}-expected")
    assert contents(tmp_path) == contents(tmp_path.parent / f"{tmp_path.name}-expected")


async def test_a_journal_that_another_run_is_creating_is_not_waited_for(tmp_path: Path) -> None:
    part = temporary_path(tmp_path / (NAME + JOURNAL))
    descriptor = create_private(part)
    try:
        assert lock_file(descriptor)
        assert "another export of" in await check_refused(tmp_path, overwrite=False)
    finally:
        os.close(descriptor)
    await export(tmp_path / NAME)


async def test_two_names_of_a_new_journal_are_one_again(tmp_path: Path) -> None:
    await export(tmp_path / NAME, until=3)
    journal = tmp_path / (NAME + JOURNAL)
    os.link(journal, temporary_path(journal))
    await export(tmp_path / NAME)
    assert names(tmp_path) == [NAME, NAME + MANIFEST, NAME + QUARANTINE]


# Starting over.


async def test_a_restart_forgets_an_export_of_another_query(tmp_path: Path) -> None:
    await export(tmp_path / NAME, until=3, sip_group_name="sales")
    with pytest.raises(ExportConflictError, match="or start over with restart=True"):
        await export(tmp_path / NAME)
    await export(tmp_path / NAME, restart=True)
    assert names(tmp_path) == [NAME, NAME + MANIFEST, NAME + QUARANTINE]
    assert verify_file(tmp_path / NAME, read_manifest(sidecar_path(tmp_path / NAME, MANIFEST))) == []


async def test_a_restart_with_nothing_there_is_a_start(tmp_path: Path) -> None:
    await export(tmp_path / NAME, restart=True)
    assert (tmp_path / NAME).exists()


async def test_a_restart_forgets_a_journal_that_is_damaged_behind_its_first_frame(tmp_path: Path) -> None:
    await export(tmp_path / NAME, until=len(STORY))
    journal = tmp_path / (NAME + JOURNAL)
    whole = journal.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b'"type":"cut"')] ^= 1
    journal.write_bytes(damaged)
    with pytest.raises(JournalDamagedError):
        await export(tmp_path / NAME)
    await export(tmp_path / NAME, restart=True)
    assert names(tmp_path) == [NAME, NAME + MANIFEST, NAME + QUARANTINE]


async def test_a_restart_clears_the_parts_of_a_run_that_was_killed_while_it_built(tmp_path: Path) -> None:
    job = ExportJob(order(tmp_path / NAME))
    async with job:
        for entry in STORY:
            await job.write(entry, report_of())
        job._journal.begin_building()
        temporary_path(tmp_path / NAME).write_bytes(b"half of it")
    await export(tmp_path / NAME, restart=True)
    assert names(tmp_path) == [NAME, NAME + MANIFEST, NAME + QUARANTINE]


@pytest.mark.parametrize("place", ["journal", "rows", "part"])
async def test_a_restart_deletes_nothing_that_is_not_ours(tmp_path: Path, place: str) -> None:
    if place == "rows":
        await export(tmp_path / NAME, until=3)
    (tmp_path / PLACES[place]).write_bytes(FOREIGN)
    assert PLACES[place] in await check_refused(tmp_path, overwrite=True, restart=True)
