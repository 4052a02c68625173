"""Who takes part; each is imported only in the process that runs it.

A name stands for `module:function`, and the function takes a `Task`.
"""

import importlib

from course.task import Contender

__all__ = ["CONTENDERS", "find_contender"]

CONTENDERS = {
    "limit": ("limit", "read_raw", "raw asyncio protocol, decodes, nothing else"),
    "floor": ("floor", "replay", "bare aiohttp and msgspec loop, the same requests"),
    "pages": ("floor", "read_pages", "bare aiohttp and msgspec loop, pages alone"),
    "fetch_all": ("ours", "fetch_all", "aiosipcdr: fetch_all"),
    "stream": ("ours", "stream", "aiosipcdr: stream"),
    "floor_export": ("floor_export", "to_parquet", "bare aiohttp and msgspec loop, then pyarrow to Parquet"),
    "export": ("ours_export", "export", "aiosipcdr: export to Parquet"),
    "requests": ("peers", "requests_loop", "requests, one page at a time, dicts"),
    "httpx": ("peers", "httpx_gather", "httpx and pydantic, asyncio.gather"),
    "dlt": ("dlt_client", "rest_client", "dlt RESTClient, dicts"),
    "pipeline": ("dlt_client", "pipeline", "dlt pipeline to Parquet"),
}
"""Module, function, and what it is."""


def find_contender(name: str) -> Contender:
    """Return the contender of that name."""
    module, function, _ = CONTENDERS[name]
    found: Contender = getattr(importlib.import_module(f"course.contenders.{module}"), function)
    return found
