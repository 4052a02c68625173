"""libcurl, as C programs use it: one multi handle that drives all transfers of one thread."""

import time
from io import BytesIO
from itertools import count

import msgspec
import pycurl

from course.contenders.floor import HEADERS, decode
from course.task import Outcome, Task, body_of, sign


class _Transfer:
    def __init__(self, task: Task) -> None:
        self._buffer = BytesIO()
        self.handle = handle = pycurl.Curl()
        handle.setopt(pycurl.URL, task.url)
        handle.setopt(pycurl.PROXY, "")
        handle.setopt(pycurl.WRITEDATA, self._buffer)
        handle.transfer = self
        if task.authority is not None:
            handle.setopt(pycurl.CAINFO, task.authority)

    def prepare(self, current: int) -> None:
        self._buffer.seek(0)
        self._buffer.truncate()
        self.handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in (HEADERS | sign()).items()])
        self.handle.setopt(pycurl.POSTFIELDS, msgspec.json.encode(body_of(current)))

    @property
    def body(self) -> bytes:
        if self.handle.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise SystemExit("the endpoint has refused a request")
        return self._buffer.getvalue()


def curl_multi(task: Task) -> Outcome:
    """Read page 1, then all others, so many transfers at a time."""
    began, calls, numbers = time.perf_counter(), [], count(2)
    transfers = [_Transfer(task) for _ in range(task.concurrency)]
    transfers[0].prepare(1)
    transfers[0].handle.perform()
    data = decode(task.plain(transfers[0].body)).data
    first, pages = time.perf_counter() - began, data.pages
    calls += data.records
    multi = pycurl.CurlMulti()
    running = 0
    for transfer, current in zip(transfers, numbers, strict=False):
        if current <= pages:
            transfer.prepare(current)
            multi.add_handle(transfer.handle)
            running += 1
    while running:
        while multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass
        _, done, failed = multi.info_read()
        if failed:
            raise SystemExit(f"curl has failed: {failed}")
        for handle in done:
            calls += decode(task.plain(handle.transfer.body)).data.records
            multi.remove_handle(handle)
            running -= 1
            if (current := next(numbers)) <= pages:
                handle.transfer.prepare(current)
                multi.add_handle(handle)
                running += 1
        if running and not done:
            multi.select(1.0)
    return Outcome(len(calls), pages, first)
