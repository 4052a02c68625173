"""The manifest beside a file: its facts, without numbers and secrets."""

import json
import platform
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from aiosipcdr import __version__
from aiosipcdr.export import keys
from aiosipcdr.export.journal_records import Header, WrittenWindow
from aiosipcdr.export.keys import ACCOUNT, derive_key
from aiosipcdr.export.manifest import (
    Manifest,
    MoneySum,
    QuarantineFile,
    describe_file,
    money_sums,
    read_manifest,
)
from aiosipcdr.export.masking import Pseudonyms, mask_number
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.spec import ExportSpec
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.money import MoneyRow, MoneyTotals
from aiosipcdr.proof.checkpoint import Delivered
from tests.made_up_exports import CREDENTIALS, DERIVATION, order, report_of, sealed, window
from tests.selection import ALL, some

PHONE = "+12125550123"
KEY = derive_key(CREDENTIALS, DERIVATION)
QUARANTINE = QuarantineFile("calls.csv.quarantine", "cd" * 32)


def written(number: int, *money: tuple[str, str | None, str]) -> WrittenWindow:
    complete = window(number)
    return WrittenWindow(
        delivered=Delivered(reported=complete.report, share=complete.share),
        rows=3,
        size=900,
        mark=Mark(),
        money=[MoneyRow(field, currency, Decimal(amount)) for field, currency, amount in money],
    )


def manifest_of(name: str = "calls.csv", quarantine: QuarantineFile | None = None, **changes: Any) -> Manifest:  # noqa: ANN401
    windows = [window(0), window(1, bad=1)]
    reported = [written(0), written(1)]
    what = order(Path(name), **changes)
    return describe_file(
        what,
        header_of(what),
        end=Mark(1_800, "ab" * 32),
        windows=reported,
        tiles=[],
        report=report_of(windows),
        quarantine=quarantine,
    )


def header_of(what: ExportSpec) -> Header:
    return Header(key=DERIVATION, settings=what.seal(KEY), tiles=what.tiles)


def test_a_manifest_has_query_proof_and_file() -> None:
    reported = json.loads(sealed(manifest_of(quarantine=QUARANTINE, sip_group_name="客服一组")))
    report = reported.pop("report")
    assert len(reported.pop("signature")) == 64
    assert len(reported.pop("content_sha256")) == 64
    assert datetime.fromisoformat(reported.pop("created")).tzinfo is not None
    assert reported == {
        "manifest": 2,
        "file": "calls.csv",
        "format": "csv",
        "spreadsheet": False,
        "tz": None,
        "numbers": "unchanged",
        "query": {
            "start": "2026-10-01T08:30:00+08:00",
            "end": "2026-10-01T11:30:00+08:00",
            "sip_group_name": "客服一组",
            "phone_name": None,
            "time_field": None,
            "assume_tz": None,
            "adjacent": False,
        },
        "key": {"salt": "5" * 32, "n": 16, "r": 8, "p": 1},
        "account": KEY.fingerprint(ACCOUNT),
        "phone": None,
        "pseudonyms": None,
        "tiles": [],
        "rows": 6,
        "bytes": 1_800,
        "sha256": "ab" * 32,
        "certified": True,
        "quarantined": 1,
        "quarantine_file": "calls.csv.quarantine",
        "quarantine_sha256": "cd" * 32,
        "faulty_fields": {},
        "money": [],
        "versions": {"aiosipcdr": __version__, "python": platform.python_version()},
    }
    assert [
        (one["total"], one["unique"], one["certified"], one["provisional"]) for one in report["window_reports"]
    ] == [
        (3, 3, True, False),
        (4, 4, True, False),
    ]


def test_money_is_summed_over_the_windows_per_field_and_currency() -> None:
    windows = [
        written(0, ("cost", None, "0.10"), ("cost", "EUR", "2"), ("settle_pay", "EUR", "1E-12")),
        written(1, ("cost", "EUR", "-2.50"), ("cost", None, "1E+5")),
    ]
    what = order(Path("calls.csv"))
    reported = describe_file(
        what, header_of(what), end=Mark(), windows=windows, tiles=[], report=report_of(), quarantine=None
    ).money
    assert [(one.field, one.currency, one.unit, one.sum) for one in reported] == [
        ("cost", None, "quote", "100000.10"),
        ("cost", "EUR", "quote", "-0.50"),
        ("settle_pay", "EUR", "settlement", "0.000000000001"),
    ]
    assert money_sums(MoneyTotals()) == []


def test_the_libraries_that_wrote_the_bytes_are_named_with_versions() -> None:
    assert "pyarrow" in manifest_of("calls.parquet").versions
    assert "pyarrow" not in manifest_of("calls.ndjson.gz").versions


def test_a_manifest_comes_back_and_a_person_can_read_it(tmp_path: Path) -> None:
    manifest = manifest_of(spreadsheet=True, phone_name=PHONE)
    (tmp_path / "manifest").write_bytes(sealed(manifest))
    assert read_manifest(tmp_path / "manifest") == manifest
    assert sealed(manifest).startswith(b'{\n  "manifest": 2,\n  "file": "calls.csv",\n')
    assert sealed(manifest).endswith(b"}\n")
    assert manifest.created.microsecond == 0
    assert manifest.created <= datetime.now(UTC)


@pytest.mark.parametrize("mask", [None, mask_number, Pseudonyms(b"sandbox-key-of-16-bytes")])
def test_a_manifest_holds_no_number_and_no_secret(mask: object) -> None:
    manifest = manifest_of(phone_name=PHONE, mask=mask)
    for reported in (sealed(manifest).decode(), repr(manifest), pretty_repr(manifest)):
        assert "2125550" not in reported
        assert "sandbox" not in reported
    assert manifest.phone == KEY.fingerprint(keys.PHONE, PHONE)
    assert manifest.query.phone_name != PHONE


def test_a_missing_or_invalid_manifest_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv.manifest.json"
    with pytest.raises(ExportError, match="is missing; without a manifest the file cannot be verified"):
        read_manifest(path)
    whole = sealed(manifest_of())
    for data in (b"", b"{}", b"[]", whole[:-3], whole.replace(b'"rows": 6', b'"rows": "6"'), b'{"file": "\xff"}'):
        path.write_bytes(data)
        with pytest.raises(ExportError, match="is not a manifest of aiosipcdr, or was changed"):
            read_manifest(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ExportError, match="cannot be read: Is a directory"):
        read_manifest(path)


@pytest.mark.parametrize("reported", ["", "abc", "NaN", "1e5", "--1", "1.", "Infinity"])
def test_a_sum_that_is_none_is_no_manifest(tmp_path: Path, reported: str) -> None:
    money = [MoneySum(field="cost", currency=None, sum=reported)]
    path = tmp_path / "manifest"
    path.write_bytes(sealed(msgspec.structs.replace(manifest_of(), money=money)))
    with pytest.raises(ExportError, match="is not a manifest"):
        read_manifest(path)


def test_a_field_of_a_later_version_does_no_harm(tmp_path: Path) -> None:
    class Later(Manifest, frozen=True, kw_only=True):
        new: dict[str, int]

    path = tmp_path / "manifest"
    reported = msgspec.structs.asdict(manifest_of())
    path.write_bytes(sealed(Later(**reported, new={"a": 1})))
    assert read_manifest(path).rows == 6


@pytest.mark.parametrize("change", [b"\n", b" ", b"x"])
def test_whatever_is_added_to_a_manifest_is_a_change(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "manifest"
    whole = sealed(manifest_of())
    for changed in (whole + change, change + whole, whole.replace(b'"rows"', change + b'"rows"')):
        path.write_bytes(changed)
        with pytest.raises(ExportError, match="changed"):
            read_manifest(path)


def test_no_single_bit_of_a_manifest_can_change(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    whole = sealed(manifest_of(quarantine=QUARANTINE, phone_name=PHONE))
    for place in some(range(len(whole)), every=2):
        for bit in range(8) if ALL else [place % 8]:
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(ExportError):
                read_manifest(path)
    path.write_bytes(whole)
    assert read_manifest(path).rows == 6
    assert len(whole) * 8 > 10_000
