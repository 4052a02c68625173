"""Who takes part; each is imported only in the process that runs it.

A name stands for `module:function`, and the function takes a `Task`.
"""

import importlib
import subprocess
import sys
from pathlib import Path

from course.task import Contender

__all__ = ["CONTENDERS", "find_contender", "find_missing"]

CONTENDERS = {
    "limit": ("limit", "read_raw", "raw asyncio protocol, decodes, nothing else"),
    "floor": ("floor", "replay", "bare aiohttp and msgspec loop, the same requests"),
    "pages": ("floor", "read_pages", "bare aiohttp and msgspec loop, pages alone"),
    "fetch_all": ("ours", "fetch_all", "aiosipcdr: fetch_all"),
    "stream": ("ours", "stream", "aiosipcdr: stream"),
    "arrow": ("ours_arrow", "arrow_batches", "aiosipcdr: stream, as Arrow batches"),
    "floor_export": ("floor_export", "to_parquet", "bare aiohttp and msgspec loop, then pyarrow to Parquet"),
    "ndjson": ("ours_export", "export_ndjson", "aiosipcdr: export to NDJSON"),
    "export": ("ours_export", "export", "aiosipcdr: export to Parquet"),
    "curl": ("curl_multi", "curl_multi", "pycurl multi and msgspec"),
    "pyreqwest": ("pyreqwest_client", "pyreqwest_gather", "pyreqwest and msgspec"),
    "rnet": ("rnet_client", "rnet_gather", "rnet and msgspec"),
    "niquests": ("niquests_client", "niquests_gather", "niquests and msgspec"),
    "httpx_msgspec": ("httpx_client", "httpx_msgspec", "httpx and msgspec"),
    "requests": ("peers", "requests_loop", "requests, one page at a time, dicts"),
    "httpx": ("peers", "httpx_gather", "httpx and pydantic, asyncio.gather"),
    "dlt": ("dlt_client", "rest_client", "dlt RESTClient, dicts"),
    "pipeline": ("dlt_client", "pipeline", "dlt pipeline to Parquet"),
}
"""Module, function, and what it is."""


def find_missing() -> dict[str, str]:
    """Return the contenders that cannot be imported here, and why."""
    missing = {}
    for name in CONTENDERS:
        command = [sys.executable, "-c", f"from course.contenders import find_contender; find_contender({name!r})"]
        tried = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        if tried.returncode:
            missing[name] = tried.stderr.strip().splitlines()[-1]
    return missing


def find_contender(name: str) -> Contender:
    """Return the contender of that name."""
    module, function, _ = CONTENDERS[name]
    found: Contender = getattr(importlib.import_module(f"course.contenders.{module}"), function)
    return found
