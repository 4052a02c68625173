"""From a request to the bytes of its answer: checks, drift, paging, the envelope.

Synchronous and in one piece, so that a request is answered as one server thread would do
it. This module must never wait, open a socket or know where its bytes go.
"""

import time
from collections import deque
from collections.abc import Sequence
from math import ceil, inf
from random import Random
from typing import Any, Final

import msgspec

from aiosipcdr.sandbox.calls import CallGenerator
from aiosipcdr.sandbox.checks import Credentials, Query, Status, check
from aiosipcdr.sandbox.stats import Counters
from aiosipcdr.sandbox.store import Selection, Store
from aiosipcdr.sandbox.switches import Switches

_REASONS: Final = {
    0: "success",
    -1: "Authentication error",
    -2: "Restricted IP access",
    -13: "User locked",
    -15: "Queried too frequently",
    -16: "Timestamp expires",
    -18: "Port program unusual",
    -22: "Parameter exception",
    -25: "Out of time range",
}
_encode: Final = msgspec.json.Encoder().encode


class Endpoint:
    """`recordSipQuery` without a network."""

    def __init__(self, switches: Switches, store: Store, generator: CallGenerator, credentials: Credentials) -> None:
        """Serve the calls of `store`; `generator` makes those that arrive while one pages."""
        self.switches = switches
        self.credentials = credentials
        self.counters: Counters = Counters()
        self.scripted: deque[int] = deque()
        self._store = store
        self._generator = generator
        self._rng = Random(f"{switches.seed}/answers")
        self._queries = 0
        self._tokens = inf
        self._refilled = time.monotonic()

    def now(self) -> float:
        """Return the sandbox's own time, which may be off."""
        return time.time() + self.switches.clock_offset

    def admit(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Query | int:
        """Check a request as it arrives; return what it asks for or why it is refused."""
        if self.scripted:
            code = self.scripted.popleft()
            if code:
                return code
        verdict = check(headers, body, credentials=self.credentials, switches=self.switches, now=self.now())
        if isinstance(verdict, Query) and not self._take_token():
            return Status.TOO_FREQUENT
        return verdict

    def answer(self, admitted: Query | int) -> bytes:
        """Return the body of the answer."""
        if isinstance(admitted, Query):
            return self._answer_query(admitted)
        return self.refuse(int(admitted))

    def refuse(self, code: int, reason: str | None = None) -> bytes:
        """Return an answer without data: a code and its reason, or another one."""
        self.counters.answered(code)
        if reason is None:
            reason = _REASONS.get(code, "Unknown error")
        text: dict[str, Any] = {"status": self._status(code), "reason": reason}
        if self.switches.absent != "missing":
            text["data"] = None
        return self._laid_out(_encode(text))

    def _answer_query(self, query: Query) -> bytes:
        """Count, let drift strike, read a page and wrap it up."""
        switches, store = self.switches, self._store
        self._queries += 1
        if not switches.drift_between:
            self._drift(query.selection)
        size = min(query.size, switches.max_size or query.size)
        told, pages = 0, 0
        if switches.search_count:
            told = max(0, store.count(query.selection) + switches.wrong_total)
            pages = ceil(told / (query.size if switches.pages_from_asked_size else size))
        if switches.drift_between:
            self._drift(query.selection)
        current = query.current
        if switches.overflow == "first" and switches.search_count and current > pages:
            current = 1
        records = store.page(query.selection, switches.order, (current - 1) * size, size, self._rng)
        self.counters.answered(0)
        self.counters.read(min(told, current * size), current)
        data: dict[str, Any] = {
            "total": told,
            "size": size,
            "current": current,
            "pages": pages,
            "searchCount": switches.search_count,
        }
        if switches.extra_keys:
            data |= {"orders": [], "optimizeCountSql": True, "hitCount": False}
            data |= {"countId": None, "maxLimit": switches.max_size}
        head = _encode({"status": self._status(0), "reason": _REASONS[0], "data": data})
        # The records are JSON already: they go in before the two braces that close the head.
        listing = b"[" + b",".join(records) + b"]"
        if not told and not records and switches.empty_records == "null":
            listing = b"null"
        return self._laid_out(b'%b,"records":%b}}' % (head[:-2], listing))

    def _status(self, code: int) -> str | int:
        """Write a status as text or as an int."""
        return int(code) if self.switches.status_as == "int" else str(int(code))

    def _laid_out(self, body: bytes) -> bytes:
        """Add line breaks and blanks where they are asked for."""
        return msgspec.json.format(body, indent=2) if self.switches.pretty else body

    def _drift(self, selection: Selection) -> None:
        """Let calls arrive or disappear, when it is their turn."""
        switches, n = self.switches, self._queries
        if switches.drift_requests is not None and n > switches.drift_requests:
            return
        if switches.insert_every and n % switches.insert_every == 0:
            newest = self._store.newest(selection)
            last = selection.until - 1
            self._insert(selection, last if newest is None else min(last, newest + 1))
        if switches.insert_late_every and n % switches.insert_late_every == 0:
            self._insert(selection, (selection.since + selection.until) // 2)
        if switches.delete_every and n % switches.delete_every == 0:
            self._store.remove_one(selection, self._rng)

    def _insert(self, selection: Selection, second: int) -> None:
        """Add a call that the selection holds; a range of no length holds none."""
        if selection.since <= second < selection.until:
            row = self._generator.make_at(second, selection.group, selection.phone)
            self._store.add([row])

    def _take_token(self) -> bool:
        """Tell whether the rate limit lets one more request through."""
        limit = self.switches.rate_limit
        if limit is None:
            return True
        now = time.monotonic()
        refilled = self._tokens + (now - self._refilled) * limit
        self._tokens, self._refilled = min(max(1.0, limit), refilled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
