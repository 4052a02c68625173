"""The edge is found to the second, in few probes."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.errors import OutOfTimeRangeError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.retention import BoundarySearch
from tests.proof.made_up_pages import answer

START = datetime(2026, 10, 1, tzinfo=timezone(timedelta(hours=8)))


def search(length: int, edge: int) -> tuple[BoundarySearch, int]:
    window = TimeWindow(START, START + timedelta(seconds=length))
    found = BoundarySearch(window, Filters())
    probes = 0
    while (request := found.next_request()) is not None:
        assert found.next_request() is None
        assert not found.is_done
        assert request.size == 1
        assert window.start <= request.window.start <= request.window.end <= window.end
        assert request.window.seconds <= 2
        probes += 1
        assert probes < 100
        if request.window.start >= START + timedelta(seconds=edge):
            found.accept(request, answer())
        else:
            found.refuse(request, OutOfTimeRangeError("too old", status=-25))
    assert found.is_done
    return found, probes


@given(st.integers(2, 10**9), st.data())
def test_the_oldest_accepted_second_is_found(length: int, data: st.DataObject) -> None:
    edge = data.draw(st.integers(1, length - 2) if length > 2 else st.just(1))
    found, probes = search(length, edge)
    if length > 2:
        assert found.available_from == START + timedelta(seconds=edge)
        assert found.available_from is not None
        assert found.available_from.utcoffset() == timedelta(hours=8)
    assert probes <= 33


@given(st.integers(0, 10**9))
def test_nothing_to_be_had_is_known_after_one_probe(length: int) -> None:
    found, probes = search(length, length + 10)
    assert found.available_from is None
    assert probes == 1
    error = found.describe(can_skip=True)
    assert error.available_from is None
    assert error.status == -25
    assert "nothing" in str(error)


def test_the_error_says_from_when_on() -> None:
    found, _ = search(86_400, 3_600)
    error = found.describe(can_skip=True)
    assert error.available_from == datetime(2026, 9, 30, 17, tzinfo=UTC)
    assert error.window == TimeWindow(START, START + timedelta(days=1))
    assert "2026-10-01T01:00:00+08:00" in str(error)
