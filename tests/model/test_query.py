"""A query is validated once, and shows no filter."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from aiosipcdr import ArgumentError, TimeWindow
from aiosipcdr.model.query import Filters, Query

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(hours=1)
PHONE = "447700900123"


def test_a_query_keeps_what_was_asked_and_widens_its_window_to_whole_seconds() -> None:
    end = END + timedelta(microseconds=1)
    query = Query.of(START, end, Filters.of("sales", PHONE), on_out_of_range="skip", time_field="call_time")
    assert (query.start, query.end) == (START, end)
    assert query.window == TimeWindow(START, END + timedelta(seconds=1))
    assert query.skip_out_of_range
    assert not Query.of(START, END, Filters()).skip_out_of_range


def test_a_query_cannot_be_changed() -> None:
    query = Query.of(START, END, Filters())
    with pytest.raises(AttributeError):
        query.start = END  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"end": START - timedelta(seconds=1)}, "the range is inverted"),
        ({"start": START.replace(tzinfo=None)}, "start is naive"),
        ({"on_out_of_range": "ignore"}, 'on_out_of_range must be "raise" or "skip", not \'ignore\''),
        (
            {"time_field": "submitTime"},
            'time_field must be "submit_time", "call_time", "ringing_time", "answer_time" or',
        ),
        ({"time_field": []}, "time_field must be"),
    ],
)
def test_an_invalid_argument_is_refused_with_advice(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Query.of(**{"start": START, "end": END, "filters": Filters(), **arguments})


@pytest.mark.parametrize("bad", ["", "  ", 5, b"x", f"{PHONE}\ud800"])
@pytest.mark.parametrize("name", ["sip_group_name", "phone_name"])
def test_a_filter_is_a_text_that_can_be_sent(name: str, bad: object) -> None:
    with pytest.raises(ArgumentError, match=name) as caught:
        Filters.of(**{name: bad})  # type: ignore[arg-type]
    assert PHONE not in str(caught.value)


def test_no_text_shows_a_filter() -> None:
    query = Query.of(START, END, Filters.of("sales", PHONE))
    for text in (repr(query), str(query), pretty_repr(query), repr(query.filters), pretty_repr(query.filters)):
        assert PHONE not in text
        assert "sales" not in text
    assert msgspec.structs.asdict(query)["filters"].phone_name == PHONE
