"""Cost of events: without a hook, with a log that is off, with a log that is written, with OpenTelemetry.

A fetch of 20,000 calls from a sandbox in its own process. Contenders are interleaved: CPU
seconds of this process, and medians of the ratios to a client without a hook.
"""

import asyncio
import logging
import statistics
import time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiosipcdr import CdrClient
from aiosipcdr.events import Event, EventHook, LoggingHook
from aiosipcdr.integrations.opentelemetry import OpenTelemetryHook
from aiosipcdr.sandbox import SandboxProcess

CALLS = 20_000
ROUNDS = 21


class _Silent(logging.Handler):
    """Formats every line and throws it away."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def contenders() -> dict[str, EventHook | None]:
    """Return the hooks to compare; `None` is a client without a hook."""
    written = logging.getLogger("written")
    written.setLevel(logging.DEBUG)
    written.propagate = False
    written.addHandler(_Silent())
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    telemetry = OpenTelemetryHook(tracer_provider=traces, meter_provider=MeterProvider([InMemoryMetricReader()]))
    return {
        "no hook (reference)": None,
        "the default: a log that is off": LoggingHook(),
        "a log that is written at DEBUG": LoggingHook(written),
        "OpenTelemetry without an SDK": OpenTelemetryHook(),
        "OpenTelemetry with its SDK": telemetry,
    }


async def fetch(sandbox: SandboxProcess, hook: EventHook | None) -> float:
    """Fetch everything and return the CPU seconds that it took."""
    client = CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret)
    client._session.hook = hook  # noqa: SLF001 - the constructor would put the log where there is no hook
    async with client:
        began = time.process_time()
        records = await client.fetch_all(sandbox.start, sandbox.end)
        spent = time.process_time() - began
    if len(records) != CALLS:
        raise RuntimeError(f"{len(records)} calls were fetched")
    return spent


def main() -> None:
    """Print one line for each contender."""
    reported: list[Event] = []
    hooks = contenders()
    seconds: dict[str, list[float]] = {name: [] for name in hooks}
    with SandboxProcess(records=CALLS) as sandbox:
        asyncio.run(fetch(sandbox, reported.append))  # and every import is done
        for _ in range(ROUNDS):
            for name, hook in hooks.items():
                seconds[name].append(asyncio.run(fetch(sandbox, hook)))
    reference = seconds["no hook (reference)"]
    print(f"{CALLS:,} calls, {len(reported):,} events\n")
    print("| hook | CPU ms | ratio |")
    print("|---|---:|---:|")
    for name, own in seconds.items():
        ratio = statistics.median(mine / base for mine, base in zip(own, reference, strict=True))
        print(f"| {name} | {statistics.median(own) * 1000:.0f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
