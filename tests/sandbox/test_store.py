# ruff: noqa: S311 - seeded on purpose
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.sandbox.calls import Row
from aiosipcdr.sandbox.config import Order
from aiosipcdr.sandbox.store import Selection, Store

EVERYTHING = Selection(0, 10**6)


def row(number: int, second: int, group: str = "g", phone: str = "p") -> Row:
    return Row(second, second, f"id{number}", group, phone, b'{"n":%d}' % number)


def filled(rows: list[Row]) -> Store:
    store = Store(":memory:")
    store.fill([rows])
    return store


@pytest.fixture
def opened() -> Iterator[Callable[[list[Row]], Store]]:
    stores = []

    def make(rows: list[Row]) -> Store:
        stores.append(filled(rows))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@given(
    seconds=st.lists(st.integers(1, 30), max_size=40).map(sorted),
    since=st.integers(0, 31),
    length=st.integers(0, 31),
    part=st.tuples(st.integers(0, 45), st.integers(1, 12)),
    order=st.sampled_from(["newest", "oldest"]),
)
def test_the_short_way_and_plain_sql_give_the_same_pages(
    seconds: list[int], since: int, length: int, part: tuple[int, int], order: Order
) -> None:
    store = filled([row(n, s) for n, s in enumerate(seconds)])
    try:
        selection, rng = Selection(since, since + length), Random(1)
        short = store.count(selection), store.page(selection, order, *part, rng)
        store.add([])  # from here on there might be gaps
        assert (store.count(selection), store.page(selection, order, *part, rng)) == short
    finally:
        store.close()


@pytest.mark.parametrize("with_gaps", [False, True])
@pytest.mark.parametrize("order", ["newest", "oldest", "scattered"])
def test_pages_in_a_fixed_order_are_the_whole(
    opened: Callable[[list[Row]], Store], order: Order, *, with_gaps: bool
) -> None:
    store = opened([row(n, n // 3 + 1) for n in range(25)])
    if with_gaps:
        store.remove(["id3", "id7"])
    bodies = [b for p in range(4) for b in store.page(EVERYTHING, order, p * 7, 7, Random(1))]
    assert sorted(bodies) == sorted(store.bodies())
    assert (bodies == store.bodies()) == (order == "oldest")


def test_no_order_is_another_one_each_time(opened: Callable[[list[Row]], Store]) -> None:
    store, rng = opened([row(n, n) for n in range(50)]), Random(1)
    first, again = (store.page(EVERYTHING, "none", 0, 50, rng) for _ in range(2))
    assert first != again
    assert sorted(first) == sorted(again) == sorted(store.bodies())
    assert len(store.page(EVERYTHING, "none", 45, 10, rng)) == 5
    assert store.page(EVERYTHING, "none", 50, 10, rng) == []


def test_filters_are_exact_or_loose(opened: Callable[[list[Row]], Store]) -> None:
    store = opened([row(1, 5, "Alpha", "p1"), row(2, 6, "alpha ", "p2"), row(3, 7, "Beta", "p1")])
    assert store.count(Selection(0, 9, group="Alpha")) == 1
    assert store.count(Selection(0, 9, group="ALPHA", loose=True)) == 2
    assert store.count(Selection(0, 9, group="Alpha", phone="p2")) == 0
    assert store.count(Selection(0, 9, phone="p1")) == 2
    assert store.count(Selection(6, 9, phone="p1")) == 1


def test_one_call_is_removed_at_random(opened: Callable[[list[Row]], Store]) -> None:
    store = opened([row(n, n) for n in range(10)])
    store.remove_one(Selection(3, 6), Random(1))
    assert store.count(EVERYTHING) == 9
    assert store.count(Selection(3, 6)) == 2
    store.remove_one(Selection(90, 91), Random(1))
    assert store.count(EVERYTHING) == 9


def test_a_repeated_id_is_removed_with_all_its_rows(opened: Callable[[list[Row]], Store]) -> None:
    store = opened([row(1, 5), row(1, 5), row(2, 6)])
    assert store.remove(["id1", "unknown"]) == 2
    assert store.voice_ids() == ["id2"]


def test_ranges_may_look_at_another_time_than_the_order() -> None:
    store = Store(":memory:", by_submission=False)
    try:
        rows = [Row(1, 9, "a", None, None, b"1"), Row(2, 8, "b", None, None, b"2")]
        store.fill([[*rows, Row(3, None, "c", None, None, b"3")]])
        assert store.count(Selection(8, 10)) == 2
        assert store.page(Selection(8, 10), "oldest", 0, 9, Random(1)) == [b"1", b"2"]
        assert store.newest(Selection(0, 99)) == 9
        assert store.newest(Selection(50, 99)) is None
        assert store.voice_ids() == ["a", "b", "c"]
    finally:
        store.close()


def test_a_file_is_made_and_kept_but_none_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite3"
    Store(path).close()
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        Store(path)


def test_a_temporary_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store("temp")
    store.fill([[row(1, 1)]])
    assert list(tmp_path.iterdir())
    store.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["newest", "oldest", "scattered"])
def test_a_cached_listing_is_dropped_when_a_call_is_added_or_removed(
    opened: Callable[[list[Row]], Store], order: Order
) -> None:
    rows = [row(second, second) for second in range(50)]
    store = opened(rows)
    store.add([row(60, 60)])  # from here on row numbers are no order any more
    selection = Selection(0, 100)
    rng = Random(1)

    def listing() -> list[bytes]:
        return [body for offset in range(0, 60, 7) for body in store.page(selection, order, offset, 7, rng)]

    for _ in range(3):
        assert store.count(selection) == len(listing()) == len(set(listing())) == 51
        assert listing() == listing()
    store.add([row(61, 61)])
    assert store.count(selection) == len(set(listing())) == len(set(listing())) == 52
    store.remove_one(selection, rng)
    assert store.count(selection) == len(set(listing())) == len(set(listing())) == 51


def test_late_rows_and_a_shard_can_be_left_out(opened: Callable[[list[Row]], Store]) -> None:
    store, rng = opened([row(n, n) for n in range(8)]), Random(1)
    before = monotonic()
    store.add([row(8, 8)])
    late = Selection(0, 99, added_until=before - 1)
    assert (store.count(late), len(store.page(late, "newest", 0, 99, rng))) == (8, 8)
    assert store.count(Selection(0, 99, added_until=monotonic())) == 9
    shard = Selection(0, 99, lacks_shard=True)
    assert store.count(shard) == 7
    for order in get_args(Order):
        assert sorted(store.page(shard, order, 0, 99, rng)) == sorted(store.bodies(shard))


def test_one_call_is_changed_at_random(opened: Callable[[list[Row]], Store]) -> None:
    store, rng = opened([row(n, n) for n in range(5)]), Random(1)
    store.change_one(Selection(2, 3), rng, lambda body: body + b"!")
    store.change_one(Selection(50, 60), rng, lambda body: body + b"?")
    assert store.bodies() == [b'{"n":0}', b'{"n":1}', b'{"n":2}!', b'{"n":3}', b'{"n":4}']
    assert store.page(EVERYTHING, "oldest", 2, 1, rng) == [b'{"n":2}!']
