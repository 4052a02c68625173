"""Changes of calls as server-sent events, with aiohttp.web: one feed for all callers, who resume by id.

    python3 examples/feed_aiohttp.py --sandbox

serves the changes of generated calls on http://127.0.0.1:8080/changes: `curl -N` shows them. Without `--sandbox` it
follows the account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. Every client that can connect
may read all changes: put authentication in front of it. change_hub.py describes the events.

Needs: pip install aiosipcdr
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
from aiohttp import web
from change_hub import HEADERS, MEDIA_TYPE, ChangeHub, OpenFeed, account_and_feed, add_options

from aiosipcdr.integrations.aiohttp import CLIENT, client_context, install_error_handlers

HUB = web.AppKey("hub", ChangeHub)


async def changes(request: web.Request) -> web.StreamResponse:
    """Send changes for as long as the caller reads them."""
    hub = request.app[HUB]
    if not hub.has_room:
        raise web.HTTPServiceUnavailable
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = MEDIA_TYPE
    await response.prepare(request)
    await hub.send(request.headers.get("Last-Event-ID"), response.write)
    with suppress(OSError), anyio.move_on_after(1) as patience:
        await response.write_eof()
    if patience.cancelled_caught and request.transport is not None:
        request.transport.abort()  # unread bytes would stay in memory
    return response


def build_app(hub: ChangeHub, open_feed: OpenFeed) -> web.Application:
    """Return the application; its client and its feed are opened when it starts."""

    async def follow(app: web.Application) -> AsyncIterator[None]:
        async with hub.run(open_feed(app[CLIENT])):
            yield

    async def disconnect(_: web.Application) -> None:
        hub.close()

    app = web.Application()
    app[HUB] = hub
    install_error_handlers(app)
    app.cleanup_ctx.extend([client_context(allowed_hosts=["127.0.0.1", "localhost"]), follow])
    app.on_shutdown.append(disconnect)
    app.router.add_get("/changes", changes, allow_head=False)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Changes of calls as server-sent events, with aiohttp.web.")
    parser.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1; 0 selects a free one")
    add_options(parser)
    options = parser.parse_args()
    with account_and_feed(options) as open_feed:
        # Without handler_cancellation, a caller that has left is noticed at the next event.
        app = build_app(ChangeHub(options.buffer), open_feed)
        web.run_app(app, host="127.0.0.1", port=options.port, shutdown_timeout=5, handler_cancellation=True)
