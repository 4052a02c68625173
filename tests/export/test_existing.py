"""An existing target, compared with the query."""

import hashlib
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from aiosipcdr.export import ExportPaths, ExportSpec, Manifest, inspect_existing, keys
from aiosipcdr.export.keys import ACCOUNT, PHONE, PSEUDONYMS, KeyDerivation, derive_key
from aiosipcdr.export.masking import Pseudonyms
from aiosipcdr.export.spec import ExportQuery
from aiosipcdr.model.report import FetchReport, WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials
from tests.made_up_calls import START
from tests.made_up_exports import CREDENTIALS, DERIVATION, END, order, sealed

KEY = derive_key(CREDENTIALS, DERIVATION)
PHONE_NAME = "+12125550123"
ROWS = b"{}\n"


def exported(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """A file with its manifest."""
    path = folder / "calls.ndjson"
    path.write_bytes(ROWS)
    manifest = Manifest(
        file=path.name,
        format="ndjson",
        query=ExportQuery(start=START, end=END),
        key=DERIVATION,
        account=KEY.fingerprint(ACCOUNT),
        rows=1,
        bytes=len(ROWS),
        sha256=hashlib.sha256(ROWS).hexdigest(),
        certified=True,
        quarantined=0,
        money=[],
        report=FetchReport(certified=True),
        versions={},
        created=datetime(2026, 12, 1, tzinfo=UTC),
    )
    ExportPaths.sidecar_path(path).manifest.write_bytes(sealed(replace(manifest, **changes)))
    return path


def state_of(path: Path, **changes: Any) -> str:  # noqa: ANN401
    return inspect_existing(order(path, **changes)).state


def report(**window: Any) -> FetchReport:  # noqa: ANN401
    return FetchReport(window_reports=[WindowReport(window=TimeWindow(START, END), **window)])


def test_a_certified_and_settled_file_is_finished_and_any_other_is_not(tmp_path: Path) -> None:
    assert state_of(tmp_path / "calls.ndjson") == "absent"
    assert state_of(exported(tmp_path)) == "finished"
    assert state_of(exported(tmp_path, report=FetchReport(certified=True, provisional=1))) == "unfinished"
    unproven = report(requests=3, certified=False)
    assert state_of(exported(tmp_path, certified=False, report=unproven)) == "unfinished"


def test_a_gap_that_cannot_be_filled_any_more_leaves_nothing_to_be_done(tmp_path: Path) -> None:
    gap = report(requests=0, certified=False)
    assert state_of(exported(tmp_path, certified=False, report=gap)) == "finished"


def test_a_manifest_in_the_terms_of_an_earlier_version_is_still_of_the_same_export(tmp_path: Path) -> None:
    path = exported(tmp_path, numbers="as told")
    found = inspect_existing(order(path))
    assert found.state == "finished"
    assert found.manifest is not None
    assert found.manifest.numbers == "unchanged"
    assert state_of(path, mask=Pseudonyms(b"sandbox-key-of-16-bytes")) == "other"


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"account": "1" * 16}, "account"),
    ({"phone": KEY.fingerprint(PHONE, PHONE_NAME)}, "phone"),
    ({"pseudonyms": "1" * 16}, "pseudonyms"),
    ({"format": "csv"}, "format"),
    ({"spreadsheet": True}, "spreadsheet"),
    ({"numbers": "masked"}, "numbers"),
    ({"query": ExportQuery(start=START, end=END, sip_group_name="sales")}, "sip_group_name"),
    ({"query": ExportQuery(start=START, end=END, time_field="call_time")}, "time_field"),
    ({"query": ExportQuery(start=START, end=END, assume_tz="Asia/Shanghai")}, "assume_tz"),
    ({"query": ExportQuery(start=START, end=END, adjacent=True)}, "adjacent"),
    ({"query": ExportQuery(start=START, end=END + timedelta(hours=1))}, "end"),
    ({"query": ExportQuery(start=START - timedelta(hours=1), end=END)}, "start"),
    ({"bytes": 4}, "changed after it was written"),
    ({"sha256": "0" * 64}, "changed after it was written"),
    ({"quarantined": 1}, "does not mention"),
]


@pytest.mark.parametrize(("changes", "why"), OTHERS, ids=map(str, range(len(OTHERS))))
def test_the_file_of_another_query_is_another_file(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    existing = inspect_existing(order(exported(tmp_path, **changes)))
    assert existing.state == "other"
    assert why in existing.reason
    assert "2125550" not in existing.reason


def test_a_file_without_a_manifest_is_another_file(tmp_path: Path) -> None:
    path = exported(tmp_path)
    ExportPaths.sidecar_path(path).manifest.unlink()
    assert state_of(path) == "other"


def test_another_secret_phone_or_key_of_pseudonyms_makes_it_another_file(tmp_path: Path) -> None:
    path = exported(tmp_path)
    assert state_of(path, credentials=Credentials("sandbox-key", "sandbox-new")) == "other"
    assert state_of(path, phone_name=PHONE_NAME) == "other"
    of_phone = exported(tmp_path, phone=KEY.fingerprint(PHONE, PHONE_NAME))
    assert state_of(of_phone, phone_name=PHONE_NAME) == "finished"
    assert state_of(of_phone, phone_name="+12125550124") == "other"
    masks = [Pseudonyms(bytes([number]) * 16) for number in range(2)]
    fingerprint = KEY.fingerprint(PSEUDONYMS, masks[0](""))
    pseudonymous = exported(tmp_path, numbers="pseudonyms", pseudonyms=fingerprint)
    assert state_of(pseudonymous, mask=masks[0]) == "finished"
    assert state_of(pseudonymous, mask=masks[1]) == "other"


def test_a_year_of_files_takes_one_derivation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derivation = KeyDerivation(salt="7" * 32, n=16, r=8, p=1)
    account = derive_key(CREDENTIALS, derivation).fingerprint(ACCOUNT)
    orders: list[ExportSpec] = []
    for number in range(365):
        folder = tmp_path / str(number)
        folder.mkdir()
        orders.append(order(exported(folder, key=derivation, account=account)))
    derived: list[int] = []
    scrypt = hashlib.scrypt

    def counted(*reported: Any, **costs: Any) -> bytes:  # noqa: ANN401
        derived.append(costs["n"])
        return scrypt(*reported, **costs)

    monkeypatch.setattr(keys, "_key_cache", deque(maxlen=8))
    monkeypatch.setattr(hashlib, "scrypt", counted)
    assert {inspect_existing(one).state for one in orders} == {"finished"}
    assert derived == [16]
