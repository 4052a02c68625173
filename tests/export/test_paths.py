"""The names of an export's files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aiosipcdr.export import FORMATS, ExportPaths, find_paths
from aiosipcdr.export.paths import temporary_path


def test_sidecars_are_beside_the_file_under_its_whole_name() -> None:
    assert ExportPaths.sidecar_path("a/calls.csv.gz") == (
        Path("a/calls.csv.gz"),
        Path("a/calls.csv.gz.manifest.json"),
        Path("a/calls.csv.gz.quarantine"),
        Path("a/calls.csv.gz.journal"),
        Path("a/calls.csv.gz.journal.rows"),
    )


def test_sidecars_in_a_dataset_begin_with_an_underscore() -> None:
    paths = ExportPaths.in_dataset("lake/dt=2026-10-01/calls.csv.gz")
    assert [path.name for path in paths.sidecars] == [
        "_calls.manifest.json",
        "_calls.quarantine",
        "_calls.journal",
        "_calls.journal.rows",
    ]
    assert {path.parent for path in paths} == {Path("lake/dt=2026-10-01")}


def test_sidecars_may_have_a_folder_of_their_own() -> None:
    paths = ExportPaths.apart("lake/calls.parquet", "proofs")
    assert paths.target == Path("lake/calls.parquet")
    assert paths.manifest == Path("proofs/calls.parquet.manifest.json")


@pytest.mark.parametrize("name", [ExportPaths.sidecar_path, ExportPaths.in_dataset])
def test_no_sidecar_and_no_part_is_taken_for_data(name: Callable[[str], ExportPaths]) -> None:
    for extension in (f".{known}" for known in FORMATS):
        paths = name(f"calls{extension}")
        for path in (*paths.sidecars, *map(temporary_path, paths)):
            assert not any(path.name.endswith(f".{known}") for known in FORMATS)


def test_an_export_is_found_by_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "lake" / "dt=2026-10-01" / "calls.parquet"
    target.parent.mkdir(parents=True)
    assert find_paths(target) == ExportPaths.sidecar_path(target)
    dataset = ExportPaths.in_dataset(target)
    dataset.manifest.touch()
    assert find_paths(target) == dataset
    ExportPaths.sidecar_path(target).manifest.touch()
    assert find_paths(target) == ExportPaths.sidecar_path(target)
    proofs = tmp_path / "proofs"
    assert find_paths(target, proofs) == ExportPaths.apart(target, proofs)
    apart = ExportPaths.apart(target, proofs / "dt=2026-10-01")
    apart.manifest.parent.mkdir(parents=True)
    apart.manifest.touch()
    assert find_paths(target, proofs) == apart
