"""The sandbox as a context manager, with methods to change its calls and its behaviour while it runs."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from time import time
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiohttp.typedefs import Middleware

from aiosipcdr.sandbox.call_events import CallEvent, update_rows
from aiosipcdr.sandbox.calls import Row
from aiosipcdr.sandbox.config import FIXED, SandboxConfig
from aiosipcdr.sandbox.fault_queue import FaultQueue, UnusedFaultsError
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.fixtures import plan_row
from aiosipcdr.sandbox.runner import SandboxRunner
from aiosipcdr.sandbox.stats import Stats
from aiosipcdr.sandbox.store import Selection
from aiosipcdr.sandbox.time_bounds import default_range, measure_lag
from aiosipcdr.sandbox.validation import AccountKeys

_SECOND: Final = timedelta(seconds=1)
_TODAY: Final = "AIOSIPCDR_SANDBOX_TODAY"


class Sandbox:
    """The vendor's endpoint on loopback, with realistic calls.

    Use it with `async with` or with `with`; both start a thread and end it.

        async with Sandbox(records=100_000, order="oldest") as sandbox:
            client = CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret)

    With `faults` it damages responses; leaving the context without an exception raises
    `UnusedFaultsError` if some faults were not triggered.

    Attributes:
        start: First second of the default range, which holds every call.
        end: Last second of it, hours ago, so that no window in it is provisional.
    """

    start: datetime
    end: datetime

    def __init__(
        self,
        *,
        calls: Sequence[object] | None = None,
        middlewares: Sequence[Middleware] = (),
        faults: Iterable[Fault] = (),
        events: Iterable[CallEvent] = (),
        **config: Any,  # noqa: ANN401 - SandboxConfig checks names and values
    ) -> None:
        """Configure the sandbox; nothing is started yet.

        Args:
            calls: Wire records (or any JSON values, or bytes) instead of generated calls; also records with the
                client's field names, as `CallDetailRecord.to_dict` returns them. From a file: see `read_calls`.
            middlewares: aiohttp.web middlewares in front of the endpoint.
            faults: Faults to trigger; the first that matches a request is taken.
            events: Changes of the calls, each before the answer to a query.
            **config: See `SandboxConfig`.

        Raises:
            TypeError: A setting is unknown, a fault is not a `Fault`, or an event not a `CallEvent`.
            ValueError: A setting has an invalid value.
        """
        self._fault_queue = FaultQueue(faults)
        if calls is not None:
            config["records"] = 0
        self._config = SandboxConfig(**config)
        self._credentials = AccountKeys.of(self._config.account)
        self._at_start = self._config, self._credentials
        lag, today = read_clock(self._config)
        self.start, self.end = default_range(self._config, today)
        times = [row.submitted for row in map(self._row, calls or ())]
        if times:
            zone = timezone(self._config.utc_offset)
            self.start = min(self.start, datetime.fromtimestamp(min(times), zone) - _SECOND)
            self.end = max(self.end, datetime.fromtimestamp(max(times), zone) + _SECOND)
        # Rows are created once the range is known: calls without a time get its middle.
        rows = None if calls is None else [self._row(call) for call in calls]
        self._runner = SandboxRunner(
            self._config,
            self._credentials,
            int(self.start.timestamp()),
            int(self.end.timestamp()),
            lag=lag,
            rows=rows,
            middlewares=middlewares,
            fault_queue=self._fault_queue,
            events=events,
        )

    async def __aenter__(self) -> Self:
        """Start, without blocking the caller's event loop."""
        self._runner.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._runner.ready))
        except BaseException:
            self._runner.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, without blocking the caller's event loop."""
        self._runner.request_close()
        try:
            await asyncio.shield(asyncio.wrap_future(self._runner.finished))
        finally:
            self._runner.close()
        self._check_faults(error)

    def __enter__(self) -> Self:
        """Start and wait until requests are answered."""
        self._runner.start()
        try:
            self._runner.ready.result()
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and wait until the thread has ended."""
        self._runner.close()
        self._check_faults(error)

    @property
    def base_url(self) -> str:
        """The base URL; it ends in `/v3/voice`, as the vendor's do."""
        return self._runner.running().base_url

    @property
    def api_key(self) -> str:
        """The accepted API key."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """The accepted API secret."""
        return self._credentials.api_secret

    @property
    def config(self) -> SandboxConfig:
        """The current settings."""
        return self._config

    @property
    def stats(self) -> Stats:
        """Counters of the requests so far."""
        return self._runner.running().endpoint.counters.snapshot()

    def reset_stats(self) -> None:
        """Set the counters to zero.

        For example:

            sandbox.reset_stats()
            sandbox.stats.requests  # 0
        """
        self._runner.running().endpoint.counters.reset()

    def reset(self) -> None:
        """Return to the state after the start, so that tests can share one sandbox.

        Undoes changes of calls (`insert`, `add_rows`, `update`, `delete`, drift), of settings (`change`) and of the
        key, and removes scripted answers and added faults; faults and events of the constructor apply again. Counters
        start at zero, and cached answers are forgotten. Requests under way are dropped with their connections.

        Faults that were not used are forgotten without an error; check `faults_left` before:

            sandbox.change(clock_offset=600)
            sandbox.delete(*sandbox.voice_ids()[:10])
            sandbox.reset()                           # the ten calls are back, and the clock is right
        """
        self._runner.reset()
        self._config, self._credentials = self._at_start

    def change(self, **config: Any) -> None:  # noqa: ANN401 - SandboxConfig checks names and values
        """Change settings while the sandbox runs, except those with which the calls were generated.

        For example:

            sandbox.change(clock_offset=600)  # ten minutes ahead
        """
        fixed = sorted(FIXED & config.keys())
        if fixed:
            raise ValueError(f"cannot be changed while the sandbox runs: {', '.join(fixed)}; create a new sandbox")
        endpoint = self._runner.running().endpoint
        self._config = endpoint.config = replace(self._config, **config)

    def rotate_key(self) -> None:
        """Replace key and secret; from now on the old ones are refused.

        For example:

            sandbox.rotate_key()
            sandbox.api_key  # the new one
        """
        endpoint = self._runner.running().endpoint
        self._credentials = endpoint.credentials = AccountKeys.fresh()

    def answer_next(self, *codes: int) -> None:
        """Answer the next requests with these status codes, unchecked; 0 means the usual response.

        For example:

            sandbox.answer_next(-17, -17)  # throttle the next two requests
        """
        self._runner.running().endpoint.queued_codes.extend(codes)

    def add_faults(self, *faults: Fault) -> None:
        """Add faults after the existing ones; callable from any thread at any time.

        For example:

            sandbox.add_faults(Fault("http", status=503))
        """
        self._fault_queue.add(faults)

    @property
    def faults_left(self) -> list[Fault]:
        """The faults that were not triggered yet, each with the `times` that are left."""
        return self._fault_queue.left()

    def voice_ids(self, start: datetime | None = None, end: datetime | None = None) -> list[str]:
        """Return the ids of the current calls, oldest first.

        With a range: those that a request for it would list. Calls without a usable
        voiceId are left out.

            sandbox.voice_ids()[0]  # the oldest call
        """
        found = self._runner.running().store.voice_ids(self._selection(start, end))
        return [voice_id for voice_id in found if voice_id is not None]

    def rows(self, start: datetime | None = None, end: datetime | None = None) -> list[Any]:
        """Return the current records, decoded, oldest first; for small tests.

        A record that is not JSON is returned as bytes.

            sandbox.rows()[0]["voiceId"]
        """
        return [_decoded(body) for body in self._runner.running().store.bodies(self._selection(start, end))]

    def insert(
        self,
        at: datetime | None = None,
        *,
        count: int = 1,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> list[str]:
        """Add realistic answered calls at `at` (default: just before `end`); return their ids.

        For example:

            (voice_id,) = sandbox.insert()
        """
        running = self._runner.running()
        second = int((at or self.end - _SECOND).timestamp())
        rows = [running.generator.make_at(second, sip_group_name, phone_name) for _ in range(count)]
        running.store.add(rows)
        return [str(row.voice_id) for row in rows]

    def add_rows(self, calls: Iterable[object], at: datetime | None = None) -> None:
        """Add wire records, any JSON values, or bytes that are sent unchanged.

            sandbox.add_rows([{"voiceId": "1", "cost": "0.10"}], at=sandbox.start)

        Args:
            calls: The records.
            at: The time under which they are stored; by default their own submitTime, or if that
                cannot be read the middle of the default range.
        """
        self._runner.running().store.add([self._row(call, at) for call in calls])

    def update(self, *voice_ids: str, **fields: Any) -> int:  # noqa: ANN401 - any JSON value
        """Change fields of calls, named as in the API or as in the client; return how many records were changed.

        A new `submit_time` also moves the call in the list.

            sandbox.update(sandbox.voice_ids()[0], cost="0.99", chargedDuration=60)  # 1
        """
        return update_rows(self._runner.running().store, voice_ids, fields, self._config)

    def delete(self, *voice_ids: str) -> int:
        """Delete calls; return how many there were.

        For example:

            sandbox.delete(*sandbox.voice_ids()[:10])  # 10
        """
        return self._runner.running().store.remove(voice_ids)

    def _check_faults(self, error: BaseException | None) -> None:
        """Raise `UnusedFaultsError` if faults are left, unless the test has already failed."""
        if error is None and (left := self.faults_left):
            raise UnusedFaultsError(left)

    def _row(self, call: object, at: datetime | None = None) -> Row:
        """Return a call as a row to store."""
        middle = int((self.start + (self.end - self.start) / 2).timestamp())
        return plan_row(call, self._config, at=at, otherwise=middle)

    def _selection(self, start: datetime | None, end: datetime | None) -> Selection | None:
        """Return a range with the configured bounds; None for everything."""
        if start is None and end is None:
            return None
        since = int((start or self.start).timestamp()) + (not self._config.start_inclusive)
        until = int((end or self.end).timestamp()) + self._config.end_inclusive
        return Selection(since, until)


def read_clock(config: SandboxConfig) -> tuple[float, float]:
    """Return the seconds by which the calls' "today" is before now, and the current time there.

    Raises:
        ValueError: AIOSIPCDR_SANDBOX_TODAY is not a date.
    """
    # The slower of the two clocks, so that the range is settled by both.
    now, lag = time() + min(0.0, config.clock_offset), 0.0
    # Set in tests, for the same generated calls every day.
    if today := os.environ.get(_TODAY):
        try:
            lag = measure_lag(today, config, time())
        except ValueError:
            raise ValueError(f"{_TODAY} must be a date, YYYY-MM-DD; not {today!r}") from None
    return lag, now - lag


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - whatever was put in
    """Return a stored record decoded, or as bytes if it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
