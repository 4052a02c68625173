"""The vendor's endpoint, fast enough not to affect measurements, in its own process.

Responses are slices of one block that was encoded before: windows, groups, pages and
sizes are honoured; nothing is validated and signatures are ignored. Repeated requests are
answered from a cache. Paths under `/course/` are for the benchmark itself: latency,
counters, and the received requests.
Run: cd benchmarks && python3 -m course.endpoint CALLS [--profile NAME] [--certificate FILE]
"""

import argparse
import asyncio
import gc
import json
import re
import ssl
import sys
import time
from datetime import datetime
from email.utils import formatdate

import msgspec

from course.calls import PROFILES, START, Calls
from course.pinning import SERVER, pin

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_CACHE_BYTES = 256 * 1024 * 1024
_HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nDate: %b\r\nContent-Length: %d\r\n\r\n%b"
_BODY = (
    b'{"status":"0","reason":"success","data":{"total":%d,"size":%d,"current":%d,"pages":%d,"searchCount":true,'
    b'"records":[%b]}}'
)


class _Params(msgspec.Struct, rename="camel"):
    str_time: datetime
    end_time: datetime
    sip_group_name: str | None = None


class _Query(msgspec.Struct):
    current: int
    size: int
    params: _Params


class Endpoint:
    """Responses to queries, and their counters."""

    def __init__(self, calls: Calls) -> None:
        """Serve `calls`."""
        self.latency = 0.0
        self.seen: list[bytes] | None = None
        self._calls = calls
        self._decode = msgspec.json.Decoder(_Query).decode
        self._answers: dict[bytes, tuple[bytes, int]] = {}
        self._cached = 0
        self._date = formatdate(usegmt=True).encode()
        self.reset()

    def reset(self) -> None:
        """Begin to count."""
        self.requests = self.rows = 0
        self._cpu = time.process_time()

    def answer(self, body: bytes) -> bytes:
        """Return the answer to the query `body`, with its head."""
        self.requests += 1
        if self.seen is not None:
            self.seen.append(body)
        body = body.translate(None, b" \t")  # control counts differ in blanks alone, which no group has
        known = self._answers.get(body)
        if known is None:
            known = self._make(self._decode(body))
            if self._cached < _CACHE_BYTES:
                self._answers[body] = known
                self._cached += len(known[0])
        answer, rows = known
        self.rows += rows
        return answer

    def _make(self, query: _Query) -> tuple[bytes, int]:
        calls, size, group = self._calls, query.size, query.params.sip_group_name
        seconds = [(time - START).total_seconds() for time in (query.params.str_time, query.params.end_time)]
        first, last = calls.between(*seconds)
        places = range(first, last) if group is None else calls.of_group(group, first, last)
        total, begin = len(places), (query.current - 1) * size
        page = places[begin : begin + size]
        records = calls.records(page) if page else b""
        body = _BODY % (total, size, query.current, -(-total // size), records)
        # LIMIT and OFFSET walk over all rows before the page, and over its own.
        return _HTTP % (self._date, len(body), body), min(total, query.current * size)

    def control(self, path: str) -> bytes:
        """Do what the benchmark asks for."""
        _, _, what = path.partition("/course/")
        name, _, value = what.partition("/")
        reported: object = None
        if name == "latency":
            self.latency = float(value)
        elif name == "reset":
            self.reset()
        elif name == "record":
            self.seen = []
        elif name == "seen":
            reported, self.seen = [body.decode() for body in self.seen or ()], None
        elif name == "stats":
            reported = {"requests": self.requests, "rows": self.rows, "cpu": time.process_time() - self._cpu}
        body = json.dumps(reported).encode()
        return _HTTP % (self._date, len(body), body)


class Connection(asyncio.Protocol):
    """HTTP as far as the contenders speak it: a body with its length in front, one request after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Wait for requests."""
        self._endpoint = endpoint
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what has come in whole."""
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH(buffer, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(buffer) < whole:
                break
            self._answer(buffer, end + 4, whole)
            buffer = buffer[whole:]
        self._buffer = buffer

    def _answer(self, request: bytes, begin: int, end: int) -> None:
        if request.startswith(b"GET"):
            self._transport.write(self._endpoint.control(request.split(b" ", 2)[1].decode()))
            return
        answer = self._endpoint.answer(request[begin:end])
        if self._endpoint.latency:
            self._loop.call_later(self._endpoint.latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(calls: Calls, certificate: str | None) -> None:
    """Serve `calls` until standard input ends, over TLS with a `certificate`; print the port first."""
    endpoint = Endpoint(calls)
    gc.freeze()
    loop = asyncio.get_running_loop()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int)
    parser.add_argument("--profile", choices=PROFILES, default="null")
    parser.add_argument("--certificate", help="PEM file with key and certificate, for TLS")
    given = parser.parse_args()
    pin(SERVER)
    asyncio.run(serve(Calls(given.calls, PROFILES[given.profile]), given.certificate))
