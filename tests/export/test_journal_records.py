"""Records of a journal are read back unchanged, and show no number."""

import base64
import json
from decimal import Decimal

import msgspec
import pytest
from rich.pretty import pretty_repr

from aiosipcdr.export.journal_records import (
    LAYOUT,
    Built,
    Effort,
    Entry,
    Header,
    WrittenWindow,
    decode_entry,
    decode_header,
    encode_entry,
)
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.proof.checkpoint import Delivered, Recounted, Trimmed
from tests.made_up_calls import START
from tests.made_up_exports import CUT, RAW, SPAN, window

COMPLETE = window(0, bad=1)
WRITTEN = WrittenWindow(
    delivered=Delivered(reported=COMPLETE.report, share=COMPLETE.share),
    rows=3,
    size=900,
    mark=Mark(1_000, "ab" * 32),
    quarantined=COMPLETE.quarantined,
    unread_ids=["bad0"],
    money=[MoneyRow("cost", None, Decimal("0.10")), MoneyRow("cost", "EUR", Decimal("1E-12"))],
    effort=Effort(7, 2, 1.25),
)
ENTRIES: list[Entry] = [
    CUT,
    Recounted(window=SPAN, total=5),
    Trimmed(kept_from=START),
    WRITTEN,
    Built(target="ab" * 32, manifest="cd" * 32),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    again = decode_entry(encode_entry(entry))
    assert again == entry
    assert type(again) is type(entry)


def test_money_keeps_its_digits_and_bytes_stay_bytes() -> None:
    again = decode_entry(encode_entry(WRITTEN))
    assert isinstance(again, WrittenWindow)
    assert str(again.money[0].amount) == "0.10"
    assert again.quarantined[0].raw == RAW
    assert base64.b64decode(json.loads(encode_entry(WRITTEN))["quarantined"][0]["raw"]) == RAW


def test_a_header_says_its_layout_and_comes_back() -> None:
    header = Header(settings={"format": "csv", "sip_group_name": None}, tiles=[SPAN])
    assert json.loads(encode_entry(header))["layout"] == LAYOUT
    assert decode_header(encode_entry(header)) == header


def test_a_header_is_no_entry_nor_the_other_way_round() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entry(encode_entry(Header(settings={}, tiles=[])))
    with pytest.raises(msgspec.DecodeError):
        decode_header(encode_entry(CUT))


@pytest.mark.parametrize("show", [repr, pretty_repr])
def test_no_repr_shows_undecodable_bytes(show: object) -> None:
    assert callable(show)
    assert "2125550" not in show(WRITTEN)
