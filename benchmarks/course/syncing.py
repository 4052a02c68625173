"""One sync in a process of its own: ours, or dlt's `incremental` with a lag into DuckDB.

Reads its task as JSON from stdin, prints the seconds of CPU and what it reports as JSON. Run by benchmarks/syncing.py.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

LAG = 3 * 86_400
SIZE = 100


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """Sync with this package."""
    import asyncio
    from datetime import datetime, timedelta

    from aiosipcdr import CdrClient

    async def sync() -> dict[str, Any]:
        async with CdrClient(task["base_url"], task["key"], task["secret"]) as client:
            report = await client.sync(
                task["url"],
                since=datetime.fromisoformat(task["since"]),
                lookback=timedelta(days=task["lookback"]),
                deep=task["deep"],
            )
            return {"certified": report.certified, "text": str(report)}

    return asyncio.run(sync())


def dlt(task: dict[str, Any]) -> dict[str, Any]:
    """Load with dlt: cursor and primary key as its documentation advises, three days of lag, rows merged."""
    import hashlib

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # a benchmark talks to loopback alone
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt
    from dlt.sources.helpers import requests

    key, secret = task["key"], task["secret"]

    @dlt.resource(name="calls", primary_key="voiceId", write_disposition="merge")
    def calls(
        cursor: Any = dlt.sources.incremental("submitTime", initial_value=task["since"], lag=LAG),  # noqa: ANN401, B008
    ) -> Iterator[list[dict[str, Any]]]:
        params = {"strTime": cursor.start_value, "endTime": task["until"]}
        current, pages = 1, 1
        while current <= pages:
            timestamp = str(int(time.time()))
            digest = hashlib.md5(f"{key}{secret}{timestamp}".encode(), usedforsecurity=False).hexdigest()
            answer = requests.post(
                f"{task['base_url']}/recordSipQuery",
                json={"current": current, "size": SIZE, "params": params},
                headers={"Api-Key": key, "Timestamp": timestamp, "Sign": digest},
            ).json()
            pages = answer["data"]["pages"]
            yield answer["data"]["records"]
            current += 1

    pipeline = dlt.pipeline(
        "calls",
        pipelines_dir=f"{task['folder']}/work",
        destination=dlt.destinations.duckdb(f"{task['folder']}/calls.duckdb"),
        dataset_name="cdr",
    )
    pipeline.run(calls())
    return {}


def main() -> None:
    """Do the task."""
    task = json.load(sys.stdin)
    began = time.process_time()
    outcome = {"ours": ours, "dlt": dlt}[sys.argv[1]](task)
    print(json.dumps(outcome | {"cpu": time.process_time() - began}))


if __name__ == "__main__":
    main()
