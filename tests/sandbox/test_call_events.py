"""Scripted events: each happens once, before the answer to its query, and an invalid one is refused early."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from aiosipcdr import CdrClient
from aiosipcdr.sandbox import CallEvent, Sandbox, SandboxProcess
from tests.clients import client_of


async def count_all(client: CdrClient, sandbox: Sandbox) -> int:
    return (await client.fetch_page(sandbox.start, sandbox.end, size=1)).total


async def test_each_event_happens_before_the_answer_to_its_query() -> None:
    events = [
        CallEvent(kind="late", query=2, count=3),
        CallEvent(kind="vanish", query=3, count=2),
        CallEvent(kind="change", query=4, fields={"cost": "9.99"}),
        CallEvent(kind="change", query=4),
    ]
    async with Sandbox(records=20, events=events) as sandbox, client_of(sandbox) as client:
        before = {row["voiceId"]: row for row in sandbox.rows()}
        assert [await count_all(client, sandbox) for _ in range(4)] == [20, 23, 21, 21]
        rows = {row["voiceId"]: row for row in sandbox.rows()}
        added = rows.keys() - before.keys()
        middle = sandbox.start + (sandbox.end - sandbox.start) / 2
        assert {datetime.fromisoformat(rows[one]["submitTime"]) for one in added} <= {middle}
        changed = [
            {name for name in row if row[name] != before[one][name]} for one, row in rows.items() if one in before
        ]
        fields = set().union(*changed)
        assert fields <= {"cost", "recordingFileId"}
        assert await count_all(client, sandbox) == 21
        sandbox.reset()
        assert [await count_all(client, sandbox) for _ in range(2)] == [20, 23]


async def test_events_may_name_calls_and_times() -> None:
    probe = Sandbox(records=20, account="events")
    with probe:
        first, second = probe.voice_ids()[:2]
        late = probe.start + timedelta(seconds=5)
    events = [
        CallEvent(kind="vanish", voice_ids=(first,)),
        CallEvent(kind="change", voice_ids=(second,), fields={"termination_code": "603"}),
        CallEvent(kind="late", at=late),
    ]
    async with Sandbox(records=20, account="events", events=events) as sandbox, client_of(sandbox) as client:
        assert await count_all(client, sandbox) == 20
        rows = {row["voiceId"]: row for row in sandbox.rows()}
        assert first not in rows
        assert rows[second]["terminationCode"] == "603"
        assert late in {datetime.fromisoformat(row["submitTime"]) for row in rows.values()}


@pytest.mark.parametrize("name", ["submit_time", "submitTime"])
def test_an_update_changes_fields_and_moves_calls(sandbox: Sandbox, name: str) -> None:
    voice_id = sandbox.voice_ids()[0]
    later = sandbox.end - timedelta(minutes=1)
    assert sandbox.update(voice_id, cost=None, **{name: later.isoformat()}) == 1
    assert voice_id in sandbox.voice_ids(later - timedelta(seconds=1), sandbox.end)
    (row,) = [row for row in sandbox.rows() if row["voiceId"] == voice_id]
    assert row["cost"] is None
    assert sandbox.update("unknown", cost="1") == 0
    sandbox.add_rows([b"no JSON"])
    assert sandbox.update(voice_id, cost="1") == 1


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "late", "query": 0}, "query"),
        ({"kind": "late", "count": "3"}, "count"),
        ({"kind": "late", "at": datetime(2026, 6, 1)}, "at"),  # noqa: DTZ001 - what is refused
        ({"kind": "late", "voice_ids": ("1",)}, "voice_ids"),
        ({"kind": "vanish", "fields": {"cost": "1"}}, "fields"),
        ({"kind": "change", "fields": {"cost": object()}}, "invalid value"),
    ],
)
def test_an_invalid_event_is_refused(values: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        CallEvent(**values)


def test_only_events_are_events() -> None:
    events: Any = ["vanish"]
    for kind in (Sandbox, SandboxProcess):
        with pytest.raises(TypeError, match="CallEvent"):
            kind(events=events)


def test_a_sandbox_in_another_process_has_events_too() -> None:
    event = CallEvent(kind="late", at=datetime.fromisoformat("2026-06-15T12:00:00+08:00"))
    with SandboxProcess(records=5, events=[event]) as sandbox:
        assert sandbox.stats.requests == 0
