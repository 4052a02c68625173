"""The sandbox's account in the environment, where `CdrClient.from_env` reads it, for all examples."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from aiosipcdr.sandbox import Sandbox

VARIABLES = ("AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET")


@contextmanager
def sandbox_in_environment(
    *, wanted: bool, records: int = 5_000, start: datetime | None = None
) -> Iterator[Sandbox | None]:
    """Run a sandbox during the block if `wanted`; otherwise the environment must name an account.

    Its calls are those of the past month, or of the month from `start` on.
    """
    if not wanted:
        missing = [name for name in VARIABLES if not os.environ.get(name)]
        if missing:
            raise SystemExit(f"not set: {', '.join(missing)}. Without an account, add --sandbox.")
        yield None
        return
    # A month of one's own choice may lie further back than the vendor keeps calls.
    past: dict[str, Any] = {} if start is None else {"start": start, "days": 31, "months_back": None}
    with Sandbox(records=records, **past) as sandbox:
        os.environ.update(zip(VARIABLES, (sandbox.base_url, sandbox.api_key, sandbox.api_secret), strict=True))
        print(f"generated calls from {sandbox.start.isoformat()} to {sandbox.end.isoformat()}", flush=True)
        yield sandbox
