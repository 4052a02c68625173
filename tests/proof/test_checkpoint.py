"""What has become of a run: written down, read again, doubted from the right place on."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import WindowReport, WindowShare
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import (
    Checkpoint,
    Delivered,
    JournalEvent,
    JournalQueue,
    ReadWindow,
    Recounted,
    Trimmed,
    WindowSplit,
    first_stale_entry,
)
from aiosipcdr.proof.splits import SplitWindow
from tests.made_up_calls import START


def window(start: int, end: int) -> TimeWindow:
    return TimeWindow(START + timedelta(minutes=start), START + timedelta(minutes=end))


def delivered(start: int, end: int, *, certified: bool = True) -> Delivered:
    return Delivered(reported=WindowReport(window=window(start, end), certified=certified), share=WindowShare())


ENTRIES: list[JournalEvent | Delivered] = [
    WindowSplit(reported=WindowReport(window=window(0, 60), total=9), parts=[window(0, 20), window(20, 60)]),
    delivered(0, 20),
    WindowSplit(
        reported=WindowReport(window=window(20, 60), total=5), parts=[window(20, 40), window(40, 60)], is_repair=True
    ),
    delivered(20, 40),
    Recounted(window=window(0, 60), total=8),
    delivered(40, 60),
    Trimmed(kept_from=START),
]


def doubt(entries: list[JournalEvent | Delivered], *changed: TimeWindow, allow_incomplete: bool = False) -> int | None:
    return first_stale_entry(entries, allow_incomplete=allow_incomplete, changed=changed)


def test_proven_unchanged_windows_are_not_read_again() -> None:
    assert doubt(ENTRIES) is None
    assert doubt([]) is None
    assert doubt(ENTRIES, window(60, 90)) is None


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        (window(0, 20), 1),
        (window(20, 40), 3),
        (window(40, 60), 5),
        (window(20, 60), 3),
        (window(0, 60), 1),
        (window(-60, 90), 1),
    ],
)
def test_a_window_that_changed_is_doubted_from_the_first_of_its_parts_on(changed: TimeWindow, place: int) -> None:
    assert doubt(ENTRIES, changed) == place
    assert doubt(ENTRIES, window(90, 99), changed) == place


def test_a_window_that_is_only_touched_is_not_doubted() -> None:
    assert doubt(ENTRIES, window(1, 20), window(20, 39), window(30, 50)) is None


def test_a_split_window_is_not_read_again_itself() -> None:
    assert doubt(ENTRIES[:1], window(0, 60)) is None


def test_the_first_of_several_is_reported() -> None:
    assert doubt(ENTRIES, window(40, 60), window(20, 40)) == 3


def test_unproven_windows_are_read_again_unless_incomplete_is_allowed() -> None:
    entries: list[JournalEvent | Delivered] = [delivered(0, 20), delivered(20, 40, certified=False), delivered(40, 60)]
    assert doubt(entries) == 1
    assert doubt(entries, allow_incomplete=True) is None
    assert doubt(entries, window(0, 20)) == 0
    assert doubt(entries, window(40, 60), allow_incomplete=True) == 2


@pytest.mark.parametrize("trouble", ["quarantined", "faulty"])
def test_unreadable_records_are_read_again_in_strict_runs(trouble: str) -> None:
    odd = delivered(20, 40)
    if trouble == "quarantined":
        odd = msgspec.structs.replace(odd, reported=msgspec.structs.replace(odd.reported, quarantined=1))
    else:
        odd.share.faulty_fields["cost"] = 1
    entries: list[JournalEvent | Delivered] = [delivered(0, 20), odd, delivered(40, 60)]
    assert first_stale_entry(entries, allow_incomplete=True, changed=[], strict=True) == 1
    assert first_stale_entry(entries, allow_incomplete=True, changed=[]) is None


@given(st.lists(st.booleans()), st.lists(st.integers(0, 12), max_size=3))
def test_all_before_a_doubt_is_beyond_doubt(proofs: list[bool], changes: list[int]) -> None:
    entries: list[JournalEvent | Delivered] = [
        delivered(place, place + 1, certified=proof) for place, proof in enumerate(proofs)
    ]
    changed = [window(place, place + 1) for place in changes]
    place = doubt(entries, *changed)
    assert doubt(entries[:place], *changed) is None
    if place is not None:
        assert doubt(entries[place : place + 1], *changed) == 0


def test_entries_round_trip_through_json() -> None:
    again = msgspec.json.decode(msgspec.json.encode(ENTRIES), type=list[WindowSplit | Recounted | Trimmed | Delivered])
    assert again == ENTRIES
    assert list(map(type, again)) == list(map(type, ENTRIES))


@pytest.mark.parametrize("show", [repr, str, pretty_repr])
def test_a_checkpoint_shows_numbers_and_no_record(show: object) -> None:
    assert callable(show)
    record = CallDetailRecord(voice_id="1", callee="+12125550123")
    latest = ReadWindow(window=window(0, 1), ids={"1"}, records=[record])
    reported = show(Checkpoint(tiles=[window(0, 60)], entries=ENTRIES, latest=[latest]))
    assert "2125550" not in reported
    assert "7" in reported
    assert "2125550" not in show(latest)


def test_parts_of_a_split_may_be_requested_when_the_event_after_it_is_taken() -> None:
    queue = JournalQueue()
    assert not queue
    assert queue.take() is None
    one, two = (SplitWindow(window(0, 60), 9, 2) for _ in range(2))
    events = [ENTRIES[0], ENTRIES[6], ENTRIES[2]]
    for event, split in zip(events, (one, None, two), strict=True):
        assert not isinstance(event, Delivered)
        queue.add(event, split)
    assert len(queue) == 3
    assert (one.is_written, two.is_written) == (False, False)
    assert queue.take() is events[0]
    assert (one.is_written, two.is_written) == (False, False), "it is being written"
    assert queue.take() is events[1]
    assert (one.is_written, two.is_written) == (True, False)
    assert queue.take() is events[2]
    assert not two.is_written
    assert queue.take() is None
    assert two.is_written
