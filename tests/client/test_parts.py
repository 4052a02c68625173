"""Parts of a range: each call belongs to exactly one of them, and each is proven by itself."""

import asyncio
import json
import multiprocessing
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import msgspec
import pytest
from aiohttp.typedefs import Handler
from aiohttp.web import Request, Response, StreamResponse, middleware

from aiosipcdr import (
    ArgumentError,
    CallDetailRecord,
    CallDetailRecords,
    CdrClient,
    FetchReport,
    IncompleteRangeError,
    OutOfTimeRangeError,
    RangePart,
    TimeField,
)
from aiosipcdr.model.query import OutOfRange
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.part_reader import PartRead, read_part
from tests.selection import some

PHONE = "+12125550123"
BOUNDS = [(True, True), (True, False), (False, True), (False, False)]
RECORDS = 1_000


class Miscount:
    """Reports another total for every request that lies within `span`, so that nothing there can be proven."""

    def __init__(self) -> None:
        """Begin with no span."""
        self.span: tuple[datetime, datetime] | None = None
        self._answers = 0

        @middleware
        async def miscount(request: Request, handler: Handler) -> StreamResponse:
            params = (await request.json())["params"]
            response = await handler(request)
            start, end = (datetime.fromisoformat(params[name]) for name in ("strTime", "endTime"))
            is_seam = end - start == timedelta(seconds=1)  # of the part after it
            if self.span is None or is_seam or not self.span[0] <= start <= end <= self.span[1]:
                return response
            assert isinstance(response, Response)
            answer = json.loads(response.body)  # type: ignore[arg-type]
            self._answers += 1
            answer["data"]["total"] += self._answers
            return Response(body=json.dumps(answer), content_type="application/json")

        self.middleware = miscount


@pytest.fixture(scope="module")
def miscount() -> Miscount:
    return Miscount()


@pytest.fixture(scope="module")
def shared(miscount: Miscount) -> Iterator[Sandbox]:
    with Sandbox(records=RECORDS, leg_every=10, middlewares=[miscount.middleware]) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # A server that has opened nothing imports once, and forks.
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        context.set_forkserver_preload(["tests.part_reader"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])  # their path is this one, and they import `tests`
        with ProcessPoolExecutor(2, context) as pool:
            yield pool


def fetch(sandbox: Sandbox, **query: object) -> CallDetailRecords:
    async def run() -> CallDetailRecords:
        async with client_of(sandbox) as client:
            span = {"start": sandbox.start, "end": sandbox.end}
            return await client.fetch_all(**(span | query))  # type: ignore[arg-type]

    return asyncio.run(run())


def plan(sandbox: Sandbox, **query: object) -> list[RangePart]:
    async def run() -> list[RangePart]:
        async with client_of(sandbox) as client:
            span = {"start": sandbox.start, "end": sandbox.end}
            return await client.plan_parts(**(span | query))  # type: ignore[arg-type]

    return asyncio.run(run())


def read_all(
    processes: ProcessPoolExecutor, sandbox: Sandbox, parts: list[RangePart], on_out_of_range: OutOfRange = "raise"
) -> list[PartRead]:
    """Read each part in one of the processes, at the same time as others."""
    account = sandbox.base_url, sandbox.api_key, sandbox.api_secret
    futures = [processes.submit(read_part, account, pickle.dumps(part), on_out_of_range) for part in reversed(parts)]
    return [future.result(60) for future in reversed(futures)]


def check_proofs(found: list[PartRead]) -> None:
    for one in found:
        assert one.report.certified
        assert one.report.total == one.report.unique == len(one.records)


def union(found: list[PartRead]) -> Counter[CallDetailRecord]:
    return Counter(record for one in found for record in one.records)


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


async def read(client: CdrClient, part: RangePart) -> tuple[list[CallDetailRecord], FetchReport]:
    async with client.stream(part=part) as stream:
        records = [record async for record in stream]
    return records, stream.report


async def test_the_parts_have_every_row_of_the_range_once(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        whole = await client.fetch_all(sandbox.start, sandbox.end)
        parts = await client.plan_parts(sandbox.start, sandbox.end, rows=500)
        read_parts = [await read(client, pickle.loads(pickle.dumps(part))) for part in reversed(parts)]  # noqa: S301 - our own
    assert Counter(record for records, _ in read_parts for record in records) == Counter(whole)
    for records, report in read_parts:
        assert report.certified
        assert report.total == report.unique == len(records)
    sizes = [len(records) for records, _ in read_parts]
    assert len(parts) == round(len(whole) / 500)
    assert all(250 <= size <= 750 for size in sizes), sizes


def crowd_the_seams(sandbox: Sandbox, parts: list[RangePart], *, burst: int) -> None:
    """Store bursts and second legs in the seconds around the cuts."""
    rows = sandbox.rows()
    for number, part in enumerate(parts[1:]):
        for seconds in (-1, 0, 1):
            at = part.start + timedelta(seconds=seconds)
            sandbox.insert(at, count=burst if number == seconds + 1 else 3)
            legs = rows[20 * number : 20 * number + 4]
            sandbox.add_rows(
                [leg | {"submitTime": at.isoformat(), "callee": f"+44770090012{seconds + 1}"} for leg in legs]
            )


@pytest.mark.parametrize(
    ("bounds", "time_field"), [*product(BOUNDS, [None]), *product(some(BOUNDS, every=4), ["submit_time"])]
)
def test_processes_that_know_nothing_of_each_other_have_every_row_once(
    sandbox: Sandbox, processes: ProcessPoolExecutor, bounds: tuple[bool, bool], time_field: TimeField | None
) -> None:
    sandbox.change(start_inclusive=bounds[0], end_inclusive=bounds[1])
    crowd_the_seams(sandbox, plan(sandbox, rows=330), burst=120)
    parts = plan(sandbox, rows=330, time_field=time_field)
    assert len(parts) == 4
    for part in parts[1:]:
        sandbox.insert(part.start, count=2)
    whole = fetch(sandbox, time_field=time_field)
    found = read_all(processes, sandbox, parts)
    check_proofs(found)
    assert union(found) == Counter(whole)
    assert set(union(found).values()) == {1}
    if time_field is not None:
        for part, one in zip(parts, found, strict=True):
            assert all(part.start <= record.submit_time < part.end for record in one.records if record.submit_time)


@pytest.mark.parametrize("bounds", some(BOUNDS, every=3))
def test_rows_that_arrive_meanwhile_are_in_one_part_at_most(
    sandbox: Sandbox, processes: ProcessPoolExecutor, bounds: tuple[bool, bool]
) -> None:
    sandbox.change(start_inclusive=bounds[0], end_inclusive=bounds[1])
    parts = plan(sandbox, rows=300)
    crowd_the_seams(sandbox, parts, burst=20)
    before = Counter(fetch(sandbox))
    sandbox.reset_stats()
    # Calls are added at the end and in the middle of what is asked for, also of the second before a part.
    sandbox.change(insert_every=7, insert_late_every=5, drift_requests=10_000)
    found = read_all(processes, sandbox, parts)
    sandbox.change(insert_every=None, insert_late_every=None)
    check_proofs(found)
    after = Counter(fetch(sandbox))
    assert len(after) > len(before) + 5
    assert before <= union(found) <= after


def test_a_part_that_cannot_be_proven_raises_and_the_others_are_not_disturbed(
    sandbox: Sandbox, processes: ProcessPoolExecutor, miscount: Miscount
) -> None:
    parts = plan(sandbox, rows=400)
    whole = fetch(sandbox)
    miscount.span = parts[1].start - timedelta(seconds=1), parts[1].end
    account = sandbox.base_url, sandbox.api_key, sandbox.api_secret
    try:
        futures = [processes.submit(read_part, account, pickle.dumps(part)) for part in parts]
        error = futures.pop(1).exception(60)
        found = [future.result(60) for future in futures]
    finally:
        miscount.span = None
    assert isinstance(error, IncompleteRangeError)
    assert not error.report.certified
    check_proofs(found)
    again = read_all(processes, sandbox, [parts[1]])
    assert union(found + again) == Counter(whole)


def test_parts_at_the_retention_edge_and_into_the_future(sandbox: Sandbox, processes: ProcessPoolExecutor) -> None:
    start, end = sandbox.start - timedelta(days=200), sandbox.end + timedelta(days=400)
    with pytest.raises(OutOfTimeRangeError):
        plan(sandbox, start=start, end=end)
    parts = plan(sandbox, start=start, end=end, rows=350, on_out_of_range="skip")
    assert (parts[0].start, parts[-1].end, len(parts)) == (start, end, 3)
    whole = fetch(sandbox, start=start, end=end, on_out_of_range="skip")
    found = read_all(processes, sandbox, parts, "skip")
    assert union(found) == Counter(whole)
    assert [one.report.certified for one in found] == [False, True, True]
    assert [one.report.clipped_to is None for one in found] == [True, True, False]


async def test_a_tiny_range_is_one_part(sandbox: Sandbox) -> None:
    at = sandbox.start + timedelta(days=4)
    sandbox.insert(at, count=250)
    async with client_of(sandbox) as client:
        for span in (
            (at, at),
            (at, at + timedelta(seconds=1)),
            (at + timedelta(milliseconds=1), at + timedelta(milliseconds=2)),
        ):
            parts = await client.plan_parts(*span, rows=10)
            assert len(parts) == 1
            records, report = await read(client, parts[0])
            assert report.certified
            assert Counter(records) == Counter(await client.fetch_all(*span))
            assert len(records) >= 250


async def test_planning_takes_few_requests(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        await client.fetch_all(sandbox.start, sandbox.end)
        reading = sandbox.stats.requests
        sandbox.reset_stats()
        parts = await client.plan_parts(sandbox.start, sandbox.end, rows=1_000)
        planning = sandbox.stats.requests
        for part in parts:
            await read(client, part)
    assert planning <= 4 * len(parts)
    # Beside a single reading: the second before each part, and windows that are cut differently.
    assert sandbox.stats.requests - planning <= reading + 6 * len(parts)


async def test_the_filters_go_with_the_part_and_no_phone_is_readable_in_it(sandbox: Sandbox) -> None:
    sandbox.insert(sandbox.start + timedelta(days=3), count=3, phone_name=PHONE)
    async with client_of(sandbox) as client:
        parts = await client.plan_parts(sandbox.start, sandbox.end, rows=1, phone_name=PHONE)
        for part in parts:
            texts = [pickle.dumps(part), msgspec.json.encode(part), repr(part).encode(), str(part).encode()]
            for secret in ("5550123", sandbox.api_key, sandbox.api_secret):
                assert all(secret.encode() not in text for text in texts)
            assert "phone_name" in repr(part)
        found = [record for part in parts for record in (await read(client, part))[0]]
        decoded = msgspec.json.decode(msgspec.json.encode(parts[0]), type=RangePart)
        assert decoded == parts[0]
    assert [record.phone_name for record in found] == [PHONE] * 3
    async with CdrClient(sandbox.base_url, sandbox.api_key, "another secret".replace(" ", "-")) as other:
        with pytest.raises(ArgumentError, match="planned with another key and secret"):
            other.stream(part=parts[0])


async def test_a_part_has_its_own_range_and_filters(sandbox: Sandbox) -> None:
    part = RangePart(start=sandbox.start, end=sandbox.end)
    given: Iterable[dict[str, object]] = (
        {"start": sandbox.start},
        {"start": sandbox.start, "end": sandbox.end},
        {"sip_group_name": "sales"},
        {"phone_name": PHONE},
        {"time_field": "submit_time"},
    )
    async with client_of(sandbox) as client:
        for arguments in given:
            with pytest.raises(ArgumentError, match="has its own range") as caught:
                client.stream(part=part, **arguments)  # type: ignore[call-overload]
            assert PHONE not in str(caught.value)
        with pytest.raises(ArgumentError, match="must be a RangePart"):
            client.stream(part=(sandbox.start, sandbox.end))  # type: ignore[call-overload]
        with pytest.raises(ArgumentError, match="start and end are missing"):
            client.stream()  # type: ignore[call-overload]
        with pytest.raises(ArgumentError, match="rows must be"):
            await client.plan_parts(sandbox.start, sandbox.end, rows=0)
    assert sandbox.stats.requests == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": datetime(2026, 10, 1)},  # noqa: DTZ001 - the point
        {"index": 2, "parts": 2},
        {"parts": 0},
        {"time_field": "submitTime"},
        {"parts": 2, "end": datetime(2026, 10, 2, 0, 0, 0, 1, tzinfo=UTC)},
        {"index": 1, "parts": 2, "end": datetime(2026, 10, 1, tzinfo=UTC)},
    ],
)
def test_a_part_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    span: dict[str, object] = {"start": datetime(2026, 10, 1, tzinfo=UTC), "end": datetime(2026, 10, 2, tzinfo=UTC)}
    RangePart(**span)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"naive|index must|parts must|time_field must|whole seconds|has a length"):
        RangePart(**(span | wrong))  # type: ignore[arg-type]
