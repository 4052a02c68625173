"""The bar: true numbers, never beyond 100 %, and silence where there is no terminal."""

import io
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.cli.progress import FetchProgress, ProgressState, waiting
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.windows import TimeWindow

START = datetime(2026, 10, 1, tzinfo=UTC)
TWO_DAYS = 2 * 86_400
FIRST = TimeWindow(START, START + timedelta(days=1))
SECOND = TimeWindow(START + timedelta(days=1) - timedelta(seconds=1), START + timedelta(days=2))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def planned(window: TimeWindow, total: int) -> Event:
    return Event(kind=EventKind.WINDOW_PLANNED, run=1, window=window, total=total)


def complete(records: int) -> Event:
    return Event(kind=EventKind.WINDOW_COMPLETE, run=1, window=FIRST, records=records)


def test_before_anything_is_known_there_is_no_total() -> None:
    assert ProgressState(TWO_DAYS).total is None


def test_the_rest_of_the_range_is_estimated_until_it_is_known() -> None:
    state = ProgressState(TWO_DAYS)
    state.update(planned(FIRST, 100))
    assert state.total == 200
    state.update(planned(SECOND, 30))
    assert state.total == 130


def test_progress_includes_an_earlier_run() -> None:
    state = ProgressState(TWO_DAYS)
    state.update(Event(kind=EventKind.RUN_STARTED, run=1, records=70))
    state.update(planned(FIRST, 100))
    state.update(complete(30))
    assert (state.records, state.total, state.windows) == (100, 200, 1)


def test_the_last_line_has_the_final_numbers() -> None:
    state = ProgressState(TWO_DAYS)
    state.update(planned(FIRST, 100))
    state.update(complete(60))
    state.finished = True
    assert (state.records, state.total, state.windows) == (60, 60, 1)


def test_waiting_and_trying_again_are_noted_until_the_next_window() -> None:
    state = ProgressState(TWO_DAYS)
    state.update(Event(kind=EventKind.THROTTLED, run=1, delay=3.0))
    assert "3.0 s" in state.note
    state.update(Event(kind=EventKind.REQUEST_RETRIED, run=1, error="RequestTimeoutError"))
    assert "RequestTimeoutError" in state.note
    state.update(complete(1))
    assert state.note == ""


events = st.one_of(
    st.builds(planned, st.sampled_from([FIRST, SECOND]), st.integers(0, 10**7)),
    st.builds(complete, st.integers(0, 10**7)),
)


@given(st.lists(events), st.sampled_from([0, 1, TWO_DAYS]))
def test_the_bar_never_runs_over(reported: list[Event], seconds: int) -> None:
    state = ProgressState(seconds)
    for event in reported:
        state.update(event)
        assert state.total is None or state.records <= state.total


def test_a_terminal_sees_calls_windows_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    with FetchProgress("fetching", FIRST.seconds) as progress:
        progress(planned(FIRST, 2_000))
        progress(complete(1_500))
        assert progress._progress is not None
        progress._progress.refresh()
        progress(complete(500))
    shown = terminal.getvalue()
    assert re.search(r"1,500/2,000 calls, 1 window\b", shown)
    assert "2,000/2,000 calls, 2 windows" in shown
    assert "100%" in shown
    assert "\x1b[3" not in shown  # no colours


@pytest.mark.parametrize("term", [None, "dumb"])
def test_nothing_is_drawn_where_nothing_can_be(monkeypatch: pytest.MonkeyPatch, term: str | None) -> None:
    stream = Terminal() if term else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term or "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with waiting("making up calls"), FetchProgress("fetching", FIRST.seconds) as progress:
        progress(planned(FIRST, 10))
        progress(complete(10))
    assert stream.getvalue() == ""
