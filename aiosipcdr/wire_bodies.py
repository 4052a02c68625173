"""Bodies of answers: read whole, within limits, and decompressed by hand.

Works on what aiohttp has received; what aiohttp raises meanwhile passes
through.  Must never leave an unread byte on a connection that is used again.
"""

import contextlib
import re
import zlib
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import aiohttp
import anyio
from aiohttp import hdrs

from aiosipcdr.errors import ProtocolError, ResponseTooLargeError, SipCdrError, TransportError

__all__ = ["LARGEST_BODY", "read_body", "read_content_type", "read_refusal"]

LARGEST_BODY: Final = 8 * 1024 * 1024
"""Decoded bytes of one answer; a hundred records are about 60 KB."""

_LARGEST_REFUSAL: Final = 64 * 1024
_REFUSAL_SECONDS: Final = 5.0
# Without digits: a header may hold anything.
_CONTENT_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z.+-]{1,60}").fullmatch


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
                plain = _decompress(bytes(body)) if _coding(response).endswith("gzip") else bytes(body)
                return plain if isinstance(plain, bytes) else b""
    response.close()  # unread bytes would be taken for the next answer
    return b""


@lru_cache(maxsize=16)
def read_content_type(told: str | None) -> str:
    """Return the media type that a `Content-Type` header tells, an empty text for anything else."""
    found = _CONTENT_TYPE((told or "").partition(";")[0].strip().lower())
    return "" if found is None else found[0]


def _coding(response: aiohttp.ClientResponse) -> str:
    return response.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()


async def read_body(response: aiohttp.ClientResponse) -> bytes | SipCdrError:
    """Return the whole body, decompressed, or the error that tells why there is none to be used."""
    length, coding = response.content_length, _coding(response)
    body: bytes | SipCdrError
    if coding not in {"", "identity", "gzip", "x-gzip"}:
        body = ProtocolError("the answer is compressed in a way that was not asked for")
    elif length is None:
        body = await _read_chunks(response)
    else:
        body = await response.read() if length <= LARGEST_BODY else _too_large()
    if not isinstance(body, bytes):
        response.close()  # unread bytes would be taken for the next answer
        return body
    return _decompress(body) if coding.endswith("gzip") else body


async def _read_chunks(response: aiohttp.ClientResponse) -> bytes | SipCdrError:
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) > LARGEST_BODY:
            return _too_large()
    return bytes(chunks)


def _decompress(body: bytes) -> bytes | SipCdrError:
    # By hand, because aiohttp takes a gzip stream that is cut short for a whole one.
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, LARGEST_BODY + 1)
    except zlib.error:
        return TransportError("the answer's gzip stream is damaged")
    if len(plain) > LARGEST_BODY:
        return _too_large()
    if not stream.eof or stream.unused_data:
        return TransportError("the answer's gzip stream is cut short or followed by other bytes")
    return plain


def _too_large() -> ResponseTooLargeError:
    return ResponseTooLargeError(f"the answer exceeds {LARGEST_BODY // 1024 // 1024} MiB; ask for a smaller page_size")
