"""The rate is never exceeded, the burst is used, the gate holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.policy.pacing import Pacer, RatePolicy

ROUNDING = 1e-6

rates = st.floats(0.1, 1_000)
bursts = st.integers(1, 50)
pauses = st.lists(st.floats(0, 5) | st.just(0.0), min_size=1, max_size=150)


def send_all(pacer: Pacer, start: float, waits: list[float]) -> list[float]:
    """Send a request after every one of `waits`, each as early as the pacer lets it."""
    sent, now = [], start
    for wait in waits:
        now += wait
        now += pacer.decide_wait(now)
        assert pacer.decide_wait(now) <= ROUNDING
        pacer.take(now)
        sent.append(now)
    return sent


@given(rates, bursts, st.floats(-1e6, 1e6), pauses)
def test_no_span_of_time_holds_more_than_burst_and_rate(
    rate: float, burst: int, start: float, waits: list[float]
) -> None:
    sent = send_all(Pacer(RatePolicy(rate, burst)), start, waits)
    for first in range(len(sent)):
        for last in range(first, min(len(sent), first + 2 * burst + 2)):
            requests = last - first + 1
            assert requests <= burst + (sent[last] - sent[first]) * rate + ROUNDING * rate + ROUNDING


@given(rates, bursts)
def test_the_burst_goes_at_once_and_the_next_waits_for_one_interval(rate: float, burst: int) -> None:
    pacer = Pacer(RatePolicy(rate, burst))
    for _ in range(burst):
        assert pacer.decide_wait(100) == pytest.approx(0, abs=ROUNDING)
        pacer.take(100)
    assert pacer.decide_wait(100) == pytest.approx(1 / rate, rel=1e-3)


@given(rates, bursts, st.integers(1, 200))
def test_a_busy_client_gets_all_of_its_rate(rate: float, burst: int, requests: int) -> None:
    sent = send_all(Pacer(RatePolicy(rate, burst)), 0, [0.0] * requests)
    assert sent[-1] == pytest.approx(max(0, requests - burst) / rate, rel=1e-6, abs=ROUNDING)


def test_a_quiet_time_fills_the_burst_again_and_no_more() -> None:
    pacer = Pacer(RatePolicy(10, burst=3))
    send_all(pacer, 0, [0.0] * 3)
    sent = send_all(pacer, 1_000, [0.0] * 5)
    assert sent == pytest.approx([1_000, 1_000, 1_000, 1_000.1, 1_000.2])


def test_without_a_policy_only_the_gate_holds() -> None:
    pacer = Pacer(None)
    assert send_all(pacer, 5, [0.0] * 100) == [5] * 100
    pacer.block(8)
    assert pacer.decide_wait(5) == 3
    assert pacer.decide_wait(8) == 0
    assert pacer.decide_wait(9) == 0


def test_a_gate_is_never_shortened() -> None:
    pacer = Pacer(None)
    pacer.block(10)
    pacer.block(7)
    assert pacer.decide_wait(0) == 10
    pacer.block(12)
    assert pacer.decide_wait(0) == 12


def test_behind_a_gate_no_more_than_the_burst_has_gathered() -> None:
    pacer = Pacer(RatePolicy(1, burst=2))
    pacer.block(100)
    sent = send_all(pacer, 0, [0.0] * 4)
    assert sent == pytest.approx([100, 100, 101, 102])


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), float("-inf")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="requests_per_second"):
        RatePolicy(rate)


@pytest.mark.parametrize("burst", [0, -1])
def test_an_impossible_burst_is_refused(burst: int) -> None:
    with pytest.raises(ValueError, match="burst"):
        RatePolicy(1, burst)


def test_a_pacer_is_active_with_a_policy_or_after_a_pause_began() -> None:
    assert Pacer(RatePolicy(1)).is_active
    pacer = Pacer(None)
    assert not pacer.is_active
    pacer.block(5.0)
    assert pacer.is_active
    assert pacer.decide_wait(3.0) == 2
