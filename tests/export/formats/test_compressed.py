"""gzip and zstd: the same bytes for the same text at any time, with any name and any batches."""

import gzip
import io
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiosipcdr.export.formats.compressed import (
    CompressedEncoder,
    Compressor,
    GzipCompressor,
    load_zstd,
    zstd_compressor,
)
from tests.selection import ALL


class Texts:
    """An encoder that writes what it was given: a text for each batch."""

    def __init__(self, *texts: bytes) -> None:
        self.texts = list(texts)

    def begin(self) -> bytes:
        return b"begin "

    def encode(self, _: bytes) -> bytes:
        return self.texts.pop(0)

    def finish(self) -> bytes:
        return b" end"


def compress(compressor: Compressor, *texts: bytes) -> bytes:
    encoder = CompressedEncoder(Texts(*texts), compressor)
    return b"".join([encoder.begin(), *(encoder.encode(b"rows\n") for _ in texts), encoder.finish()])


NOISE = bytes(number * number * 7919 >> 9 & 0xFF for number in range(300_000))


@pytest.mark.parametrize(
    ("start", "decompress"), [(GzipCompressor, gzip.decompress), (zstd_compressor, load_zstd().decompress)]
)
@given(cuts=st.lists(st.integers(0, len(NOISE)), max_size=5).map(sorted))
@settings(max_examples=20 if ALL else 8)
def test_where_the_text_is_cut_leaves_no_trace(
    start: Callable[[], Compressor], decompress: Callable[[bytes], bytes], cuts: list[int]
) -> None:
    edges = [0, *cuts, len(NOISE)]
    parts = [NOISE[begin:end] for begin, end in pairwise(edges)]
    one = compress(start(), NOISE)
    assert compress(start(), *parts) == one
    assert decompress(one) == b"begin " + NOISE + b" end"


def test_the_gzip_header_has_no_name_no_time_and_no_system() -> None:
    raw = compress(GzipCompressor(), b"text")
    assert raw[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    with gzip.open(io.BytesIO(raw)) as file:
        assert file.read() == b"begin text end"


@pytest.mark.parametrize("place", [-1, -6, 20])
def test_damage_is_found(place: int) -> None:
    damaged = bytearray(compress(GzipCompressor(), NOISE[:1000]))
    damaged[place] ^= 1
    with pytest.raises((gzip.BadGzipFile, EOFError, zlib.error)):
        gzip.decompress(bytes(damaged))
    frame = bytearray(compress(zstd_compressor(), NOISE[:1000]))
    frame[-1] ^= 1
    with pytest.raises(load_zstd().ZstdError):
        load_zstd().decompress(bytes(frame))
