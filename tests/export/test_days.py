"""The names of the files of days."""

from datetime import date
from pathlib import Path

import pytest

from aiosipcdr.export import ExportPaths
from aiosipcdr.export.paths import day_paths

DAY = date(2026, 10, 1)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("calls", "calls-2026-10-01"),
        ("calls.csv.gz", "calls-2026-10-01.csv.gz"),
        (".calls.csv", ".calls-2026-10-01.csv"),
    ],
)
def test_the_date_is_before_the_extension_or_where_it_is_wanted(path: str, name: str) -> None:
    for given in (f"folder/{path}", Path("folder") / path):
        assert day_paths(given, DAY) == ExportPaths.sidecar_path(Path("folder") / name)


@pytest.mark.parametrize(
    ("path", "name", "manifest"),
    [
        ("{date}.parquet", "2026-10-01.parquet", "_2026-10-01.manifest.json"),
        ("calls.of.{date}.csv.gz", "calls.of.2026-10-01.csv.gz", "_calls.of.2026-10-01.manifest.json"),
    ],
)
def test_a_name_may_have_the_date_where_it_is_wanted_and_its_sidecars_are_no_data(
    path: str, name: str, manifest: str
) -> None:
    paths = day_paths(Path("folder") / path, DAY)
    assert (paths.target, paths.manifest) == (Path("folder") / name, Path("folder") / manifest)


def test_a_folder_may_have_the_date_and_its_sidecars_are_no_data() -> None:
    assert day_paths("lake/dt={date}/calls.parquet", DAY) == ExportPaths.in_dataset("lake/dt=2026-10-01/calls.parquet")
    assert day_paths("lake/{date}/eu/{date}.csv", DAY).target == Path("lake/2026-10-01/eu/2026-10-01.csv")


def test_sidecars_of_days_never_share_a_name() -> None:
    other = date(2026, 10, 2)
    for path in ("lake/dt={date}/calls.parquet", "lake/{date}/eu/calls.csv", "lake/calls.csv"):
        for sidecars in ("proofs", "proofs/{date}"):
            names = [day_paths(path, day, sidecars) for day in (DAY, other)]
            assert not {*names[0]} & {*names[1]}
    assert day_paths("lake/dt={date}/calls.parquet", DAY, "proofs").manifest == Path(
        "proofs/dt=2026-10-01/calls.parquet.manifest.json"
    )
