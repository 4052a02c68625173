"""Two charts of a month with pandas and matplotlib, cell by cell (`# %%`, as in notebook.py).

    python3 examples/plots.py --sandbox

draws them for generated calls of October 2026, into this folder or that of `--output`; without `--sandbox` for the
account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. In a notebook, write
`records = await fetch_month()`.

Needs: pip install "aiosipcdr[arrow]" pandas matplotlib
"""

# %% A month of calls
import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from sandboxed import sandbox_in_environment

from aiosipcdr import CallDetailRecords, CdrClient
from aiosipcdr.progress import ProgressDisplay

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


async def fetch_month() -> CallDetailRecords:
    """Fetch October 2026."""
    async with CdrClient.from_env(hook=ProgressDisplay()) as client:
        return await client.fetch_all(START, END)


parser = argparse.ArgumentParser()
parser.add_argument("--sandbox", action="store_true")
parser.add_argument("--output", type=Path, default=Path())
arguments = parser.parse_args()
with sandbox_in_environment(wanted=arguments.sandbox, start=START):
    records = asyncio.run(fetch_month())
print(records.report)

# %% Money as floats, which plot; times in the account's zone
frame = records.to_pandas(float_money=True)
frame["time"] = frame["submit_time"].dt.tz_convert("Asia/Shanghai")
frame["answered"] = frame["answer_time"].notna()
mpl.rcParams["svg.hashsalt"] = "calls"  # the same picture each time

# %% Calls of each day
days = frame.groupby([frame["time"].dt.day, "answered"]).size().unstack(fill_value=0)
days.columns = ["answered" if answered else "not answered" for answered in days.columns]
days.plot.bar(stacked=True, figsize=(9, 3), xlabel="October 2026", ylabel="calls", rot=0)
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
plt.tight_layout()
plt.savefig(arguments.output / "calls-by-day.svg", metadata={"Date": None})

# %% Cost of each hour, by currency: never added
hours = (
    frame.groupby([frame["time"].dt.hour, frame["currency"].fillna("none named")])["cost"].sum().unstack(fill_value=0)
)
hours.plot(figsize=(9, 3), xlabel="hour of the day", ylabel="cost")
plt.tight_layout()
plt.savefig(arguments.output / "cost-by-hour.svg", metadata={"Date": None})
