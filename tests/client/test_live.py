"""Ranges that end now or later, over sockets: new calls arrive between any two requests."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiosipcdr import CdrClient
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests.selection import pairs


@pytest.mark.parametrize(("late", "after"), pairs([0, 15], [0, 3_600]))
async def test_a_range_whose_calls_still_arrive_is_certified(late: int, after: int, tmp_path: Path) -> None:
    """Each request brings three calls: of this second, or of up to `late` seconds ago."""
    now = datetime.now(UTC)
    start, end = now - timedelta(seconds=20), now + timedelta(seconds=after)
    with Sandbox(records=0) as sandbox:
        for second in range(20):
            sandbox.insert(start + timedelta(seconds=second), count=20)
        arrived = 0

        def arrive(event: Event) -> None:
            nonlocal arrived
            if event.kind is EventKind.REQUEST_SENT:
                arrived += 1
                sandbox.insert(datetime.fromtimestamp(time.time() - arrived % (late + 1), UTC), count=3)

        there = set(sandbox.voice_ids())
        async with CdrClient(
            sandbox.base_url, sandbox.api_key, sandbox.api_secret, count_delay=timedelta(milliseconds=20), hook=arrive
        ) as client:
            records = await client.fetch_all(start, end)
            assert there <= {record.voice_id for record in records}
            assert len({record.voice_id for record in records}) == len(records)
            assert (records.report.certified, records.report.provisional) == (True, records.report.windows)
            there = set(sandbox.voice_ids(start, end))
            report = await client.export(start, end, tmp_path / "calls.ndjson")
            assert report.certified
        lines = (tmp_path / "calls.ndjson").read_text(encoding="utf-8").splitlines()
        assert there <= {json.loads(line)["voice_id"] for line in lines}
    assert arrived >= 10
