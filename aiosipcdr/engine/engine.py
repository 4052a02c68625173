"""The engine: at most N workers, one rotation of runs, one timer.

A worker takes the next request of the next run, signs it, sends it, decodes
the answer and lets the plan decide.  Nothing waits inside a worker: a request
that may not go yet (pace, throttling, back-off, a count that waits) stays with
its run until the timer brings the engine back, so none is signed before it may be sent and none
holds a place that another could use.  Workers end when there is nothing to do.
"""

import asyncio
import copy
import heapq
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import count

import anyio

from aiosipcdr.engine.patience import RetryController
from aiosipcdr.engine.run import Job, Plan, Run
from aiosipcdr.events import Event, EventHook, EventKind, choose_events
from aiosipcdr.http.transport import SignedRequest, Signer, Transport, read_answer
from aiosipcdr.model.errors import ClientStateError, SipCdrError, ThrottledError
from aiosipcdr.model.report import FetchReport
from aiosipcdr.policy.clock import AwakeTime, VendorClock, VendorTime
from aiosipcdr.policy.pacing import Pacer, RatePolicy
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, encode_query
from aiosipcdr.wire.signing import CredentialsSource

__all__ = ["Engine", "Seams", "seams"]

_run_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Seams:
    """What an engine takes from outside besides the network.

    Attributes:
        wall_clock: returns this machine's Unix time.
        draw: returns a random number in [0, 1).
    """

    wall_clock: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random


_USUAL_SEAMS = Seams()
_seams: ContextVar[Seams] = ContextVar("aiosipcdr_seams")


@contextmanager
def seams(*, wall_clock: Callable[[], float] = time.time, draw: Callable[[], float] = random.random) -> Iterator[None]:
    """Give the clients that are opened inside another wall clock or other random numbers, for tests.

    Example:
        with seams(wall_clock=lambda: 0.0):
            await client.open()
    """
    token = _seams.set(Seams(wall_clock, draw))
    try:
        yield
    finally:
        _seams.reset(token)


class Engine:
    """Serves the runs of one client in one event loop."""

    def __init__(
        self,
        transport: Transport,
        credentials: CredentialsSource,
        *,
        rate: RatePolicy | None,
        retry: RetryPolicy,
        hook: EventHook | None,
        assume_tz: tzinfo | None = None,
    ) -> None:
        """Stand ready; nothing runs until a run is started."""
        outside = _seams.get(_USUAL_SEAMS)
        self._transport = transport
        self._credentials = credentials
        self._pacer = Pacer(rate)
        self._hook = hook
        self._wants = choose_events(hook)
        self._wall_clock = outside.wall_clock
        self._draw = outside.draw
        # From anywhere: what an earlier process of this machine asked may still be cached, too.
        self._serials = count(int(self._draw() * 2**48))
        self._decoder = PageDecoder(assume_tz)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        # All instants below are in awake time: while the machine was frozen, no deadline passes.
        self._awake = AwakeTime(self._loop.time())
        self._heart: asyncio.TimerHandle | None = None
        self._retries = RetryController(retry, self._pacer, transport.connections, now=self._now())
        self._runs: deque[Run] = deque()
        self._workers: dict[asyncio.Task[None], Job] = {}
        self._later: list[tuple[float, int, Job]] = []
        self._postponed = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._vendor_clock = VendorClock()

    @property
    def is_here(self) -> bool:
        """Whether this process made it: a forked child has a copy, whose sockets and selector are the parent's."""
        return self._process == os.getpid()

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's, where recent answers had a `Date`."""
        return self._vendor_clock.offset

    def read_vendor_clock(self) -> VendorTime:
        """Return the present instant of the vendor's clock, or of this machine's where the vendor sends no `Date`."""
        offset = self._vendor_clock.offset
        return VendorTime(datetime.fromtimestamp(self._wall_clock() + (offset or 0.0), UTC), offset is None)

    def start(self, plan: Plan, *, records: int | None = None) -> Run:
        """Begin to work off `plan`, of which an earlier run has read `records`; must be followed by `finish`."""
        run = Run(next(_run_numbers), plan)
        run.call(self._emit, EventKind.RUN_STARTED, run, records=records)
        if self._heart is None:
            self._awake.restart(self._loop.time())
            self._beat()
        run.last_answer = self._now()
        self._runs.append(run)
        self.wake()
        return run

    async def finish(self, run: Run, report: FetchReport | None = None) -> None:
        """Stop what `run` still has under way, and wait until it has stopped."""
        if not self.is_here:
            run.forget()
            return
        run.close()
        if run not in self._runs:
            return
        self._runs.remove(run)
        try:
            await _stop([task for task, job in self._workers.items() if job.run is run])
        finally:
            if self._runs:
                self.wake()
            else:
                self._rest()
            error = None if run.error is None else type(run.error).__name__
            run.call(self._emit, EventKind.RUN_FINISHED, run, report=report, error=error)

    def _rest(self) -> None:
        for timer in (self._timer, self._heart):
            if timer is not None:
                timer.cancel()
        self._timer = self._heart = None
        self._later.clear()

    def _now(self) -> float:
        return self._awake.read(self._loop.time())

    def _beat(self) -> None:
        self._now()
        self._heart = self._loop.call_later(self._awake.beat, self._beat)

    async def close(self) -> None:
        """End every run that is still open, each of them even if the caller's hook raises."""
        problem: BaseException | None = None
        for run in list(self._runs):
            run.fail(ClientStateError("the client was closed while this was under way"))
            try:
                await self.finish(run)
            except BaseException as error:  # noqa: BLE001 - raised below
                problem = problem or error
        if problem is not None:
            raise problem

    def wake(self) -> None:
        """Put as many workers to work as there are requests and places for them."""
        while len(self._workers) < self._retries.limit.places:
            if (job := self._next_job(self._now())) is None:
                return
            self._begin(job)

    def _begin(self, job: Job) -> None:
        # The task copies the run's context: hook, credentials and sending see their caller's variables.
        task = job.run.call(self._loop.create_task, self._work(job))
        if not task.done():  # an eager task may be through already
            self._workers.setdefault(task, job)
            # A task that is cancelled before it begins cannot clear its own place.
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._workers.pop(task, None)
        if task.done() and not task.cancelled():
            task.exception()  # it ended its run, or the program: asyncio need not warn of it

    def _next_job(self, now: float) -> Job | None:
        while self._later and self._later[0][0] <= now:
            job = heapq.heappop(self._later)[2]
            job.run.bring_back(job)
        pause = self._pacer.decide_wait(now)
        if not pause:
            waiting = sum(job.attempt > 0 and job.run.is_open for _, _, job in self._later) if self._later else 0
            may_begin = self._retries.may_begin(waiting=waiting, now=now)
            for _ in range(len(self._runs)):
                run = self._runs[0]
                self._runs.rotate(-1)  # each run in its turn
                while (due := run.next_job(may_begin=may_begin)) is not None:
                    if due.delay:
                        self._postpone(due, now + due.delay)
                        due.delay = 0.0
                        continue
                    self._pacer.take(now)
                    return due
            pause = self._later[0][0] - now if self._later else 0.0
        if pause > 0:
            self._ring_at(now + pause)
        return None

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            if self._rings_at <= when:
                return
            self._timer.cancel()
        self._rings_at = when  # not every loop's handle tells it
        self._timer = self._loop.call_at(when + self._awake.lost, self._ring)

    def _postpone(self, job: Job, until: float) -> None:
        heapq.heappush(self._later, (until, next(self._postponed), job))

    def _ring(self) -> None:
        self._timer = None
        self.wake()

    async def _work(self, job: Job | None) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task runs in that task
        try:
            while job is not None:
                self._workers[task] = job
                outcome = await self._attempt(job) if job.run.is_open else None
                now = self._now()
                if outcome is not None:
                    self._settle(job, outcome, now)
                # The places may have become fewer: then this worker leaves.
                has_place = len(self._workers) <= self._retries.limit.places
                following = self._next_job(now) if has_place else None
                if following is not None and following.run is not job.run:
                    self._forget(task)
                    job = None
                    self._begin(following)  # in its own run's context
                else:
                    job = following
                self.wake()  # the answer may have made work for others
        except BaseException as error:
            # Of the caller's hook or credentials: then it is the caller's to see, whatever it is.
            ended = bool(task.cancelling())
            if job is not None:
                job.run.fail(ClientStateError("the event loop is shutting down") if ended else error)
            self._forget(task)
            if ended or isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            self.wake()  # for the other runs
        finally:
            self._forget(task)

    async def _attempt(self, job: Job) -> PageAnswer | SipCdrError:
        credentials = self._credentials()
        run, request = job.run, job.request
        job.attempt += 1
        run.requests += 1
        job.sent, job.gaps = self._now(), self._awake.gaps
        if job.attempt == 1:
            job.first_sent = job.sent
        if self._wants(EventKind.REQUEST_SENT):
            self._emit(EventKind.REQUEST_SENT, run, job=job)
        signer = Signer(credentials, self._retries.clock, self._wall_clock)
        serial = next(self._serials) if request.needs_fresh_answer else None
        # Bound to no name: a traceback may print the locals of this frame, and a filter may be a phone's number.
        received = await self._transport.send(
            SignedRequest(
                encode_query(request.params, current=request.current, size=request.size, serial=serial),
                signer,
                request.size,
            )
        )
        job.signed_under = signer.version
        if isinstance(received, SipCdrError):
            return received
        now = self._wall_clock()
        self._vendor_clock.note_answer(received.date, sent=signer.signed, received=now)
        answer = read_answer(
            received,
            self._decoder,
            credentials,
            current=request.current,
            size=request.size,
            sent=signer.signed,
            now=now,
        )
        if isinstance(answer, SipCdrError):
            return answer
        if self._wants(EventKind.REQUEST_ANSWERED):
            elapsed, records = self._now() - job.sent, len(answer.page.records)
            self._emit(EventKind.REQUEST_ANSWERED, run, job=job, elapsed=elapsed, records=records)
        return answer

    def _settle(self, job: Job, outcome: PageAnswer | SipCdrError, now: float) -> None:
        run = job.run
        if not run.is_open:
            return
        if isinstance(outcome, SipCdrError):
            final = self._try_again(job, outcome, now)
            if final is None:
                return
            _place(final, job.request)
            error = run.plan.refuse(job.request, final)
        else:
            self._retries.note_answer(job, now)
            error = run.plan.accept(job.request, outcome)
        if error is not None:
            self._end(run, error)
        elif run.plan.has_result:
            run.notify()

    def _end(self, run: Run, error: SipCdrError) -> None:
        run.fail(error)
        if self._retries.ends_all(error):
            for other in self._runs:
                elsewhere = copy.copy(error)
                elsewhere.window = elsewhere.page = None
                other.fail(elsewhere)

    def _try_again(self, job: Job, error: SipCdrError, now: float) -> SipCdrError | None:
        job.was_frozen = job.gaps != self._awake.gaps
        delay = self._retries.decide_delay(job, error, now=now, random=self._draw())
        if isinstance(delay, SipCdrError):
            return delay
        job.run.retries += 1
        self._postpone(job, now + delay)
        kind = EventKind.THROTTLED if isinstance(error, ThrottledError) else EventKind.REQUEST_RETRIED
        self._emit(kind, job.run, job=job, delay=delay, error=type(error).__name__)
        return None

    def _emit(
        self,
        kind: EventKind,
        run: Run,
        *,
        job: Job | None = None,
        elapsed: float | None = None,
        delay: float | None = None,
        records: int | None = None,
        error: str | None = None,
        report: FetchReport | None = None,
    ) -> None:
        if self._hook is None:
            return
        request = None if job is None else job.request
        self._hook(
            Event(
                kind=kind,
                run=run.number,
                window=run.plan.span if request is None else request.window,
                page=None if request is None else request.current,
                attempt=None if job is None else job.attempt,
                records=records,
                elapsed=elapsed,
                delay=delay,
                error=error,
                report=report,
            )
        )


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    # A caller that is cancelled meanwhile, by a scope or natively, waits all
    # the same: it must leave nothing behind.
    cancelled = None
    for task in tasks:
        task.cancel()
    while tasks := [task for task in tasks if not task.done()]:
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _place(error: SipCdrError, request: PageRequest) -> None:
    if error.window is None:
        error.window, error.page = request.window, request.current
