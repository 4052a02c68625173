"""Slots of a shared rate: never too many in any second, nearly all of the rate to whoever has work."""

import heapq
import random
from collections import deque
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.policy.leases import GRACE, LEAD, SlotClock, SlotPlanner
from aiosipcdr.policy.pacing import RatePolicy

TRANSIT = 0.001


def busiest_second(sent: list[float]) -> int:
    return max(sum(at <= other < at + 1 for other in sent) for at in sent)


def share(policy: RatePolicy, work: list[int], lateness: list[float]) -> list[list[float]]:
    """Let one client for each item of `work` send so many requests; return when each has sent."""
    planner, clocks = SlotPlanner(policy), [SlotClock(TRANSIT) for _ in work]
    sent: list[list[float]] = [[] for _ in work]
    queue: deque[tuple[int, float]] = deque()
    events = [(0.0, client) for client in range(len(work))]  # when each client asks for its next lease
    draw, now = random.Random(7), 0.0  # noqa: S311 - reproducible
    while events or queue:
        if queue and (not events or now + planner.decide_wait(now) <= events[0][0]):
            now += planner.decide_wait(now)
            client, asked = queue.popleft()
            offsets = planner.lease(min(8, work[client] - len(sent[client])), now)
            received = now + TRANSIT
            used = received
            slots = clocks[client].place(offsets, sent=asked, received=received, waited=now - asked)
            for slot in slots:
                used = max(used, slot) + draw.choice(lateness)
                if SlotClock.is_valid(slot, used):
                    sent[client].append(used)
            if len(sent[client]) < work[client]:
                heapq.heappush(events, (used, client))
        else:
            now, client = heapq.heappop(events)
            queue.append((client, now))
    return sent


def test_work_of_eight_to_one_to_one_uses_nine_tenths_of_the_rate_and_never_more() -> None:
    sent = share(RatePolicy(30), [240, 30, 30], [0.0, 0.002])
    every = sorted(at for client in sent for at in client)

    assert len(every) == 300
    assert 27 <= (len(every) - 1) / (every[-1] - every[0]) <= 30
    assert busiest_second(every) <= 30
    # While all three have work, they have equal shares; then the rest goes to the one that still has.
    first_ends = min(client[-1] for client in sent)
    assert [sum(at <= first_ends for at in client) for client in sent] == pytest.approx([30] * 3, abs=3)
    assert busiest_second([at for at in sent[0] if at > 5]) >= 27


@given(
    st.sampled_from([0.5, 1, 7.5, 30, 400]),
    st.integers(1, 3),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.lists(st.floats(0, 2 * GRACE), min_size=1, max_size=9).filter(lambda late: min(late) < GRACE / 2),
)
def test_no_second_holds_more_requests_than_the_rate_however_late_clients_are(
    rate: float, burst: int, work: list[int], lateness: list[float]
) -> None:
    sent = share(RatePolicy(rate, burst), work, lateness)

    assert [len(client) for client in sent] == work
    assert busiest_second([at for client in sent for at in client]) <= ceil(rate) + burst - 1


def test_a_lease_holds_no_slot_further_ahead_than_its_length() -> None:
    planner = SlotPlanner(RatePolicy(1000))
    offsets = planner.lease(500, 10.0)

    assert 0.9 * LEAD * 1000 < len(offsets) < 500
    assert offsets == sorted(offsets)
    assert offsets[-1] <= LEAD
    wait = planner.decide_wait(10.0)
    assert 0 < wait < 0.002
    assert planner.lease(1, 10.0 + wait) == pytest.approx([LEAD])


def test_slots_of_a_lease_that_was_delayed_on_its_way_are_not_used() -> None:
    clock = SlotClock(0.002)
    (slot,) = clock.place([0.03], sent=5.0, received=7.002, waited=2.0)
    assert slot == pytest.approx(7.032)
    assert SlotClock.is_valid(slot, 7.032 + GRACE - 0.001)
    assert not SlotClock.is_valid(slot, 7.032 + GRACE + 0.001)

    # The process was stopped for a second when the answer was there.
    (slot,) = clock.place([0.03], sent=8.0, received=9.002, waited=0.0)
    assert not SlotClock.is_valid(slot, 9.032)
