"""An export job: windows in, one complete file out, with any interruption."""
# ruff: noqa: ASYNC240, FBT001 - small local files; a parameter of a test

import asyncio
import errno
import gc
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from aiosipcdr.export import FORMATS, JOURNAL, MANIFEST, ExportJob, find_differences, read_facts, read_manifest
from aiosipcdr.export import filesystem as storage
from aiosipcdr.export.frames import read_frames
from aiosipcdr.export.journal import Journal
from aiosipcdr.export.masking import Pseudonyms, mask_number
from aiosipcdr.export.paths import QUARANTINE, ROWS
from aiosipcdr.export.render import encode_rows
from aiosipcdr.model.errors import (
    ClientStateError,
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    OutOfTimeRangeError,
    StorageError,
    TransportError,
)
from aiosipcdr.model.report import CompleteWindow, FetchReport, WindowReport
from aiosipcdr.proof.checkpoint import JournalEvent, WindowSplit
from aiosipcdr.wire.signing import Credentials
from tests.made_up_calls import START
from tests.made_up_exports import (
    CUT,
    END,
    RAW,
    SPAN,
    STORY,
    contents,
    export,
    hour,
    names,
    order,
    plain,
    report_of,
    sidecar_path,
    window,
)
from tests.selection import some

pytestmark = pytest.mark.usefixtures("unflushed")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


ROWS_OF_STORY = b"".join(encode_rows(entry.records) for entry in STORY if isinstance(entry, CompleteWindow))


def whole(name: str) -> list[str]:
    return [name, name + MANIFEST, name + QUARANTINE]


async def undisturbed(folder: Path, name: str, **settings: Any) -> dict[str, bytes]:  # noqa: ANN401
    """What `export` makes of the story when nothing comes between."""
    place = folder / "undisturbed"
    place.mkdir()
    await export(place / name, **settings)
    return contents(place)


def place_in(folder: Path) -> Path:
    place = folder / "place"
    place.mkdir()
    return place


# A run that nothing disturbs.


@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_becomes_a_complete_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"calls.{name}"
    await export(path)
    encoder = order(path).open_encoder()
    assert path.read_bytes() == encoder.begin() + encoder.encode(ROWS_OF_STORY) + encoder.finish()
    assert names(tmp_path) == whole(path.name)


async def test_the_records_of_all_windows_are_written_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    await export(path)
    ids = [json.loads(line)["voice_id"] for line in path.read_text().splitlines()]
    reported = [record.voice_id for entry in STORY if isinstance(entry, CompleteWindow) for record in entry.records]
    assert ids == reported


async def test_the_same_windows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.jsonl"):
        await export(tmp_path / name)
    assert (tmp_path / "a.ndjson").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


async def test_nothing_read_is_a_file_of_nothing(tmp_path: Path) -> None:
    await export(tmp_path / "calls.ndjson", [window(0, calls=0)])
    assert (tmp_path / "calls.ndjson").read_bytes() == b""
    assert read_manifest(tmp_path / "calls.ndjson.manifest.json").rows == 0
    assert names(tmp_path) == ["calls.ndjson", "calls.ndjson.manifest.json"]


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.parquet"])
async def test_every_file_is_its_owners_alone(tmp_path: Path, name: str) -> None:
    before = os.umask(0)
    try:
        await export(tmp_path / name, until=2)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
        await export(tmp_path / name)
    finally:
        os.umask(before)
    modes += [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes == [0o600] * 5


@pytest.mark.parametrize("name", FORMATS)
async def test_the_manifest_agrees_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"calls.{name}"
    report = await export(path)
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    assert find_differences(manifest, read_facts(path, name)) == []
    assert (manifest.rows, manifest.bytes) == (5, path.stat().st_size)
    assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    money = sum(
        (record.cost or Decimal() for entry in STORY if isinstance(entry, CompleteWindow) for record in entry.records),
        Decimal(),
    )
    assert [(one.field, one.currency, Decimal(one.sum)) for one in manifest.money] == [("cost", "EUR", money)]
    assert manifest.report == report
    assert (manifest.certified, manifest.quarantined, manifest.quarantine_file) == (True, 1, path.name + QUARANTINE)


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.csv"])
async def test_a_power_cut_at_the_end_finds_whole_files_and_a_journal_that_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    flushed: dict[int, int] = {}
    appeared: list[str] = []
    link, replace = os.link, os.replace

    def flush(descriptor: int) -> None:
        reported = os.fstat(descriptor)
        flushed[reported.st_ino] = reported.st_size

    def check(source: Path, target: Path) -> None:
        # Everything written is synced: the bytes that get their name now, and the journal that lists them.
        for file in (source, sidecar_path(path, JOURNAL)) if appeared else (source,):
            reported = file.stat()
            assert flushed[reported.st_ino] == reported.st_size
        appeared.append(target.name)

    def linked(source: Path, target: Path, **how: bool) -> None:
        check(source, target)
        link(source, target, **how)

    def replaced(source: Path, target: Path) -> None:
        check(source, target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "replace", replaced)
    await export(path)
    assert appeared == [name + JOURNAL, name + QUARANTINE, name + MANIFEST, name]


async def test_the_quarantine_is_beside_the_file(tmp_path: Path) -> None:
    await export(tmp_path / "calls.csv")
    (line,) = (tmp_path / "calls.csv.quarantine").read_text().splitlines()
    reported = json.loads(line)
    assert reported.pop("window") == {"start": "2026-10-01T10:30:00+08:00", "end": "2026-10-01T11:30:00+08:00"}
    assert reported == {"page": 1, "reason": "no id", "voice_id": "bad2", "raw": RAW.decode()}


@pytest.mark.parametrize("mask", [mask_number, Pseudonyms(b"sandbox-key-of-16-bytes")])
async def test_with_a_mask_no_file_holds_a_number(tmp_path: Path, mask: Callable[[str], str]) -> None:
    numbers = [
        number.encode()
        for entry in STORY
        if isinstance(entry, CompleteWindow)
        for record in [*entry.records, *entry.repeated]
        for number in (record.callee, record.display_num)
        if number is not None
    ]
    path = tmp_path / "calls.ndjson"
    await export(path, until=len(STORY), mask=mask, phone_name="+12125550123")
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    await export(path, mask=mask, phone_name="+12125550123")
    held += b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not [number for number in [*numbers, b"2125550", RAW, b"newField"] if number in held]
    (line,) = sidecar_path(path, QUARANTINE).read_text().splitlines()
    assert json.loads(line)["raw"] is None


async def test_the_quarantine_of_an_earlier_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path)
    await export(path, [window(0)], overwrite=True)
    assert names(tmp_path) == ["calls.csv", "calls.csv.manifest.json"]


async def test_the_event_loop_runs_on_while_a_window_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt = Halt(monkeypatch, "_write_window")
    async with anyio.create_task_group() as group:
        group.start_soon(export, tmp_path / "calls.csv", [window(0)])
        while not halt.reached.is_set():
            await anyio.lowlevel.checkpoint()
        # The window waits to be written, and here the loop goes on: it would not come to this otherwise.
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        halt.go_on.set()
    assert names(tmp_path) == ["calls.csv", "calls.csv.manifest.json"]


# A run that ends early, and the next one.


@pytest.mark.parametrize("name", FORMATS)
async def test_an_error_in_any_format_leaves_the_journal_and_no_target(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"calls.{name}"
    expected = await undisturbed(tmp_path, path.name)
    path = place_in(tmp_path) / path.name
    with pytest.raises(TransportError, match="gone"):  # noqa: PT012 - that is what passes through
        async with ExportJob(order(path)) as job:
            for entry in STORY[:2]:
                await job.write(entry, report_of())
            raise TransportError("gone")
    gc.collect()
    assert names(path.parent) == [path.name + JOURNAL, path.name + ROWS]
    await export(path)
    assert contents(path.parent) == expected


async def test_a_parquet_export_goes_on_whatever_form_its_rows_have(tmp_path: Path) -> None:
    # What this version does not know holds quotes, and those make objects of a window's rows.
    known = [plain(window(number)) for number in (1, 2)]
    story: list[JournalEvent | CompleteWindow] = [CUT, window(0), *known]
    await export(tmp_path / "whole.parquet", story)
    path = tmp_path / "calls.parquet"
    for until in range(1, len(story) + 1):
        await export(path, story, until=until)
    _, *rows = sidecar_path(path, ROWS).read_bytes().splitlines()
    assert [row[:1] for row in rows] == [b"{"] * 3 + [b"["] * 6
    async with ExportJob(order(path)) as job:
        (latest,) = (await job.checkpoint(allow_incomplete=False, changed=[])).latest
    assert latest.records == [*known[-1].records, *window(2).repeated]
    await export(path, story)
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


async def test_an_error_before_anything_was_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="gone"):
        async with ExportJob(order(tmp_path / "calls.csv")):
            raise TransportError("gone")
    assert names(tmp_path) == []


async def test_a_journal_keeps_the_requests_of_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path, until=3)
    async with ExportJob(order(path)) as job:
        assert job.effort == (9, 0, 1.5)
        assert job.published is None


async def test_young_windows_are_provisional_so_that_they_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    story = (CUT, window(0), window(1, provisional=True), window(2))
    await export(path, story, until=4)
    async with ExportJob(order(path)) as job:
        assert [reported.window for reported in job.provisional] == [hour(1)]
        checkpoint = await job.checkpoint(allow_incomplete=False, changed=[hour(1)])
        assert len(checkpoint.entries) == 2
        assert [read.window for read in checkpoint.latest] == [hour(0)]
        assert job.provisional == []
    await export(path, story)
    assert path.read_bytes().count(b"\r\n") == 1 + 9


async def test_unproven_windows_are_read_again_unless_allowed(tmp_path: Path) -> None:
    story = (CUT, window(0), window(1, certified=False), window(2))
    await export(tmp_path / "calls.csv", story, until=4)
    async with ExportJob(order(tmp_path / "calls.csv")) as job:
        assert len((await job.checkpoint(allow_incomplete=True, changed=[])).entries) == 4
        assert len((await job.checkpoint(allow_incomplete=False, changed=[])).entries) == 2
        await job.forget_affected(OutOfTimeRangeError("too old"))  # what was read stays
        assert len((await job.checkpoint(allow_incomplete=True, changed=[])).entries) == 2
        await job.forget_affected(IncompleteRangeError("short", window=SPAN))
        assert len((await job.checkpoint(allow_incomplete=True, changed=[])).entries) == 1
        await job.forget_affected(OutOfTimeRangeError("too old"))
        assert (await job.checkpoint(allow_incomplete=True, changed=[])).entries == []


def edges_of(path: Path) -> list[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return [frame.end for frame in read_frames(descriptor, path)]
    finally:
        os.close(descriptor)


@pytest.mark.usefixtures("unflushed")
@pytest.mark.parametrize("name", some(["calls.ndjson", "calls.csv.gz", "calls.parquet"], every=2))
async def test_cut_off_around_every_edge_the_next_run_makes_the_same_files(tmp_path: Path, name: str) -> None:
    expected = await undisturbed(tmp_path, name)
    place = place_in(tmp_path)
    path, frames, rows = place / name, place / (name + JOURNAL), place / (name + ROWS)
    await export(path, until=len(STORY))
    held = frames.read_bytes(), rows.read_bytes()
    rows_edges = [0, *(at + 1 for at, byte in enumerate(held[1]) if byte == 10)]
    first, *later = edges_of(frames)
    cuts = [(edge + by, None) for edge in [first, *later] for by in (-1, 0, 1) if edge + by >= first]
    cuts += [(None, edge + by) for edge in rows_edges for by in (-1, 0, 1)]  # type: ignore[misc]
    for of_frames, of_rows in cuts:
        if (of_rows or 0) < 0:
            continue
        for file, data, length in ((frames, held[0], of_frames), (rows, held[1], of_rows)):
            cut = data if length is None else (data + b"\0")[:length]
            file.write_bytes(cut)
            file.chmod(0o600)
        await export(path)
        assert contents(place) == expected
        for file in place.iterdir():
            file.unlink()


async def test_damage_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path, until=len(STORY))
    before = contents(tmp_path)
    for ending, place in ((JOURNAL, 30), (ROWS, before["calls.csv.journal.rows"].index(b"\n") + 6)):
        file = sidecar_path(path, ending)
        damaged = bytearray(before[file.name])
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(JournalDamagedError, match="remove"):
            await export(path)
        assert contents(tmp_path) == before | {file.name: bytes(damaged)}
        file.write_bytes(before[file.name])
    await export(path)
    assert names(tmp_path) == whole("calls.csv")


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"end": END.replace(minute=31)}, r"end was 2026-10-01T03:30:00\+00:00, now 2026-10-01T03:31:00\+00:00"),
    ({"sip_group_name": "客服一组"}, "sip_group_name was None, now 客服一组"),
    ({"phone_name": "+12125550123"}, "phone_name differs"),
    ({"time_field": "call_time"}, "time_field was None, now call_time"),
    ({"credentials": Credentials("sandbox-other", "sandbox-secret")}, "account differs"),
    ({"format": "csv.gz"}, "format was csv, now csv.gz"),
    ({"spreadsheet": True}, "spreadsheet was no, now yes"),
    ({"mask": mask_number}, "numbers was unchanged, now masked"),
    (
        {"mask": Pseudonyms(b"sandbox-key-of-16-bytes")},
        "numbers was unchanged, now pseudonyms; key of pseudonyms differs",
    ),
]


@pytest.mark.parametrize(("change", "reported"), OTHERS, ids=[reported[-20:] for _, reported in OTHERS])
async def test_a_journal_of_another_query_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, Any], reported: str
) -> None:
    path = tmp_path / "calls.csv"
    await export(path, until=2)
    before = contents(tmp_path)
    with pytest.raises(
        ExportConflictError, match=f"belongs to another export: {reported}; finish that export"
    ) as caught:
        await export(path, **change)
    assert "2125550" not in str(caught.value)
    assert contents(tmp_path) == before
    await export(path)


async def test_a_journal_in_which_nothing_was_written_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    journal = Journal(sidecar_path(path, JOURNAL), sidecar_path(path, ROWS))
    async with ExportJob(order(path)) as job:
        # As after a kill.
        shutil.copytree(tmp_path, tmp_path / "killed")
        assert job.provisional == []
    path = tmp_path / "killed" / "calls.csv"
    assert names(path.parent) == ["calls.csv.journal", "calls.csv.journal.rows"]
    await export(path, sip_group_name="客服一组", mask=mask_number)
    assert names(path.parent) == whole("calls.csv")
    assert not journal.is_open


# Two of them.


async def test_a_second_export_says_so_and_leaves(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    expected = await undisturbed(tmp_path, path.name)
    path = place_in(tmp_path) / path.name
    async with ExportJob(order(path)) as job:
        for entry in STORY[:2]:
            await job.write(entry, report_of())
        before = contents(path.parent)
        for overwrite in (False, True):
            with pytest.raises(ExportConflictError, match=r"another export of calls\.ndjson is running; wait"):
                await export(path, overwrite=overwrite)
        assert contents(path.parent) == before
        for entry in STORY[2:]:
            await job.write(entry, report_of())
        await job.publish(report_of())
    assert contents(path.parent) == expected


HOLD = """
import sys
from pathlib import Path
import anyio
from aiosipcdr.export import ExportJob
from tests.made_up_exports import STORY, order, report_of

async def main():
    async with ExportJob(order(Path(sys.argv[1]))) as job:
        for entry in STORY[:3]:
            await job.write(entry, report_of())
        print("at work", flush=True)
        sys.stdin.read()

anyio.run(main)
"""


async def test_a_second_process_says_so_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    expected = await undisturbed(tmp_path, path.name)
    path = place_in(tmp_path) / path.name
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own interpreter
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "at work\n"
        with pytest.raises(ExportConflictError, match="another export of"):
            await export(path)
        holder.kill()
        holder.wait(240)
    await export(path)
    assert contents(path.parent) == expected


# Obstacles.


async def test_an_existing_file_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with pytest.raises(ExportConflictError, match="already exists"):
        await export(path)
    assert contents(tmp_path) == {"calls.ndjson": b"old"}
    await export(path, overwrite=True)
    assert path.read_bytes() == ROWS_OF_STORY


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.csv"])
async def test_a_file_that_appears_meanwhile_is_not_lost_and_gets_no_manifest(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ExportConflictError, match="already exists"):  # noqa: PT012 - raised at the end
        async with ExportJob(order(path)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
            path.write_text("theirs")
            await job.publish(report_of())
    assert path.read_text() == "theirs"
    assert names(tmp_path) == [name, name + JOURNAL, name + ROWS]
    with pytest.raises(ExportConflictError, match="already exists"):
        await export(path)
    await export(path, overwrite=True)
    assert names(tmp_path) == whole(name)


def link(path: Path) -> None:
    path.with_name("mine").write_bytes(b"mine")
    path.symlink_to(path.with_name("mine"))


@pytest.mark.parametrize("ending", ["", JOURNAL, ROWS, MANIFEST, QUARANTINE])
@pytest.mark.parametrize("make", [link, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("resumed", [False, True])
async def test_a_target_that_is_not_a_plain_file_is_named_before_any_request_and_kept(
    tmp_path: Path, ending: str, make: Callable[[Path], None], resumed: bool
) -> None:
    path = tmp_path / "calls.csv"
    if resumed:
        await export(path, until=2)
    obstacle = path.with_name(path.name + ending)
    obstacle.unlink(missing_ok=True)
    make(obstacle)
    mode = obstacle.lstat().st_mode
    before = names(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(ExportConflictError) as caught:
            async with ExportJob(order(path, overwrite=overwrite)):
                pytest.fail("entered")
        assert str(caught.value).startswith(f"{obstacle} is ")
    assert obstacle.lstat().st_mode == mode
    assert names(tmp_path) == before
    assert not (tmp_path / "mine").exists() or (tmp_path / "mine").read_bytes() == b"mine"


async def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    sidecar_path(path, JOURNAL).write_text("my own notes")
    with pytest.raises(ExportConflictError, match="is not a journal of aiosipcdr"):
        await export(path)
    assert contents(tmp_path) == {"calls.csv.journal": b"my own notes"}


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the folder does not exist; create it first"):
        await export(tmp_path / "none" / "calls.csv")


async def test_a_format_whose_extra_is_missing_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"aiosipcdr\[arrow\]"):
        await export(tmp_path / "calls.parquet")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.csv"])
async def test_a_folder_that_vanishes_is_reported_and_the_next_run_starts_over(tmp_path: Path, name: str) -> None:
    expected = await undisturbed(tmp_path, name)
    path = place_in(tmp_path) / name
    with pytest.raises(StorageError, match="cannot be written: the folder does not exist; create it first"):  # noqa: PT012
        async with ExportJob(order(path)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
            shutil.rmtree(path.parent)
            await job.publish(report_of())
    assert not path.parent.exists()
    path.parent.mkdir()
    await export(path)
    assert contents(path.parent) == expected


# The disk.


async def test_disk_space_is_reserved_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, 1_000))
    with pytest.raises(StorageError, match="this export needs about 1 MB; free some space"):
        await export(tmp_path / "calls.csv")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "needed"), [("calls.ndjson", 1_400), ("calls.csv", 1_050), ("calls.parquet", 900), ("calls.csv.gz", 900)]
)
async def test_disk_space_for_the_reported_total_is_reserved_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, needed: int
) -> None:
    cut = WindowSplit(reported=WindowReport(window=SPAN, total=10_000), parts=CUT.parts)
    free = 10_000 * needed
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, free))
    await export(tmp_path / name, [cut, window(0)], until=2)
    free -= 1
    with pytest.raises(StorageError, match="needs about"):
        await export(tmp_path / f"other-{name}", [cut, window(0)])
    assert names(tmp_path) == [name + JOURNAL, name + ROWS]
    # What was written already is not asked for again.
    free = (10_000 - 3) * 700 + 10_000 * (needed - 700)
    await export(tmp_path / name, [cut, window(0)], until=2)
    free -= 1
    with pytest.raises(StorageError, match="needs about"):
        await export(tmp_path / name, [cut, window(0)])
    assert names(tmp_path) == [name + JOURNAL, name + ROWS]


LIMITED = """
import resource, signal, sys
from pathlib import Path
import anyio
from aiosipcdr.model.errors import StorageError
from aiosipcdr.export import ExportJob
from tests.made_up_exports import export, window

STORIES = {"journal": [window(0)] * 9, "target": [window(0, calls=1)], "manifest": [window(0, calls=1)]}
CASES = [("journal", "calls.csv", 5000), ("target", "calls.parquet", 4500), ("manifest", "calls.ndjson", 1300)]

async def main():
    for what, name, limit in CASES:
        folder = Path(sys.argv[1], what)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            await export(folder / name, STORIES[what])
        except StorageError as error:
            print(error, sorted(path.name for path in folder.iterdir()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await export(folder / name, STORIES[what])
        print(sorted(path.name for path in folder.iterdir()))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
anyio.run(main)
"""


def test_a_full_disk_is_reported_and_the_next_run_resumes(tmp_path: Path) -> None:
    for what in ("journal", "target", "manifest"):
        (tmp_path / what).mkdir()
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
        cwd=Path(__file__).parent.parent.parent,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    for line, after, name in zip(lines[::2], lines[1::2], ("calls.csv", "calls.parquet", "calls.ndjson"), strict=True):
        assert f"{name} cannot be written: the file would exceed" in line
        assert line.endswith(f"['{name}.journal', '{name}.journal.rows']")
        assert after == f"['{name}', '{name}.manifest.json']"


async def test_a_disk_that_fails_at_the_end_lets_go_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "failed")

    path = tmp_path / "calls.csv"
    with pytest.raises(StorageError, match="the disk reported an I/O error"):  # noqa: PT012 - raised at the end
        async with ExportJob(order(path)) as job:
            await job.write(CUT, FetchReport())
            monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.undo()
    await export(path)
    assert names(tmp_path) == whole("calls.csv")


# Cancellation.


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.csv"])
async def test_a_cancellation_before_the_file_is_whole_leaves_the_journal(tmp_path: Path, name: str) -> None:
    expected = await undisturbed(tmp_path, name)
    path = place_in(tmp_path) / name
    with anyio.CancelScope() as scope:
        async with ExportJob(order(path)) as job:
            for entry in STORY:
                await job.write(entry, report_of())
            scope.cancel()
            await job.publish(report_of())
    assert scope.cancelled_caught
    assert names(path.parent) == [name + JOURNAL, name + ROWS]
    await export(path)
    assert contents(path.parent) == expected


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


class Halt:
    """Holds a call of the job in its thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        original = getattr(ExportJob, method)

        def held(job: ExportJob, *arguments: object) -> object:
            self.reached.set()
            assert self.go_on.wait(240)
            return original(job, *arguments)

        monkeypatch.setattr(ExportJob, method, held)


@pytest.mark.parametrize("method", ["_open", "_write_window", "_publish_files"])
@pytest.mark.parametrize("name", ["calls.ndjson", "calls.csv"])
async def test_a_task_that_asyncio_cancels_lets_its_thread_end_before_it_closes_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    expected = await undisturbed(tmp_path, name)
    path = place_in(tmp_path) / name
    descriptors = open_files()
    halt = Halt(monkeypatch, method)
    task = asyncio.create_task(export(path))
    await anyio.to_thread.run_sync(halt.reached.wait)
    task.cancel()
    await asyncio.sleep(0)
    halt.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_files() == descriptors
    if method == "_publish_files":
        assert contents(path.parent) == expected  # it came too late
        return
    assert names(path.parent) == ([] if method == "_open" else [name + JOURNAL, name + ROWS])
    await export(path)
    assert contents(path.parent) == expected


async def test_a_job_that_has_ended_writes_no_more(tmp_path: Path) -> None:
    async with ExportJob(order(tmp_path / "calls.csv")) as job:
        pass
    with pytest.raises(ClientStateError, match="has ended"):
        await job.write(CUT, FetchReport())
    assert names(tmp_path) == []


async def test_the_plan_is_in_the_journal_before_a_part_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    async with ExportJob(order(path)) as job:
        await job.write(CUT, FetchReport())
        raw = sidecar_path(path, JOURNAL).read_bytes()
        assert all(json.dumps(hour(number).end.isoformat()).encode() in raw for number in range(3))
        assert START.isoformat().encode() in raw


async def test_files_that_somebody_replaced_meanwhile_are_not_published(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with ExportJob(order(path)) as job:
        await job.checkpoint(allow_incomplete=True, changed=[])
        for entry in STORY:
            await job.write(entry, report_of())
        for ending in (JOURNAL, ROWS):
            sidecar_path(path, ending).unlink()
        sidecar_path(path, ROWS).write_text("another export's")
        with pytest.raises(ExportConflictError, match="was removed, replaced or linked during the export"):
            await job.publish(report_of())
    assert not path.exists()
    assert sidecar_path(path, ROWS).read_text() == "another export's"


async def test_files_that_others_can_read_by_now_are_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    await export(path, until=2)
    for ending in (JOURNAL, ROWS):
        sidecar_path(path, ending).chmod(0o644)
        before = contents(tmp_path)
        with pytest.raises(ExportConflictError, match="others can read or change it"):
            await export(path)
        assert contents(tmp_path) == before
        sidecar_path(path, ending).chmod(0o600)
    await export(path)


async def test_every_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        await export(tmp_path / "calls.ndjson")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


async def test_a_file_system_that_forces_owner_and_mode_is_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_owner_and_mode", lambda _: (os.geteuid() + 1, 0o777))
    path = tmp_path / "calls.csv"
    for until in (1, 2, 3, None):
        await export(path, until=until)
    assert names(tmp_path) == whole("calls.csv")


async def test_files_of_somebody_else_are_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await export(tmp_path / "calls.ndjson", until=2)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ExportConflictError, match="belongs to another user"):
        await export(tmp_path / "calls.ndjson")
