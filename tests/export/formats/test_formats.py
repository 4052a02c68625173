"""Formats selected by file extensions, and the extras that they need."""

import subprocess
import sys
from pathlib import Path

import pytest

import aiosipcdr
from aiosipcdr.export import FORMATS, choose_format, open_encoder


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("a.NDJSON", "ndjson"),
        ("a.b.jsonl", "ndjson"),
        ("a.jsonl.gz", "ndjson.gz"),
        ("a.jsonl.zst", "ndjson.zst"),
        *((f"a.{name}", name) for name in FORMATS),
    ],
)
def test_the_ending_chooses(name: str, chosen: str) -> None:
    assert choose_format(name) == chosen
    assert choose_format(Path("somewhere") / name) == chosen


@pytest.mark.parametrize(
    ("name", "named", "chosen"),
    [
        ("calls.txt", "ndjson", "ndjson"),
        ("calls.parquet", "csv", "csv"),
        ("calls.csv", "parquet", "parquet"),
        ("calls.csv.gz", "csv", "csv.gz"),
        ("calls.gz", "ndjson", "ndjson.gz"),
        ("calls.zst", "csv", "csv.zst"),
        ("calls.gz", "csv.zst", "csv.zst"),
        ("calls.gz", "parquet", "parquet"),
        ("calls", "csv.gz", "csv.gz"),
    ],
)
def test_a_format_that_is_named_wins_and_the_ending_may_compress_it(name: str, named: str, chosen: str) -> None:
    assert choose_format(name, named) == chosen


@pytest.mark.parametrize("name", ["calls", "calls.txt", "calls.gz", "calls.parquet.gz", "csv", "calls.csv.bz2", "."])
def test_an_unknown_file_extension_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"pass format=, or use \.ndjson, \.jsonl, \.csv .*, \.parquet or \.xlsx"):
        choose_format(name)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown format 'xls'; use one of ndjson, .*, xlsx"):
        choose_format("calls.csv", "xls")


def without(module: str, program: str) -> str:
    place = str(Path(aiosipcdr.__file__).parent.parent)
    blocked = f"import sys; sys.path.insert(0, {place!r}); sys.modules[{module!r}] = None\n"
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", blocked + program], capture_output=True, text=True, check=True, timeout=240
    )
    return result.stdout


OPEN_ALL = """
from aiosipcdr.export import FORMATS, open_encoder
for name in FORMATS:
    try:
        open_encoder(name)
    except ImportError as error:
        print(name, "|", error, "|", error.name)
"""


def test_without_pyarrow_only_parquet_is_missing() -> None:
    reported = without("pyarrow", OPEN_ALL)
    assert reported == 'parquet | Arrow and Parquet need pyarrow: pip install "aiosipcdr[arrow]" | pyarrow\n'


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the standard library has zstd")
def test_without_the_extra_only_zstd_is_missing() -> None:
    reported = without("backports.zstd", OPEN_ALL).splitlines()
    assert [line.split(" | ")[0] for line in reported] == ["ndjson.zst", "csv.zst"]
    assert {line.split(" | ")[1] for line in reported} == {
        'files ending in .zst need backports.zstd: pip install "aiosipcdr[zstd]"'
    }


def test_text_formats_load_nothing_optional() -> None:
    reported = without(
        "pyarrow.parquet",
        "from aiosipcdr.export import open_encoder\n"
        "for name in ('ndjson', 'csv', 'csv.gz'): open_encoder(name)\n"
        "print(sorted({'pyarrow', 'backports.zstd', 'compression.zstd'} & set(sys.modules)))",
    )
    assert reported == "[]\n"


def test_an_open_encoder_is_new_each_time() -> None:
    assert open_encoder("csv.gz") is not open_encoder("csv.gz")
