"""What does a hostile answer cost?

Each attack is played by a server in this process against a client in a fresh
child process, four calls at once: memory that they add, CPU, requests, what
became of them. Run: python3 benchmarks/attacks.py [--method fetch_all] [-k WORD]
(five minutes for everything; another version of the client is measured with
PYTHONPATH)
"""

import argparse
import asyncio
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # behind what PYTHONPATH names

from course.figures import describe_machine, print_table

from tests.faults.hostile_answers import ATTACKS, WITHIN

METHODS = ("fetch_page", "count", "ping", "fetch_all", "stream", "export", "doctor")
SECONDS = 60

CHILD = """
import asyncio, gc, json, resource, sys, tempfile, time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
import aiosipcdr.export
from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.doctor.checks import CheckedRange, RequestCounter, check_account, probe_account

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
url, method = sys.argv[1:]
start = datetime(2026, 10, 1, tzinfo=UTC)
span = start, start + timedelta(days=1)

async def stream(client):
    async with client.stream(*span) as stream:
        async for _ in stream: ...

async def doctor(client):
    await check_account(client, url, CheckedRange(start=span[0], end=span[1]))
    await probe_account(client, RequestCounter(), 1_000)

METHODS = {
    "fetch_page": lambda client, n: client.fetch_page(*span),
    "count": lambda client, n: client.count(*span),
    "ping": lambda client, n: client.ping(),
    "fetch_all": lambda client, n: client.fetch_all(*span),
    "stream": lambda client, n: stream(client),
    "export": lambda client, n: client.export(*span, Path(folder) / f"calls{n}.ndjson"),
    "doctor": lambda client, n: doctor(client),
}

def held(what):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(what)) / 1024

async def main():
    retry = RetryPolicy(base=0, throttle_base=0, cap=0)
    async with CdrClient(url, "canary-key", "canary-secret", retry=retry) as client, asyncio.timeout(50):
        asked = [METHODS[method](client, n) for n in range(4)]
        return Counter(type(one).__name__ for one in await asyncio.gather(*asked, return_exceptions=True))

gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before, began = held("VmRSS"), time.process_time()
try:
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(main())
except BaseException as error:
    outcome = [type(error).__name__]
print(json.dumps([held("VmHWM") - before, time.process_time() - began, ", ".join(outcome)]))
"""


Attack = Callable[[int, int], bytes]
"""Returns a whole HTTP answer for a page and its size."""

PRIME = 2**61 - 1  # Python's hash of a number is the rest of its division by this


def respond(body: bytes, *headers: str, framing: str | None = None) -> bytes:
    """Return an HTTP answer."""
    lines = ["HTTP/1.1 200 OK", f"Date: {formatdate(usegmt=True)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, framing or f"Content-Length: {len(body)}", "", ""]).encode() + body


def compressed(make: Callable[[], bytes]) -> Attack:
    """Answer everything with one body."""
    made: list[bytes] = []

    def attack(_page: int, _size: int) -> bytes:
        if not made:
            made.append(gzip.compress(make(), 9, mtime=0))
        return respond(made[0], "Content-Encoding: gzip")

    return attack


def paged(record: Callable[[int], str], total: int, *, is_empty: bool = False) -> Attack:
    """Answer each page with what belongs on it, if `total` records of the shape `record` are there."""

    def attack(page: int, size: int) -> bytes:
        rows = [] if is_empty else map(record, range((page - 1) * size, min(page * size, total)))
        head = f'{{"status":"0","data":{{"total":{total},"size":{size},"current":{page},"records":['
        body = (head + ",".join(rows) + "]}}").encode(errors="surrogateescape")
        return respond(gzip.compress(body, 9, mtime=0), "Content-Encoding: gzip")

    return attack


def leg(number: int, more: str) -> str:
    """Return a row of an id that all rows share."""
    return f'{{"voiceId":"1",{more}}}'.replace("#", str(number))


def in_chunks(_page: int, _size: int) -> bytes:
    """Answer in chunks of one byte."""
    return respond(b"1\r\n \r\n" * 6_000_000 + b"0\r\n\r\n", framing="Transfer-Encoding: chunked")


ALL: dict[str, Attack] = {name: compressed(make) for name, make in (ATTACKS | WITHIN).items()} | {
    "records of 60 KB that cannot be read": paged(lambda n: leg(n, '"cost":"' + "\udcff" * 60_000 + '"'), 100),
    "2,000 rows of one id, amounts hash alike": paged(lambda n: leg(n, f'"cost":"{n * PRIME}"'), 2_000),
    "2,000 rows of one id, amounts unreadable": paged(lambda n: leg(n, '"cost":"x#"'), 2_000),
    "20,000 rows of one id, amounts hash alike": paged(lambda n: leg(n, f'"cost":"{n * PRIME}"'), 20_000),
    "a total of 10^9, nothing sent": paged(lambda n: leg(n, '"cost":"1"'), 10**9, is_empty=True),
    "6 MB in chunks of one byte": in_chunks,
}


class Server(threading.Thread):
    """Plays one attack after another."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__(daemon=True)
        self.is_ready = threading.Event()
        self.attack: Attack = in_chunks
        self.requests = self.sent = 0

    def run(self) -> None:
        """Serve until the process ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self.is_ready.set()
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:-2])
                asked = json.loads(await reader.readexactly(int(headers["Content-Length"])))
                answer = self.attack(asked["current"], asked["size"])
                self.requests += 1
                self.sent += len(answer)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


def play(server: Server, method: str) -> tuple[str, str, str]:
    """Return the memory that an attack adds, its CPU, and what became of the calls."""
    command = [sys.executable, "-c", CHILD, f"http://127.0.0.1:{server.port}/voice", method]
    try:
        reported = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "?", f"> {SECONDS}", "killed: the event loop stood still"
    if reported.returncode:
        return "?", "?", f"the process died ({reported.returncode})"
    added, cpu, outcome = json.loads(reported.stdout)
    return f"{added:.0f}", f"{cpu:.2f}", outcome


def main() -> None:
    """Measure, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="fetch_all")
    parser.add_argument("-k", default="", help="only attacks with this in their names")
    given = parser.parse_args()
    print(f"{given.method}, four at once; {describe_machine()}\n")
    server = Server()
    server.start()
    server.is_ready.wait()
    rows = []
    for name, attack in ALL.items():
        if given.k in name:
            attack(1, 100)
            server.attack, server.requests, server.sent = attack, 0, 0
            added, cpu, outcome = play(server, given.method)
            rows.append((name, added, cpu, server.requests, f"{server.sent / 1e6:.1f}", outcome))
    print_table(("attack", "added MiB", "CPU s", "requests", "MB sent", "outcome"), rows)


if __name__ == "__main__":
    main()
