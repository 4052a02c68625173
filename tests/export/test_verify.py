"""Verification of a file by its manifest: each difference is one sentence."""

import gzip
import hashlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiosipcdr.export import (
    FORMATS,
    MANIFEST,
    find_contradictions,
    find_differences,
    open_encoder,
    read_facts,
    read_manifest,
    verify_file,
)
from aiosipcdr.export.manifest import Manifest, MoneySum
from aiosipcdr.export.render import encode_rows
from aiosipcdr.export.verify import FileFacts
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CompleteWindow
from tests.made_up_calls import START
from tests.made_up_exports import STORY, export, sealed, sidecar_path, window

DAY = timedelta(days=1)

pytestmark = pytest.mark.usefixtures("unflushed")

RECORDS = [record for entry in STORY if isinstance(entry, CompleteWindow) for record in entry.records]
OTHER_BYTES = "the file's SHA-256 differs from the manifest: the file was changed after it was written"


async def exported(folder: Path, name: str) -> tuple[Path, Manifest]:
    path = folder / f"calls.{name}"
    await export(path)
    return path, read_manifest(sidecar_path(path, MANIFEST))


def write(path: Path, name: str, records: list[CallDetailRecord]) -> None:
    encoder = open_encoder(name)
    path.write_bytes(encoder.begin() + encoder.encode(encode_rows(records)) + encoder.finish())


@pytest.mark.parametrize("name", FORMATS)
async def test_a_file_as_it_was_written_differs_in_nothing(tmp_path: Path, name: str) -> None:
    path, manifest = await exported(tmp_path, name)
    facts = read_facts(path, name)
    assert find_differences(manifest, facts) == []
    assert (facts.rows, facts.answered, facts.bytes) == (5, 0, path.stat().st_size)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", FORMATS)
async def test_any_byte_that_was_changed_is_found(tmp_path: Path, name: str) -> None:
    path, manifest = await exported(tmp_path, name)
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            differences = find_differences(manifest, read_facts(path, name))
        except ExportError as error:
            differences = [str(error)]
        assert any(
            text == OTHER_BYTES or "it is damaged" in text or "amount is not a number" in text for text in differences
        )


@pytest.mark.parametrize("name", FORMATS)
async def test_a_row_less_is_found(tmp_path: Path, name: str) -> None:
    path, manifest = await exported(tmp_path, name)
    write(path, name, RECORDS[:-1])
    differences = find_differences(manifest, read_facts(path, name))
    assert "the file has 4 rows, the manifest says 5" in differences
    assert OTHER_BYTES in differences
    assert any(text.startswith("the sum of cost (EUR) is 0.0") for text in differences)


@pytest.mark.parametrize("name", FORMATS)
async def test_another_sum_is_found(tmp_path: Path, name: str) -> None:
    path, manifest = await exported(tmp_path, name)
    reported = sum((record.cost or Decimal() for record in RECORDS), Decimal())
    more = msgspec.structs.replace(RECORDS[0], cost=Decimal("1.5"))
    less = msgspec.structs.replace(RECORDS[1], currency=None)
    write(path, name, [more, less, *RECORDS[2:]])
    money = [text for text in find_differences(manifest, read_facts(path, name)) if text.startswith("the sum")]
    group, rest = money
    assert group.startswith("the sum of cost (EUR) is ")
    assert group.endswith(f" the manifest says {reported}")
    assert Decimal(group.removeprefix("the sum of cost (EUR) is ").split(",")[0]) == (
        reported + Decimal("1.5") - (RECORDS[0].cost or 0) - (RECORDS[1].cost or 0)
    )
    assert rest.startswith("the sum of cost (no currency named: USD, unless your brand differs) is ")
    assert rest.endswith("the manifest says 0")


async def test_sums_of_the_settlement_currency_are_not_called_by_that_of_the_quote(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "csv")
    write(path, "csv", [msgspec.structs.replace(RECORDS[0], settle_pay=Decimal(7)), *RECORDS[1:]])
    money = [text for text in find_differences(manifest, read_facts(path, "csv")) if "settle_pay" in text]
    label = "in the settlement currency, calls quoted in EUR"
    assert money == [f"the sum of settle_pay ({label}) is 7, the manifest says 0"]


@pytest.mark.parametrize("name", FORMATS)
async def test_a_file_of_another_format_is_reported(tmp_path: Path, name: str) -> None:
    path, _ = await exported(tmp_path, name)
    other = FORMATS[FORMATS.index(name) - 1]
    with pytest.raises(
        ExportError, match=f"cannot be read as {other}: it is damaged or has another format; export it again"
    ):
        read_facts(path, other)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_file_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="none cannot be read: No such file or directory"):
        read_facts(tmp_path / "none", name)
    with pytest.raises(ExportError, match="cannot be read: Is a directory"):
        read_facts(tmp_path, name)


def test_equal_amounts_are_equal_however_they_are_written(tmp_path: Path) -> None:
    write(tmp_path / "a", "csv", [CallDetailRecord(voice_id="1", cost=Decimal("1.50"), settle_pay=Decimal("1E+5"))])
    write(tmp_path / "b", "parquet", [CallDetailRecord(voice_id="1", cost=Decimal("1.5"), settle_pay=Decimal(100000))])
    one, other = read_facts(tmp_path / "a", "csv"), read_facts(tmp_path / "b", "parquet")
    reported = manifest_of(one)
    assert [text for text in find_differences(reported, other) if text.startswith("the sum")] == []


@pytest.mark.parametrize("amount", ["1", "-0.5"])
def test_a_sum_that_only_one_of_them_knows_is_found(tmp_path: Path, amount: str) -> None:
    path = tmp_path / "calls.csv"
    write(path, "csv", [CallDetailRecord(voice_id="1", cost=Decimal(amount), currency="EUR")])
    facts = read_facts(path, "csv")
    for there, reported in ((facts.money, []), ([], facts.money)):
        manifest = msgspec.structs.replace(manifest_of(facts), money=reported)
        (difference,) = find_differences(manifest, msgspec.structs.replace(facts, money=there))
        assert difference.startswith("the sum of cost (EUR) is ")


def manifest_of(facts: FileFacts) -> Manifest:
    known: dict[str, Any] = {
        "file": "calls",
        "format": "csv",
        "query": {"start": START, "end": START},
        "account": "",
        "certified": True,
        "quarantined": 0,
        "report": {},
        "versions": {},
        "created": START,
    }
    other_facts = msgspec.to_builtins(facts)
    del other_facts["answered"]
    return msgspec.convert(known | other_facts, type=Manifest)


def test_sums_are_exact_over_many_rows(tmp_path: Path) -> None:
    records = [
        CallDetailRecord(
            voice_id=str(number), cost=Decimal("0.000000000001"), answer_time=START if number % 2 else None
        )
        for number in range(1_000)
    ]
    write(tmp_path / "calls", "ndjson", [*records, CallDetailRecord(voice_id="x", cost=Decimal(10**25))])
    facts = read_facts(tmp_path / "calls", "ndjson")
    assert facts.money == [MoneySum(field="cost", currency=None, unit="quote", sum=f"{10**25}.000000001000")]
    assert (facts.rows, facts.answered) == (1_001, 500)


@pytest.mark.parametrize("amount", ["abc", "NaN", "sNaN", "Infinity", "1e999999999", "1e-99999", "", "0x10"])
def test_an_invalid_amount_is_reported(tmp_path: Path, amount: str) -> None:
    row = encode_rows([CallDetailRecord(voice_id="1", cost=Decimal(1))])
    (tmp_path / "calls").write_bytes(row + row.replace(b'"cost":"1"', f'"cost":"{amount}"'.encode()))
    with pytest.raises(ExportError, match="an amount is not a number") as caught:
        read_facts(tmp_path / "calls", "ndjson")
    assert not amount or amount not in str(caught.value)


async def test_every_difference_is_a_sentence_of_its_own(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "csv")
    facts = read_facts(path, "csv")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"bytes": 1_234_567}, f"the file has {facts.bytes:,} bytes, the manifest says 1,234,567"),
        ({"sha256": "ab" * 32}, OTHER_BYTES),
        ({"rows": 6}, "the file has 5 rows, the manifest says 6"),
        ({"money": []}, f"the sum of cost (EUR) is {facts.money[0].sum}, the manifest says 0"),
    ]
    for change, reported in changes:
        assert find_differences(msgspec.structs.replace(manifest, **change), facts) == [reported]
    together = {name: value for change, _ in changes for name, value in change.items()}
    assert find_differences(msgspec.structs.replace(manifest, **together), facts) == [
        reported for _, reported in changes
    ]


def again(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + gzip.compress(b""))


@pytest.mark.parametrize("change", [again, longer])
async def test_the_same_rows_in_other_bytes_are_another_file(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path, manifest = await exported(tmp_path, "csv.gz")
    change(path)
    differences = find_differences(manifest, read_facts(path, "csv.gz"))
    assert OTHER_BYTES in differences
    assert not any("rows" in text or "sum" in text for text in differences)


async def test_an_unreadable_file_is_reported_with_its_size_and_hash(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "csv")
    path.write_bytes(path.read_bytes() + b'"')
    size, hash_differs, unreadable = verify_file(path, manifest)
    assert "bytes, the manifest says" in size
    assert "SHA-256" in hash_differs
    assert "cannot be read as csv" in unreadable


async def test_a_missing_or_truncated_quarantine_is_reported(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "ndjson")
    assert verify_file(path, manifest) == []
    assert manifest.quarantine_file is not None
    quarantine = path.with_name(manifest.quarantine_file)
    quarantine.write_bytes(quarantine.read_bytes() * 2)
    assert verify_file(path, manifest) == [f"{quarantine.name} has 2 records, the manifest says 1"]
    quarantine.unlink()
    (reported,) = verify_file(path, manifest)
    assert "(1 records that could not be decoded) cannot be read: No such file" in reported


async def test_a_manifest_of_another_layout_is_refused(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "ndjson")
    sidecar_path(path, MANIFEST).write_bytes(sealed(msgspec.structs.replace(manifest, manifest=3)))
    with pytest.raises(ExportError, match="another version of aiosipcdr"):
        read_manifest(sidecar_path(path, MANIFEST))


OLDER = """\
{
  "manifest": 1,
  "file": "calls.ndjson",
  "format": "ndjson",
  "query": {"start": "2026-10-01T08:30:00+08:00", "end": "2026-10-01T11:30:00+08:00"},
  "account": "0123456789abcdef",
  "rows": 5,
  "bytes": %d,
  "sha256": "%s",
  "certified": true,
  "quarantined": 1,
  "quarantine_file": "calls.ndjson.quarantine",
  "money": %s,
  "report": %s,
  "versions": {"aiosipcdr": "0.0.1"},
  "created": "2026-10-02T00:00:00Z"
}
"""


async def older(folder: Path) -> Path:
    """Export, and put in place of the manifest what an older version wrote."""
    path, manifest = await exported(folder, "ndjson")
    money, report = (msgspec.json.encode(reported).decode() for reported in (manifest.money, manifest.report))
    sidecar_path(path, MANIFEST).write_text(OLDER % (manifest.bytes, manifest.sha256, money, report))
    return path


async def test_an_older_manifest_still_verifies_and_says_that_it_is_one(tmp_path: Path) -> None:
    path = await older(tmp_path)
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    assert manifest.is_older
    assert verify_file(path, manifest) == []
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert OTHER_BYTES in verify_file(path, manifest)


async def test_a_manifest_that_was_made_older_is_changed(tmp_path: Path) -> None:
    path, _ = await exported(tmp_path, "ndjson")
    place = sidecar_path(path, MANIFEST)
    place.write_bytes(place.read_bytes().replace(b'"manifest": 2', b'"manifest": 1'))
    with pytest.raises(ExportError, match="was changed after it was written"):
        read_manifest(place)


async def test_two_files_that_changed_places_with_their_manifests_do_not_verify(tmp_path: Path) -> None:
    names = ("calls-2026-10-01.ndjson", "calls-2026-10-02.ndjson")
    for name in names:
        await export(tmp_path / name)
    for ending in ("", MANIFEST, ".quarantine"):
        one, other = (tmp_path / (name + ending) for name in names)
        one.rename(tmp_path / "aside")
        other.rename(one)
        (tmp_path / "aside").rename(other)
    for name, other_name in zip(names, names[::-1], strict=True):
        differences = verify_file(tmp_path / name, read_manifest(sidecar_path(tmp_path / name, MANIFEST)))
        assert f"the manifest belongs to a file named {other_name}" in differences[0]
        assert "the manifest names another quarantine" in differences[1]


async def test_a_quarantine_that_was_changed_added_or_not_listed_is_found(tmp_path: Path) -> None:
    path, manifest = await exported(tmp_path, "csv")
    quarantine = sidecar_path(path, ".quarantine")
    data = quarantine.read_bytes()
    for place in range(0, len(data) - 1, 7):
        quarantine.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        (difference,) = verify_file(path, manifest)
        assert quarantine.name in difference
    quarantine.write_bytes(data)
    assert verify_file(path, manifest) == []
    untold = msgspec.structs.replace(manifest, quarantine_file=None, quarantine_sha256=None)
    assert len(verify_file(path, untold)) == 1
    assert len(verify_file(path, msgspec.structs.replace(untold, quarantined=0))) > 1


def changed_report(manifest: Manifest, place: int | None = None, **changes: Any) -> Manifest:  # noqa: ANN401
    """The manifest with another report, or with another report of the window at `place`."""
    report = manifest.report
    if place is None:
        report = msgspec.structs.replace(report, **changes)
    else:
        windows = list(report.window_reports)
        windows[place] = msgspec.structs.replace(windows[place], **changes)
        report = msgspec.structs.replace(report, window_reports=windows)
    return msgspec.structs.replace(manifest, report=report)


CONTRADICTIONS: list[tuple[Callable[[Manifest], Manifest], str]] = [
    (lambda reported: msgspec.structs.replace(reported, certified=False), "differs from its report"),
    (lambda reported: changed_report(reported, certified=False), "differs from its report"),
    (lambda reported: msgspec.structs.replace(reported, quarantined=2), "quarantined"),
    (lambda reported: changed_report(reported, total=7), "total and unique differ"),
    (lambda reported: changed_report(reported, unique=5, total=5), "unique is not its rows"),
    (lambda reported: changed_report(reported, provisional=1), "provisional"),
    (lambda reported: changed_report(reported, windows=2), "number of windows"),
    (lambda reported: changed_report(reported, 1, certified=False), "a window is not"),
    (lambda reported: changed_report(reported, 0, total=4), "a window's total"),
    (lambda reported: changed_report(reported, 0, total=2, unique=2), "hold fewer calls"),
    (lambda reported: changed_report(reported, window_reports=reported.report.window_reports[1:]), "do not cover"),
    (lambda reported: changed_report(reported, window_reports=reported.report.window_reports[:-1]), "do not cover"),
    (lambda reported: changed_report(reported, window_reports=reported.report.window_reports[::2]), "do not cover"),
    (lambda reported: changed_report(reported, window_reports=[]), "do not cover"),
    (
        lambda reported: msgspec.structs.replace(
            reported, query=msgspec.structs.replace(reported.query, start=START - DAY)
        ),
        "do not cover",
    ),
]


@pytest.mark.parametrize(("change", "what"), CONTRADICTIONS, ids=range(len(CONTRADICTIONS)))
async def test_a_manifest_that_contradicts_itself_is_found(
    tmp_path: Path, change: Callable[[Manifest], Manifest], what: str
) -> None:
    path, manifest = await exported(tmp_path, "ndjson")
    assert find_contradictions(manifest) == []
    sidecar_path(path, MANIFEST).write_bytes(sealed(change(manifest)))
    reported = verify_file(path, read_manifest(sidecar_path(path, MANIFEST)))
    assert any(what in sentence for sentence in reported)
    assert reported[0].startswith("the manifest contradicts itself: ")


async def test_an_uncertified_file_may_be_short(tmp_path: Path) -> None:
    story = [window(0), window(2, certified=False, total=9)]
    path = tmp_path / "calls.ndjson"
    await export(path, story)
    assert verify_file(path, read_manifest(sidecar_path(path, MANIFEST))) == []
