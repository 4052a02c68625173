"""What does a summary cost, in time and memory, for a month of calls?

Synthetic calls are made in batches and thrown away, so memory is that of the summary alone. Each line is a process of
its own; the line "calls alone" makes them and summarizes none, and the others are shown beyond it.

    python3 benchmarks/summarizing.py [--calls 1000000]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from aiosipcdr.analytics import summarize
from aiosipcdr.analytics.billing import round_up_seconds
from aiosipcdr.cli.summary import peak_memory
from aiosipcdr.model.records import CallDetailRecord

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 31
TASKS: dict[str, dict[str, Any] | None] = {
    "calls alone": None,
    "metrics": {"by": (), "billing": False, "hints": False},
    "metrics by code, day, group, hour and weekday": {
        "by": ("code", "day", "sip_group_name", ("weekday", "hour")),
        "billing": False,
        "hints": False,
    },
    "metrics by code, billing audit, hints": {"by": ("code",)},
}


def make_calls(count: int) -> Iterator[list[CallDetailRecord]]:
    """Yield batches of calls: 400 destinations, 40 rates, 60 % answered, costs rounded half up to four places."""
    rng = Random(1)
    rates = [Decimal(rng.randrange(1, 2_000)).scaleb(-4) for _ in range(40)]
    periods = ("60+60", "1+1", "6+6", "30+6")
    costs: dict[tuple[int, int], Decimal] = {}
    for first in range(0, count, 1_000):
        batch = []
        for number in range(first, min(first + 1_000, count)):
            place = int(rng.random() ** 2 * 400)
            submitted = START + timedelta(seconds=number * DAYS * 86_400 // count)
            rang = submitted + timedelta(seconds=1 + int(rng.random() * 5))
            answer = rang + timedelta(seconds=int(rng.random() * 25)) if rng.random() < 0.6 else None
            duration = min(7_200, int(rng.lognormvariate(4.3, 1.1))) if answer else 0
            period, rate = periods[place % 4], rates[place % 40]
            charged = round_up_seconds(duration, period) or 0
            cost = costs.get((charged, place % 40))
            if cost is None:
                cost = costs[charged, place % 40] = (charged * rate / 60).quantize(Decimal("0.0001"), "ROUND_HALF_UP")
            batch.append(
                CallDetailRecord(
                    voice_id=str(2_610_010_000_000_000_000 + number),
                    sip_group_name=f"group {place % 12}",
                    phone_name=f"phone {int(rng.random() * 200)}",
                    callee=f"44770090{int(rng.random() * 10_000):04}",
                    code=f"destination {place}",
                    submit_time=submitted,
                    ringing_time=rang,
                    answer_time=answer,
                    hangup_time=(answer or rang) + timedelta(seconds=duration),
                    call_duration=duration,
                    charged_duration=charged,
                    termination_code="200" if answer else "487",
                    cost=cost,
                    bill_period=period,
                    rate=rate,
                    currency="EUR" if place % 5 else None,
                )
            )
        yield batch


def work(task: str, calls: int) -> dict[str, float]:
    """Do one task in this process; return its CPU seconds and peak memory in MB."""
    options = TASKS[task]
    began = time.process_time()
    if options is None:
        for _ in make_calls(calls):
            pass
        result = 0.0
    else:
        summary = summarize(make_calls(calls), **options)
        ended = time.process_time()
        assert summary.total.attempts == calls
        if summary.billing is not None:
            audit = summary.billing.result()
            assert (audit.checked, audit.mismatched) == (calls, 0)
        if summary.hints is not None:
            summary.hints.find()
        result = time.process_time() - ended
        began += result
    return {"cpu": time.process_time() - began, "result": result, "peak": (peak_memory() or 0) / 1e6}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--child", choices=TASKS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(work(given.child, given.calls)))
        return
    print(f"\n{given.calls:,} calls\n")
    print("| task | CPU s | µs a call | reading the result, CPU s | peak MB |")
    print("|---|---:|---:|---:|---:|")
    alone: dict[str, float] = {"cpu": 0, "peak": 0}
    for task, options in TASKS.items():
        child = [sys.executable, __file__, "--child", task, "--calls", str(given.calls)]
        found = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
        cpu, peak = found["cpu"] - alone["cpu"], found["peak"] - alone["peak"]
        each = cpu / given.calls * 1e6
        print(f"| {task} | {cpu:.1f} | {each:.1f} | {found['result']:.1f} | {peak:.0f} |", flush=True)
        if options is None:
            alone = found


if __name__ == "__main__":
    main()
