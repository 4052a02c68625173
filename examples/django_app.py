"""Calls over HTTP with Django: a synchronous application in one file, with one client in each server process.

    python3 examples/django_app.py --sandbox

serves generated calls on http://127.0.0.1:8002; without `--sandbox` those of the
account in AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.

Under a server with several processes, run `aiosipcdr.RateServer` in a process of
its own, and set RATE_SERVER to its address and AIOSIPCDR_RATE_KEY to its key:
all processes then share one rate.

    RATE_SERVER=127.0.0.1:7300 gunicorn --chdir examples --workers 4 --threads 8 django_app:application

Needs: pip install aiosipcdr django
"""

import argparse
import json
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, wraps
from itertools import chain
from socketserver import ThreadingMixIn
from threading import Lock
from wsgiref.simple_server import WSGIServer, make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from sandboxed import sandbox_in_environment

from aiosipcdr import RemoteRate, SipCdrError
from aiosipcdr.blocking import BlockingCdrClient

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__, SECRET_KEY=secrets.token_hex(), LOGGING_CONFIG=None
)
_opening = Lock()


@cache
def _open_client() -> BlockingCdrClient:
    # When the first request needs it, so after a server has forked its processes.
    address = os.environ.get("RATE_SERVER")
    rate = None if address is None else RemoteRate(address)
    return BlockingCdrClient.from_env(concurrency=4, rate=rate).open()


def get_client() -> BlockingCdrClient:
    """Return the client of this process, which all threads share."""
    with _opening:
        return _open_client()


View = Callable[[HttpRequest, datetime, datetime], HttpResponseBase]


def of_range(view: View) -> Callable[[HttpRequest], HttpResponseBase]:
    """Give `view` the times `start` and `end` of the query; answer errors as JSON."""

    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponseBase:
        try:
            start, end = (datetime.fromisoformat(request.GET.get(name, "")) for name in ("start", "end"))
            return view(request, start, end)
        except ValueError as error:
            return JsonResponse({"detail": str(error)}, status=422)
        except SipCdrError as error:
            return JsonResponse({"detail": str(error)}, status=503 if error.retryable else 502)

    return answer


@of_range
def count(_request: HttpRequest, start: datetime, end: datetime) -> HttpResponse:
    """Return the number of calls."""
    return JsonResponse({"count": get_client().count(start, end)})


@of_range
def calls(_request: HttpRequest, start: datetime, end: datetime) -> StreamingHttpResponse:
    """Return the calls as NDJSON, in bounded memory; a response without the report at its end is incomplete."""
    lines = _lines(start, end)
    first = next(lines)  # an error before the first call becomes a status
    return StreamingHttpResponse(chain([first], lines), content_type="application/x-ndjson")


def _lines(start: datetime, end: datetime) -> Iterator[str]:
    with get_client().stream(start, end) as stream:
        for record in stream:
            yield f"{record.to_json()}\n"
        yield f"{json.dumps({'report': stream.report.facts()})}\n"


urlpatterns = [path("count", count), path("calls.ndjson", calls)]
application = get_wsgi_application()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Calls over HTTP.")
    parser.add_argument("--sandbox", action="store_true", help="serve generated calls")
    parser.add_argument("--port", type=int, default=8002)
    options = parser.parse_args()
    with (
        sandbox_in_environment(wanted=options.sandbox),
        make_server("127.0.0.1", options.port, application, _Server) as server,
    ):
        print(f"serving http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            get_client().close()


if __name__ == "__main__":
    main()
