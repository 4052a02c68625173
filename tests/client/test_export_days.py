"""`export_days`: a file for each day, also when run again, over real sockets."""
# ruff: noqa: ANN401, ASYNC240 - any setting; small local files

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from aiosipcdr import AuthenticationError, ExportConflictError, JournalDamagedError
from aiosipcdr.export import ExportPaths, read_manifest
from aiosipcdr.model.report import DayReport, DaysReport
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of

FIRST, LAST = date(2024, 10, 1), date(2024, 10, 3)
SPAN = (datetime(2024, 10, 1, tzinfo=UTC), datetime(2024, 10, 2, tzinfo=UTC))


def row(number: int, day: date, hour: int = 12) -> dict[str, Any]:
    return {"voiceId": str(number), "submitTime": f"{day}T{hour:02}:00:00+00:00", "cost": "1"}


def rows(per_day: int = 3) -> list[dict[str, Any]]:
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    return [row(10 * number + one, day) for number, day in enumerate(days) for one in range(per_day)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(calls=rows(), months_back=None) as sandbox:
        yield sandbox


def outcomes(report: DaysReport) -> list[str]:
    return [day.outcome for day in report.days]


def ids(folder: Path, pattern: str = "*.ndjson") -> list[str]:
    lines = [line for path in sorted(folder.glob(pattern)) for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["voice_id"] for line in lines)


async def test_every_day_has_a_file_and_the_second_time_nothing_is_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client_of(sandbox) as client:
        seen: list[DayReport] = []
        report = await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.ndjson", on_day=seen.append)
        assert outcomes(report) == ["written"] * 3
        assert seen == report.days
        assert (report.certified, report.provisional) == (True, 0)
        assert ids(tmp_path) == sorted(str(10 * day + one) for day in range(3) for one in range(3))
        sandbox.reset_stats()
        again = await client.export_days(FIRST, LAST, "UTC", tmp_path / "calls.ndjson")
        assert outcomes(again) == ["unchanged"] * 3
        assert again.certified
        assert sandbox.stats.requests == 0


async def test_a_finished_day_is_counted_again_and_read_again_only_if_it_grew(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "{date}.ndjson"
    century = timedelta(days=36_500)
    async with client_of(sandbox) as client:
        await client.export_days(FIRST, LAST, "UTC", path)
        sandbox.reset_stats()
        assert outcomes(await client.export_days(FIRST, LAST, "UTC", path, recheck=century)) == ["unchanged"] * 3
        assert sandbox.stats.requests == 3, "one request a day"
        sandbox.add_rows([row(99, LAST)])
        sandbox.reset_stats()
        assert outcomes(await client.export_days(FIRST, LAST, "UTC", path)) == ["unchanged"] * 3
        assert sandbox.stats.requests == 0, "nothing is counted without recheck"
        report = await client.export_days(FIRST, LAST, "UTC", path, recheck=century)
        assert outcomes(report) == ["unchanged", "unchanged", "rewritten"]
        assert report.days[2].count == 4
    assert "99" in ids(tmp_path)


async def test_a_smaller_count_replaces_no_file_unless_it_is_to(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "{date}.ndjson"
    async with client_of(sandbox) as client:
        await client.export_days(FIRST, LAST, "UTC", path)
        before = ids(tmp_path)
        sandbox.delete("10")
        report = await client.export_days(FIRST, LAST, "UTC", path, recheck=timedelta(days=36_500))
        assert outcomes(report) == ["unchanged", "shrunk", "unchanged"]
        assert (report.days[1].count, report.days[1].report and report.days[1].report.unique) == (2, 3)
        assert ids(tmp_path) == before
        report = await client.export_days(FIRST, LAST, "UTC", path, if_exists="replace")
        assert outcomes(report) == ["rewritten"] * 3
    assert ids(tmp_path) == [one for one in before if one != "10"]


async def test_a_damaged_journal_of_one_day_does_not_keep_the_others_waiting(sandbox: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / f"_{FIRST}.journal"
    async with client_of(sandbox, concurrency=1) as client:
        sandbox.answer_next(0, 0, -1)  # the second before the day has been read
        with pytest.raises(AuthenticationError):
            await client.export_days(FIRST, LAST, "UTC", tmp_path / "{date}.ndjson")
        text = bytearray(journal.read_bytes())
        text[40] ^= 1
        journal.write_bytes(text)
        with pytest.raises(JournalDamagedError):
            await client.export_days(FIRST, LAST, "UTC", tmp_path / "{date}.ndjson")
    assert sorted(path.name for path in tmp_path.glob("*.ndjson")) == [f"2024-10-0{day}.ndjson" for day in (2, 3)]
    assert journal.read_bytes() == text


async def test_a_provisional_day_is_read_again_and_never_shrinks(tmp_path: Path) -> None:
    with Sandbox(calls=rows(), months_back=None) as sandbox:
        century = timedelta(days=36_500)
        async with client_of(sandbox, lateness=century, count_delay=timedelta(0)) as client:
            report = await client.export_days(FIRST, FIRST, "UTC", tmp_path / "{date}.ndjson")
            assert (outcomes(report), report.provisional) == (["written"], 1)
            sandbox.add_rows([row(5, FIRST)])
            report = await client.export_days(FIRST, FIRST, "UTC", tmp_path / "{date}.ndjson")
            assert outcomes(report) == ["rewritten"]
            assert ids(tmp_path) == ["0", "1", "2", "5"]
            sandbox.delete("0")
            report = await client.export_days(FIRST, FIRST, "UTC", tmp_path / "{date}.ndjson")
            assert outcomes(report) == ["shrunk"]
            assert ids(tmp_path) == ["0", "1", "2", "5"]
            assert [path.name for path in tmp_path.glob("*journal*")] == []


@pytest.mark.usefixtures("calls_until_today")
async def test_days_that_the_vendor_has_deleted_are_left_out(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    days = [(now - timedelta(days=number)).date() for number in (4, 3, 2)]
    calls = [row(number, day) for number, day in enumerate(days)]
    noon = datetime.combine(days[1], datetime.min.time(), UTC) + timedelta(hours=11)
    with Sandbox(calls=calls, retention=timedelta(days=40)) as sandbox:
        sandbox.change(retention=now - noon)
        async with client_of(sandbox) as client:
            path = tmp_path / "dt={date}" / "calls.ndjson"
            report = await client.export_days(days[0], days[-1], "UTC", path)
            assert outcomes(report) == ["expired", "expired", "written"]
            assert [folder.name for folder in tmp_path.iterdir()] == [f"dt={days[2]}"]
            report = await client.export_days(days[0], days[-1], "UTC", path, on_out_of_range="skip")
            assert outcomes(report) == ["expired", "written", "unchanged"]
            assert not report.certified
            report = await client.export_days(days[0], days[-1], "UTC", path, on_out_of_range="skip")
            assert outcomes(report) == ["expired", "unchanged", "unchanged"]


@pytest.mark.parametrize("path", ["dt={date}/calls.parquet", "{date}.parquet"])
async def test_pyarrow_polars_and_duckdb_read_the_folder_whatever_is_beside_the_files(
    tmp_path: Path, path: str
) -> None:
    unreadable = {"voiceId": None, "submitTime": f"{FIRST}T13:00:00+00:00"}
    with Sandbox(calls=[*rows(), unreadable], months_back=None) as sandbox:
        async with client_of(sandbox) as client:
            lake = tmp_path / "lake"
            report = await client.export_days(FIRST, LAST, "UTC", lake / path)
        assert [day.report and day.report.quarantined for day in report.days] == [1, 0, 0]
    (quarantine,) = lake.rglob("_*.quarantine")
    assert quarantine.parent == Path(report.days[0].path).parent
    assert ds.dataset(lake, format="parquet", partitioning="hive").count_rows() == 9
    assert pl.scan_parquet(lake / "**" / "*.parquet", hive_partitioning=True).collect().height == 9
    found = duckdb.sql(f"select count(*) from '{lake}/**/*.parquet'")  # noqa: S608 - our path
    assert found is not None
    assert found.fetchall() == [(9,)]


async def test_sidecars_may_be_elsewhere(sandbox: Sandbox, tmp_path: Path) -> None:
    lake, proofs = tmp_path / "lake", tmp_path / "proofs"
    async with client_of(sandbox) as client:
        for outcome in ("written", "unchanged"):
            report = await client.export_days(FIRST, LAST, "UTC", lake / "dt={date}" / "calls.parquet", sidecars=proofs)
            assert outcomes(report) == [outcome] * 3
    assert pl.scan_parquet(lake).collect().height == 9
    assert len([*lake.rglob("*.*")]) == 3
    assert len([*proofs.rglob("*.manifest.json")]) == 3


async def test_bad_arguments_are_refused_before_anything_is_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.reset_stats()
    bad: list[tuple[str, dict[str, Any]]] = [
        ("last .* is before first", {"first": LAST, "last": FIRST}),
        ("first must be a datetime.date", {"first": SPAN[0]}),
        ("tz must be", {"tz": "Mars/Olympus"}),
        ("tz is missing", {"tz": None}),
        ("recheck must be", {"recheck": 7}),
        ("cannot infer a format", {"path": tmp_path / "calls"}),
        ("if_exists must be one of", {"if_exists": "maybe"}),
        ("exclude each other", {"if_exists": "fail", "overwrite": True}),
        ("on_out_of_range must be", {"on_out_of_range": "ignore"}),
        ("time_field must be", {"time_field": "lunch_time"}),
    ]
    async with client_of(sandbox) as client:
        for why, changes in bad:
            arguments: dict[str, Any] = {
                "first": FIRST,
                "last": LAST,
                "tz": "UTC",
                "path": tmp_path / "c.csv",
            } | changes
            with pytest.raises(ValueError, match=why):
                await client.export_days(**arguments)
    assert sandbox.stats.requests == 0
    assert [*tmp_path.iterdir()] == []


async def test_the_same_export_again_asks_nothing_and_returns_the_same_report(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with client_of(sandbox) as client:
        report = await client.export(*SPAN, path)
        sandbox.reset_stats()
        assert await client.export(*SPAN, path) == report
        assert sandbox.stats.requests == 0
        with pytest.raises(ExportConflictError, match="already exists"):
            await client.export(*SPAN, path, if_exists="fail")
        with pytest.raises(ExportConflictError, match=r"of another query .*sip_group_name"):
            await client.export(*SPAN, path, sip_group_name="sales")
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        with pytest.raises(ExportConflictError, match="changed after it was written"):
            await client.export(*SPAN, path)
        assert sandbox.stats.requests == 0
        await client.export(*SPAN, path, if_exists="replace")
    assert read_manifest(ExportPaths.sidecar_path(path).manifest).rows == 3


async def test_a_provisional_file_is_read_again(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with client_of(sandbox, lateness=timedelta(days=36_500), count_delay=timedelta(0)) as client:
        assert (await client.export(*SPAN, path)).provisional
        sandbox.add_rows([row(7, FIRST)])
        assert (await client.export(*SPAN, path)).unique == 4
        sandbox.delete("7", "0")
        before = path.read_bytes()
        with pytest.raises(ExportConflictError, match="it has 4 calls, and the vendor now returns 2"):
            await client.export(*SPAN, path)
        assert path.read_bytes() == before
        assert (await client.export(*SPAN, path, if_exists="replace")).unique == 2


async def test_a_file_that_was_changed_while_it_was_read_again_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    settings: dict[str, Any] = {"lateness": timedelta(days=36_500), "count_delay": timedelta(0)}
    async with client_of(sandbox, **settings) as client:
        await client.export(*SPAN, path)

    def change(_: object) -> None:
        path.write_text("mine")

    async with client_of(sandbox, **settings, hook=change) as client:
        with pytest.raises(ExportConflictError, match="already exists"):
            await client.export(*SPAN, path)
    assert path.read_text() == "mine"


async def test_the_journal_of_a_relative_range_does_not_stick(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"

    class Stop(Exception):  # noqa: N818 - it ends a run
        pass

    handed_over: list[Any] = []

    def stop(event: Any) -> None:
        if event.kind == "window_complete":
            handed_over.append(event)
            if len(handed_over) % 2 == 0:
                raise Stop

    later = (SPAN[0] + timedelta(hours=1), SPAN[1] + timedelta(hours=1))
    journal = ExportPaths.sidecar_path(path).journal

    async def interrupt(**more: Any) -> None:
        async with client_of(sandbox, hook=stop, concurrency=1) as client:
            with pytest.raises(Stop):
                await client.export(SPAN[0], SPAN[0] + timedelta(days=40), path, **more)
        assert journal.exists()

    await interrupt(relative=True)
    async with client_of(sandbox) as client:
        refusals: list[dict[str, Any]] = [{}, {"relative": True, "sip_group_name": "sales"}]
        for refused in refusals:
            with pytest.raises(ExportConflictError, match="belongs to another export"):
                await client.export(*later, path, **refused)
        assert (await client.export(*later, path, relative=True)).unique == 3
        assert not journal.exists()
        path.unlink()
        await interrupt()
        with pytest.raises(ExportConflictError, match="belongs to another export"):
            await client.export(*later, path, relative=True)
        assert (await client.export(*later, path, if_exists="replace")).unique == 3
