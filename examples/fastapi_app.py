"""Calls over HTTP, with FastAPI: a count, and a range as NDJSON or CSV.

    python3 examples/fastapi_app.py --sandbox

serves generated calls on http://127.0.0.1:8000 (API pages: /docs). Without
`--sandbox` it serves those of the account in AIOSIPCDR_BASE_URL,
AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET; so does
`uvicorn --app-dir examples fastapi_app:app`. Every client that can connect may
read all calls: tenants_app.py shows how to authenticate callers.

Needs: pip install "aiosipcdr[fastapi]" uvicorn
"""

import argparse

import uvicorn
from fastapi import FastAPI
from sandboxed import sandbox_in_environment

from aiosipcdr.integrations.fastapi import (
    ClientDep,
    CsvResponse,
    NdjsonResponse,
    RangeParams,
    client_lifespan,
    deadline,
    install_error_handlers,
)

app = FastAPI(title="Calls", lifespan=client_lifespan(max_streams=200, allowed_hosts=["127.0.0.1", "localhost"]))
install_error_handlers(app)


@app.get("/count")
async def count(client: ClientDep, query: RangeParams) -> dict[str, int]:
    """Return the number of calls, or status 504 after 30 seconds."""
    async with deadline(30):
        return {"count": await client.count(**query)}


@app.get("/calls.ndjson", response_class=NdjsonResponse)
async def calls_as_ndjson(client: ClientDep, query: RangeParams) -> NdjsonResponse:
    """Send one call a line; the response is complete if its last line is `{"report": ...}`."""
    return NdjsonResponse(client.stream(**query), timeout=600)


@app.get("/calls.csv", response_class=CsvResponse)
async def calls_as_csv(
    client: ClientDep,
    query: RangeParams,
    spreadsheet: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query string
) -> CsvResponse:
    """Send a table, for Excel if requested; the connection is cut if it cannot be completed."""
    headers = {"Content-Disposition": "attachment"}
    return CsvResponse(client.stream(**query), timeout=600, spreadsheet=spreadsheet, headers=headers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Calls over HTTP, with FastAPI.")
    parser.add_argument("--sandbox", action="store_true", help="serve generated calls")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 selects a free one")
    parser.add_argument("--quiet", action="store_true", help="log no requests")
    options = parser.parse_args()
    with sandbox_in_environment(wanted=options.sandbox):
        uvicorn.run(app, host="127.0.0.1", port=options.port, access_log=not options.quiet, timeout_graceful_shutdown=5)
