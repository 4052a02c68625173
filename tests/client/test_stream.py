"""`stream`: ranges of any size in bounded memory, and misuse of a stream."""
# ruff: noqa: ANN401, PT012 - the constructor's own settings; a context is part of what raises

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from aiosipcdr import CallDetailRecord, CallDetailRecords, CdrClient, ClientStateError, IncompleteRangeError
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.selection import pairs, some

SANDBOX = {"records": 4_100}


async def test_stream_and_fetch_all_give_the_same_order(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            streamed = [record async for record in stream]
        assert stream.report.certified
        assert stream.report.total == stream.report.unique == 4_100
        assert stream.report.elapsed > 0
        fetched = await client.fetch_all(sandbox.start, sandbox.end)
    assert streamed == fetched
    assert sorted(record.voice_id for record in streamed) == sorted(sandbox.voice_ids())


async def test_the_report_has_the_effort_so_far_and_after_leaving_all_of_it(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            assert stream.report.requests == 0
            await anext(stream.windows())
            so_far = stream.report.requests, stream.report.elapsed
            assert min(so_far) > 0
            await asyncio.sleep(0.01)
            assert (stream.report.requests, stream.report.elapsed) == so_far
        assert stream.report.elapsed >= so_far[1] + 0.009
        assert stream.report.requests >= so_far[0]


async def test_batches_come_a_window_at_a_time_and_oldest_first(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        batches = [batch async for batch in stream.batches()]
    assert len(batches) > 2
    assert all(isinstance(batch, CallDetailRecords) and batch for batch in batches)
    assert all(batch.report.certified and batch.report.windows == 1 for batch in batches)
    windows = [batch.report.window_reports[0].window for batch in batches]
    assert all(older.end <= newer.end and older.start < newer.start for older, newer in pairwise(windows))
    assert sorted(record.voice_id for batch in batches for record in batch) == sorted(sandbox.voice_ids())


async def test_arrow_batches_have_only_the_columns_that_were_asked_for(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            batches = [batch async for batch in stream.arrow_batches(["cost", "voice_id"])]
        whole = await client.fetch_all(sandbox.start, sandbox.end)
        assert len(batches) > 2
        assert all(batch.schema.names == ["cost", "voice_id"] and batch.num_rows for batch in batches)
        assert [row for batch in batches for row in batch.to_pylist()] == [
            {"cost": record.cost, "voice_id": record.voice_id} for record in whole
        ]
        async with client.stream(sandbox.start, sandbox.end) as stream:
            with pytest.raises(ValueError, match="no such field: 'price'"):
                stream.arrow_batches(["price"])
            first = await anext(stream.arrow_batches())  # the stream can still be read
    assert first.schema.names == list(CallDetailRecord.__struct_fields__)


async def test_windows_come_with_their_proof(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        windows = [window async for window in stream.windows()]
        assert [window.report for window in windows] == stream.report.window_reports
    assert sum(len(window.records) for window in windows) == 4_100


async def settled(sandbox: Sandbox) -> int:
    """Wait until the sandbox gets no more requests; return their number."""
    before = -1
    while (now := sandbox.stats.requests) != before:
        before = now
        await asyncio.sleep(0.05)
    return now


@pytest.mark.parametrize(("concurrency", "records"), some([(1, 6_000), (2, 9_000)], every=2))
async def test_a_reader_that_stops_stops_the_fetching(concurrency: int, records: int) -> None:
    async with Sandbox(records=records) as sandbox, client_of(sandbox, concurrency=concurrency) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            reader = aiter(stream)
            await anext(reader)
            # One window was taken; as many as may be held are read to their ends.
            held = concurrency + 1
            assert await settled(sandbox) <= 1 + held * (2_000 // 100 + 2)
            rest = [record async for record in reader]
        assert len(rest) == records - 1
        assert stream.report.certified
        assert stream.report.requests == sandbox.stats.requests > records // 100


async def test_calls_by_the_hundred_a_second_cost_half_as_many_requests_again_as_pages() -> None:
    async with Sandbox(records=0) as sandbox, client_of(sandbox) as client:
        for second in range(25):
            sandbox.insert(sandbox.start + timedelta(seconds=second), count=450)
        async with client.stream(sandbox.start, sandbox.start + timedelta(seconds=24)) as stream:
            assert len({record.voice_id async for record in stream}) == 25 * 450
        assert stream.report.certified
        assert stream.report.requests == sandbox.stats.requests <= 1.6 * 25 * 450 / 100


async def test_nothing_is_asked_before_the_stream_is_entered() -> None:
    async with Sandbox(records=10) as sandbox, client_of(sandbox) as client:
        client.stream(sandbox.start, sandbox.end)
        assert await settled(sandbox) == 0


async def leave_by_break(client: CdrClient, sandbox: Sandbox) -> None:
    async with client.stream(sandbox.start, sandbox.end) as stream:
        async for _ in stream:
            break


async def leave_by_return(client: CdrClient, sandbox: Sandbox) -> None:
    async with client.stream(sandbox.start, sandbox.end) as stream:
        async for _ in stream:
            return


async def leave_by_exception(client: CdrClient, sandbox: Sandbox) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with client.stream(sandbox.start, sandbox.end) as stream:
            async for _ in stream:
                raise KeyError("mine")


async def leave_without_reading(client: CdrClient, sandbox: Sandbox) -> None:
    async with client.stream(sandbox.start, sandbox.end):
        await asyncio.sleep(0.005)


async def leave_at_once(client: CdrClient, sandbox: Sandbox) -> None:
    async with client.stream(sandbox.start, sandbox.end):
        pass


@pytest.mark.parametrize(
    ("leave", "concurrency"),
    pairs([leave_by_break, leave_by_return, leave_by_exception, leave_without_reading, leave_at_once], [1, 3]),
)
async def test_leaving_early_leaves_nothing_behind_and_the_client_usable(
    sandbox: Sandbox, leave: Any, concurrency: int
) -> None:
    before = asyncio.all_tasks()
    async with client_of(sandbox, concurrency=concurrency) as client:
        # A place that is lost would never be given back: the deadline turns that wait into a failure.
        async with asyncio.timeout(30):
            for _ in range(concurrency + 1):  # as often as there are places to lose
                await leave(client, sandbox)
                assert asyncio.all_tasks() == before
            assert await client.count(sandbox.start, sandbox.end) == 4_100
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 4_100
        assert sandbox.stats.peak_in_flight <= concurrency
    assert asyncio.all_tasks() == before


async def test_a_stream_that_is_left_does_not_cancel_its_caller(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        await leave_by_break(client, sandbox)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)


async def test_a_report_of_a_stream_that_was_left_is_not_certified(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            async for _ in stream:
                break
        assert not stream.report.certified
        assert stream.report.requests > 0


async def test_a_stream_is_entered_once(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        stream = client.stream(sandbox.start, sandbox.end)
        async with stream:
            pass
        with pytest.raises(ClientStateError, match="open another"):
            await stream.__aenter__()


async def test_reading_before_the_context_says_to_enter_it(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(ClientStateError, match="async with"):
            await anext(aiter(client.stream(sandbox.start, sandbox.end)))


@pytest.mark.parametrize("read_before", [0, 1, 4_100])
async def test_reading_after_the_context_is_an_error_and_not_a_wait(sandbox: Sandbox, read_before: int) -> None:
    async with client_of(sandbox) as client:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            reader = aiter(stream.windows())
            for _ in range(read_before):
                if await anext(reader, None) is None:
                    break
        with pytest.raises(ClientStateError):
            async with asyncio.timeout(30):
                [window async for window in stream.windows()]


@pytest.mark.parametrize("read_before", [1, 4_100])
async def test_a_second_reader_never_loses_calls_silently(sandbox: Sandbox, read_before: int) -> None:
    # The first reader holds the rest of its window: a second one would never see it.
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        reader = aiter(stream)
        for _ in range(read_before):
            await anext(reader)
        with pytest.raises(ClientStateError):
            [record async for record in stream]


async def test_records_and_batches_are_not_read_from_one_stream(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        async for _ in stream:
            break
        with pytest.raises(ClientStateError):
            [batch async for batch in stream.batches()]


async def test_one_reader_may_pause_and_go_on(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:
        reader = aiter(stream)
        first = [await anext(reader) for _ in range(10)]
        rest = [record async for record in reader]
    assert sorted(record.voice_id for record in first + rest) == sorted(sandbox.voice_ids())


async def test_two_tasks_cannot_read_one_stream(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, client.stream(sandbox.start, sandbox.end) as stream:

        async def read() -> int:
            return len([record async for record in stream])

        outcomes = await asyncio.gather(read(), read(), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, ClientStateError)]
        assert len(refused) == 1
        assert "stream" in str(refused[0])
        assert [outcome for outcome in outcomes if outcome not in refused] == [4_100]


async def test_trouble_comes_after_the_windows_before_it() -> None:
    async with Sandbox(records=150, days=1, wrong_total=2) as sandbox, client_of(sandbox) as client:
        with pytest.raises(IncompleteRangeError) as caught:
            async with client.stream(sandbox.start, sandbox.end) as stream:
                handed_over = [record async for record in stream]
                assert not handed_over
        assert caught.value.report is stream.report
        assert stream.report.requests >= sandbox.stats.requests > 0
        again = await client.count(sandbox.start, sandbox.end)
        assert again == 152


async def test_two_streams_are_read_side_by_side(sandbox: Sandbox) -> None:
    async with (
        client_of(sandbox, concurrency=2) as client,
        client.stream(sandbox.start, sandbox.end) as one,
        client.stream(sandbox.start, sandbox.end) as other,
    ):
        first, second = aiter(one), aiter(other)
        for _ in range(4_100):
            assert await anext(first) == await anext(second)
        assert await anext(first, None) is None
        assert await anext(second, None) is None
    assert sandbox.stats.peak_in_flight <= 2
