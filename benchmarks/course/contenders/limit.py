"""The physical limit in Python: the same bytes out and in, and one typed pass over them.

No HTTP library: a protocol that knows where its endpoint writes the length.
"""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from course.contenders.floor import Call, decode, verification
from course.task import Outcome, Task, sign

_LENGTH = b"Content-Length: "


class _Line(asyncio.Protocol):
    def __init__(self, task: Task, requests: Iterator[bytes], calls: list[Call]) -> None:
        self._task = task
        self._requests = requests
        self._calls = calls
        self._buffer = bytearray()
        self._whole = 0
        self._begin = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.done.set_result(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._whole:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            at = buffer.index(_LENGTH) + len(_LENGTH)
            self._begin = end + 4
            self._whole = self._begin + int(buffer[at : buffer.index(b"\r", at)])
        if len(buffer) >= self._whole:
            if self._task.rewrites:
                self._calls.extend(decode(self._task.plain(bytes(buffer[self._begin :]))).data.records)
            else:
                with memoryview(buffer) as view:
                    self._calls.extend(decode(view[self._begin :]).data.records)
            buffer.clear()
            self._whole = 0
            self._send()


def read_raw(task: Task) -> Outcome:
    """Send the requests of `task.bodies`, all signed at once."""

    async def main() -> Outcome:
        calls: list[Call] = []
        head = f"POST {urlsplit(task.url).path} HTTP/1.1\r\nHost: 127.0.0.1:{task.port}\r\n"
        head += "Content-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in sign().items()) + "Content-Length: "
        requests = iter([f"{head}{len(body)}\r\n\r\n{body}".encode() for body in task.bodies])
        loop = asyncio.get_running_loop()
        context = verification(task) if task.authority is not None else None
        lines = [_Line(task, requests, calls) for _ in range(task.concurrency)]
        await asyncio.gather(
            *(loop.create_connection(lambda line=line: line, "127.0.0.1", task.port, ssl=context) for line in lines)
        )
        await asyncio.gather(*(line.done for line in lines))
        return Outcome(len(calls), len(task.bodies))

    return asyncio.run(main())
