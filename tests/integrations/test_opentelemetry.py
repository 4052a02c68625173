"""What leaves the hook for telemetry, seen with the SDK's exporters in memory over real runs."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import aiosipcdr
from aiosipcdr import AuthenticationError, CdrClient, FetchReport, RetryPolicy
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.opentelemetry import OpenTelemetryHook
from aiosipcdr.sandbox import Fault, Sandbox

IMPATIENT = RetryPolicy(base=0.01, throttle_base=0.01)
FAULTS = [
    Fault("reset", page=2),
    Fault("http", status=503, page=3),
    Fault("http", status=429, headers={"Retry-After": "0"}, page=4),
]


class Telemetry:
    """The SDK with everything kept in memory, and a hook that writes to it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.hook = OpenTelemetryHook(tracer_provider=self.traces, meter_provider=self.meters)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.version == aiosipcdr.__version__
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> list[Any]:
        return list(self.metrics()[name].data.data_points)

    def sum(self, name: str) -> int:
        return sum(point.value for point in self.points(name))


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.meters.shutdown()
    made.traces.shutdown()


async def fetch(sandbox: Sandbox, hook: OpenTelemetryHook) -> FetchReport:
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, retry=IMPATIENT, hook=hook) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    return records.report


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_run_is_a_span_with_its_windows_as_children(telemetry: Telemetry) -> None:
    async with Sandbox(records=6_000) as sandbox:
        with telemetry.traces.get_tracer("application").start_as_current_span("nightly job"):
            report = await fetch(sandbox, telemetry.hook)
    (job,) = telemetry.spans("nightly job")
    (run,) = telemetry.spans("aiosipcdr.run")
    windows = telemetry.spans("aiosipcdr.window")

    assert run.parent is not None
    assert job.context is not None
    assert run.parent.span_id == job.context.span_id
    assert report.certified
    assert len(windows) == report.windows > 1
    assert run.context is not None
    assert run.start_time is not None
    assert run.end_time is not None
    for window in windows:
        assert window.parent is not None
        assert window.parent.span_id == run.context.span_id
        assert window.start_time is not None
        assert window.end_time is not None
        # Not recorded afterwards as a moment: a window takes at least one request.
        assert run.start_time <= window.start_time < window.end_time <= run.end_time
    assert sum(attributes(window)["aiosipcdr.window.records"] for window in windows) == 6_000
    assert sorted(attributes(window)["aiosipcdr.window.start"] for window in windows) == [
        window.window.start.isoformat() for window in report.window_reports
    ]
    reported = attributes(run)
    assert reported["aiosipcdr.run.unique"] == 6_000
    assert reported["aiosipcdr.run.windows"] == report.windows
    assert reported["aiosipcdr.run.requests"] == report.requests
    assert reported["aiosipcdr.run.certified"] is True
    assert run.status.status_code is StatusCode.UNSET


async def test_the_metrics_agree_with_the_report(telemetry: Telemetry) -> None:
    async with Sandbox(records=900, faults=FAULTS) as sandbox:
        report = await fetch(sandbox, telemetry.hook)

    assert telemetry.sum("aiosipcdr.requests") == report.requests
    assert telemetry.sum("aiosipcdr.retries") == report.retries == 3
    assert telemetry.sum("aiosipcdr.throttles") == 1
    assert telemetry.sum("aiosipcdr.records") == report.unique == 900
    (duration,) = telemetry.points("aiosipcdr.request.duration")
    assert isinstance(duration, HistogramDataPoint)
    assert duration.count == report.requests - report.retries
    assert 0 < duration.min <= duration.max < 60
    assert duration.explicit_bounds[:2] == (0.005, 0.01)
    units = {name: metric.unit for name, metric in telemetry.metrics().items()}
    assert units == {
        "aiosipcdr.requests": "{request}",
        "aiosipcdr.retries": "{request}",
        "aiosipcdr.throttles": "{request}",
        "aiosipcdr.records": "{record}",
        "aiosipcdr.request.duration": "s",
    }
    (run,) = telemetry.spans("aiosipcdr.run")
    assert sorted(event.name for event in run.events) == [
        "aiosipcdr.request_retried",
        "aiosipcdr.request_retried",
        "aiosipcdr.throttled",
    ]


async def test_a_metric_has_no_attribute_but_the_kind_of_an_error(telemetry: Telemetry) -> None:
    async with Sandbox(records=900, faults=FAULTS) as sandbox:
        await fetch(sandbox, telemetry.hook)
        await fetch(sandbox, telemetry.hook)
    found = [dict(point.attributes or {}) for name in telemetry.metrics() for point in telemetry.points(name)]

    assert {key for one in found for key in one} == {"error.type"}
    assert {one["error.type"] for one in found if one} == {"TransportError", "ServerFaultError", "ThrottledError"}
    # A second run adds to the series that are there.
    assert len(found) == 4 + 3


async def test_an_error_that_ends_a_run_is_named_and_its_text_is_not_recorded(telemetry: Telemetry) -> None:
    async with (
        Sandbox(records=10) as sandbox,
        CdrClient(sandbox.base_url, sandbox.api_key, "not-the-secret", hook=telemetry.hook) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.ping()
    (run,) = telemetry.spans("aiosipcdr.run")

    assert run.status.status_code is StatusCode.ERROR
    assert run.status.description is None
    reported = attributes(run)
    assert reported.pop("error.type") == "AuthenticationError"
    start, end = (datetime.fromisoformat(reported.pop(f"aiosipcdr.run.{bound}")) for bound in ("start", "end"))
    assert timedelta(hours=1) <= end - start <= timedelta(hours=1, seconds=1)
    assert not reported
    assert not run.events


async def test_one_hook_serves_clients_side_by_side_and_keeps_nothing_of_their_runs(telemetry: Telemetry) -> None:
    async with Sandbox(records=300) as one, Sandbox(records=200) as other:
        await fetch(one, telemetry.hook)
        async with (
            CdrClient(one.base_url, one.api_key, one.api_secret, hook=telemetry.hook) as here,
            CdrClient(other.base_url, other.api_key, other.api_secret, hook=telemetry.hook) as there,
            here.stream(one.start, one.end) as first,
            there.stream(other.start, other.end) as second,
        ):
            assert len([record async for record in first]) == 300
            assert len([record async for record in second]) == 200

    assert telemetry.sum("aiosipcdr.records") == 800
    assert len(telemetry.spans("aiosipcdr.run")) == 3
    assert telemetry.hook._open == {}


async def test_neither_secrets_nor_numbers_nor_filters_leave_by_telemetry(telemetry: Telemetry) -> None:
    async with Sandbox(records=900, faults=FAULTS) as sandbox:
        await fetch(sandbox, telemetry.hook)
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, hook=telemetry.hook) as client:
            await client.fetch_all(sandbox.start, sandbox.end, phone_name="+1 202-555-0143")
        numbers = {row["callee"] for row in sandbox.rows()} | {row["phoneName"] for row in sandbox.rows()}
        secrets = {sandbox.api_key, sandbox.api_secret, "555-0143"}
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    reported = data.to_json() + "".join(span.to_json() for span in telemetry.exporter.get_finished_spans())

    assert "aiosipcdr.window" in reported
    assert len(numbers) > 100
    assert [word for word in numbers | secrets if word and word in reported] == []


async def test_without_an_sdk_it_does_nothing_and_harms_nothing() -> None:
    async with Sandbox(records=300) as sandbox:
        report = await fetch(sandbox, OpenTelemetryHook())

    assert report.certified


def test_a_missing_api_is_reported_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "aiosipcdr.integrations.opentelemetry"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(MissingExtraError, match=r'pip install "aiosipcdr\[otel\]"'):
        __import__(name)


def test_the_api_is_enough() -> None:
    program = f"import sys, {OpenTelemetryHook.__module__}; sys.exit('opentelemetry.sdk' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=240)  # noqa: S603
