"""Bodies of answers: read whole, within limits, and decompressed by hand.

Exceptions of aiohttp pass through.  No unread byte is left on a connection that
is used again.
"""

import contextlib
import zlib
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import aiohttp
import anyio
from aiohttp import hdrs

from aiosipcdr.model.errors import ProtocolError, ResponseTooLargeError, SipCdrError, TransportError

__all__ = ["plan_limit", "read_body", "read_content_type", "read_refusal"]

_RECORD_BYTES: Final = 64 * 1024
_LARGEST_REFUSAL: Final = 64 * 1024
_REFUSAL_SECONDS: Final = 5.0
# Each takes a few microseconds, however small it is.
_MOST_CHUNKS: Final = 20_000
# What endpoints, proxies and login pages send. No other is named in an error: a header may hold anything.
_CONTENT_TYPES: Final = frozenset(
    {
        *("application/json", "application/octet-stream", "application/problem+json", "application/xhtml+xml"),
        *("application/xml", "text/html", "text/javascript", "text/json", "text/plain", "text/xml"),
    }
)
# IANA's registry of HTTP content codings; other names mean nothing.
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_CODINGS: Final = _GZIP | {
    *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "pack200-gzip", "x-compress", "zstd")
}
_MOST_MEMBERS: Final = 1_000
_SLICE: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def plan_limit(size: int) -> int:
    """Return the most decoded bytes of an answer with `size` records: 64 KiB each, and as much again.

    A record takes about 600 bytes.
    """
    return _RECORD_BYTES * (size + 1)


async def read_refusal(response: aiohttp.ClientResponse) -> bytes:
    """Return the vendor's own words with a status that is not 200, nothing where they are long or late."""
    # Above all they may say that a login was refused, which must not be tried again.  Nothing that a redirect says is
    # worth its bytes.
    body = bytearray()
    if response.status >= HTTPStatus.BAD_REQUEST:
        with contextlib.suppress(aiohttp.ClientError, OSError), anyio.move_on_after(_REFUSAL_SECONDS):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _LARGEST_REFUSAL:
                    break
            else:
                plain = _decode(bytes(body), _codings(response), _LARGEST_REFUSAL)
                return plain if isinstance(plain, bytes) else b""
    response.close()  # unread bytes would be taken for the next answer
    return b""


@lru_cache(maxsize=16)
def read_content_type(reported: str | None) -> str:
    """Return the media type in a `Content-Type` header: one of a known few, "another type", or nothing."""
    media_type = (reported or "").partition(";")[0].strip().lower()
    return media_type if media_type in _CONTENT_TYPES or not media_type else "another type"


def _codings(response: aiohttp.ClientResponse) -> tuple[str, ...]:
    headers = response.headers
    if hdrs.CONTENT_ENCODING not in headers:
        return ()
    names = ",".join(headers.getall(hdrs.CONTENT_ENCODING)).lower().split(",")
    return tuple(name.strip() for name in names if name.strip() not in {"", "identity"})


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes | SipCdrError:
    """Return the whole body, decompressed and of at most `limit` bytes, or the error that says why there is none."""
    length, codings = response.content_length, _codings(response)
    body: bytes | SipCdrError
    if _CODINGS.intersection(codings) - _GZIP:
        body = _not_asked_for()
    elif length is None:
        body = await _read_chunks(response, limit)
    else:
        body = await response.read() if length <= limit else _too_large(limit)
    if not isinstance(body, bytes):
        response.close()  # unread bytes would be taken for the next answer
        return body
    return _decode(body, codings, limit) if codings else body


async def _read_chunks(response: aiohttp.ClientResponse, limit: int) -> bytes | SipCdrError:
    body, chunks = bytearray(), 0
    async for chunk, _ in response.content.iter_chunks():
        body += chunk
        chunks += 1
        if len(body) > limit:
            return _too_large(limit)
        if chunks > _MOST_CHUNKS:
            return ResponseTooLargeError(f"the answer is sent in more than {_MOST_CHUNKS:,} chunks")
    return bytes(body)


def _decode(body: bytes, codings: tuple[str, ...], limit: int) -> bytes | SipCdrError:
    if not codings:
        return body
    zipped = [coding for coding in codings if coding in _GZIP]
    if len(zipped) == 1:
        return _decompress(body, limit)
    # Not a coding at all, as in "UTF-8", "none" or "binary": read as it is, if it is JSON.
    return body if not zipped and body.removeprefix(_BOM).lstrip()[:1] == b"{" else _not_asked_for()


def _decompress(body: bytes, limit: int) -> bytes | SipCdrError:
    # By hand, because aiohttp takes a gzip stream that is cut short for a whole one.
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit + 1)
        if stream.eof and stream.unused_data:
            return _decompress_members(body, limit)
    except zlib.error:
        return TransportError("the answer's gzip stream is damaged")
    if len(plain) > limit:
        return _too_large(limit)
    return plain if stream.eof else _cut_short()


def _decompress_members(body: bytes, limit: int) -> bytes | SipCdrError:
    # RFC 1952, 2.2: members follow each other.  In slices, since each end of one copies the rest.
    plain, place, members = bytearray(), 0, 0
    while place < len(body):
        if members == _MOST_MEMBERS:
            return ProtocolError(f"the answer's gzip stream has more than {_MOST_MEMBERS:,} members")
        stream, members = zlib.decompressobj(wbits=31), members + 1
        while not stream.eof:
            piece = body[place : place + _SLICE]
            if not piece:
                return _cut_short()
            plain += stream.decompress(piece, limit + 1 - len(plain))
            if len(plain) > limit:
                return _too_large(limit)
            place += len(piece) - len(stream.unused_data)
    return bytes(plain)


def _cut_short() -> TransportError:
    return TransportError("the answer's gzip stream is cut short")


def _not_asked_for() -> ProtocolError:
    return ProtocolError("the answer is compressed in a way that was not asked for")


def _too_large(limit: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"the answer exceeds {limit // 1024:,} KiB; if its records are that large, raise max_response_bytes"
    )
