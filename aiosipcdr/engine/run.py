"""One run: a plan, the requests that wait for another attempt, and whoever awaits the result.

Sends nothing: the engine asks it for work and tells it the outcomes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import ParamSpec, Protocol, TypeVar

from aiosipcdr.model.errors import ClientStateError, SipCdrError
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.wire.codec import PageAnswer

__all__ = ["Job", "Plan", "Run"]

P = ParamSpec("P")
T = TypeVar("T")


class Plan(Protocol):
    """What a run works off: requests come out, answers go in, all of it synchronous.

    Attributes:
        span: The range that it is about, if it is one.
    """

    span: TimeWindow | None

    @property
    def has_result(self) -> bool:
        """Whether there is something for the one who waits."""

    def next_request(self) -> PageRequest | None:
        """Return what may be sent now."""

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Take an answer; return the error that ends the run, if it does."""

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        """Take the error that a request ended with; return it if it ends the run."""


class Job:
    """One request of a run on its way through its attempts.

    Attributes:
        attempt: how often it was sent.
        delay: seconds to wait before the first attempt.
        forgiven: the reasons for which it was sent again for free.
        cost: what its retries were charged.
        first_sent: the instant of the first attempt, in awake time; `sent`: that of the last.
        gaps: how many gaps the event loop had had when it was sent; `was_frozen`: another one came since.
        signed_under: the version of the clock's offset in the last signature.
    """

    __slots__ = (
        "attempt",
        "cost",
        "delay",
        "first_sent",
        "forgiven",
        "gaps",
        "request",
        "run",
        "sent",
        "signed_under",
        "was_frozen",
    )

    def __init__(self, run: "Run", request: PageRequest) -> None:
        """Begin before the first attempt."""
        self.run: Run = run
        self.request: PageRequest = request
        self.attempt: int = 0
        self.delay: float = request.delay
        self.forgiven: frozenset[str] = frozenset()
        self.gaps: int = 0
        self.was_frozen: bool = False
        self.cost: float = 0.0
        self.first_sent: float = 0.0
        self.sent: float = 0.0
        self.signed_under: int = 0

    @property
    def paid_attempts(self) -> int:
        """How many attempts count."""
        return self.attempt - len(self.forgiven)


class Run:
    """A plan at work; lives from `Engine.start` to `Engine.finish`."""

    def __init__(self, number: int, plan: Plan) -> None:
        """Take a plan that nobody else works off."""
        self.number = number
        self.plan = plan
        self.started: float = asyncio.get_running_loop().time()
        self.last_answer: float = self.started  # in awake time, as the engine sets it
        self.requests = 0
        self.retries = 0
        self.error: BaseException | None = None
        self.is_open: bool = True
        self._is_closed = False
        self._due: deque[Job] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._context = copy_context()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the context variables of the caller who started this run.

        Workers are woken by other runs, and streams may be read elsewhere.
        """
        return self._context.run(function, *args, **kwargs)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self.started

    def next_job(self, *, may_begin: bool = True) -> Job | None:
        """Return the next request to send: one that failed before, or if it `may_begin` another, one from the plan."""
        if not self.is_open:
            return None
        if self._due:
            return self._due.popleft()
        request = self.plan.next_request() if may_begin else None
        return None if request is None else Job(self, request)

    def bring_back(self, job: Job) -> None:
        """Make `job` due again."""
        if self.is_open:
            self._due.append(job)

    def fail(self, error: BaseException) -> None:
        """End the run with `error`; the first one wins."""
        if self.is_open:
            self.is_open = False
            self.error = error
            self.notify()

    def notify(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Send nothing more, and let nobody wait for it."""
        self.is_open = False
        self._is_closed = True
        self._due.clear()
        self.notify()

    def forget(self) -> None:
        """Send nothing more, and touch no event loop: it is another process's."""
        self.is_open = False
        self._is_closed = True
        self._due.clear()

    async def wait(self) -> None:
        """Return when the plan has a result, or the run has ended.

        Raises:
            ClientStateError: two tasks wait for one run, or the run was left.
            BaseException: what ended a run that was left, as it is.
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
            raise self.error or ClientStateError("this stream was left: open another one")

    def check(self) -> None:
        """Raise what ended the run, as it is, if it has not ended well."""
        if self.error is not None:
            raise self.error
