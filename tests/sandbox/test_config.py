import dataclasses
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiosipcdr.sandbox.config import FIXED, SandboxConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": "random"},
        {"time_field": "submit_time"},
        {"absent": "nil"},
        {"overflow": "twice"},
        {"records": -1},
        {"days": 0},
        {"insert_every": 0},
        {"max_size": 0},
        {"forced_size": 0},
        {"min_size": 0},
        {"refuse_below": 0},
        {"echo_size": "wrong"},
        {"count_cap": -1},
        {"count_lag": -0.1},
        {"count_cache": -1},
        {"leg_every": 0},
        {"change_every": 0},
        {"replica_every": 0},
        {"replica": "late"},
        {"replica_lag": -1},
        {"cache": "yes"},
        {"tolerance": -1},
        {"latency": -0.1},
        {"latency": (2.0, 1.0)},
        {"start": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"utc_offset": timedelta(hours=24)},
        {"utc_offset": timedelta(seconds=90)},
    ],
    ids=str,
)
def test_a_switch_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SandboxConfig(**wrong)


def test_a_start_of_this_moment_loses_its_fraction_of_a_second() -> None:
    now = datetime(2026, 1, 1, 12, 30, 59, 999_999, tzinfo=UTC)
    assert SandboxConfig(start=now).start == datetime(2026, 1, 1, 12, 30, 59, tzinfo=UTC)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])  # noqa: S104
def test_anything_but_loopback_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="must be a loopback address"):
        SandboxConfig(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_taken(host: str) -> None:
    assert SandboxConfig(host=host).host == host


def test_every_switch_is_documented() -> None:
    text = inspect.getdoc(SandboxConfig) or ""
    for field in dataclasses.fields(SandboxConfig):
        assert f"{field.name}: " in text


def test_fixed_names_are_fields_of_the_config() -> None:
    assert {field.name for field in dataclasses.fields(SandboxConfig)} >= FIXED
