"""Plans of extensions, run by a client."""

from datetime import timedelta

import pytest

from aiosipcdr import (
    CdrClient,
    ClientStateError,
    Filters,
    OutOfTimeRangeError,
    Page,
    PageAnswer,
    PageRequest,
    PlanChange,
    SipCdrError,
    TimeWindow,
    Transition,
    encode_params,
)
from aiosipcdr.sandbox import Fault, Sandbox


class NewestCall:
    """The plan in the docstring of `CdrClient.run_plan`."""

    def __init__(self, window: TimeWindow) -> None:
        self.span: TimeWindow | None = window
        self.page: Page | None = None
        params = encode_params(window, Filters.of())
        self.request: PageRequest | None = PageRequest(owner=self, window=window, params=params, current=1, size=1)

    @property
    def has_result(self) -> bool:
        return self.page is not None

    def next_request(self) -> PageRequest | None:
        request, self.request = self.request, None
        return request

    def accept(self, _request: PageRequest, answer: PageAnswer) -> Transition:
        self.page = answer.page
        return PlanChange.DONE

    def refuse(self, _request: PageRequest, error: SipCdrError) -> Transition:
        return error


async def test_a_plan_of_an_extension_is_run_with_the_clients_retries() -> None:
    async with (
        Sandbox(records=20, faults=[Fault("http", status=503, headers={"Retry-After": "0"})]) as sandbox,
        CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
    ):
        plan = NewestCall(TimeWindow.of(sandbox.start, sandbox.end))
        await client.run_plan(plan)
        assert sandbox.stats.requests == 2
    assert plan.page is not None
    assert (plan.page.total, len(plan.page.records)) == (20, 1)


async def test_the_error_that_a_plan_returns_is_raised() -> None:
    async with (
        Sandbox(records=20) as sandbox,
        CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
    ):
        years_ago = sandbox.start - timedelta(days=2_000)
        with pytest.raises(OutOfTimeRangeError):
            await client.run_plan(NewestCall(TimeWindow.of(years_ago, years_ago + timedelta(days=1))))


async def test_a_plan_needs_an_open_client() -> None:
    client = CdrClient("http://127.0.0.1:9/v3/voice", "key", "secret")
    now = TimeWindow.of(*(2 * [Sandbox(records=0).start]))
    with pytest.raises(ClientStateError, match="not open"):
        await client.run_plan(NewestCall(now))
