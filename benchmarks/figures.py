"""Does DuckDB find the same figures, to the last digit, in the same file?

Writes the synthetic calls of `summarizing.py` to a Parquet file, and prints the metrics of `summarize` and those of one
SQL query side by side. `tests/analytics/test_summary.py` compares them for the sandbox's calls.

    python3 benchmarks/figures.py [--calls 200000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import duckdb
from summarizing import make_calls

from aiosipcdr.analytics import summarize
from aiosipcdr.export import encode_rows, open_encoder

_ANSWERED = "answer_time is not null and call_duration > 0"
_QUERY = f"""
    with legs as (
        select epoch(answer_time)::bigint as moment, 1 as change from calls where {_ANSWERED}
        union all select epoch(hangup_time)::bigint, -1 from calls where {_ANSWERED}
    ),
    seconds as (select moment, sum(change) as change from legs group by moment),
    levels as (select sum(change) over (order by moment) as level from seconds),
    starts as (select count(*) as calls from calls group by date_trunc('second', submit_time))
    select
        count(*) as attempts,
        count(*) filter ({_ANSWERED}) as answered,
        count(*) filter ({_ANSWERED}) / count(*) as asr,
        (count(*) filter ({_ANSWERED} or termination_code in ('480', '486', '487', '600', '603'))) / count(*) as ner,
        avg(call_duration) filter ({_ANSWERED}) as acd,
        quantile_disc(epoch(ringing_time - submit_time)::bigint, 0.5) as pdd_median,
        quantile_disc(epoch(ringing_time - submit_time)::bigint, 0.95) as pdd_95,
        (select max(level) from levels)::bigint as most_at_once,
        (select max(calls) from starts) as most_a_second,
        (sum(call_duration) filter ({_ANSWERED}))::bigint as seconds,
        sum(charged_duration)::bigint as charged_seconds,
        (count(*) filter ({_ANSWERED} and call_duration < 6)) / count(*) filter ({_ANSWERED}) as short_share,
        (sum(cost) filter (currency is null))::decimal(38, 4) as cost,
        (sum(cost) filter (currency = 'EUR'))::decimal(38, 4) as cost_eur
    from calls
"""  # noqa: S608 - of this file's own texts


def write_calls(path: Path, count: int) -> None:
    """Write `count` calls to a Parquet file."""
    encoder = open_encoder("parquet")
    with path.open("wb") as file:
        file.write(encoder.begin())
        for batch in make_calls(count):
            file.write(encoder.encode(encode_rows(batch)))
        file.write(encoder.finish())


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=200_000)
    count = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "calls.parquet")
        write_calls(path, count)
        began = time.process_time()
        metrics = summarize(path, by=(), billing=False, hints=False).total
        cpu = time.process_time() - began
        answer = duckdb.from_parquet(str(path)).query("calls", _QUERY)
        (row,) = answer.fetchall()
    assert metrics.concurrent is not None
    assert metrics.starts is not None
    peak, busiest = metrics.concurrent.peak(), metrics.starts.peak()
    ours = {
        "attempts": metrics.attempts,
        "answered": metrics.answered,
        "asr": metrics.asr,
        "ner": metrics.ner,
        "acd": metrics.acd,
        "pdd_median": metrics.pdd(),
        "pdd_95": metrics.pdd(0.95),
        "most_at_once": peak and peak.calls,
        "most_a_second": busiest and busiest.calls,
        "seconds": metrics.seconds,
        "charged_seconds": metrics.charged_seconds,
        "short_share": metrics.short_share,
        "cost": metrics.by_currency[None].cost,
        "cost_eur": metrics.by_currency["EUR"].cost,
    }
    print(f"\n{count:,} calls; the summary took {cpu:.1f} s of CPU, reading the file included\n")
    print("| metric | summarize | DuckDB | equal |")
    print("|---|---:|---:|---|")
    for name, other in zip(answer.columns, row, strict=True):
        print(f"| {name} | {ours[name]} | {other} | {'yes' if ours[name] == other else 'NO'} |")
    assert tuple(ours.values()) == row


if __name__ == "__main__":
    main()
