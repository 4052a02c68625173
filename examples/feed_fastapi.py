"""Changes of calls as server-sent events, with FastAPI: one feed for all callers, who resume by id.

    python3 examples/feed_fastapi.py --sandbox

serves the changes of generated calls on http://127.0.0.1:8000/changes: `curl -N` shows them. Without `--sandbox` it
follows the account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET. Every client that can connect
may read all changes: tenants_app.py shows how to authenticate callers. change_hub.py describes the events.

Needs: pip install "aiosipcdr[fastapi]" uvicorn
"""

import argparse
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import anyio
import uvicorn
from change_hub import HEADERS, MEDIA_TYPE, ChangeHub, OpenFeed, account_and_feed, add_options
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from starlette.types import Send

from aiosipcdr import CdrClient
from aiosipcdr.integrations.fastapi import install_error_handlers, set_limits


class ChangeResponse(StreamingResponse):
    """The changes after an id, for as long as the caller reads them.

    `fastapi.sse` would wait for a caller that does not read, for ever.
    """

    def __init__(self, hub: ChangeHub, last_event_id: str | None) -> None:
        """Send what `hub` publishes."""
        super().__init__((), headers=HEADERS, media_type=MEDIA_TYPE)
        self._hub = hub
        self._last_event_id = last_event_id

    async def stream_response(self, send: Send) -> None:
        """Send the response."""

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._hub.send(self._last_event_id, write)
        # Left out for a caller that does not read: the server then closes the connection.
        with anyio.move_on_after(1):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def build_app(hub: ChangeHub, open_feed: OpenFeed) -> FastAPI:
    """Return the application; its client and its feed are opened when it starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with CdrClient.from_env() as client, hub.run(open_feed(client)):
            yield

    app = FastAPI(title="Changes of calls", lifespan=lifespan)
    install_error_handlers(app)
    set_limits(app, allowed_hosts=["127.0.0.1", "localhost"])

    @app.get("/changes", response_class=ChangeResponse)
    async def changes(last_event_id: Annotated[str | None, Header()] = None) -> ChangeResponse:
        if not hub.has_room:
            raise HTTPException(503)
        return ChangeResponse(hub, last_event_id)

    return app


class Server(uvicorn.Server):
    """A server that disconnects the callers of `hub` before it waits for the rest."""

    def __init__(self, hub: ChangeHub, config: uvicorn.Config) -> None:
        """Serve the application of `config`."""
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._hub.close()
        await super().shutdown(sockets)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Changes of calls as server-sent events, with FastAPI.")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 selects a free one")
    add_options(parser)
    options = parser.parse_args()
    with account_and_feed(options) as open_feed:
        hub = ChangeHub(options.buffer)
        app = build_app(hub, open_feed)
        server = Server(hub, uvicorn.Config(app, host="127.0.0.1", port=options.port, timeout_graceful_shutdown=5))
        with suppress(KeyboardInterrupt):  # raised again after a clean end
            server.run()
