"""Run: the execution of a plan, with its requests and the caller who waits for the result.

Sends nothing itself: the engine takes its requests and reports their outcomes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import ParamSpec, Protocol, TypeVar

from aiosipcdr.model.errors import ClientStateError, SipCdrError
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.retry import RequestAttempts
from aiosipcdr.proof.page import PageRequest, Transition
from aiosipcdr.wire.codec import PageAnswer

__all__ = ["Job", "Plan", "Run"]

P = ParamSpec("P")
T = TypeVar("T")


class Plan(Protocol):
    """Source of requests and consumer of answers; synchronous.

    Attributes:
        span: The range that it reads, for events; `None` if there is none.
    """

    span: TimeWindow | None

    @property
    def has_result(self) -> bool:
        """Whether the caller can take a result."""

    def next_request(self) -> PageRequest | None:
        """Return the next request that may be sent now.

        For example:

            def next_request(self) -> PageRequest | None:
                return self.due.popleft() if self.due else None
        """

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Process the answer to `request`; return what it changed.

        For example:

            def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
                self.page = answer.page
                return PlanChange.DONE
        """

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Process the final error of `request`; return what it changed.

        For example:

            def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
                return error  # ends the run
        """


class Job(RequestAttempts, kw_only=True, eq=False):
    """One request of a run and its attempts.

    Attributes:
        run: The run.
        request: The request.
        delay: Seconds to wait before the first attempt.
        gaps: Number of gaps of the event loop (see `AwakeTime`) when it was last sent.
    """

    run: "Run"
    request: PageRequest
    delay: float = 0.0
    gaps: int = 0


class Run:
    """Execution of a plan, from `Engine.start` to `Engine.finish`.

    Attributes:
        number: Number of the run within the process.
        plan: The plan.
        started: Time of the event loop at the start, in seconds.
        last_completed: Awake time when it last completed a page, or started.
        requests: Number of requests sent.
        retries: Number of them that were repeated.
        error: The error that ended it.
        is_open: Whether its requests are still sent.
        traces_sent: Whether the hook receives an event for each request.
        traces_answers: Whether the hook receives an event for each answer.
    """

    def __init__(self, number: int, plan: Plan) -> None:
        """Create a run; `plan` must not be used by another one."""
        self.number = number
        self.plan = plan
        self.started: float = asyncio.get_running_loop().time()
        self.last_completed: float = self.started  # set by the engine
        self.requests = 0
        self.retries = 0
        self.error: BaseException | None = None
        self.is_open: bool = True
        self.traces_sent: bool = False
        self.traces_answers: bool = False
        self._is_closed = False
        self._due: deque[Job] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._context = copy_context()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the context variables of the caller who started the run.

        Workers are started by any run, and a stream may be read in another task.
        """
        return self._context.run(function, *args, **kwargs)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self.started

    def next_job(self, *, may_start_pages: bool = True) -> Job | None:
        """Return the next request to send: a retry that is due, or else a new one if it `may_start_pages`."""
        if not self.is_open:
            return None
        if self._due:
            return self._due.popleft()
        request = self.plan.next_request() if may_start_pages else None
        return None if request is None else Job(run=self, request=request, delay=request.delay)

    def requeue(self, job: Job) -> None:
        """Make `job` due again."""
        if self.is_open:
            self._due.append(job)

    def fail(self, error: BaseException) -> None:
        """End the run with `error`; later errors are ignored."""
        if self.is_open:
            self.is_open = False
            self.error = error
            self.notify()

    def notify(self) -> None:
        """Wake the caller who waits for a result."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Send nothing more and wake the caller."""
        self.forget()
        self.notify()

    def forget(self) -> None:
        """Send nothing more, without touching the event loop: after a fork it belongs to the parent process."""
        self.is_open = False
        self._is_closed = True
        self._due.clear()

    async def wait(self) -> None:
        """Return when the plan has a result or the run has ended.

        Raises:
            ClientStateError: Two tasks wait for one run, or the run was closed.
            BaseException: The error that ended a closed run, unchanged.
        """
        while not (self._is_closed or self.error is not None or self.plan.has_result):
            if self._waiter is not None:
                raise ClientStateError("two tasks read from one stream: open a stream for each")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._is_closed:
            try:
                self.check()
                raise ClientStateError("this stream was left: open another one")
            finally:
                del self  # see `check`

    def check(self) -> None:
        """Raise the error that ended the run, if there is one."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                del self  # otherwise the run would keep its error, and the traceback of the error this frame
