import json
from itertools import product
from threading import Thread

import msgspec
import pytest

from aiosipcdr.sandbox import Fault, UnusedFaultsError
from aiosipcdr.sandbox.fault_queue import FaultQueue


def query(current: int = 1, size: int = 100, **params: str) -> bytes:
    return json.dumps({"current": current, "size": size, "params": params}).encode()


def taken(fault_queue: FaultQueue, *queries: bytes) -> list[str | None]:
    found = [fault_queue.take(body) for body in queries]
    return [scripted.fault.kind if scripted else None for scripted in found]


def test_a_page_is_the_requests_current() -> None:
    fault_queue = FaultQueue([Fault("cut", page=2)])
    assert taken(fault_queue, query(1), query(2), query(2)) == [None, "cut", None]


def test_an_attempt_is_counted_for_each_query_on_its_own() -> None:
    fault_queue = FaultQueue([Fault("cut", attempt=2, times=0)])
    other = query(1, sipGroupName="x")
    assert taken(fault_queue, query(1), query(2), other, query(1, 50), query(2), other, query(2)) == [
        *(None, None, None, None),
        *("cut", "cut", None),
    ]


def test_the_order_of_members_makes_no_other_query() -> None:
    fault_queue = FaultQueue([Fault("cut", attempt=2)])
    assert taken(fault_queue, b'{"size":100,"current":1}', b'{ "current": 1, "size": 100 }') == [None, "cut"]


def test_the_first_that_matches_is_taken_and_only_that_one() -> None:
    fault_queue = FaultQueue([Fault("reset", page=9), Fault("cut"), Fault("close", page=1), Fault("hang")])
    assert taken(fault_queue, *[query(1)] * 4) == ["cut", "close", "hang", None]
    assert fault_queue.left() == [Fault("reset", page=9)]


def test_times_are_counted_down_and_zero_is_every_time() -> None:
    fault_queue = FaultQueue([Fault("cut", times=2), Fault("reset", times=0)])
    assert fault_queue.left() == [Fault("cut", times=2)]
    assert taken(fault_queue, query()) == ["cut"]
    assert fault_queue.left() == [Fault("cut", times=1)]
    assert taken(fault_queue, *[query()] * 50) == ["cut"] + ["reset"] * 49
    assert fault_queue.left() == []


@pytest.mark.parametrize(("control", "expected"), [(True, ["cut", None]), (False, [None, "cut"]), (None, ["cut"] * 2)])
def test_control_counts_are_distinguished_from_pages(expected: list[str | None], *, control: bool | None) -> None:
    assert taken(FaultQueue([Fault("cut", control=control, times=0)]), query(1, 1), query(1, 100)) == expected


@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b"\xff", b"[" * 100_000, b'{"current": "1", "size": null}'])
def test_a_body_without_a_query_has_no_page_but_attempts(body: bytes) -> None:
    fault_queue = FaultQueue([Fault("cut", page=1), Fault("close", control=True), Fault("reset", attempt=2)])
    assert taken(fault_queue, body, body) == [None, "reset"]


def test_a_fault_that_is_put_back_waits_again() -> None:
    fault_queue = FaultQueue([Fault("cut")])
    scripted = fault_queue.take(query())
    assert scripted is not None
    assert fault_queue.left() == []
    fault_queue.put_back(scripted)
    assert fault_queue.left() == [Fault("cut")]
    assert taken(fault_queue, query(), query()) == ["cut", None]


def test_nothing_but_faults_is_queued() -> None:
    fault_queue = FaultQueue()
    with pytest.raises(TypeError, match=r"aiosipcdr\.sandbox\.Fault; not dict"):
        fault_queue.add([Fault("cut"), {"kind": "cut"}])  # type: ignore[list-item]
    assert fault_queue.empty
    fault_queue.add([Fault("cut", times=0)])
    assert not fault_queue.empty


def test_any_thread_may_add() -> None:
    fault_queue = FaultQueue()

    def add(first: int) -> None:
        for page in range(first, first + 50):
            fault_queue.add([Fault("cut", page=page)])

    threads = [Thread(target=add, args=(first,)) for first in (1, 51, 101, 151)]
    for thread in threads:
        thread.start()
    came = 0
    while came < 200:
        came += sum(kind == "cut" for kind in taken(fault_queue, *map(query, range(1, 201))))
        assert all(isinstance(fault, Fault) for fault in fault_queue.left())
    for thread in threads:
        thread.join()
    assert fault_queue.left() == []


def test_unused_faults_are_named() -> None:
    faults = [Fault(kind, page=page, attempt=3) for kind, page in product(("cut", "reset"), (1, 2))]
    error = UnusedFaultsError(faults)
    assert isinstance(error, AssertionError)
    assert error.faults == faults
    assert "cut (page 1, attempt 3); cut (page 2, attempt 3); reset (page 1, attempt 3)" in str(error)
    assert msgspec.structs.asdict(error.faults[0])["kind"] == "cut"
