"""Canaries in a sandbox, and a search for them in everything that could show them.

Key, secret, every signature and the phone numbers of records and filter are canaries: they are searched for in
texts, tracebacks with their frames' locals, pickles and pretty-printed values.
"""
# ruff: noqa: ANN401, ASYNC110 - the constructor's own settings; waiting for the test is polling

import asyncio
import pickle
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from aiohttp import web
from rich.pretty import pretty_repr

from aiosipcdr import CdrClient, IncompleteRangeError
from aiosipcdr.events import Event
from aiosipcdr.sandbox import Sandbox
from tests.clients import QUICK_TWICE, client_of

CALLEE = "447700900987"
SHOWN = "12125550178"
PHONE = "447700900123"
MASK_KEY = b"canary-of-pseudonyms"
START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(days=1)

_TESTS = Path(__file__).parent


def call(number: int, **fields: object) -> dict[str, object]:
    return {
        "voiceId": str(10**18 + number),
        "phoneName": PHONE,
        "callee": CALLEE,
        "displayNum": SHOWN,
        "submitTime": (START + timedelta(seconds=number)).isoformat(),
    } | fields


@dataclass
class Watch:
    """A sandbox with canaries, and the events and signatures that were recorded."""

    sandbox: Sandbox
    signs: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    fault: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    searched: int = 0

    def client(self, **settings: Any) -> CdrClient:
        defaults: dict[str, Any] = {
            "retry": QUICK_TWICE,
            "hook": self.events.append,
        }
        return client_of(self.sandbox, **(defaults | settings))

    async def silent(self, _request: web.Request) -> web.StreamResponse:
        while not self.over.is_set():
            await asyncio.sleep(0.002)
        return web.Response()

    def check(self, text: str) -> None:
        # Not `assert canary not in text`: pytest would print both.
        canaries = {
            "the key": [self.sandbox.api_key],
            "the secret": [self.sandbox.api_secret],
            "a signature": self.signs,
            "a number in a record": [CALLEE, SHOWN],
            "the filter": [PHONE],
            "the key of pseudonyms": [MASK_KEY.decode()],
        }
        self.searched += sum(map(len, canaries.values()))
        shown = [name for name, values in canaries.items() if any(value in text for value in values)]
        assert not shown, f"{', '.join(shown)}, in {text.split()[:2]}"

    def check_events(self) -> None:
        for event in self.events:
            self.check(f"{event!r} {msgspec.json.encode(event).decode()}")

    def check_error(self, error: BaseException) -> None:
        reported = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
        seen: list[traceback.TracebackException] = [reported]
        while seen:
            one = seen.pop()
            seen += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other]
            self.check("".join(one.format_exception_only()))
            for frame in one.stack:
                if not _is_of_a_test(frame.filename):
                    self.check(f"{frame.filename} {frame.name} {frame.locals}")
        for place in _frames(error):
            # As rich's tracebacks show it, which look inside values whose repr hides them.
            if not _is_of_a_test(place.f_code.co_filename):
                self.check(f"{place.f_code.co_qualname} {pretty_repr(dict(place.f_locals), max_depth=8)}")
        self.check(f"{error!s} {error!r} {error.args!r} {vars(error)!r} {pretty_repr(error)}")
        if not isinstance(error, IncompleteRangeError):  # which hands over what was read
            self.check(pickle.dumps(error).decode("latin-1"))


def _is_of_a_test(filename: str) -> bool:
    # The tests' own frames may hold canaries.
    return Path(filename).is_relative_to(_TESTS)


def _frames(error: BaseException) -> Iterator[FrameType]:
    seen: list[BaseException | None] = [error]
    while seen:
        if (one := seen.pop()) is not None:
            seen += [one.__cause__, one.__context__]
            yield from (frame for frame, _ in traceback.walk_tb(one.__traceback__))
