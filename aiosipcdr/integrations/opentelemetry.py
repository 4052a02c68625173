"""An OpenTelemetry hook: a span for each run and each window, and metrics of the requests.

Needs only the API (extra `otel`); the application configures where spans and metrics go. Neither holds a secret, a
phone number or a filter. Metrics have no attribute for a run, a window or a page: each value would be a time series.
"""

from time import time_ns
from typing import Final

from aiosipcdr import __version__
from aiosipcdr.events import Event, EventKind
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.windows import TimeWindow

try:
    from opentelemetry import metrics, trace
except ImportError as _error:
    raise MissingExtraError("OpenTelemetryHook needs opentelemetry-api", "otel", name=_error.name) from None

__all__ = ["OpenTelemetryHook"]

_SCOPE: Final = "aiosipcdr"
# The boundaries that OpenTelemetry recommends for the durations of HTTP requests.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_COUNTS: Final = ("total", "unique", "windows", "pages", "requests", "retries", "provisional", "certified")


class _OpenRun:
    """A running run: its span, and the time of the first request of each window."""

    __slots__ = ("span", "window_starts")

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.window_starts: dict[TimeWindow, int] = {}


class OpenTelemetryHook:
    """An event hook that creates spans and metrics; one hook can serve several clients.

        CdrClient(..., hook=OpenTelemetryHook())

    Spans: `aiosipcdr.run`, a child of the current span when the run begins, with its range (`aiosipcdr.run.start`,
    `.end`), the counts of its report (`aiosipcdr.run.unique`, ...), an event for each retried request, and `error.type`
    if an error ended it; `aiosipcdr.window`, its child, from the window's first request until its records are
    delivered, with the bounds of the window and its number of calls. A window that is split or never completed has no
    span.

    Metrics, whose only attribute is `error.type`, the name of an error's class:

    - `aiosipcdr.requests` ({request}): requests sent.
    - `aiosipcdr.retries` ({request}): failed requests that are sent again, including throttled ones.
    - `aiosipcdr.throttles` ({request}): requests that the vendor throttled.
    - `aiosipcdr.records` ({record}): calls delivered by `fetch_all`, `stream` and `export`.
    - `aiosipcdr.request.duration` (s): from sending a request until its page is decoded; successful requests only.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Use the given providers, or the global ones."""
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._requests = meter.create_counter("aiosipcdr.requests", "{request}", "Requests sent.")
        self._retries = meter.create_counter("aiosipcdr.retries", "{request}", "Failed requests that are sent again.")
        self._throttles = meter.create_counter(
            "aiosipcdr.throttles", "{request}", "Requests that the vendor throttled."
        )
        self._records = meter.create_counter("aiosipcdr.records", "{record}", "Calls delivered.")
        self._duration = meter.create_histogram(
            "aiosipcdr.request.duration",
            "s",
            "Duration of successful requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._open: dict[int, _OpenRun] = {}

    def __call__(self, event: Event, /) -> None:
        """Record `event`."""
        match event.kind:
            case EventKind.RUN_STARTED:
                span = self._tracer.start_span("aiosipcdr.run")
                if event.window is not None:
                    span.set_attribute("aiosipcdr.run.start", event.window.start.isoformat())
                    span.set_attribute("aiosipcdr.run.end", event.window.end.isoformat())
                self._open[event.run] = _OpenRun(span)
            case EventKind.REQUEST_SENT:
                self._requests.add(1)
                self._start_window(event)
            case EventKind.REQUEST_ANSWERED:
                self._duration.record(event.elapsed or 0.0)
            case EventKind.REQUEST_RETRIED | EventKind.THROTTLED:
                self._record_failure(event)
            case EventKind.WINDOW_COMPLETE:
                self._records.add(event.records or 0)
                self._end_window(event)
            case EventKind.RUN_FINISHED:
                self._end_run(event)
            case EventKind.WINDOW_PLANNED | EventKind.RECHECK_SCHEDULED:
                pass

    def _start_window(self, event: Event) -> None:
        # A window has no start event: it begins with its first request.
        run = self._open.get(event.run)
        if run is not None and event.window is not None:
            run.window_starts.setdefault(event.window, time_ns())

    def _record_failure(self, event: Event) -> None:
        cause = event.error or "_OTHER"
        self._retries.add(1, {"error.type": cause})
        if event.kind is EventKind.THROTTLED:
            self._throttles.add(1)
        run = self._open.get(event.run)
        if run is not None:
            attempt = {"aiosipcdr.request.attempt": event.attempt or 0, "aiosipcdr.request.delay": event.delay or 0.0}
            run.span.add_event(f"aiosipcdr.{event.kind}", {"error.type": cause, **attempt})

    def _end_window(self, event: Event) -> None:
        run, window = self._open.get(event.run), event.window
        if run is None or window is None:
            return
        now = time_ns()
        self._tracer.start_span(
            "aiosipcdr.window",
            trace.set_span_in_context(run.span),
            attributes={
                "aiosipcdr.window.start": window.start.isoformat(),
                "aiosipcdr.window.end": window.end.isoformat(),
                "aiosipcdr.window.records": event.records or 0,
                "aiosipcdr.window.total": event.total or 0,
            },
            start_time=run.window_starts.pop(window, now),
        ).end(now)

    def _end_run(self, event: Event) -> None:
        run = self._open.pop(event.run, None)
        if run is None:
            return
        if event.report is not None:
            run.span.set_attributes({f"aiosipcdr.run.{name}": getattr(event.report, name) for name in _COUNTS})
        if event.error is not None:
            run.span.set_attribute("error.type", event.error)
            run.span.set_status(trace.Status(trace.StatusCode.ERROR))
        run.span.end()
