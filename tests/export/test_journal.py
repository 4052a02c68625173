"""A journal gives back what was written to it, up to where it was torn, and nothing that was changed."""

import errno
import hashlib
import os
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from aiosipcdr.export.filesystem import lock_file
from aiosipcdr.export.frames import encode_frame, read_frames
from aiosipcdr.export.journal import Journal
from aiosipcdr.export.journal_records import (
    LAYOUT,
    Built,
    Entry,
    Header,
    WrittenWindow,
    encode_entry,
    encode_rows_header,
)
from aiosipcdr.export.render import decode_rows, encode_rows
from aiosipcdr.model.errors import ExportConflictError, JournalDamagedError
from aiosipcdr.model.report import CompleteWindow
from aiosipcdr.proof.checkpoint import Delivered, Recounted
from tests.made_up_exports import CUT, SPAN, STORY, as_delivered, hour, window
from tests.selection import some

HEADER = Header(settings={"format": "csv", "sip_group_name": None, "#account": "0123456789abcdef"}, tiles=[SPAN])
SMALL = (CUT, window(0, calls=1), window(1, calls=0), window(2, calls=1, bad=1))
"""A story to try every byte of."""
BUILT = Built(target="ab" * 32, manifest="cd" * 32)


IDENTIFIER = "5" * 32
ROWS_HEADER = encode_rows_header(msgspec.structs.replace(HEADER, id=IDENTIFIER))


@pytest.fixture(autouse=True)
def _fixed_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two journals of the same windows have the same bytes."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: IDENTIFIER)


def place_of(folder: Path) -> tuple[Path, Path]:
    return folder / "calls.csv.journal", folder / "calls.csv.journal.rows"


@contextmanager
def opened(folder: Path, header: Header = HEADER, *, recover: bool = True) -> Iterator[Journal]:
    journal = Journal(*place_of(folder))
    journal.open(lambda _: header)
    try:
        if recover:
            journal.recover()
        yield journal
    finally:
        journal.close()


def add(journal: Journal, *story: object) -> None:
    for entry in story:
        if isinstance(entry, CompleteWindow):
            rows = encode_rows(entry.records)
            journal.append(
                WrittenWindow(
                    delivered=Delivered(reported=entry.report, share=entry.share),
                    rows=len(entry.records),
                    size=len(rows),
                    mark=journal.rows_file.append(rows),
                    quarantined=entry.quarantined,
                    unread_ids=entry.unread_ids,
                ),
                encode_rows(entry.repeated),
            )
        else:
            journal.append(entry)  # type: ignore[arg-type]


def written(folder: Path, *story: object) -> tuple[bytes, bytes]:
    """Write a journal; return the bytes of its frames and of its rows."""
    with opened(folder) as journal:
        add(journal, *(story or STORY))
    frames, rows = place_of(folder)
    return frames.read_bytes(), rows.read_bytes()


def put(folder: Path, frames: bytes, rows: bytes) -> None:
    for path, data in zip(place_of(folder), (frames, rows), strict=True):
        # Not truncated first: some file systems flush a file that is, and every byte is tried here.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, data)
        os.ftruncate(descriptor, len(data))
        os.close(descriptor)


def found(folder: Path) -> tuple[bytes, bytes]:
    frames, rows = place_of(folder)
    return frames.read_bytes(), rows.read_bytes()


def edges(folder: Path) -> list[int]:
    """Where the frames of the journal end."""
    descriptor = os.open(place_of(folder)[0], os.O_RDONLY)
    try:
        return [frame.end for frame in read_frames(descriptor, place_of(folder)[0])]
    finally:
        os.close(descriptor)


def test_entries_are_there_when_a_journal_is_opened_again(tmp_path: Path) -> None:
    written(tmp_path)
    with opened(tmp_path) as journal:
        assert journal.header == msgspec.structs.replace(HEADER, id=IDENTIFIER)
        checkpoint = journal.checkpoint()
        assert checkpoint.tiles == [SPAN]
        assert checkpoint.entries == [as_delivered(entry) for entry in STORY]
        assert [len(decode_rows(rows)) for rows in journal.rows()] == [3, 2]
        assert ROWS_HEADER + b"".join(journal.rows()) == place_of(tmp_path)[1].read_bytes()
        assert journal.built is None


def test_the_rows_are_those_of_the_records_one_after_the_other(tmp_path: Path) -> None:
    _, rows = written(tmp_path)
    reported = [entry for entry in STORY if isinstance(entry, CompleteWindow)]
    assert rows == ROWS_HEADER + b"".join(encode_rows(entry.records) for entry in reported)


def test_both_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in place_of(tmp_path)] == [0o600, 0o600]


def test_the_latest_windows_are_remembered_with_all_that_was_read_in_them(tmp_path: Path) -> None:
    written(tmp_path)
    with opened(tmp_path) as journal:
        (latest,) = journal.checkpoint().latest
    last = STORY[-1]
    assert isinstance(last, CompleteWindow)
    assert latest.window == last.window
    assert latest.records == [*last.records, *last.repeated]
    assert latest.ids == {record.voice_id for record in latest.records} | {"bad2"}


def test_of_a_journal_without_windows_nothing_is_remembered(tmp_path: Path) -> None:
    written(tmp_path, CUT)
    with opened(tmp_path) as journal:
        assert journal.checkpoint().latest == []
        assert list(journal.rows()) == []


def test_a_journal_goes_on_where_it_ended_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = written(tmp_path)
    for path in place_of(tmp_path):
        path.unlink()
    for entry in STORY:
        with opened(tmp_path) as journal:
            add(journal, entry)
    assert found(tmp_path) == whole


def check_prefix(journal: Journal, number: int, story: Sequence[Entry | CompleteWindow] = STORY) -> None:
    """Hold the journal against the first entries of `story`."""
    assert journal.checkpoint().entries == [as_delivered(entry) for entry in story[:number]]  # type: ignore[arg-type]
    rows = [encode_rows(entry.records) for entry in story[:number] if isinstance(entry, CompleteWindow)]
    assert list(journal.rows()) == [one for one in rows if one]
    assert journal.rows_file.path.read_bytes() == ROWS_HEADER + b"".join(rows)


@pytest.mark.usefixtures("unflushed")
def test_wherever_the_frames_are_cut_off_all_before_is_kept(tmp_path: Path) -> None:
    frames, rows = written(tmp_path, *SMALL)
    header_end, *ends = edges(tmp_path)
    assert len(ends) == len(SMALL)
    near = {end + step for end in ends for step in (-1, 0, 1)} & set(range(len(frames) + 1))
    for length in sorted({*some(range(header_end, len(frames) + 1), every=7), *near}):
        put(tmp_path, frames[:length], rows)
        number = sum(end <= length for end in ends)
        with opened(tmp_path) as journal:
            check_prefix(journal, number, SMALL)
            # What was torn off is gone from both files, and the journal can be gone on with.
            kept = [header_end, *ends][number]
            assert found(tmp_path) == (frames[:kept], rows[: journal.rows_file.mark.end])
            add(journal, *SMALL[number:])
        assert found(tmp_path) == (frames, rows)


@pytest.mark.usefixtures("unflushed")
def test_wherever_the_rows_are_cut_off_all_windows_before_are_kept(tmp_path: Path) -> None:
    frames, rows = written(tmp_path, *SMALL)
    marks = []
    with opened(tmp_path) as journal:
        marks = [window.mark.end for window in journal.windows]
    assert marks[0] == marks[1] < marks[2] == len(rows)
    for length in some(range(len(rows) + 1), every=2):
        put(tmp_path, frames, rows[:length])
        with opened(tmp_path) as journal:
            number = 1 + sum(mark <= length for mark in marks)
            check_prefix(journal, number, SMALL)
            add(journal, *SMALL[number:])
        assert found(tmp_path) == (frames, rows)


def test_rows_without_a_frame_are_truncated(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    put(tmp_path, frames, rows + b'{"voice_id":"half of a r')
    with opened(tmp_path):
        pass
    assert found(tmp_path) == (frames, rows)


@pytest.mark.usefixtures("unflushed")
def test_a_bit_of_the_frames_that_was_changed_is_refused_anywhere_but_in_the_last(tmp_path: Path) -> None:
    frames, rows = written(tmp_path, *SMALL)
    *_, last, _ = edges(tmp_path)
    for place in some(range(len(frames)), every=3):
        damaged = bytearray(frames)
        damaged[place] ^= 1 << place % 8
        put(tmp_path, bytes(damaged), rows)
        if place >= last:
            with opened(tmp_path) as journal:
                check_prefix(journal, len(SMALL) - 1, SMALL)
            continue
        with pytest.raises(JournalDamagedError, match="was changed or damaged"):
            Journal(*place_of(tmp_path)).open(lambda _: HEADER)
        assert found(tmp_path) == (bytes(damaged), rows)


@pytest.mark.usefixtures("unflushed")
def test_a_bit_of_the_rows_that_was_changed_is_refused_anywhere_but_in_the_last_window(tmp_path: Path) -> None:
    frames, rows = written(tmp_path, *SMALL)
    tail = rows.index(b"\n", len(ROWS_HEADER)) + 1
    for place in some(range(len(ROWS_HEADER), len(rows)), every=2):
        damaged = bytearray(rows)
        damaged[place] ^= 1 << place % 8
        put(tmp_path, frames, bytes(damaged))
        if place >= tail:
            with opened(tmp_path) as journal:
                check_prefix(journal, len(SMALL) - 1, SMALL)
            continue
        with pytest.raises(JournalDamagedError, match=r"rows .* were changed or damaged before byte"), opened(tmp_path):
            pass
        assert found(tmp_path) == (frames, bytes(damaged))


def test_rows_that_were_changed_are_refused_if_anything_was_written_after_their_window(tmp_path: Path) -> None:
    frames, rows = written(tmp_path, *STORY, Recounted(window=SPAN, total=5))
    damaged = rows[:-1] + b"?"
    put(tmp_path, frames, damaged)
    with pytest.raises(JournalDamagedError), opened(tmp_path):
        pass
    assert found(tmp_path) == (frames, damaged)


def test_rows_that_are_missing_and_changed_are_refused(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    damaged = ROWS_HEADER + b"?" + rows[len(ROWS_HEADER) + 1 : -1]
    put(tmp_path, frames, damaged)
    with pytest.raises(JournalDamagedError), opened(tmp_path):
        pass
    assert found(tmp_path) == (frames, damaged)


def test_damage_before_an_intact_frame_is_refused(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    for damaged in (
        frames[:-1] + encode_frame(encode_entry(CUT)),
        frames + b"\0" * 4096 + encode_frame(b"not even an entry"),
        frames[:5] + frames,
        b"\0" + frames,
    ):
        put(tmp_path, damaged, rows)
        with pytest.raises((JournalDamagedError, ExportConflictError)), opened(tmp_path):
            pass
        assert found(tmp_path) == (damaged, rows)


def test_an_intact_frame_that_is_no_entry_is_refused(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    for text in (b"{}", b"?", encode_entry(HEADER), b'{"type":"something new"}'):
        put(tmp_path, frames + encode_frame(text), rows)
        with (
            pytest.raises(JournalDamagedError, match="cannot be decoded, most likely because another version"),
            opened(tmp_path),
        ):
            pass
        assert found(tmp_path) == (frames + encode_frame(text), rows)


def test_a_journal_of_another_layout_is_refused(tmp_path: Path) -> None:
    later = Header(layout=LAYOUT + 1, settings=HEADER.settings, tiles=HEADER.tiles)
    put(tmp_path, encode_frame(encode_entry(later)), b"")
    with pytest.raises(
        ExportConflictError, match=rf"by another version of aiosipcdr \(layout {LAYOUT + 1}, this is {LAYOUT}\)"
    ):
        Journal(*place_of(tmp_path)).open(lambda _: HEADER)
    assert found(tmp_path) == (encode_frame(encode_entry(later)), b"")


@pytest.mark.parametrize("foreign", [b"", b"?", b"my own notes\n" * 99, b"\0" * 50, b"\x89CDS", b"\x89PNG\r\n"])
def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path, foreign: bytes) -> None:
    frames, _ = place_of(tmp_path)
    frames.write_bytes(foreign)
    with pytest.raises(ExportConflictError, match="is not a journal of aiosipcdr; move the file away"):
        Journal(*place_of(tmp_path)).open(lambda _: HEADER)
    assert frames.read_bytes() == foreign
    assert [path.name for path in tmp_path.iterdir()] == [frames.name]


def link(path: Path) -> None:
    path.with_name("mine").write_bytes(b"")
    path.symlink_to(path.with_name("mine"))


@pytest.mark.parametrize("place", [0, 1], ids=["frames", "rows"])
@pytest.mark.parametrize(("make", "what"), [(link, "a link"), (Path.mkdir, "a folder"), (os.mkfifo, "not a plain")])
def test_a_path_that_is_no_plain_file_is_named_and_kept(
    tmp_path: Path, place: int, make: Callable[[Path], None], what: str
) -> None:
    path = place_of(tmp_path)[place]
    make(path)
    mode = path.lstat().st_mode
    with pytest.raises(ExportConflictError, match=rf"{path.name} is {what}.*; remove it"), opened(tmp_path):
        pass
    assert path.lstat().st_mode == mode
    assert not path.with_name("mine").exists() or path.with_name("mine").read_bytes() == b""


CHANGES = [
    ({"format": "parquet"}, "format was csv, now parquet"),
    ({"sip_group_name": "客服一组"}, "sip_group_name was None, now 客服一组"),
    ({"#account": "fedcba9876543210"}, "account differs"),
    ({"new": "1"}, "new was None, now 1"),
]


@pytest.mark.parametrize(("change", "reported"), CHANGES, ids=[reported for _, reported in CHANGES])
def test_a_journal_of_another_query_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, str | None], reported: str
) -> None:
    before = written(tmp_path)
    other = Header(settings=HEADER.settings | change, tiles=[hour(0)])
    with pytest.raises(
        ExportConflictError, match=f"belongs to another export: {reported}; finish that export"
    ) as caught:
        Journal(*place_of(tmp_path)).open(lambda _: other)
    assert "fedcba" not in str(caught.value)
    assert "0123456" not in str(caught.value)
    assert found(tmp_path) == before


def test_a_journal_in_the_terms_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    now = Header(settings=HEADER.settings | {"numbers": "unchanged"}, tiles=[SPAN])
    with opened(tmp_path, Header(settings=HEADER.settings | {"numbers": "as told"}, tiles=[SPAN])) as journal:
        add(journal, *STORY)
    with opened(tmp_path, now) as journal:
        assert len(journal.entries) == len(STORY)
    masked = Header(settings=HEADER.settings | {"numbers": "masked"}, tiles=[SPAN])
    with pytest.raises(ExportConflictError, match="numbers was unchanged, now masked"):
        Journal(*place_of(tmp_path)).open(lambda _: masked)


def test_all_that_differs_is_said(tmp_path: Path) -> None:
    written(tmp_path)
    other = Header(settings={"format": "ndjson", "sip_group_name": None, "#account": None}, tiles=[SPAN])
    with pytest.raises(ExportConflictError, match="format was csv, now ndjson; account differs; finish"):
        Journal(*place_of(tmp_path)).open(lambda _: other)


def test_a_journal_in_which_nothing_was_written_is_no_obstacle(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    other = Header(settings={"format": "ndjson"}, tiles=[hour(0)])
    with opened(tmp_path, other) as journal:
        assert journal.checkpoint().tiles == [hour(0)]
        add(journal, window(0))
    with opened(tmp_path, other) as journal:
        assert journal.header == msgspec.structs.replace(other, id=IDENTIFIER)
        assert len(journal.entries) == 1


def test_the_plan_of_the_journal_is_the_one_that_is_followed(tmp_path: Path) -> None:
    written(tmp_path)
    with opened(tmp_path, Header(settings=HEADER.settings, tiles=[hour(0), hour(1)])) as journal:
        assert journal.checkpoint().tiles == [SPAN]


def test_a_second_opening_names_the_process_at_work_and_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        add(journal, *STORY[:2])
        before = found(tmp_path)
        for _ in range(2):
            with pytest.raises(ExportConflictError, match=r"another export of calls\.csv is running; wait"):
                Journal(*place_of(tmp_path)).open(lambda _: HEADER)
        assert found(tmp_path) == before
        add(journal, *STORY[2:])
    with opened(tmp_path) as journal:
        check_prefix(journal, len(STORY))


HOLD = """
import sys
from pathlib import Path
from aiosipcdr.export.journal_records import decode_header
from aiosipcdr.export.journal import Journal
from aiosipcdr.export.filesystem import lock_file
journal = Journal(Path(sys.argv[1]), Path(sys.argv[2]))
journal.open(lambda _: decode_header(bytes.fromhex(sys.argv[3])))
journal.recover()
print("open", flush=True)
sys.stdin.read()
"""


def test_another_process_has_it_until_it_is_killed(tmp_path: Path) -> None:
    written(tmp_path)
    command = [sys.executable, "-c", HOLD, *map(str, place_of(tmp_path)), encode_entry(HEADER).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ExportConflictError, match="another export of"):
            Journal(*place_of(tmp_path)).open(lambda _: HEADER)
        holder.kill()
        holder.wait(240)
    with opened(tmp_path) as journal:
        check_prefix(journal, len(STORY))


def test_a_journal_that_was_removed_while_we_waited_for_its_lock_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    frames, rows = place_of(tmp_path)

    def remove_first(descriptor: int) -> bool:
        monkeypatch.setattr("aiosipcdr.export.journal.lock_file", lock_file)
        frames.unlink()
        rows.unlink()
        return lock_file(descriptor)

    monkeypatch.setattr("aiosipcdr.export.journal.lock_file", remove_first)
    with opened(tmp_path) as journal:
        assert journal.entries == []
        add(journal, window(0))
    with opened(tmp_path) as journal:
        assert len(journal.entries) == 1


def test_a_discarded_window_is_removed_from_both_files(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    ends = edges(tmp_path)
    for number in range(len(STORY) + 2):
        put(tmp_path, frames, rows)
        with opened(tmp_path) as journal:
            journal.keep(number)
            check_prefix(journal, min(number, len(STORY)))
            assert found(tmp_path)[0] == frames[: ends[min(number, len(STORY))]]
            add(journal, *STORY[number:])
        assert found(tmp_path) == (frames, rows)


def test_a_built_file_is_known_until_it_is_built_again(tmp_path: Path) -> None:
    frames, rows = written(tmp_path)
    with opened(tmp_path) as journal:
        journal.append(BUILT)
        journal.sync()
    with opened(tmp_path, recover=False) as journal:
        assert journal.built == BUILT
        assert journal.entries[-1] == BUILT
    assert found(tmp_path) != (frames, rows)
    with opened(tmp_path) as journal:
        assert journal.built is None
    assert found(tmp_path) == (frames, rows)


def test_a_frame_that_does_not_fit_on_the_disk_leaves_the_frames_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, rows = written(tmp_path, *STORY[:2])
    write = os.write

    def fill(descriptor: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[:50])

    with opened(tmp_path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fill)
            with pytest.raises(OSError, match="full"):
                journal.append(Recounted(window=SPAN, total=5))
        assert found(tmp_path) == (frames, rows)
        assert len(journal.entries) == 2
        add(journal, *STORY[2:])
    with opened(tmp_path) as journal:
        check_prefix(journal, len(STORY))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported_and_the_journal_is_kept(tmp_path: Path) -> None:
    before = written(tmp_path, *STORY[:2])
    with opened(tmp_path) as journal:
        ours, journal._descriptor = journal._descriptor, os.open("/dev/full", os.O_RDWR)
        try:
            with pytest.raises(OSError, match="No space left"):
                journal.append(BUILT)
        finally:
            os.close(journal._descriptor)
            journal._descriptor = ours
        assert journal.built is None
    assert found(tmp_path) == before


def test_rows_are_synced_before_their_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with opened(tmp_path) as journal:
        flushed.clear()
        journal.sync()
        assert flushed == [journal.rows_file._descriptor, journal._descriptor]


def test_a_new_journal_is_safe_with_its_name_before_anything_is_fetched_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    with opened(tmp_path):
        frames, rows = place_of(tmp_path)
        assert flushed[-3:] == [rows.stat().st_ino, frames.stat().st_ino, tmp_path.stat().st_ino]


def test_rows_are_synced_to_disk_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with opened(tmp_path) as journal:
        flushed.clear()
        add(journal, STORY[0])
        assert flushed == []
        now += 1.0
        add(journal, STORY[1])
        assert len(flushed) == 2


def test_removing_it_leaves_nothing_and_lets_go(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        add(journal, *STORY)
        journal.remove()
        assert not journal.is_open
        assert list(tmp_path.iterdir()) == []
        with opened(tmp_path) as other:
            assert other.entries == []


def test_removing_it_lets_go_even_where_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    with opened(tmp_path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", fail)
            with pytest.raises(OSError, match="read-only"):
                journal.remove()
        assert not journal.is_open
        with opened(tmp_path):
            pass


def test_no_frame_stays_in_memory(tmp_path: Path) -> None:
    many: list[Entry | CompleteWindow] = [window(number % 3, calls=2) for number in range(200)]
    with opened(tmp_path) as journal:
        add(journal, *many)
        assert all(frame.text == b"" for frame in journal._frames)
        digest = hashlib.sha256(b"".join(journal.rows())).hexdigest()
        assert digest == journal.rows_file.mark.sha256
    with opened(tmp_path) as journal:
        assert all(frame.text == b"" for frame in journal._frames)


def test_a_missing_or_moved_frame_is_detected(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        add(journal, CUT, window(0), window(1), window(2))
    frames_path, _ = place_of(tmp_path)
    raw = frames_path.read_bytes()
    descriptor = os.open(frames_path, os.O_RDONLY)
    try:
        pieces = [raw[frame.start : frame.end] for frame in read_frames(descriptor, frames_path)]
    finally:
        os.close(descriptor)
    head, cut, first, second, third = pieces
    for changed in ([head, cut, second, third], [head, cut, first, third, second], [head, cut, first, third]):
        frames_path.write_bytes(b"".join(changed))
        with pytest.raises(JournalDamagedError, match="are not contiguous"), opened(tmp_path):
            pytest.fail("opened")
        assert frames_path.read_bytes() == b"".join(changed)


def test_a_journal_that_somebody_has_removed_can_be_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for path in place_of(tmp_path):
            path.unlink()
        journal.remove()
        assert not journal.is_open
