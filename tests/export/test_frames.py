"""Frames: intact, torn and damaged ones are distinguished."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export import frames
from aiosipcdr.export.frames import MAGIC, Frame, encode_frame, read_bytes, read_frame_body, read_frames
from aiosipcdr.model.errors import JournalDamagedError

PIECES = [(b"one", b""), (b"", b"two"), (b"three", b"body" * 9), (b"", b"")]


@contextmanager
def holding(folder: Path, data: bytes) -> Iterator[int]:
    (folder / "frames").write_bytes(data)
    descriptor = os.open(folder / "frames", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(folder: Path, data: bytes) -> list[tuple[bytes, bytes]]:
    with holding(folder, data) as descriptor:
        found = list(read_frames(descriptor, folder / "frames"))
        return [(frame.text, read_frame_body(descriptor, frame, folder / "frames")) for frame in found]


def test_a_frame_has_the_documented_layout() -> None:
    raw = encode_frame(b"text", b"body")
    head = MAGIC + (4).to_bytes(4, "little") + (4).to_bytes(4, "little") + zlib.crc32(b"textbody").to_bytes(4, "little")
    assert raw == head + zlib.crc32(head).to_bytes(4, "little") + b"textbody"
    assert encode_frame(b"text", memoryview(b"body")) == raw


def test_frames_come_back_with_their_places(tmp_path: Path) -> None:
    raw = b"".join(encode_frame(*piece) for piece in PIECES)
    with holding(tmp_path, raw) as descriptor:
        found = list(read_frames(descriptor, tmp_path / "frames"))
    assert found[0] == Frame(0, b"one", 23, 23)
    assert [frame.start for frame in found[1:]] == [frame.end for frame in found[:-1]]
    assert found[-1].end == len(raw)
    assert read(tmp_path, raw) == PIECES


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=5), st.data())
def test_whatever_is_cut_off_the_frames_before_are_read(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    raw = [encode_frame(*piece) for piece in pieces]
    end = data.draw(st.integers(0, sum(map(len, raw))))
    whole = [piece for place, piece in enumerate(pieces) if sum(map(len, raw[: place + 1])) <= end]
    assert read(tmp_path_factory.getbasetemp(), b"".join(raw)[:end]) == whole


@pytest.mark.parametrize("change", [1, 0x80, 0xFF])
def test_a_byte_that_was_changed_anywhere_but_in_the_last_frame_is_damage(tmp_path: Path, change: int) -> None:
    raw = b"".join(encode_frame(*piece) for piece in PIECES)
    last = len(raw) - len(encode_frame(*PIECES[-1]))
    for place in range(len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= change
        if place >= last:
            assert read(tmp_path, bytes(damaged)) == PIECES[:-1]
        else:
            with pytest.raises(JournalDamagedError, match=r"between byte [0-9]+ and [0-9]+; remove it"):
                read(tmp_path, bytes(damaged))


def test_bytes_that_were_taken_out_or_put_in_are_damage(tmp_path: Path) -> None:
    raw = b"".join(encode_frame(*piece) for piece in PIECES)
    last = len(raw) - len(encode_frame(*PIECES[-1]))
    for place in range(last):
        for changed in (raw[:place] + raw[place + 1 :], raw[:place] + b"\0" + raw[place:]):
            with pytest.raises(JournalDamagedError):
                read(tmp_path, changed)


def test_a_torn_frame_that_another_follows_is_damage(tmp_path: Path) -> None:
    torn, whole = encode_frame(b"torn", b"body")[:-1], encode_frame(b"whole")
    for between in (b"", b"\0" * 1000, MAGIC, MAGIC[:3]):
        with pytest.raises(JournalDamagedError, match=f"and {len(torn + between):,};"):
            read(tmp_path, torn + between + whole)


def test_a_length_without_a_checksum_is_not_trusted(tmp_path: Path) -> None:
    # Of a frame that claims more than there is, neither the text nor the body could say that it is torn.
    first = bytearray(encode_frame(b"one", b"body"))
    first[8:12] = (2**31).to_bytes(4, "little")
    with pytest.raises(JournalDamagedError):
        read(tmp_path, bytes(first) + encode_frame(b"two"))
    assert read(tmp_path, bytes(first)) == []


def test_frames_after_a_torn_one_are_found_at_any_block_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_BLOCK", 16)
    for gap in range(40):
        with pytest.raises(JournalDamagedError, match=f"and {3 + gap};"):
            read(tmp_path, b"\x89CD" + b"." * gap + encode_frame(b"whole", b"b" * 50))


def test_a_name_in_a_text_is_no_frame(tmp_path: Path) -> None:
    pieces = [(MAGIC, MAGIC * 9), (b"x", "É".encode() + MAGIC)]
    raw = b"".join(encode_frame(*piece) for piece in pieces)
    assert read(tmp_path, raw) == pieces
    assert read(tmp_path, raw[:-1]) == pieces[:1]


def test_damage_changes_nothing_and_its_error_quotes_nothing(tmp_path: Path) -> None:
    raw = b"?" + encode_frame(b"+12125550123", b"+12125550123")
    with pytest.raises(JournalDamagedError) as caught:
        read(tmp_path, raw)
    assert (tmp_path / "frames").read_bytes() == raw
    assert "2125550" not in str(caught.value)
    assert str(tmp_path / "frames") in str(caught.value)


def test_bytes_are_read_up_to_the_end_of_the_file(tmp_path: Path) -> None:
    with holding(tmp_path, b"0123456789") as descriptor:
        assert read_bytes(descriptor, 2, 3) == b"234"
        assert read_bytes(descriptor, 8, 30) == b"89"
        assert read_bytes(descriptor, 30, 1) == b""
