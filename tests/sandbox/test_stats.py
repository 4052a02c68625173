from aiosipcdr.sandbox.stats import Counters, Stats


def test_numbers_are_counted_and_start_again() -> None:
    counters = Counters()
    counters.arrived()
    counters.arrived()
    counters.left()
    counters.answered(0)
    counters.answered(-1)
    counters.read(300, 3)
    counters.read(100, 1)
    assert counters.snapshot() == Stats(
        requests=2, rows_read=400, deepest_page=3, peak_in_flight=2, answers={0: 1, -1: 1}
    )
    counters.reset()
    # One request is still being answered.
    assert counters.snapshot() == Stats(peak_in_flight=1)


def test_a_snapshot_stays_as_it_is() -> None:
    counters = Counters()
    before = counters.snapshot()
    counters.answered(0)
    assert before.answers == {}
