"""The endpoint without a network: request checks, data drift, paging and the response envelope.

Synchronous and without pauses, so that each request is answered atomically, as by one server thread.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, inf
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from aiosipcdr.sandbox.call_events import EventScript
from aiosipcdr.sandbox.calls import CallGenerator
from aiosipcdr.sandbox.config import Overflow, SandboxConfig
from aiosipcdr.sandbox.stats import Counters
from aiosipcdr.sandbox.store import Selection, Store
from aiosipcdr.sandbox.validation import AccountKeys, RequestQuery, Status, check

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
_CODES: Final[dict[Overflow, int]] = {"code-18": -18, "code-22": -22}
_HTTP_STATUSES: Final[dict[Overflow, int]] = {"no-content": 204, "http-500": 500}
_encode: Final = msgspec.json.Encoder().encode


class EndpointResponse(NamedTuple):
    """A response: body and HTTP status; `is_data` if its status code is 0."""

    body: bytes
    http_status: int = 200
    is_data: bool = False


class Endpoint:
    """`recordSipQuery` without a network."""

    def __init__(
        self,
        config: SandboxConfig,
        store: Store,
        generator: CallGenerator,
        credentials: AccountKeys,
        *,
        script: EventScript,
        lag: float = 0.0,
    ) -> None:
        """Serve the calls of `store`; `generator` creates the calls that are added while a client pages.

        `script`: the events of the calls; `lag`: seconds before now from which the retention is measured.
        """
        self._script = script
        self.counters: Counters = Counters()
        self._lag = lag
        self._store = store
        self._generator = generator
        self.reset(config, credentials)

    def reset(self, config: SandboxConfig, credentials: AccountKeys) -> None:
        """Behave as if no request had come yet; the store and its calls are left alone."""
        self.config = config
        self.credentials = credentials
        self.counters.reset()
        self.queued_codes: deque[int] = deque()
        self._rng = Random(f"{config.seed}/answers")
        self._queries = 0
        self._tokens = inf
        self._refilled = time.monotonic()
        self._count_cache: dict[Selection, tuple[float, int]] = {}

    def now(self) -> float:
        """Return the sandbox's own time, which may be offset."""
        return time.time() + self.config.clock_offset

    def admit(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> RequestQuery | int:
        """Check a request on arrival; return its query or the status that refuses it."""
        if self.queued_codes:
            code = self.queued_codes.popleft()
            if code:
                return code
        now = self.now()
        verdict = check(headers, body, credentials=self.credentials, config=self.config, now=now, today=now - self._lag)
        if isinstance(verdict, RequestQuery) and not self._take_token():
            return Status.TOO_FREQUENT
        return verdict

    def answer(self, admitted: RequestQuery | int) -> EndpointResponse:
        """Return the response to a checked request."""
        if isinstance(admitted, RequestQuery):
            return self._answer_query(admitted)
        return EndpointResponse(self.refuse(int(admitted)))

    def refuse(self, code: int, reason: str | None = None) -> bytes:
        """Return a response without data: a status code with its usual reason, or with `reason`."""
        self.counters.answered(code)
        if reason is None:
            reason = _REASONS.get(code, "Unknown error")
        text: dict[str, Any] = {"status": self._status(code), "reason": reason}
        if self.config.absent != "missing":
            text["data"] = None
        return self._format_body(_encode(text))

    def _answer_query(self, query: RequestQuery) -> EndpointResponse:
        """Count, apply drift, read a page and build the response."""
        config = self.config
        self._queries += 1
        self._script.happen(self._queries, self._store, self._generator, config, self._rng)
        if not config.drift_between:
            self._drift(query.selection)
        size = self._page_size_for(query.size)
        seen = self._visible(query.selection)
        reported, pages = 0, 0
        if config.search_count:
            reported = self._count(seen)
            pages = ceil(reported / (query.size if config.pages_from_requested_size else size))
        if config.drift_between:
            self._drift(query.selection)
        current = query.current
        overflow: Overflow = config.overflow if config.search_count and current > pages else "empty"
        if (instead := self._past_the_end(overflow)) is not None:
            return instead
        if overflow in {"first", "last"}:
            current = 1 if overflow == "first" else max(1, pages)
        records: list[bytes] = []
        if seen is not None and overflow != "null-records":
            records = self._store.page(seen, config.order, (current - 1) * size, size, self._rng)
        self.counters.answered(0)
        self.counters.read(min(reported, current * size), current)
        data: dict[str, Any] = {
            "total": reported,
            "size": query.size if config.echo_size == "requested" else size,
            "current": current,
            "pages": pages,
            "searchCount": config.search_count,
        }
        if config.extra_keys:
            data |= {"orders": [], "optimizeCountSql": True, "hitCount": False}
            data |= {"countId": None, "maxLimit": config.max_size}
        head = _encode({"status": self._status(0), "reason": _REASONS[0], "data": data})
        # The records are JSON already: they are inserted before the two closing braces.
        listing = b"[" + b",".join(records) + b"]"
        if overflow == "null-records" or (not reported and not records and config.empty_records == "null"):
            listing = b"null"
        return EndpointResponse(self._format_body(b'%b,"records":%b}}' % (head[:-2], listing)), is_data=True)

    def _past_the_end(self, overflow: Overflow) -> EndpointResponse | None:
        """Return the response to a page beyond the last if it is not a page; else None."""
        if overflow in _HTTP_STATUSES:
            status = _HTTP_STATUSES[overflow]
            self.counters.answered(status)
            return EndpointResponse(b"", status)
        if overflow in _CODES:
            return EndpointResponse(self.refuse(_CODES[overflow]))
        if overflow == "null-data":
            self.counters.answered(0)
            envelope = {"status": self._status(0), "reason": _REASONS[0], "data": None}
            return EndpointResponse(self._format_body(_encode(envelope)), is_data=True)
        return None

    def _page_size_for(self, asked: int) -> int:
        """Return the page size for the requested size `asked`."""
        config = self.config
        if config.forced_size is not None:
            return config.forced_size
        size = max(asked, config.min_size or asked)
        return min(size, config.max_size or size)

    def _visible(self, selection: Selection) -> Selection | None:
        """Return the part of a selection that the current replica holds; None if it holds nothing."""
        config = self.config
        if not config.replica_every or self._queries % config.replica_every:
            return selection
        if config.replica == "lagging":
            return replace(selection, added_until=time.monotonic() - config.replica_lag)
        return replace(selection, lacks_shard=True) if config.replica == "shard" else None

    def _count(self, seen: Selection | None) -> int:
        """Return the reported COUNT: late, cached, wrong or capped, according to the settings."""
        config, now = self.config, time.monotonic()
        if seen is None:
            return 0
        counted_at, count = self._count_cache.get(seen, (-inf, 0))
        if now - counted_at >= config.count_cache:
            until = now - config.count_lag
            if seen.added_until is not None:
                until = min(until, seen.added_until)
            late = config.count_lag > 0 or seen.added_until is not None
            count = self._store.count(replace(seen, added_until=until) if late else seen)
            if config.count_cache:
                self._count_cache[seen] = now, count
        count = max(0, count + config.wrong_total)
        return count if config.count_cap is None else min(count, config.count_cap)

    def _status(self, code: int) -> str | int:
        """Return a status code as a string or an int."""
        return int(code) if self.config.status_as == "int" else str(int(code))

    def _format_body(self, body: bytes) -> bytes:
        """Add line breaks and indentation if `pretty` is set."""
        return msgspec.json.format(body, indent=2) if self.config.pretty else body

    def _drift(self, selection: Selection) -> None:
        """Add, delete or change calls, if this query is one of those that do."""
        config, n = self.config, self._queries
        if config.drift_requests is not None and n > config.drift_requests:
            return
        if config.insert_every and n % config.insert_every == 0:
            newest = self._store.newest(selection)
            last = selection.until - 1
            self._insert(selection, last if newest is None else min(last, newest + 1))
        if config.insert_late_every and n % config.insert_late_every == 0:
            self._insert(selection, (selection.since + selection.until) // 2)
        if config.delete_every and n % config.delete_every == 0:
            self._store.remove_one(selection, self._rng)
        if config.change_every and n % config.change_every == 0:
            self._store.change_one(selection, self._rng, self._fill_in)

    def _insert(self, selection: Selection, second: int) -> None:
        """Add a call that is in the selection, unless its range is empty."""
        if selection.since <= second < selection.until:
            row = self._generator.make_at(second, selection.group, selection.phone)
            self._store.add([row])

    def _fill_in(self, body: bytes) -> bytes:
        """Return a record with a new recordingFileId."""
        try:
            record = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        if not isinstance(record, dict):
            return body
        return _encode(record | {"recordingFileId": f"{self._rng.getrandbits(60):015x}.mp3"})

    def _take_token(self) -> bool:
        """Return whether the rate limit admits one more request."""
        limit = self.config.rate_limit
        if limit is None:
            return True
        now = time.monotonic()
        refilled = self._tokens + (now - self._refilled) * limit
        self._tokens, self._refilled = min(max(1.0, limit), refilled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
