"""Parts of a range: each call belongs to exactly one of them, and each is proven by itself."""

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from aiosipcdr import ArgumentError, CallDetailRecord, CdrClient, FetchReport, RangePart
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of

PHONE = "+12125550123"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(records=3_000, leg_every=10) as sandbox:
        yield sandbox


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
