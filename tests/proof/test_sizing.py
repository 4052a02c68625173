"""Planning 100 million calls a day: parts, counts and windows, as the page on choosing says."""

import math
from datetime import UTC, datetime, timedelta

from aiosipcdr.model.query import Filters, Query
from aiosipcdr.model.windows import OVERLAP, TimeWindow, split_window
from aiosipcdr.proof.budget import WindowLimits
from aiosipcdr.proof.page import count_pages
from aiosipcdr.proof.parts import PartPlanner

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS = 100_000_000


def calls_before(at: datetime) -> int:
    # A wave with a peak of 1.8 times the mean at 15:00, and 0.2 times at 3:00.
    seconds = (at - START).total_seconds()
    turns = seconds / 86_400
    wave = 0.8 / (2 * math.pi) * (math.sin(2 * math.pi * (turns - 0.625)) - math.sin(-2 * math.pi * 0.625))
    return round(CALLS * (turns + wave))


def count(window: TimeWindow) -> int:
    return calls_before(window.end) - calls_before(window.start)


def test_a_day_of_100_million_calls_is_2000_parts_for_three_counts_each() -> None:
    query = Query.of(START, START + DAY, Filters())
    planner = PartPlanner(query, 50_000, now=START + 2 * DAY)
    counts = rounds = 0
    while due := planner.due:
        rounds += 1
        counts += len(due)
        planner.take({window: count(window) for window in due})
    parts = planner.build()

    assert len(parts) == 2_000
    assert sum(part.rows for part in parts) == CALLS
    assert max(part.rows for part in parts) < 87_500  # a piece has at most three quarters of a part
    assert min(part.rows for part in parts) > 12_500
    assert counts <= 3 * len(parts)
    assert rounds <= 4


def test_a_day_with_such_a_peak_costs_1_8_requests_for_100_calls() -> None:
    # Hours as they are split: times are whole seconds, and both bounds are included.
    limits, requests, largest = WindowLimits(), 0, 0
    waiting = [TimeWindow(START + hour * DAY / 24, START + (hour + 1) * DAY / 24) for hour in range(24)]
    while waiting:
        window = waiting.pop()
        rows = count(TimeWindow(window.start, window.end + OVERLAP))
        if rows > limits.max_rows(window):
            requests += 1
            waiting += split_window(window, limits.count_parts(window, rows))
        else:
            requests += count_pages(rows, 100) + 1
            largest = max(largest, rows)
    assert 1.7 < requests / CALLS * 100 < 1.8
    assert largest < 10_000
