"""The shared second of two windows: a row is dropped if it is the same row, and legs are not."""

from datetime import datetime, timedelta

import msgspec
import pytest

from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord, Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.budget import Budget
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.overlaps import EarlierWindow, OverlapReader, Repeats, identity
from aiosipcdr.proof.window import WindowReader
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import START, accept
from tests.proof.simulated_vendor import ages_of


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def row(second: float | None, *, lasts: float | None = None, voice_id: str = "a", **fields: object) -> CallDetailRecord:
    times = {} if second is None else {"submit_time": at(second)}
    if second is not None and lasts is not None:
        times["hangup_time"] = at(second + lasts)
    return CallDetailRecord(voice_id=voice_id, **times, **fields)  # type: ignore[arg-type]


def read(first: int, last: int, *rows: CallDetailRecord, broken: tuple[str, ...] = ()) -> WindowReader:
    proof = WindowReader(
        TimeWindow(at(first), at(last)),
        Filters(),
        size=100,
        max_rows=2_000,
        budget=Budget(),
        ages=ages_of(),
        is_part=True,
    )
    quarantined = [
        QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity) for identity in broken
    ]
    page = Page(total=len(rows) + len(broken), size=100, current=1, pages=1, records=list(rows))
    while (request := proof.next_request()) is not None:
        assert accept(proof, request, PageAnswer(page=page, quarantined=quarantined)) is None
    assert proof.report.certified
    return proof


def earlier(first: int, last: int, *rows: CallDetailRecord, broken: tuple[str, ...] = ()) -> EarlierWindow:
    return EarlierWindow(at(last), read(first, last, *rows, broken=broken).scan, ())


def compare(
    before: list[CallDetailRecord], now: list[CallDetailRecord], fields: tuple[str, ...] = TIME_FIELDS
) -> Repeats:
    return Repeats(read(10, 21, *now), [earlier(0, 11, *before)], fields, identity)


def test_the_same_row_is_repeated_and_another_leg_of_its_call_is_not() -> None:
    early, late = row(10.5), row(15)
    repeats = compare([early], [early, late])
    assert (repeats.keys, repeats.is_doubtful, repeats.conflicts) == ({early}, False, 0)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (row(5), row(15)),  # far from the shared second on both sides
        (row(5), row(10.5)),  # the earlier window would hold this one, too, if it had been there
        (row(10.5), row(15)),
        (row(3, lasts=7.5), row(10.5, lasts=8)),  # it begins when the other one ends
    ],
)
def test_legs_that_cannot_be_one_row_need_no_other_reading(before: CallDetailRecord, now: CallDetailRecord) -> None:
    repeats = compare([before], [now])
    assert (repeats.keys, repeats.is_doubtful) == (set(), False)


def test_an_account_whose_time_field_is_known_is_compared_by_that_one() -> None:
    before, now = row(3, lasts=7.5), row(10.2, lasts=0.5)
    assert compare([before], [now]).is_doubtful  # both end in the shared second
    assert not compare([before], [now], ("submit_time",)).is_doubtful
    assert compare([before], [now], ("hangup_time",)).is_doubtful


X, Y, Z = (row(10.5, code=code) for code in "xyz")


@pytest.mark.parametrize("undated", [False, True])
@pytest.mark.parametrize(
    ("there", "repeated"),
    [
        ([X, Y], False),  # two legs
        ([X], True),  # Y became X
        ([Y], False),  # X lies behind the shared second
        ([], False),  # both lie beside it
    ],
)
def test_rows_that_may_be_one_are_decided_by_another_reading(
    there: list[CallDetailRecord],
    repeated: bool,  # noqa: FBT001
    undated: bool,  # noqa: FBT001
) -> None:
    x, y = (row(None, code=code) if undated else row(10.5, code=code) for code in "xy")
    repeats = compare([y], [x])
    assert repeats.is_doubtful
    assert repeats.keys == set()
    assert repeats.doubtful_ids == {"a"}
    assert repeats.decide([x if one is X else y for one in there] + [row(10.5, voice_id="b")], is_later=True)
    assert not repeats.is_doubtful
    assert (repeats.keys, repeats.conflicts) == (({"a"}, 1) if repeated else (set(), 0))


def test_a_row_that_has_changed_once_more_decides_nothing() -> None:
    repeats = compare([Y], [X])
    assert not repeats.decide([Z], is_later=True)
    assert repeats.is_doubtful
    # Two rows for one that is gone: which of them it has become is unknown.
    repeats = compare([Y], [X, Z])
    assert not repeats.decide([X, Z], is_later=True)
    repeats = compare([Y], [X, Z])
    assert repeats.decide([X, Y, Z], is_later=True)
    assert repeats.keys == set()


def test_a_row_that_is_not_there_may_be_the_older_version_where_its_window_was_read_first() -> None:
    for there, decides in (([Y], False), ([X, Y], True), ([X], True), ([], True)):
        assert compare([Y], [X]).decide(there, is_later=False) is decides


def test_an_undecided_pair_is_taken_for_a_row_that_changed() -> None:
    repeats = compare([Y], [X])
    repeats.drop_doubts()
    assert (repeats.keys, repeats.conflicts, repeats.is_doubtful) == ({"a"}, 1, False)


def test_two_rows_of_one_id_in_one_window_are_different_rows() -> None:
    repeats = compare([Y], [X, Y])
    assert (repeats.keys, repeats.is_doubtful) == ({Y}, False)


def test_a_row_that_a_third_window_has_handed_over_is_in_no_doubt() -> None:
    window = read(10, 21, X)
    repeats = Repeats(window, [earlier(8, 10, Y), earlier(9, 11, X)], TIME_FIELDS, identity)
    assert (repeats.keys, repeats.is_doubtful) == ({"a"}, False)
    assert [keys for _, keys in repeats.by_window] == [set(), {"a"}]


def test_a_row_that_could_not_be_decoded_before_is_the_same_if_it_may_lie_in_the_shared_second() -> None:
    for second, keys in ((10.5, {"a"}), (15, set()), (None, {"a"})):
        repeats = Repeats(read(10, 21, row(second)), [earlier(0, 11, broken=("a",))], TIME_FIELDS, identity)
        assert (repeats.keys, repeats.is_doubtful) == (keys, False)


def test_rows_of_an_earlier_run_are_compared_as_they_were_exported() -> None:
    def normalize(record: CallDetailRecord) -> CallDetailRecord:
        return msgspec.structs.replace(record, callee="***")

    now, changed, other = (row(10.5, callee="12", code=code) for code in "xyz")
    window = TimeWindow(at(0), at(11))
    for before, there, keys, is_doubtful in (
        (now, [], {"a"}, False),
        (changed, [now], {"a"}, True),
        (changed, [now, changed], set(), True),
    ):
        exported = ReadWindow(window=window, ids={"a"}, records=[normalize(before)])
        repeats = Repeats(read(10, 21, now), [EarlierWindow(window.end, exported, ())], TIME_FIELDS, normalize)
        assert repeats.is_doubtful is is_doubtful
        assert repeats.decide(there, is_later=True)
        assert repeats.keys == keys
    repeats = Repeats(read(10, 21, now), [EarlierWindow(window.end, exported, ())], TIME_FIELDS, normalize)
    assert not repeats.decide([other], is_later=True)


def test_the_reading_that_decides_holds_all_that_two_windows_share_whatever_the_bounds_mean() -> None:
    part = read(10, 21)
    proof = OverlapReader(
        part, filters=Filters(), size=100, max_rows=2_000, budget=Budget(), ages=ages_of(), is_part=True
    )
    assert (proof.window, proof.part) == (TimeWindow(at(9), at(11)), part)
