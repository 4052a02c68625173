"""A list that changes at random while it is synced, also at the bounds of spans and under unknown bounds and times."""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox
from aiosipcdr.sync import reader, spans, synchronizer
from tests.clients import client_of
from tests.selection import some
from tests.sync.databases import SQLITE, expected_rows


@pytest.mark.usefixtures("calls_until_today")
@pytest.mark.parametrize("seed", some(range(12), every=12))
async def test_when_the_list_is_at_rest_the_table_is_the_list(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "SPAN_ROWS", 25)
    monkeypatch.setattr(spans, "CHUNK_ROWS", 100)
    monkeypatch.setattr(reader, "PLAN_ROWS", 100)
    monkeypatch.setattr(synchronizer, "SMALL_ROWS", 20)
    random = Random(seed)  # noqa: S311 - the same list for the same seed
    sandbox = Sandbox(
        records=200,
        days=1,
        leg_every=random.choice([4, 15]),
        order=random.choice(["newest", "oldest", "scattered"]),
        time_field=random.choice(["hangupTime", "submitTime", "callTime"]),
        start_inclusive=random.random() < 0.5,
        end_inclusive=random.random() < 0.5,
    )
    drift = {"insert_late_every": random.choice([None, 7]), "delete_every": 9, "change_every": random.choice([None, 5])}
    options: dict[str, Any] = {"lookback": timedelta(days=9), "allow_mass_vanish": True}
    async with sandbox, client_of(sandbox, count_delay=timedelta(0)) as client:
        options["since"] = sandbox.start
        for _ in range(2):
            sandbox.change(**drift)
            await client.sync(SQLITE.url(tmp_path), deep=random.random() < 0.5, **options)
            ids = sandbox.voice_ids()
            sandbox.update(*random.sample(ids, 3), cost=f"{random.randrange(99)}.01")
            sandbox.delete(*random.sample(ids, 2))
            for (bound,) in SQLITE.run(tmp_path, "SELECT span_start FROM calls_checkpoints"):
                moment = datetime.fromisoformat(bound) + timedelta(seconds=random.randint(-1, 1))
                if sandbox.start < moment < sandbox.end:
                    sandbox.insert(at=moment)
        sandbox.change(**dict.fromkeys(drift))
        await client.sync(SQLITE.url(tmp_path), deep=True, **options)
        assert SQLITE.live_rows(tmp_path) == expected_rows(sandbox)
        again = await client.sync(SQLITE.url(tmp_path), deep=True, **options)
        assert (again.added, again.changed, again.vanished) == (0, 0, 0)
        quiet = await client.sync(SQLITE.url(tmp_path), **options)
        assert quiet.spans_read == 0
