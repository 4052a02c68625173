"""Windows in, one file out."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from aiosipcdr.errors import ExportConflictError, TransportError
from aiosipcdr.export import choose_format, export_windows
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CompleteWindow, WindowReport

START = datetime(2026, 10, 1, tzinfo=UTC)


async def windows(*sizes: int, then: BaseException | None = None) -> AsyncIterator[CompleteWindow]:
    number = 0
    for index, size in enumerate(sizes):
        start = START + timedelta(hours=index)
        span = TimeWindow(start, start + timedelta(hours=1))
        records = [CallDetailRecord(voice_id=str(number + one), submit_time=start) for one in range(size)]
        number += size
        report = WindowReport(window=span, certified=True)
        yield CompleteWindow(window=span, records=records, quarantined=[], report=report)
    if then is not None:
        raise then


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_the_records_of_all_windows_are_written_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    await export_windows(windows(3, 0, 2), path)
    ids = [json.loads(line)["voice_id"] for line in path.read_text().splitlines()]
    assert ids == ["0", "1", "2", "3", "4"]


async def test_the_same_windows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.jsonl"):
        await export_windows(windows(3, 2), tmp_path / name)
    assert (tmp_path / "a.ndjson").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


async def test_an_error_of_the_windows_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="gone"):
        await export_windows(windows(3, then=TransportError("gone")), tmp_path / "calls.ndjson")
    assert names(tmp_path) == []


async def test_an_existing_file_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with pytest.raises(ExportConflictError):
        await export_windows(windows(1), path)
    assert path.read_text() == "old"
    await export_windows(windows(1), path, overwrite=True)
    assert json.loads(path.read_text())["voice_id"] == "0"


async def test_the_event_loop_runs_on_while_a_window_is_written(tmp_path: Path) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        await export_windows(windows(20_000), tmp_path / "calls.ndjson")
        group.cancel_scope.cancel()
    assert turns > 10


async def test_a_format_that_cannot_be_written_is_refused_before_any_window(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.ndjson or \.jsonl"):
        await export_windows(windows(1), tmp_path / "calls.csv")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.ndjson", "a.NDJSON", "a.b.jsonl"])
def test_the_ending_chooses(name: str) -> None:
    assert choose_format(name) == "ndjson"
    assert choose_format(Path("somewhere") / name) == "ndjson"


def test_a_format_that_is_named_wins() -> None:
    assert choose_format("calls.txt", "ndjson") == "ndjson"
    with pytest.raises(ValueError, match='"ndjson" can be written'):
        choose_format("calls.ndjson", "parquet")
    with pytest.raises(ValueError, match="name the format"):
        choose_format("calls")
