"""Windows in, one file out."""

import gc
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from aiosipcdr.errors import ExportConflictError, TransportError
from aiosipcdr.export import FORMATS, export_windows, open_encoder
from aiosipcdr.export.ndjson import NdjsonEncoder
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
    await export_windows(windows(3, 0, 2), path, NdjsonEncoder())
    ids = [json.loads(line)["voice_id"] for line in path.read_text().splitlines()]
    assert ids == ["0", "1", "2", "3", "4"]


async def test_the_same_windows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.jsonl"):
        await export_windows(windows(3, 2), tmp_path / name, NdjsonEncoder())
    assert (tmp_path / "a.ndjson").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


async def test_an_error_of_the_windows_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="gone"):
        await export_windows(windows(3, then=TransportError("gone")), tmp_path / "calls.ndjson", NdjsonEncoder())
    assert names(tmp_path) == []


async def test_an_existing_file_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old")
    with pytest.raises(ExportConflictError):
        await export_windows(windows(1), path, NdjsonEncoder())
    assert path.read_text() == "old"
    await export_windows(windows(1), path, NdjsonEncoder(), overwrite=True)
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
        await export_windows(windows(20_000), tmp_path / "calls.ndjson", NdjsonEncoder())
        group.cancel_scope.cancel()
    assert turns > 10


@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_becomes_a_whole_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "calls"
    await export_windows(windows(3, 0, 2), path, open_encoder(name))
    encoder = open_encoder(name)
    records = [record async for window in windows(3, 0, 2) for record in window.records]
    assert path.read_bytes() == encoder.begin() + encoder.encode(records) + encoder.finish()
    assert names(tmp_path) == ["calls"]


@pytest.mark.parametrize("name", FORMATS)
async def test_an_error_in_any_format_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransportError, match="gone"):
        await export_windows(windows(3, then=TransportError("gone")), tmp_path / "calls", open_encoder(name))
    gc.collect()
    assert names(tmp_path) == []
