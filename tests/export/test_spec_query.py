"""The query as described in files; no repr shows it."""

import json
from datetime import timedelta

import msgspec
import pytest
from rich.pretty import pretty_repr

from aiosipcdr.export.masking import Pseudonyms, mask_number
from aiosipcdr.export.spec import ExportQuery, describe_query, query_metadata
from aiosipcdr.model.query import Filters
from tests.made_up_calls import START

END = START + timedelta(days=1)
FILTERS = Filters(sip_group_name="客服一组", phone_name="+12125550123")


def test_the_query_is_described_as_it_was_asked() -> None:
    reported = json.loads(query_metadata(describe_query(START, END, FILTERS, None, None))["aiosipcdr.query"])
    assert reported == {
        "start": "2026-10-01T08:30:00+08:00",
        "end": "2026-10-02T08:30:00+08:00",
        "sip_group_name": "客服一组",
        "phone_name": "+12125550123",
        "time_field": None,
        "assume_tz": None,
        "adjacent": False,
    }


def test_the_query_is_described_without_a_number_where_numbers_are_masked() -> None:
    masked = describe_query(START, END, FILTERS, "call_time", mask_number)
    assert (masked.phone_name, masked.time_field) == ("+1********23", "call_time")
    assert "2125550" not in query_metadata(masked)["aiosipcdr.query"]
    key = Pseudonyms(b"sandbox-key-of-16-bytes")
    assert describe_query(START, END, FILTERS, None, key).phone_name == key("+12125550123")
    assert describe_query(START, END, Filters(), None, mask_number).phone_name is None


@pytest.mark.parametrize("show", [repr, str, pretty_repr])
def test_no_repr_shows_a_filter(show: object) -> None:
    assert callable(show)
    query = describe_query(START, END, FILTERS, None, None)
    for shown in (show(query), show(query_metadata(query))):
        assert "2125550" not in shown
        assert "客服一组" not in shown
    assert "2026-10-01T08:30:00+08:00" in repr(query)


def test_a_query_comes_back_from_json() -> None:
    query = describe_query(START, END, FILTERS, "submit_time", None)
    assert msgspec.json.decode(msgspec.json.encode(query), type=ExportQuery) == query
