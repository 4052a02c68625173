"""The export's settings: checked before the first request, compared with those of a journal."""

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.pretty import pretty_repr

from aiosipcdr.export.keys import derive_key
from aiosipcdr.export.masking import Pseudonyms, mask_number
from aiosipcdr.export.spec import ExportSpec
from aiosipcdr.wire.signing import Credentials
from tests.made_up_calls import START
from tests.made_up_exports import CREDENTIALS, DERIVATION, END, SPAN, order

PHONE = "+12125550123"
SECRET = b"sandbox-key-of-16-bytes"
KEY = derive_key(CREDENTIALS, DERIVATION)


def seal(what: ExportSpec) -> dict[str, str | None]:
    """The settings as files hold them."""
    return what.seal(derive_key(what.credentials, DERIVATION))


def test_a_spec_has_the_query_and_the_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reported = order(Path("calls.csv.gz"), overwrite=True, phone_name=PHONE)
    assert reported.path == tmp_path / "calls.csv.gz"
    assert (reported.format, reported.if_exists, reported.numbers) == ("csv.gz", "replace", "unchanged")
    assert reported.tiles == [SPAN]
    assert reported.seal(KEY)["#account"] == KEY.fingerprint("#account")
    assert reported.seal(KEY)["#phone_name"] == KEY.fingerprint("#phone_name", PHONE)
    assert reported.query.phone_name == PHONE


def test_the_target_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    reported = order(Path("calls.csv"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert reported.path == tmp_path / "calls.csv"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot infer a format"):
        order(Path("calls"))
    with pytest.raises(ValueError, match="unknown format"):
        order(Path("calls"), format="xls")


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"start": START - timedelta(seconds=1)}, "start"),
    ({"end": END + timedelta(seconds=1)}, "end"),
    ({"sip_group_name": "客服一组"}, "sip_group_name"),
    ({"phone_name": PHONE}, "#phone_name"),
    ({"time_field": "call_time"}, "time_field"),
    ({"credentials": Credentials("sandbox-other", "sandbox-secret")}, "#account"),
    ({"credentials": Credentials("sandbox-key", "sandbox-new")}, "#account"),
    ({"format": "ndjson"}, "format"),
    ({"spreadsheet": True}, "spreadsheet"),
    ({"mask": mask_number}, "numbers"),
]


@pytest.mark.parametrize(("change", "name"), CHANGES, ids=range(len(CHANGES)))
def test_options_that_change_the_bytes_are_settings(change: dict[str, Any], name: str) -> None:
    before, now = (seal(order(Path("calls.csv"), **changes)) for changes in ({}, change))
    assert before.keys() == now.keys()
    assert [key for key in before if before[key] != now[key]] == [name]


def test_options_that_do_not_change_the_bytes_are_no_settings() -> None:
    before = seal(order(Path("calls.csv")))
    assert seal(order(Path("calls.csv"), start=START.astimezone(UTC), end=END.astimezone(UTC))) == before
    assert seal(order(Path("elsewhere.csv"), overwrite=True, restart=True)) == before


def test_two_keys_of_pseudonyms_are_two_settings_and_are_shown_in_none() -> None:
    one, other = (seal(order(Path("calls.csv"), mask=Pseudonyms(key))) for key in (SECRET, SECRET[::-1]))
    assert [name for name in one if one[name] != other[name]] == ["#key of pseudonyms"]
    assert one["numbers"] == other["numbers"] == "pseudonyms"
    assert "sandbox" not in str(one)


def test_settings_hold_no_number_and_no_secret() -> None:
    reported = str(seal(order(Path("calls.csv"), phone_name=PHONE)))
    assert "2125550" not in reported
    assert "sandbox" not in reported


@pytest.mark.parametrize("show", [repr, str, pretty_repr])
def test_a_repr_names_the_target_alone(show: object) -> None:
    assert callable(show)
    reported = show(order(Path("/data/calls.csv"), phone_name=PHONE, sip_group_name="客服一组"))
    assert "/data/calls.csv" in reported
    assert "2125550" not in reported
    assert "客服一组" not in reported
    assert "sandbox" not in reported


def test_the_question_that_other_files_tell_has_no_number() -> None:
    assert order(Path("calls.csv"), phone_name=PHONE).public_query.phone_name == "+1********23"
    assert order(Path("calls.csv"), phone_name=PHONE, mask=mask_number).public_query.phone_name == "+1********23"
    key = Pseudonyms(SECRET)
    assert order(Path("calls.csv"), phone_name=PHONE, mask=key).public_query.phone_name == key(PHONE)
    plain = order(Path("calls.csv"))
    assert plain.public_query is plain.query


@pytest.mark.parametrize(
    ("mask", "numbers"), [(None, "unchanged"), (mask_number, "masked"), (Pseudonyms(SECRET), "pseudonyms")]
)
def test_a_spec_says_how_numbers_are_written(mask: object, numbers: str) -> None:
    assert order(Path("calls.csv"), mask=mask).numbers == numbers


def test_an_order_opens_the_encoder_of_its_file() -> None:
    assert order(Path("calls.csv"), spreadsheet=True).open_encoder().begin().startswith(b"\xef\xbb\xbfvoice_id")
    assert order(Path("calls.ndjson")).open_encoder().begin() == b""
    parquet = order(Path("calls.parquet"), phone_name=PHONE).open_encoder()
    assert PHONE.encode() in parquet.begin() + parquet.finish()


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not valid Unicode"):
        order(tmp_path / "c-\udcff.ndjson")
