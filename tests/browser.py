"""A headless Chromium, driven over its DevTools protocol: opens files, and measures what it shows."""

import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Browser", "Tab"]

# Root runs no sandboxed browser, and containers have little shared memory.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_PATIENCE = 120.0


class Browser:
    """One process, for the tests of a module.

    Attributes:
        port: Of the DevTools protocol, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator["Browser"]:
        """Start the process with its profile in `folder`, and end it."""
        program = shutil.which("chromium")
        assert program is not None
        options = [*_OPTIONS, "--remote-debugging-port=0", "--no-first-run", f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen([program, *options], stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                yield cls(_read_port(folder / "DevToolsActivePort", process))
            finally:
                process.terminate()

    @asynccontextmanager
    async def open(self, path: Path, *, width: int, dark: bool = False) -> AsyncIterator["Tab"]:
        """Open a file in a window of this width, and wait until it is loaded."""
        address = f"http://127.0.0.1:{self.port}/json"
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{address}/new?about:blank") as response:
                target = await response.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await tab.call(f"{domain}.enable")
                await tab.show(width=width, dark=dark)
                await tab.call("Page.navigate", url=path.as_uri())
                await tab.wait("Page.loadEventFired")
                yield tab
            async with session.get(f"{address}/close/{target['id']}"):
                pass


class Tab:
    """An open page.

    Attributes:
        events: All events of it that came: their names and parameters.
    """

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        self._socket = socket
        self._numbers = count(1)
        self.events: list[tuple[str, dict[str, Any]]] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def show(self, *, width: int, dark: bool = False) -> None:
        """Change the width of the window and the theme of its reader."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.evaluate(
            f"new Promise(done => {{ (function look() {{ innerWidth === {width} ? done() : setTimeout(look, 5)"
            " })() })"
        )

    async def wait(self, event: str) -> None:
        """Wait for an event, if it has not come yet."""
        while event not in (name for name, _ in self.events):
            await self._receive()

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        """Return the value of a JavaScript expression, after its promise if it is one."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    @property
    def requests(self) -> list[str]:
        """The addresses that the page requested, its own included."""
        return [facts["request"]["url"] for name, facts in self.events if name == "Network.requestWillBeSent"]

    async def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._socket.receive_str(timeout=_PATIENCE))
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message


def _read_port(path: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "chromium has ended"
        if path.exists() and (lines := path.read_text(encoding="ascii").splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("chromium does not answer")
