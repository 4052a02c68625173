"""Content codings of responses: gzip, decompressed within a size limit.

aiohttp's own decompression is not used: it accepts a gzip stream that is truncated.
"""

import zlib
from typing import Final

from aiosipcdr.model.errors import ProtocolError, ResponseTooLargeError, SipCdrError, TransportError

__all__ = ["body_too_large", "decode_body", "find_unsupported", "split_codings"]

# IANA's registry of HTTP content codings; other names mean nothing.
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_CODINGS: Final = _GZIP | {
    *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "pack200-gzip", "x-compress", "zstd")
}
_MAX_MEMBERS: Final = 1_000
_SLICE: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def split_codings(headers: list[str]) -> tuple[str, ...]:
    """Return the codings named by the `Content-Encoding` headers of a response, in order."""
    names = ",".join(headers).lower().split(",")
    return tuple(name.strip() for name in names if name.strip() not in {"", "identity"})


def find_unsupported(codings: tuple[str, ...]) -> ProtocolError | None:
    """Return the error for a body with a registered coding other than gzip, `None` if there is none."""
    return _unexpected_coding() if _CODINGS.intersection(codings) - _GZIP else None


def decode_body(body: bytes, codings: tuple[str, ...], limit: int) -> bytes | SipCdrError:
    """Return the decoded body, at most `limit` bytes, or an error if it cannot be decoded."""
    if not codings:
        return body
    gzips = [coding for coding in codings if coding in _GZIP]
    if len(gzips) == 1:
        return _decompress(body, limit)
    # A name that is no coding, such as "UTF-8", "none" or "binary": the body is used as it is, if it is JSON.
    return body if not gzips and body.removeprefix(_BOM).lstrip()[:1] == b"{" else _unexpected_coding()


def body_too_large(limit: int) -> ResponseTooLargeError:
    """Return the error for a body of more than `limit` bytes."""
    return ResponseTooLargeError(
        f"the response exceeds {limit // 1024:,} KiB; if its records are that large, raise max_response_bytes"
    )


def _decompress(body: bytes, limit: int) -> bytes | SipCdrError:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit + 1)
        if stream.eof and stream.unused_data:
            return _decompress_members(body, limit)
    except zlib.error:
        return TransportError("the response's gzip stream is damaged")
    if len(plain) > limit:
        return body_too_large(limit)
    return plain if stream.eof else _truncated()


def _decompress_members(body: bytes, limit: int) -> bytes | SipCdrError:
    # Several members may follow each other (RFC 1952, 2.2). In slices, since the end of each member copies the rest.
    plain, position, members = bytearray(), 0, 0
    while position < len(body):
        if members == _MAX_MEMBERS:
            return ProtocolError(f"the response's gzip stream has more than {_MAX_MEMBERS:,} members")
        stream, members = zlib.decompressobj(wbits=31), members + 1
        while not stream.eof:
            piece = body[position : position + _SLICE]
            if not piece:
                return _truncated()
            plain += stream.decompress(piece, limit + 1 - len(plain))
            if len(plain) > limit:
                return body_too_large(limit)
            position += len(piece) - len(stream.unused_data)
    return bytes(plain)


def _unexpected_coding() -> ProtocolError:
    return ProtocolError("the response is compressed in a way that was not asked for")


def _truncated() -> TransportError:
    return TransportError("the response's gzip stream is cut short")
