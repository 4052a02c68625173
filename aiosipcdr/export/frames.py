"""Frames: checksummed blocks of a file, in which a torn end is distinguished from damage.

A file of frames that was cut off anywhere ends in a torn frame; any other error is damage. The contents of frames are
opaque here.

A frame is a head of 20 bytes, a text and a body. The head holds a magic number, the two lengths, the CRC-32 of text and
body, and the CRC-32 of the head itself, all little-endian.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aiosipcdr.model.errors import JournalDamagedError

__all__ = ["MAGIC", "Frame", "encode_frame", "read_bytes", "read_frame_body", "read_frames"]

MAGIC = b"\x89CDR"
"""The magic number at the start of every frame; no UTF-8 text begins like this."""

_HEAD = struct.Struct("<4sIII")
_CHECK = struct.Struct("<I")
_HEAD_SIZE = _HEAD.size + _CHECK.size
_BLOCK = 1024 * 1024


class Frame(NamedTuple):
    """A complete frame: its offsets in the file, its text, and the offset of its body."""

    start: int
    text: bytes
    body_start: int
    end: int


def encode_frame(text: bytes, body: bytes | memoryview = b"") -> bytes:
    """Return the frame of `text` and `body`."""
    head = _HEAD.pack(MAGIC, len(text), len(body), zlib.crc32(body, zlib.crc32(text)))
    return b"".join((head, _CHECK.pack(zlib.crc32(head)), text, body))


def read_frames(descriptor: int, path: Path) -> Iterator[Frame]:
    """Yield the complete frames of a file, up to its end or to a torn frame.

    Raises:
        JournalDamagedError: The file is damaged before a complete frame; it is left unchanged.
    """
    start, size = 0, os.fstat(descriptor).st_size
    while start < size:
        frame = _read_frame(descriptor, start, size)
        if frame is None:
            if (offset := _find_frame(descriptor, start + 1, size)) is not None:
                raise JournalDamagedError(
                    f"the journal {path} was changed or damaged between byte {start:,} and {offset:,}; remove it to"
                    " start over",
                )
            return
        yield frame
        start = frame.end


def read_frame_body(descriptor: int, frame: Frame, path: Path) -> bytes:
    """Return the body of `frame`, checked again: the file may have changed since the frame was read.

    Raises:
        JournalDamagedError: It has changed.
    """
    data = read_bytes(descriptor, frame.start, frame.end - frame.start)
    body_start = frame.body_start - frame.start
    if encode_frame(data[_HEAD_SIZE:body_start], data[body_start:]) != data:
        raise JournalDamagedError(
            f"the journal {path} was changed or damaged while it was in use, before byte {frame.end:,}; remove it to"
            " start over"
        )
    return data[body_start:]


def _read_frame(descriptor: int, start: int, size: int) -> Frame | None:
    head = read_bytes(descriptor, start, _HEAD_SIZE)
    if len(head) < _HEAD_SIZE or not head.startswith(MAGIC):
        return None
    _, text_size, body_size, check = _HEAD.unpack_from(head)
    if zlib.crc32(head[: _HEAD.size]) != _CHECK.unpack_from(head, _HEAD.size)[0]:
        return None
    body_start = start + _HEAD_SIZE + text_size
    end = body_start + body_size
    if end > size:
        return None
    text = read_bytes(descriptor, start + _HEAD_SIZE, text_size)
    crc = zlib.crc32(text)
    for offset in range(body_start, end, _BLOCK):
        crc = zlib.crc32(read_bytes(descriptor, offset, min(_BLOCK, end - offset)), crc)
    return Frame(start, text, body_start, end) if crc == check else None


def _find_frame(descriptor: int, start: int, size: int) -> int | None:
    # Blocks overlap by the magic number less one byte, so that one across two blocks is found.
    for offset in range(start, size, _BLOCK):
        block = read_bytes(descriptor, offset, _BLOCK + len(MAGIC) - 1)
        at = block.find(MAGIC)
        while at >= 0:
            if _read_frame(descriptor, offset + at, size) is not None:
                return offset + at
            at = block.find(MAGIC, at + 1)
    return None


def read_bytes(descriptor: int, start: int, length: int) -> bytes:
    """Return `length` bytes from `start`, or fewer at the end of the file."""
    pieces = []
    while length and (piece := _pread(descriptor, length, start)):
        pieces.append(piece)
        start += len(piece)
        length -= len(piece)
    return b"".join(pieces)


if hasattr(os, "pread"):
    _pread = os.pread
else:  # Windows

    def _pread(descriptor: int, length: int, start: int) -> bytes:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, length)
