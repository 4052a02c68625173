"""The command that goes on: the same words, the same range, and no number."""

from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr.cli.resume_hint import invocation, resume_command

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(days=1)
SPAN = "--start 2026-10-01T00:00:00+00:00 --end 2026-10-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["export", "--last", "24h", "--output", "a b.csv"], f"aiosipcdr export --output 'a b.csv' {SPAN}"),
        (["export", "--yesterday", "--tz", "UTC"], f"aiosipcdr export --tz UTC {SPAN}"),
        (["export", "--start=2026-10-01", "--end", "2026-10-02", "--json"], f"aiosipcdr export --json {SPAN}"),
        (["export", "--phone", "+12125550123", "--json"], f"aiosipcdr export --phone THE-SAME --json {SPAN}"),
        (["export", "--restart", "--json"], f"aiosipcdr export --json {SPAN}"),
        (["export", "--phone=+12125550123"], f"aiosipcdr export --phone=THE-SAME {SPAN}"),
    ],
)
def test_both_instants_are_written(words: list[str], reported: str) -> None:
    invocation.set(words)
    assert resume_command(START, END) == reported


def test_a_command_for_days_keeps_its_words() -> None:
    invocation.set(["export", "--last", "7d", "--daily", "--phone", "+12125550123"])
    assert resume_command(START, END, keep_range=True) == "aiosipcdr export --last 7d --daily --phone THE-SAME"
