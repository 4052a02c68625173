"""`Sandbox`: what a test or a person holds in the hand, as a context manager.

This module must never answer a request itself, nor start a thread: that is the host's.
"""

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
    """The vendor's endpoint on loopback, with believable calls.

    Use it with `async with` or with `with`; either starts a thread and ends it.

        async with Sandbox(records=100_000, order="oldest") as sandbox:
            client = CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret)

    With `faults` it breaks answers as scripted, and leaving it without an exception raises
    `UnusedFaultsError` while some of them have not struck.

    Attributes:
        start: First second of the default range, which holds every call.
        end: Last second of it, hours ago, so that nothing in it is provisional.
    """

    start: datetime
    end: datetime

    def __init__(
        self,
        *,
        calls: Sequence[object] | None = None,
        middlewares: Sequence[Middleware] = (),
        faults: Iterable[Fault] = (),
        **config: Any,  # noqa: ANN401 - SandboxConfig checks names and values
    ) -> None:
        """Decide what the sandbox will hold.

        Args:
            calls: Wire records (or any JSON values, or bytes) instead of generated calls; also records with the
                client's names, as `CallDetailRecord.to_dict` returns them. From a file: see `read_calls`.
            middlewares: aiohttp.web middlewares in front of the endpoint.
            faults: What goes wrong, and when; of those that match a request the first strikes.
            **config: See `SandboxConfig`.

        Raises:
            TypeError: There is no such switch, or a fault is not a `Fault`.
            ValueError: A switch has no such value.
        """
        self._fault_queue = FaultQueue(faults)
        if calls is not None:
            config["records"] = 0
        self._config = SandboxConfig(**config)
        self._credentials = AccountKeys.of(self._config.account)
        self._at_start = self._config, self._credentials
        lag, today = read_clock(self._config)
        self.start, self.end = default_range(self._config, today)
        given = [row.submitted for row in map(self._row, calls or ())]
        if given:
            zone = timezone(self._config.utc_offset)
            self.start = min(self.start, datetime.fromtimestamp(min(given), zone) - _SECOND)
            self.end = max(self.end, datetime.fromtimestamp(max(given), zone) + _SECOND)
        # Rows are made once the range is known: what has no time is put into its middle.
        rows = None if calls is None else [self._row(call) for call in calls]
        self._host = SandboxRunner(
            self._config,
            self._credentials,
            int(self.start.timestamp()),
            int(self.end.timestamp()),
            lag=lag,
            rows=rows,
            middlewares=middlewares,
            fault_queue=self._fault_queue,
        )

    async def __aenter__(self) -> Self:
        """Start, without blocking the caller's loop."""
        self._host.launch()
        try:
            await asyncio.shield(asyncio.wrap_future(self._host.ready))
        except BaseException:
            self._host.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, without blocking the caller's loop."""
        self._host.begin_to_close()
        try:
            await asyncio.shield(asyncio.wrap_future(self._host.gone))
        finally:
            self._host.close()
        self._check_faults(error)

    def __enter__(self) -> Self:
        """Start and wait until requests are answered."""
        self._host.launch()
        try:
            self._host.ready.result()
        except BaseException:
            self._host.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and wait until the thread has gone."""
        self._host.close()
        self._check_faults(error)

    @property
    def base_url(self) -> str:
        """The base URL; it ends in `/v3/voice`, as the vendor's do."""
        return self._host.opened().base_url

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """Its secret."""
        return self._credentials.api_secret

    @property
    def config(self) -> SandboxConfig:
        """The switches as they stand."""
        return self._config

    @property
    def stats(self) -> Stats:
        """What was asked for so far."""
        return self._host.opened().endpoint.counters.snapshot()

    def reset_stats(self) -> None:
        """Count from zero again."""
        self._host.opened().endpoint.counters.reset()

    def reset(self) -> None:
        """Return to the state after the start, so that tests can share one sandbox.

        Undone are changes of calls (`insert`, `add_rows`, `delete`, drift), of switches (`change`) and of the key,
        scripted answers and faults that were added; the faults of the constructor wait again. Counters start at zero,
        and cached answers are forgotten. Requests under way are dropped with their connections.

        Faults that have not struck are forgotten without an error: check `faults_left` before.

        Example:
            sandbox.change(clock_offset=600)
            sandbox.delete(*sandbox.voice_ids()[:10])
            sandbox.reset()
        """
        self._host.reset()
        self._config, self._credentials = self._at_start

    def change(self, **config: Any) -> None:  # noqa: ANN401 - SandboxConfig checks names and values
        """Change switches while the sandbox runs; not those that the calls were made with."""
        fixed = sorted(FIXED & config.keys())
        if fixed:
            raise ValueError(f"cannot be changed in a sandbox that runs: {', '.join(fixed)}")
        endpoint = self._host.opened().endpoint
        self._config = endpoint.config = replace(self._config, **config)

    def rotate_key(self) -> None:
        """Replace the key and the secret; the old ones are refused from now on."""
        endpoint = self._host.opened().endpoint
        self._credentials = endpoint.credentials = AccountKeys.fresh()

    def answer_next(self, *codes: int) -> None:
        """Answer the next requests with these statuses, unchecked; 0 answers as usual."""
        self._host.opened().endpoint.scripted.extend(codes)

    def add_faults(self, *faults: Fault) -> None:
        """Script more faults, behind those that are there; from any thread, at any time."""
        self._fault_queue.add(faults)

    @property
    def faults_left(self) -> list[Fault]:
        """The faults that have not struck yet, each with the `times` that it still has to."""
        return self._fault_queue.left()

    def voice_ids(self, start: datetime | None = None, end: datetime | None = None) -> list[str]:
        """Return the ids of the calls that are there now, oldest first.

        With a range: those that a request for it would list. Calls without a usable
        voiceId are left out.
        """
        found = self._host.opened().store.voice_ids(self._selection(start, end))
        return [voice_id for voice_id in found if voice_id is not None]

    def rows(self, start: datetime | None = None, end: datetime | None = None) -> list[Any]:
        """Return the records that are there now, decoded, oldest first; for small tests.

        What is not JSON comes as bytes.
        """
        return [_decoded(body) for body in self._host.opened().store.bodies(self._selection(start, end))]

    def insert(
        self,
        at: datetime | None = None,
        *,
        count: int = 1,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> list[str]:
        """Add believable answered calls at `at` (default: just before `end`); return their ids."""
        served = self._host.opened()
        second = int((at or self.end - _SECOND).timestamp())
        rows = [served.generator.make_at(second, sip_group_name, phone_name) for _ in range(count)]
        served.store.add(rows)
        return [str(row.voice_id) for row in rows]

    def add_rows(self, calls: Iterable[object], at: datetime | None = None) -> None:
        """Add wire records, any JSON values, or bytes that are sent as they are.

        Args:
            calls: The records.
            at: When the sandbox says they were; needed where a record's own submitTime
                cannot be read, which is else taken for the middle of the default range.
        """
        self._host.opened().store.add([self._row(call, at) for call in calls])

    def delete(self, *voice_ids: str) -> int:
        """Remove calls; return how many there were."""
        return self._host.opened().store.remove(voice_ids)

    def _check_faults(self, error: BaseException | None) -> None:
        """Fail a test whose faults did not all strike, unless it has failed already."""
        if error is None and (left := self.faults_left):
            raise UnusedFaultsError(left)

    def _row(self, call: object, at: datetime | None = None) -> Row:
        """Return a given call as it is stored."""
        middle = int((self.start + (self.end - self.start) / 2).timestamp())
        return plan_row(call, self._config, at=at, otherwise=middle)

    def _selection(self, start: datetime | None, end: datetime | None) -> Selection | None:
        """Return a range with the sandbox's own bounds, None for everything."""
        if start is None and end is None:
            return None
        since = int((start or self.start).timestamp()) + (not self._config.start_inclusive)
        until = int((end or self.end).timestamp()) + self._config.end_inclusive
        return Selection(since, until)


def read_clock(config: SandboxConfig) -> tuple[float, float]:
    """Return the seconds by which the calls' "today" lies before now, and the present moment there.

    Raises:
        ValueError: The environment has a date that is none.
    """
    # By the slower of the two clocks, so that neither takes the range for unsettled.
    now, lag = time() + min(0.0, config.clock_offset), 0.0
    # Tests set it, and see the same made-up calls every day.
    if today := os.environ.get(_TODAY):
        try:
            lag = measure_lag(today, config, time())
        except ValueError:
            raise ValueError(f"{_TODAY} must be a date, YYYY-MM-DD; not {today!r}") from None
    return lag, now - lag


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - whatever was put in
    """Return a stored record as a Python value, or as it is."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
