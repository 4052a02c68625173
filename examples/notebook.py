"""A range in polars and DuckDB, cell by cell (`# %%`: VS Code, PyCharm and Jupytext show it as a notebook).

    python3 examples/notebook.py --sandbox

prints the tables for a week of generated calls; without `--sandbox` for the
account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.
The blocking client works in a notebook, too, where an event loop is running already.

Needs: pip install "aiosipcdr[arrow]" polars duckdb
"""

# %% A week of calls
import sys
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
from sandboxed import sandbox_in_environment

from aiosipcdr.blocking import BlockingCdrClient

with sandbox_in_environment(wanted="--sandbox" in sys.argv) as sandbox, BlockingCdrClient.from_env() as client:
    end = datetime.now(UTC) if sandbox is None else sandbox.end
    records = client.fetch_all(end - timedelta(days=7), end)

print(records.report)

# %% polars: how many calls of a group are answered, and how long they last
calls = pl.DataFrame(records.arrow)
print(
    calls.group_by("sip_group_name")
    .agg(
        pl.len().alias("calls"),
        pl.col("answer_time").is_not_null().mean().round(3).alias("answered"),
        pl.col("charged_duration").sum().alias("seconds"),
    )
    .sort("calls", descending=True)
)

# %% DuckDB: the exact cost of each day, in each currency of the quotes
week = records.arrow
print(
    duckdb.sql("""
        select submit_time::date as day, currency, count(*) as calls, sum(cost)::varchar as cost
        from week group by all order by all
    """)
)
