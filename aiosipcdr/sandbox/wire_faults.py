"""The bytes of each fault on the wire, and what follows them.

Plans bytes without sending them.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import repeat
from typing import Final

from aiosipcdr.sandbox.faults import Fault

_GREETING: Final = b"220 files.example FTP server ready.\r\n"
_GIB: Final = 2**30
_BOMB: Final = 64 * 2**20
_BLOCK: Final = 256 * 1024
_HUGE: Final = 16 * 1024
_MANY: Final = 200
_DRIP: Final = 0.05
# A response that is complete in the end closes its connection, so that the next request does not fail.
_LAST: Final = ("Connection", "close")

WITHOUT_ANSWER: Final = frozenset(("reset", "close", "hang", "garbage", "bomb", "endless"))
WITH_ANSWER: Final = frozenset(
    (
        *("cut-head", "cut", "cut-chunked", "cut-unframed", "stall", "drip"),
        *("long", "large", "two-lengths", "huge-head", "many-heads"),
    )
)


class After(Enum):
    """What follows the last byte."""

    END = "FIN"
    RESET = "RST"
    SILENCE = "nothing, forever"


class HarmlessError(Exception):
    """The true response cannot be damaged in the requested way."""


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A response before framing: without headers that state its length."""

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def head(self, *framing: tuple[str, str]) -> bytes:
        """Return the head, with the `framing` headers at its end."""
        lines = [f"HTTP/1.1 {self.status} {self.reason}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *framing)]
        return "\r\n".join((*lines, "", "")).encode()


@dataclass(frozen=True, slots=True)
class DamagedResponse:
    """A damaged response.

    Attributes:
        pieces: Bytes, each written when the previous one has left.
        after: What follows.
        pause: Seconds between two pieces.
    """

    pieces: Iterator[bytes]
    after: After = After.END
    pause: float = 0.0


def shortened(fault: Fault, text: bytes) -> bytes:
    """Return the part of `text` that is sent.

    Raises:
        HarmlessError: It would be all of it.
    """
    after = len(text) // 2 if fault.after is None else fault.after
    if after >= len(text):
        raise HarmlessError
    return text[:after]


def in_gzip(fault: Fault, body: bytes) -> bytes:
    """Return a body in gzip, damaged according to `fault`."""
    packed = gzip.compress(body, compresslevel=6, mtime=0)
    if fault.kind == "cut-gzip":
        return shortened(fault, packed)
    crc = bytes(byte ^ 0xFF for byte in packed[-8:-4])
    return packed[:-8] + crc + packed[-4:]


def plan_damage(fault: Fault, answer: WireResponse) -> DamagedResponse:
    """Return what is written for a fault; `answer` is the true response or, if there is none, an empty one.

    Raises:
        HarmlessError: The true response cannot be damaged in this way.
    """
    end = After.RESET if fault.reset else After.END
    match fault.kind:
        case "reset":
            return DamagedResponse(iter(()), After.RESET)
        case "close":
            return DamagedResponse(iter(()))
        case "hang":
            return DamagedResponse(iter(()), After.SILENCE)
        case "garbage":
            return DamagedResponse(iter((body_of(fault) or _GREETING,)))
        case "bomb":
            head = answer.head(_LAST, ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked"))
            return DamagedResponse(_chunks(head, _bomb(fault.size or _BOMB)))
        case "endless":
            head = answer.head(("Transfer-Encoding", "chunked"))
            return DamagedResponse(_chunks(head, repeat(b" " * _BLOCK)))
        case "drip":
            pieces = (bytes((byte,)) for byte in answer.body)
            pause = _DRIP if fault.seconds is None else fault.seconds
            return DamagedResponse(_after(_measured(answer, len(answer.body), _LAST), pieces), pause=pause)
        case "stall":
            return DamagedResponse(iter((_cut(fault, answer),)), After.SILENCE)
        case "cut":
            return DamagedResponse(iter((_cut(fault, answer),)), end)
        case _:
            return DamagedResponse(iter((_misframed(fault, answer),)), After.SILENCE if fault.kind == "large" else end)


def body_of(fault: Fault) -> bytes:
    """Return the body of a fault."""
    return bytes.fromhex(fault.body_hex) if fault.body_hex is not None else (fault.body or "").encode()


def _misframed(fault: Fault, answer: WireResponse) -> bytes:
    """Return a response with wrong framing or an unusual head."""
    body, length = answer.body, len(answer.body)
    match fault.kind:
        case "cut-head":
            return shortened(fault, _measured(answer, length))
        case "cut-chunked":
            return answer.head(("Transfer-Encoding", "chunked")) + _chunk(shortened(fault, body))
        case "cut-unframed":
            return answer.head(_LAST) + shortened(fault, body)
        case "long":
            return _measured(answer, len(shortened(fault, body))) + body
        case "large":
            return _measured(answer, fault.size or _GIB) + body
        case "two-lengths":
            return answer.head(("Content-Length", str(length)), ("Content-Length", str(length + 1))) + body
        case "huge-head":
            padding = [("X-Padding", "x" * (fault.size or _HUGE))]
        case "many-heads":
            padding = [(f"X-Padding-{n}", "x") for n in range(fault.size or _MANY)]
        case _:
            raise ValueError(f"nothing is broken by {fault.kind}")
    return answer.head(*padding, _LAST, ("Content-Length", str(length))) + body


def _measured(answer: WireResponse, length: int, *others: tuple[str, str]) -> bytes:
    """Return a head that announces `length` bytes."""
    return answer.head(*others, ("Content-Length", str(length)))


def _cut(fault: Fault, answer: WireResponse) -> bytes:
    """Return the true head and a part of the body."""
    return _measured(answer, len(answer.body)) + shortened(fault, answer.body)


def _chunk(text: bytes) -> bytes:
    """Return one chunk; nothing for no bytes, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(text), text) if text else b""


def _chunks(head: bytes, texts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a head and its body in chunks, including the last one."""
    yield head
    for text in texts:
        yield _chunk(text)
    yield b"0\r\n\r\n"


def _after(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a head and then the pieces."""
    yield head
    yield from pieces


def _bomb(size: int) -> Iterator[bytes]:
    """Yield zero bytes in gzip, a block at a time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(_BLOCK)
    for start in range(0, size, _BLOCK):
        yield packer.compress(block[: size - start])
    yield packer.flush()
