"""Are ranges certified whose calls still arrive?

A sandbox lists calls as time passes, at the rate of the case: when they are submitted or when they have ended. Each
run fetches a range that ends now or in the future, over sockets, with a client as it comes. A run counts when it is
certified and holds every call that was listed when it began; its windows are provisional.
Run: python3 benchmarks/live_ranges.py [--runs 25] [--only TEXT] [--lasts 60]
"""

import argparse
import asyncio
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from course.figures import describe_machine, print_table

from aiosipcdr import CdrClient, IncompleteRangeError
from aiosipcdr.sandbox import Sandbox

STEP = 0.05
FIELDS = {"hangupTime": "ended", "submitTime": "submitted"}


@dataclass(frozen=True)
class Case:
    """A range around now, and the calls a second in it."""

    name: str
    rate: int
    before: int
    after: int


CASES = (
    Case("the last 10 minutes, 100 a second", 100, 600, 0),
    Case("the last 2 hours and 6 to come, 50 a second", 50, 7_200, 21_600),
    Case("the last minute and 10 to come, 100 a second", 100, 60, 600),
)
# When a call is listed, and the time that ranges select on.
HABITS = (("ended", "hangupTime"), ("submitted", "submitTime"), ("ended", "submitTime"))


class Traffic:
    """Calls that a thread lists while a client reads."""

    def __init__(self, sandbox: Sandbox, case: Case, shown: str, field: str, lasts: float) -> None:
        """Fill the sandbox with the calls before now."""
        self._sandbox = sandbox
        self._rate = case.rate
        self._late = shown == "ended" and FIELDS[field] == "submitted"
        self._lasts = lasts
        self._random = random.Random(7)
        self._stopped = threading.Event()
        now = int(time.time())
        before = now - case.before - int(5 * lasts)
        for second in range(before, now):
            calls = Counter(self._second(second) for _ in range(case.rate))
            self._list({at: number for at, number in calls.items() if at >= before})
        self._thread = threading.Thread(target=self._go_on, args=(float(now),))

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stopped.set()
        self._thread.join()

    def _second(self, listed: float) -> int:
        return int(listed - (self._random.expovariate(1 / self._lasts) if self._late else 0.0))

    def _list(self, calls: dict[int, int]) -> None:
        for second, number in calls.items():
            self._sandbox.insert(datetime.fromtimestamp(second, UTC), count=number)

    def _go_on(self, listed: float) -> None:
        while not self._stopped.wait(STEP):
            calls: Counter[int] = Counter()
            while (listed := listed + self._random.expovariate(self._rate)) < time.time():
                calls[self._second(listed)] += 1
            self._list(calls)


async def read(sandbox: Sandbox, case: Case) -> tuple[bool, int, float, str]:
    """Fetch the range once; return whether that was well, the requests, the seconds, and what was wrong."""
    now = datetime.now(UTC)
    start, end = now - timedelta(seconds=case.before), now + timedelta(seconds=case.after)
    there = set(sandbox.voice_ids(start + timedelta(seconds=2), now - timedelta(seconds=2)))
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        try:
            records = await client.fetch_all(start, end)
        except IncompleteRangeError as error:
            return False, error.report.requests, error.report.elapsed, str(error)
    report = records.report
    lost = len(there - {record.voice_id for record in records})
    good = report.certified and report.provisional > 0 and not lost
    return good, report.requests, report.elapsed, f"{lost} calls lost" if lost else ""


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    parser.add_argument("--lasts", type=float, default=60.0, help="mean seconds of a call")
    given = parser.parse_args()
    print(f"calls last {given.lasts:g} s on average; {describe_machine()}\n")
    rows = []
    for case in CASES:
        if given.only not in case.name:
            continue
        for shown, field in HABITS:
            with (
                Sandbox(records=0, time_field=field) as sandbox,  # type: ignore[arg-type]
                Traffic(sandbox, case, shown, field, given.lasts),
            ):
                results = []
                for _ in range(given.runs):
                    results.append(asyncio.run(read(sandbox, case)))
                    print(f"{shown}, {field}: {results[-1]}", file=sys.stderr, flush=True)
            wrong = Counter(why for good, _, _, why in results if not good)
            rows.append(
                (
                    f"{case.name}; listed when {shown}, selected by {field}",
                    f"{sum(good for good, *_ in results)} of {given.runs}",
                    f"{median(requests for _, requests, *_ in results):.0f}",
                    f"{median(seconds for _, _, seconds, _ in results):.1f}",
                    f"{max(seconds for _, _, seconds, _ in results):.1f}",
                )
            )
            for why, times in wrong.most_common(3):
                print(f"{times} × {why[:200]}", flush=True)
    print_table(("range", "certified", "requests, median", "seconds, median", "most"), rows)


if __name__ == "__main__":
    main()
