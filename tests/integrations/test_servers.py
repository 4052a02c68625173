"""CSV from real servers, read with curl: exit code 0 means complete, and every truncated response is an error.

One server of each integration is part of every run; `AIOSIPCDR_SERVERS=all` plays the whole table (`nox -s servers`).
"""
# ruff: noqa: S603 - the processes are our own interpreter's, and curl

import asyncio
import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp.typedefs import Handler
from aiohttp.web import Request, StreamResponse, json_response, middleware

from aiosipcdr.sandbox import Sandbox
from tests.system_parts import require

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 2_200  # two windows
CURL = shutil.which("curl")
APP = "tests.integrations.served:application"

# What curl says of a connection that is closed too early: HTTP/1.1, HTTP/2, and a reset.
CUT = {18, 92, 56}


class Server(NamedTuple):
    package: str
    command: tuple[str, ...]  # behind the interpreter; {port} is replaced
    options: tuple[str, ...] = ("--http1.1",)  # curl's
    framework: str = "fastapi"
    is_always_played: bool = False


UVICORN = ("-m", "uvicorn", APP, "--port", "{port}", "--timeout-graceful-shutdown", "1", "--http")
# Where HTTP/2 leaves a stream open, the server closes the connection as an idle one.
HYPERCORN = ("-m", "hypercorn", "--bind", "127.0.0.1:{port}", "--keep-alive", "1", "--graceful-timeout", "1", APP)
GRANIAN = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", APP)
H2 = ("--http2-prior-knowledge",)
SERVERS = {
    "uvicorn, h11": Server("uvicorn", (*UVICORN, "h11"), is_always_played=True),
    "uvicorn, httptools": Server("httptools", (*UVICORN, "httptools")),
    "uvicorn, httptools, uvloop": Server("uvloop", (*UVICORN, "httptools", "--loop", "uvloop")),
    "hypercorn, HTTP/1.1": Server("hypercorn", HYPERCORN),
    "hypercorn, HTTP/2": Server("hypercorn", HYPERCORN, H2),
    "granian, HTTP/1.1": Server("granian", GRANIAN),
    "granian, HTTP/2": Server("granian", GRANIAN, H2),
    "aiohttp": Server(
        "aiohttp", ("-m", "tests.integrations.served", "{port}"), framework="aiohttp", is_always_played=True
    ),
}

# What an answer came to: "whole" (200, every call), "cut", or a status that is no success; "or" where servers differ.
Outcomes = dict[tuple[str, str], str]
EXPECTED: dict[str, Outcomes] = {
    "fastapi": {
        ("plain", "whole"): "whole",
        ("plain", "broken"): "cut",  # an error of the vendor's
        ("plain", "late"): "cut",  # our own deadline
        ("plain", "uncertain"): "cut",  # not certified
        ("dispatch", "whole"): "whole",
        ("dispatch", "broken"): "cut",
        ("dispatch", "late"): "cut",
        ("dispatch", "uncertain"): "cut",
        ("timeout", "stuck"): "cut",
        ("timeout-in-dispatch", "stuck"): "cut",
        ("forgiving", "whole"): "whole",
        ("forgiving", "broken"): "cut",
        ("disconnects", "whole"): "whole",
        ("disconnects", "broken"): "cut",
        ("copies", "whole"): "whole",
        ("copies", "broken"): "cut or 500",  # some servers send the head when there is a body
        ("wrapped", "stuck"): "cut",
        ("own-lifespan", "whole"): "whole",  # made first, sent with its length; nothing is sent yet when it fails
        ("own-lifespan", "broken"): "500",
        ("own-lifespan", "late"): "500",
        ("own-lifespan", "uncertain"): "500",
    },
    "aiohttp": {
        ("plain", "whole"): "whole",
        ("plain", "broken"): "cut",
        ("plain", "late"): "cut",
        ("plain", "uncertain"): "cut",
        ("timeout", "stuck"): "cut",
        ("forgiving", "whole"): "whole",
        ("forgiving", "broken"): "cut",
    },
}


@contextmanager
def vendor(trouble: str) -> Iterator[Sandbox]:
    """Run a vendor that fails for the second half of the range; the first half is sent, and the response starts."""

    @middleware
    async def answer(request: Request, handler: Handler) -> StreamResponse:
        asked = json.loads(await request.text())["params"]
        span = sandbox.end - sandbox.start
        if (
            trouble not in ("whole", "uncertain")
            and datetime.fromisoformat(asked["strTime"]) > sandbox.start + span / 4
        ):
            if trouble == "broken":
                return json_response({"status": "-18", "reason": "a fault"})
            while request.transport is not None:  # noqa: ASYNC110 - until the client has gone
                await asyncio.sleep(0.01)
        return await handler(request)

    uncertain = trouble == "uncertain"
    records, days = (150, 1) if uncertain else (RECORDS, 30)
    with Sandbox(records=records, days=days, wrong_total=2 * uncertain, middlewares=[answer]) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def accounts() -> Iterator[str]:
    with ExitStack() as stack:
        facts = {}
        for trouble in ("whole", "broken", "stuck", "late", "uncertain"):
            sandbox = stack.enter_context(vendor(trouble))
            facts[trouble] = {
                "base_url": sandbox.base_url,
                "api_key": sandbox.api_key,
                "api_secret": sandbox.api_secret,
                "start": sandbox.start.isoformat(),
                "end": sandbox.end.isoformat(),
            }
        yield json.dumps(facts)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serve(server: Server, accounts: str, log: Path) -> Iterator[str]:
    port = free_port()
    environment = os.environ | {"AIOSIPCDR_SERVED": accounts, "PYTHONPATH": str(ROOT)}
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, *(word.format(port=port) for word in server.command)],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            until_it_answers(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until_it_answers(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as line:
                line.sendall(b"GET /ready/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                line.settimeout(5)
                if b" 200 " in line.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.02)


async def fetch(address: str, app: str, account: str, options: tuple[str, ...]) -> str:
    assert CURL is not None
    curl = await asyncio.create_subprocess_exec(
        *(CURL, "--silent", "--max-time", "100", *options, "--write-out", "\n%{http_code}"),
        f"{address}/{app}/{account}.csv",
        stdout=asyncio.subprocess.PIPE,
    )
    got, _ = await curl.communicate()
    body, _, status = got.decode().rpartition("\n")
    if curl.returncode in CUT:
        assert status == "200"
        return "cut"
    if curl.returncode:
        return f"curl: {curl.returncode}"
    if status != "200":
        return status
    rows = list(csv.DictReader(io.StringIO(body, newline="")))
    return "whole" if len({row["voice_id"] for row in rows}) == len(rows) == RECORDS else f"short: {len(rows)}"


@pytest.mark.parametrize("name", SERVERS)
def test_no_short_response_ends_as_if_it_were_complete(name: str, accounts: str, tmp_path: Path) -> None:
    server = SERVERS[name]
    if not server.is_always_played and os.environ.get("AIOSIPCDR_SERVERS") != "all":
        pytest.skip("one server of each integration is enough here; nox -s servers plays them all")
    require("curl", f"package:{server.package}")

    async def play(address: str) -> Outcomes:
        wanted = EXPECTED[server.framework]
        got = await asyncio.gather(*(fetch(address, *which, server.options) for which in wanted))
        return dict(zip(wanted, got, strict=True))

    log = tmp_path / "server.log"
    with serve(server, accounts, log) as address:
        outcomes = asyncio.run(play(address))
    wrong = {
        which: got for which, got in outcomes.items() if got not in EXPECTED[server.framework][which].split(" or ")
    }
    assert not wrong, log.read_text(encoding="utf-8")[-5_000:]
