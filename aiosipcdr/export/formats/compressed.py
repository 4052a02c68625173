"""Compression of a text format with gzip or zstd: the same bytes for the same text.

The output holds no file name and no time. The compressor gets blocks of one size, so the output does not depend on the
batches. Opens no file.
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
# Magic, deflate, no flags, no time, no hint, unknown operating system: zlib would write the current one.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    """The interface of the compressors of `zlib` and `compression.zstd`."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress `data`; return the bytes that are ready."""
        ...

    def flush(self) -> bytes:
        """Return the remaining bytes."""
        ...


class CompressedEncoder:
    """An `Encoder` that compresses the output of another one."""

    __slots__ = ("_compressor", "_inner", "_pending")

    def __init__(self, inner: Encoder, compressor: Compressor) -> None:
        self._inner = inner
        self._compressor = compressor
        self._pending = bytearray()

    def begin(self) -> bytes:
        """Return the first bytes that are ready."""
        return self._feed(self._inner.begin())

    def encode(self, rows: bytes) -> bytes:
        """Return the bytes that are ready after `rows`."""
        return self._feed(self._inner.encode(rows))

    def finish(self) -> bytes:
        """Return the remaining bytes, with the checksum at the end."""
        ready = self._feed(self._inner.finish())
        return ready + self._compressor.compress(bytes(self._pending)) + self._compressor.flush()

    def _feed(self, data: bytes) -> bytes:
        pending = self._pending
        pending += data
        complete = len(pending) - len(pending) % _BLOCK
        ready = [self._compressor.compress(bytes(pending[at : at + _BLOCK])) for at in range(0, complete, _BLOCK)]
        del pending[:complete]
        return b"".join(ready)


class GzipCompressor:
    """One gzip member (RFC 1952) without name, time and operating system."""

    __slots__ = ("_checksum", "_deflate", "_header", "_length")

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._header = _GZIP_HEADER
        self._checksum = 0
        self._length = 0

    def compress(self, data: bytes, /) -> bytes:
        """Compress `data`; return the bytes that are ready."""
        header, self._header = self._header, b""
        self._checksum = zlib.crc32(data, self._checksum)
        self._length += len(data)
        return header + self._deflate.compress(data)

    def flush(self) -> bytes:
        """Return the remaining bytes: the last block, checksum and length."""
        return self._deflate.flush() + struct.pack("<LL", self._checksum, self._length & 0xFFFF_FFFF)


def zstd_compressor() -> Compressor:
    """Return a compressor of one zstd frame with a checksum.

    Raises:
        ImportError: Before Python 3.14, the extra `zstd` is not installed; the message says what to install.
    """
    zstd = load_zstd()
    parameter = zstd.CompressionParameter
    compressor: Compressor = zstd.ZstdCompressor(
        options={parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: 1}
    )
    return compressor


def load_zstd() -> Any:  # noqa: ANN401 - one of two modules
    """Import and return `compression.zstd`, before Python 3.14 its backport `backports.zstd`.

    Raises:
        ImportError: See `zstd_compressor`.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        # Python 3.14 built without zstd has a message of its own.
        if sys.version_info >= (3, 14):
            raise
        raise MissingExtraError("files ending in .zst need backports.zstd", "zstd", name=error.name) from None
    return zstd
