"""dlt, the library that people load such endpoints with: its client, and a pipeline to Parquet."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # a benchmark talks to loopback alone
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.destinations import filesystem
from dlt.sources.helpers import requests
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import AuthConfigBase
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator
from requests import PreparedRequest

from course.task import Outcome, Task, body_of, sign


class _Signed(AuthConfigBase):
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers.update(sign())
        return request


def _pages(task: Task) -> Iterator[list[dict[str, object]]]:
    session = requests.Client().session
    session.trust_env = False  # else it reads the environment for each request
    session.verify = task.authority or True
    client = RESTClient(
        base_url=task.base_url,
        auth=_Signed(),
        session=session,
        paginator=PageNumberPaginator(base_page=1, page_body_path="current", total_path="data.pages"),
        data_selector="data.records",
    )
    yield from client.paginate("/recordSipQuery", method="POST", json=body_of(1))


def rest_client(task: Task) -> Outcome:
    """Read all pages into dicts."""
    began, first, calls, requests = time.perf_counter(), None, [], 0
    for page in _pages(task):
        calls += page
        requests += 1
        if first is None:
            first = time.perf_counter() - began
    return Outcome(len(calls), requests, first)


def pipeline(task: Task) -> Outcome:
    """Load all pages into Parquet files."""
    folder = Path(task.folder) / "dlt"
    shutil.rmtree(folder, ignore_errors=True)
    calls = 0

    @dlt.resource(name="calls", write_disposition="append")
    def resource() -> Iterator[list[dict[str, object]]]:
        nonlocal calls
        for page in _pages(task):
            calls += len(page)
            yield page

    run = dlt.pipeline(
        "race",
        pipelines_dir=str(folder / "work"),
        destination=filesystem(bucket_url=(folder / "files").as_uri()),
        dataset_name="race",
    )
    run.run(resource(), loader_file_format="parquet")
    if not list((folder / "files").rglob("*.parquet")):
        raise SystemExit("dlt has written nothing")
    return Outcome(calls, -(-calls // 100))
