"""A vendor whose calls arrive in simulated time, and a driver that reads it as the engine does.

Milliseconds are counted, never waited for: COUNT, SELECT and the answer of each request are instants of their own, a
request with a `delay` is sent when that has passed, and the vendor's clock is the one that windows are judged by.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random
from typing import Literal

from aiosipcdr.model.query import Filters
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.proof.budget import RowQuota
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.proof.window import WindowReader, WindowState
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept
from tests.proof.simulated_vendor import TRUE_VIEW, Flight, Habits, Run, Vendor, View, at

Moment = Literal["submitted", "ended"]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Calls that go on arriving.

    Attributes:
        rate: calls a second.
        shown: when the vendor lists a call.
        ranged: which of its times ranges select on.
        lasts: mean length of a call in seconds; lengths are exponential.
    """

    rate: float
    shown: Moment = "ended"
    ranged: Moment = "submitted"
    lasts: float = 60.0

    def calls(self, since: int, rng: Random) -> Iterator[tuple[int, int]]:
        """Yield the instant at which each call is listed and its time, in the order of listing."""
        begun = float(since)
        under_way: list[tuple[int, int]] = []
        while True:
            begun += rng.expovariate(self.rate) * 1_000
            submitted = int(begun)
            ended = submitted + int(rng.expovariate(1 / self.lasts) * 1_000)
            times = {"submitted": submitted, "ended": ended}
            while under_way and under_way[0][0] <= submitted:
                yield heapq.heappop(under_way)
            # Times have whole seconds.
            heapq.heappush(under_way, (times[self.shown], times[self.ranged] // 1_000 * 1_000))


class LiveVendor(Vendor):
    """Lists calls as time passes; a COUNT may be older than the rows by `lag` milliseconds."""

    def __init__(self, habits: Habits, rng: Random, traffic: Traffic, *, since: int, lag: int = 0) -> None:
        """Begin at the instant 0 with the calls that were listed since `since` (before 0)."""
        super().__init__(habits, rng)
        self.lag = lag
        self._coming = traffic.calls(since, rng)
        self._next = next(self._coming)
        self.pass_to(0)

    def pass_to(self, now: int) -> None:
        """Let time pass."""
        while self._next[0] <= now:
            self.clock = self._next[0]
            self.add(self._next[1])
            self._next = next(self._coming)
        self.clock = now

    def count(self, request: PageRequest, _view: View = TRUE_VIEW) -> int:
        """Count as of `lag` ago."""
        first, last = self.bounds(request.window)
        newer = sum(row.born > self.clock - self.lag for row in self.rows[first:last]) if self.lag else 0
        return self.habits.tell(last - first - newer)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The wire: requests under way at once, and milliseconds from sending to the answer, at least and at most."""

    concurrency: int = 8
    latency: tuple[int, int] = (10, 30)
    most_seconds: int = 300


def cover_live(
    vendor: LiveVendor,
    window: TimeWindow,
    *,
    lateness: timedelta = timedelta(hours=4),
    count_delay: timedelta = timedelta(seconds=1),
    **settings: object,
) -> RangeReader:
    """Build a Coverage that knows the time of `vendor`."""
    return RangeReader(
        OwnedSpan(window=window),
        Filters(),
        size=100,
        quota=RowQuota(8),
        ages=AgePolicy(lambda: VendorTime(at(vendor.clock), is_local=False), lateness, count_delay),
        **settings,  # type: ignore[arg-type]
    )


class _Wire:
    """Requests on their way, and requests that wait, each with the instant of its next step."""

    def __init__(self, run: Run, vendor: LiveVendor, pace: Pace) -> None:
        self.run = run
        self.vendor = vendor
        self.pace = pace
        self.flying = 0
        self._steps: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, milliseconds: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._steps, (self.vendor.clock + int(milliseconds), next(self._numbers), step))

    def take(self, request: PageRequest) -> None:
        """Send `request` now, or when its delay has passed."""
        if request.delay:
            self.after(request.delay * 1_000, lambda: self._send(request))
        else:
            self._send(request)

    def step(self) -> bool:
        """Let pass what comes next, if anything is to come."""
        if not self._steps:
            return False
        now, _, step = heapq.heappop(self._steps)
        assert now < self.pace.most_seconds * 1_000, "no end"
        self.vendor.pass_to(now)
        step()
        return True

    def _send(self, request: PageRequest) -> None:
        self.flying += 1
        self.run.requests += 1
        flight = Flight(self.vendor, request)
        way = self.vendor.rng.randint(*self.pace.latency) / 2
        self.after(way, lambda: self._advance(flight, way))

    def _advance(self, flight: Flight, way: float) -> None:
        if (answer := flight.advance()) is None:
            self.after(1, lambda: self._advance(flight, way))  # COUNT has run: SELECT follows
        else:
            self.after(way, lambda: self._deliver(flight, answer))

    def _deliver(self, flight: Flight, answer: PageAnswer) -> None:
        self.flying -= 1
        owner = flight.request.owner
        was_open = isinstance(owner, WindowReader) and owner.is_open
        self.run.error = accept(self.run.reader, flight.request, answer)
        if was_open and isinstance(owner, WindowReader) and owner.state is WindowState.CERTIFIED:
            self.run.counted_at[owner.window] = flight.counted_at


def drive_live(reader: RangeReader, vendor: LiveVendor, pace: Pace = Pace()) -> Run:
    """Work off `reader` while time passes."""
    run = Run(reader=reader, vendor=vendor)
    wire = _Wire(run, vendor, pace)
    while run.error is None:
        while wire.flying < pace.concurrency and (request := reader.next_request()) is not None:
            wire.take(request)
        while (window := reader.take_complete()) is not None:
            run.windows.append(window)
        if not wire.step():
            if reader.is_finished:
                break
            request = reader.next_request()
            assert request is not None, "stuck: nothing is under way and nothing is to be asked"
            wire.take(request)
    return run
