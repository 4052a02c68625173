"""Engine: at most N workers that send the requests of all runs in turn, and one timer.

A worker takes the next request of the next run, signs it, sends it, decodes the answer and passes it to the plan. A
request that may not be sent yet (pace, throttling, back-off, a delayed count) waits outside the workers until the timer
is due: no request is signed before it may be sent, and none occupies a worker while it waits. Workers end when there is
nothing to send.
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

import msgspec

from aiosipcdr.engine.run import Job, Plan, Run
from aiosipcdr.events import Event, EventHook, EventKind, choose_events
from aiosipcdr.http.transport import Signer, Transport, read_response
from aiosipcdr.model.errors import ClientStateError, SipCdrError, ThrottledError
from aiosipcdr.model.report import FetchReport
from aiosipcdr.policy.clock import AwakeTime, VendorClock, VendorTime
from aiosipcdr.policy.pacing import Pacer, RatePolicy
from aiosipcdr.policy.retry import RetryController, RetryPolicy
from aiosipcdr.proof.page import PageRequest, PlanChange
from aiosipcdr.rates import RateLimiter
from aiosipcdr.threads import wait_for_end
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, encode_query
from aiosipcdr.wire.signing import CredentialsSource

__all__ = ["Engine", "Seams", "run_numbers", "seams"]

run_numbers: Iterator[int] = count(1)
"""The number of the next run in this process."""


@dataclass(frozen=True, slots=True)
class Seams:
    """Replaceable inputs of an engine, for tests.

    Attributes:
        wall_clock: Returns this machine's Unix time.
        draw: Returns a random number in [0, 1).
    """

    wall_clock: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random


_DEFAULT_SEAMS = Seams()
_seams: ContextVar[Seams] = ContextVar("aiosipcdr_seams")


@contextmanager
def seams(*, wall_clock: Callable[[], float] = time.time, draw: Callable[[], float] = random.random) -> Iterator[None]:
    """Replace the wall clock and the random numbers of clients that are opened in this context, for tests.

        with seams(wall_clock=lambda: 0.0):
            await client.open()

    Clients that are already open do not change.
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
        rate: RatePolicy | RateLimiter | None,
        retry: RetryPolicy,
        hook: EventHook | None,
        assume_tz: tzinfo | None = None,
    ) -> None:
        """Create an engine in the running event loop; nothing runs until `start`."""
        inputs = _seams.get(_DEFAULT_SEAMS)
        self._transport = transport
        self._credentials = credentials
        self._pacer = Pacer(rate if isinstance(rate, RatePolicy) else None)
        self._limiter = None if isinstance(rate, RatePolicy) else rate
        self._hook = hook
        self._wants = choose_events(hook)
        self._wall_clock = inputs.wall_clock
        self._draw = inputs.draw
        # Starts at a random number, since a proxy may still cache the queries of an earlier process.
        self._serials = count(int(self._draw() * 2**48))
        self._decoder = PageDecoder(assume_tz)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        # All times below are in awake time, so that no deadline passes while the process is suspended.
        self._awake = AwakeTime(self._loop.time())
        self._heartbeat: asyncio.TimerHandle | None = None
        self._retries = RetryController(retry, self._pacer, transport.connections, now=self._now())
        self._runs: deque[Run] = deque()
        self._workers: dict[asyncio.Task[None], Job] = {}
        self._later: list[tuple[float, int, Job]] = []
        self._postponed = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._vendor_clock = VendorClock()

    @property
    def is_here(self) -> bool:
        """Whether this process created it. A forked child has a copy whose sockets and selector are the parent's."""
        return self._process == os.getpid()

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's; `None` without a recent `Date` header."""
        return self._vendor_clock.offset

    def read_vendor_clock(self) -> VendorTime:
        """Return the current time of the vendor's clock, or of this machine's if the vendor sends no `Date` header."""
        offset = self._vendor_clock.offset
        return VendorTime(datetime.fromtimestamp(self._wall_clock() + (offset or 0.0), UTC), offset is None)

    def start(self, plan: Plan, *, records: int | None = None) -> Run:
        """Start to send the requests of a plan; must be followed by `finish`.

        Args:
            plan: The plan.
            records: Number of records that an earlier run of it had read, if it is resumed.
        """
        run = Run(next(run_numbers), plan)
        run.call(self._emit, EventKind.RUN_STARTED, run, records=records)
        run.traces_sent = run.call(self._wants, EventKind.REQUEST_SENT)
        run.traces_answers = run.call(self._wants, EventKind.REQUEST_ANSWERED)
        if self._heartbeat is None:
            self._awake.restart(self._loop.time())
            self._beat()
        run.last_completed = self._now()
        self._runs.append(run)
        self.wake()
        return run

    async def finish(self, run: Run, report: FetchReport | None = None) -> None:
        """End `run`: cancel its requests in flight and wait until they have stopped."""
        if not self.is_here:
            run.forget()
            return
        run.close()
        if run not in self._runs:
            return
        self._runs.remove(run)
        if any(job.run is run for _, _, job in self._later):
            self._later = [entry for entry in self._later if entry[2].run is not run]
            heapq.heapify(self._later)
        try:
            await _stop([task for task, job in self._workers.items() if job.run is run])
        finally:
            if self._runs:
                self.wake()
            else:
                self._stop_timers()
            error = None if run.error is None else type(run.error).__name__
            run.call(self._emit, EventKind.RUN_FINISHED, run, report=report, error=error)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._heartbeat):
            if timer is not None:
                timer.cancel()
        self._timer = self._heartbeat = None
        self._later.clear()

    def _now(self) -> float:
        return self._awake.read(self._loop.time())

    def _beat(self) -> None:
        self._now()
        self._heartbeat = self._loop.call_later(self._awake.beat, self._beat)

    async def close(self) -> None:
        """End all open runs, even if the caller's hook raises."""
        problem: BaseException | None = None
        for run in list(self._runs):
            run.fail(ClientStateError("the client was closed while this was under way"))
            try:
                await self.finish(run)
            except BaseException as error:  # noqa: BLE001 - raised below
                problem = problem or error
        if problem is not None:
            try:
                raise problem
            finally:
                del problem  # its traceback keeps this frame

    def wake(self) -> None:
        """Start workers while there are requests to send and the concurrency limit allows."""
        while len(self._workers) < self._retries.limit.current:
            if (job := self._next_job(self._now())) is None:
                return
            self._begin(job)

    def _begin(self, job: Job) -> None:
        # The task copies the run's context: hook and credentials see their caller's variables.
        task = job.run.call(self._loop.create_task, self._work(job))
        if not task.done():  # an eager task may have ended already
            self._workers.setdefault(task, job)
            # A task that is cancelled before it starts cannot remove itself.
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._workers.pop(task, None)
        if task.done() and not task.cancelled():
            task.exception()  # mark it as retrieved, so that asyncio does not warn: it has already ended the run

    def _next_job(self, now: float) -> Job | None:
        while self._later and self._later[0][0] <= now:
            due = heapq.heappop(self._later)[2]
            due.run.requeue(due)
        pause = self._pacer.decide_wait(now) if self._pacer.is_active else 0.0
        if not pause:
            may_start_pages = not self._later or self._may_start_pages(now)
            for _ in range(len(self._runs)):
                run = self._runs[0]
                self._runs.rotate(-1)  # the runs take turns
                while (job := run.next_job(may_start_pages=may_start_pages)) is not None:
                    if job.delay:
                        self._postpone(job, now + job.delay)
                        job.delay = 0.0
                        continue
                    if self._pacer.is_active:
                        self._pacer.take(now)
                    return job
            pause = self._later[0][0] - now if self._later else 0.0
        if pause > 0:
            self._set_timer(now + pause)
        return None

    def _may_start_pages(self, now: float) -> bool:
        waiting = sum(job.attempt > 0 and job.run.is_open for _, _, job in self._later)
        return self._retries.may_start_pages(waiting=waiting, now=now)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_due <= when:
                return
            self._timer.cancel()
        self._timer_due = when  # timer handles of some event loops do not have it
        self._timer = self._loop.call_at(when + self._awake.lost, self._on_timer)

    def _postpone(self, job: Job, until: float) -> None:
        heapq.heappush(self._later, (until, next(self._postponed), job))

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()

    async def _work(self, job: Job | None) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this coroutine runs in a task
        now = self._now()
        try:
            while job is not None:
                self._workers[task] = job
                if self._limiter is not None:
                    is_admitted = job.run.is_open and await self._admit(job, self._limiter)
                    now = self._now()
                else:
                    is_admitted = job.run.is_open
                outcome = await self._attempt(job, now) if is_admitted else None
                now = self._now()
                if outcome is not None:
                    self._settle(job, outcome, now)
                # If the limit was reduced, this worker ends.
                is_allowed = len(self._workers) <= self._retries.limit.current
                following = self._next_job(now) if is_allowed else None
                if following is not None and following.run is not job.run:
                    self._forget(task)
                    job = None
                    self._begin(following)  # in the context of its own run
                else:
                    job = following
                self.wake()  # the answer may have led to more requests than this worker takes
        except BaseException as error:
            # Raised by the caller's hook or credentials, or a cancellation: passed to the caller unchanged.
            is_cancelled = bool(task.cancelling())
            if job is not None:
                job.run.fail(ClientStateError("the event loop is shutting down") if is_cancelled else error)
            self._forget(task)
            if is_cancelled or isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            self.wake()  # for the other runs
        finally:
            self._forget(task)
            del task  # a cancelled task keeps its error, whose traceback keeps this frame

    async def _admit(self, job: Job, limiter: RateLimiter) -> bool:
        # Unlike the pace of a policy, this wait occupies a worker: a limiter learns from it how many requests wait.
        await limiter.acquire()
        now = self._now()
        if (pause := self._pacer.decide_wait(now)) > 0:  # throttled meanwhile
            self._postpone(job, now + pause)
            return False
        return job.run.is_open

    async def _attempt(self, job: Job, now: float) -> PageAnswer | SipCdrError:
        credentials = self._credentials()
        run, request = job.run, job.request
        job.attempt += 1
        run.requests += 1
        job.last_sent, job.gaps = now, self._awake.gaps
        if job.attempt == 1:
            job.first_sent = now
        if run.traces_sent:
            self._emit(EventKind.REQUEST_SENT, run, job=job)
        signer = Signer(credentials, self._retries.clock, self._wall_clock)
        serial = next(self._serials) if request.needs_fresh_answer else None
        # The body is not bound to a local, which a traceback may show: a filter may be a phone number.
        received = await self._transport.send(
            encode_query(request.params, current=request.current, size=request.size, serial=serial),
            signer,
            size=request.size,
        )
        job.signed_version = signer.version
        if isinstance(received, SipCdrError):
            return received
        received_at = self._wall_clock()
        self._vendor_clock.note_answer(received.date, sent=signer.signed_at, received=received_at)
        answer = read_response(
            received,
            self._decoder,
            credentials,
            current=request.current,
            size=request.size,
            sent=signer.signed_at,
            now=received_at,
        )
        if run.traces_answers and not isinstance(answer, SipCdrError):
            elapsed, records = self._now() - job.last_sent, len(answer.page.records)
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
            request = job.request
            if request.may_be_gone and not self._retries.is_patient:  # it was requested as often as it may be
                request = msgspec.structs.replace(request, may_be_gone=False)
            _locate(final, request)
            transition = run.plan.refuse(request, final)
        else:
            self._retries.note_success(job, now)
            run.last_completed = now
            transition = run.plan.accept(job.request, outcome)
        if transition is PlanChange.DONE:
            run.notify()
        elif isinstance(transition, SipCdrError):
            self._end(run, transition)

    def _end(self, run: Run, error: SipCdrError) -> None:
        run.fail(error)
        if self._retries.ends_all(error):
            for other in self._runs:
                unlocated = copy.copy(error)
                unlocated.window = unlocated.page = None
                other.fail(unlocated)

    def _try_again(self, job: Job, error: SipCdrError, now: float) -> SipCdrError | None:
        job.was_suspended = job.gaps != self._awake.gaps
        delay = self._retries.decide_retry(
            job,
            error,
            last_completed=job.run.last_completed,
            now=now,
            random=self._draw(),
            may_be_gone=job.request.may_be_gone,
        )
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
    # None may outlive the run, even if the caller is cancelled meanwhile.
    for task in tasks:
        task.cancel()
    await wait_for_end(tasks)


def _locate(error: SipCdrError, request: PageRequest) -> None:
    if error.window is None:
        error.window, error.page = request.window, request.current
