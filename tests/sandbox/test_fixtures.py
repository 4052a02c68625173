# ruff: noqa: ANN401 - switches are anything
from datetime import UTC, datetime
from typing import Any

import pytest

from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fixtures import plan_row

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def second(call: object, *, at: datetime | None = None, **config: Any) -> tuple[int, int | None]:
    row = plan_row(call, SandboxConfig(**config), at=at, otherwise=77)
    return row.submitted, row.ranged


def test_the_time_is_the_records_own() -> None:
    noon = int(NOON.timestamp())
    assert second({"submitTime": "2026-03-01T12:00:00+00:00"}) == (noon, noon)
    assert second({"submitTime": "2026-03-01T20:00:00"}) == (noon, noon)
    assert second({"submitTime": "2026-03-01T12:00:00.9Z"}) == (noon, noon)


@pytest.mark.parametrize(
    "call",
    [
        *({}, {"submitTime": None}, {"submitTime": ""}, {"submitTime": 5}, {"submitTime": "soon"}),
        *({"submitTime": "2026-02-30T00:00:00+00:00"}, None, 5, "text", [], b"\xff", b"{", b"NaN"),
    ],
    ids=repr,
)
def test_records_without_a_time_are_placed_as_configured(call: object) -> None:
    noon = int(NOON.timestamp())
    assert second(call, at=NOON) == (noon, noon)
    assert second(call) == (77, 77)


def test_another_time_field_may_be_absent() -> None:
    call = {"submitTime": "2026-03-01T12:00:00+00:00", "answerTime": None}
    assert second(call, time_field="answerTime") == (int(NOON.timestamp()), None)
    assert second(call, time_field="submitTime")[1] is not None


def test_bytes_are_kept_and_read() -> None:
    raw = b'{ "voiceId": "1", "voiceId": "2", "sipGroupName": "g", "phoneName": 5 }'
    row = plan_row(raw, SandboxConfig(), at=NOON, otherwise=0)
    assert row.body is raw
    assert (row.voice_id, row.sip_group, row.phone) == ("2", "g", None)
