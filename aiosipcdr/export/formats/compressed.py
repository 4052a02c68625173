"""Compression around a text format: gzip and zstd, the same bytes for the same text.

Holds no name and no time, and hands the compressor blocks of one size, so that
batch boundaries leave no trace.  Must never open a file.
"""

import struct
import sys
import zlib
from typing import Any, Protocol

from aiosipcdr.export.formats.encoders import Encoder
from aiosipcdr.extras import MissingExtraError

__all__ = ["CompressedEncoder", "Compressor", "GzipCompressor", "load_zstd", "zstd_compressor"]

_BLOCK = 128 * 1024
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
# Magic, deflate, no flags, no time, no hint, no operating system: zlib's own header names one.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    """What a compressor must do; those of `zlib` and `compression.zstd` do."""

    def compress(self, data: bytes, /) -> bytes:
        """Take `data`; return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest."""
        ...


class CompressedEncoder:
    """An `Encoder` whose bytes are those of another one, compressed."""

    __slots__ = ("_compressor", "_inner", "_pending")

    def __init__(self, inner: Encoder, compressor: Compressor) -> None:
        """Compress what `inner` returns with `compressor`, which is used up by it."""
        self._inner = inner
        self._compressor = compressor
        self._pending = bytearray()

    def begin(self) -> bytes:
        """Return what is ready of the beginning."""
        return self._feed(self._inner.begin())

    def encode(self, rows: bytes) -> bytes:
        """Return what is ready once `rows` have come."""
        return self._feed(self._inner.encode(rows))

    def finish(self) -> bytes:
        """Return the rest, the checksum last."""
        ready = self._feed(self._inner.finish())
        return ready + self._compressor.compress(bytes(self._pending)) + self._compressor.flush()

    def _feed(self, data: bytes) -> bytes:
        pending = self._pending
        pending += data
        whole = len(pending) - len(pending) % _BLOCK
        ready = [self._compressor.compress(bytes(pending[at : at + _BLOCK])) for at in range(0, whole, _BLOCK)]
        del pending[:whole]
        return b"".join(ready)


class GzipCompressor:
    """One gzip member (RFC 1952) without a name, a time or an operating system."""

    __slots__ = ("_checksum", "_deflate", "_header", "_length")

    def __init__(self) -> None:
        """Start a member."""
        self._deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._header = _GZIP_HEADER
        self._checksum = 0
        self._length = 0

    def compress(self, data: bytes, /) -> bytes:
        """Take `data`; return what is ready."""
        header, self._header = self._header, b""
        self._checksum = zlib.crc32(data, self._checksum)
        self._length += len(data)
        return header + self._deflate.compress(data)

    def flush(self) -> bytes:
        """Return the rest: the last block, checksum and length."""
        return self._deflate.flush() + struct.pack("<LL", self._checksum, self._length & 0xFFFF_FFFF)


def zstd_compressor() -> Compressor:
    """Return a compressor of one zstd frame with a checksum.

    Raises:
        ImportError: before Python 3.14, the extra `zstd` is not installed; the text says what to install.
    """
    zstd = load_zstd()
    parameter = zstd.CompressionParameter
    compressor: Compressor = zstd.ZstdCompressor(
        options={parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: 1}
    )
    return compressor


def load_zstd() -> Any:  # noqa: ANN401 - one of two modules
    """Import `compression.zstd`, before Python 3.14 its twin `backports.zstd`, and return it.

    Raises:
        ImportError: see `zstd_compressor`.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        # A Python of 3.14 that was built without it says so itself.
        if sys.version_info >= (3, 14):
            raise
        raise MissingExtraError("files ending in .zst need backports.zstd", "zstd", name=error.name) from None
    return zstd
