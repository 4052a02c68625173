"""Calls over HTTP, with aiohttp.web: a count, and a range as NDJSON or CSV.

    python3 examples/aiohttp_app.py --sandbox

serves generated calls on http://127.0.0.1:8080. Without `--sandbox` it serves
those of the account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and
AIOSIPCDR_API_SECRET. Every client that can connect may read all calls: put
authentication in front of it, and give each caller its own group (see
docs/howto/embedding.md).

Needs: pip install aiosipcdr
"""

import argparse

from aiohttp import web
from sandboxed import sandbox_in_environment

from aiosipcdr.integrations.aiohttp import (
    CLIENT,
    client_context,
    deadline,
    install_error_handlers,
    range_params,
    send_calls,
)


async def count(request: web.Request) -> web.Response:
    """Return the number of calls, or status 504 after 30 seconds."""
    async with deadline(30):
        return web.json_response({"count": await request.app[CLIENT].count(**range_params(request))})


async def calls_as_ndjson(request: web.Request) -> web.StreamResponse:
    """Send one call a line; the response is complete if its last line is `{"report": ...}`."""
    return await send_calls(request, request.app[CLIENT].stream(**range_params(request)), "ndjson", timeout=600)


async def calls_as_csv(request: web.Request) -> web.StreamResponse:
    """Send a table, for Excel if requested; the connection is cut if it cannot be completed."""
    stream = request.app[CLIENT].stream(**range_params(request, also=["spreadsheet"]))
    spreadsheet = request.query.get("spreadsheet") == "true"
    return await send_calls(request, stream, "csv", timeout=600, spreadsheet=spreadsheet)


def build_app() -> web.Application:
    """Return the application; its client is opened when it starts."""
    app = web.Application()
    install_error_handlers(app)
    app.cleanup_ctx.append(client_context(max_streams=200, allowed_hosts=["127.0.0.1", "localhost"]))
    app.router.add_get("/count", count)
    app.router.add_get("/calls.ndjson", calls_as_ndjson)
    app.router.add_get("/calls.csv", calls_as_csv)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Calls over HTTP, with aiohttp.web.")
    parser.add_argument("--sandbox", action="store_true", help="serve generated calls")
    parser.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1; 0 selects a free one")
    options = parser.parse_args()
    with sandbox_in_environment(wanted=options.sandbox):
        web.run_app(build_app(), host="127.0.0.1", port=options.port, shutdown_timeout=5)
