"""The log that a client writes by itself, and several hooks as one."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.events import Event, EventHook, EventKind, LoggingHook, combine
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sandbox import Fault, Sandbox

START = datetime(2026, 10, 1, tzinfo=UTC)
FAULTS = [Fault("reset", page=2), Fault("http", status=429, headers={"Retry-After": "0"}, page=3)]


def event(kind: EventKind, *, error: str | None = None, report: FetchReport | None = None) -> Event:
    window = TimeWindow(START, START + timedelta(days=1))
    return Event(
        kind=kind,
        run=7,
        window=window,
        page=3,
        attempt=2,
        records=5,
        total=6,
        elapsed=0.25,
        delay=1.5,
        error=error,
        report=report,
    )


def facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name.startswith("cdr_")}


async def fetch(sandbox: Sandbox, hook: EventHook | None = None) -> FetchReport:
    client = CdrClient(
        sandbox.base_url, sandbox.api_key, sandbox.api_secret, retry=RetryPolicy(throttle_base=0), hook=hook
    )
    async with client:
        return (await client.fetch_all(sandbox.start, sandbox.end)).report


async def test_a_client_without_a_hook_writes_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosipcdr")
    async with Sandbox(records=900, faults=FAULTS) as sandbox:
        report = await fetch(sandbox)
        secrets = {sandbox.api_key, sandbox.api_secret}
        numbers = {row[name] for row in sandbox.rows() for name in ("callee", "phoneName", "displayNum")} - {None}
    written = [record for record in caplog.records if record.name == "aiosipcdr"]

    assert {(record.levelname, facts(record)["cdr_event"]) for record in written} == {
        ("INFO", "run_started"),
        ("DEBUG", "request_sent"),
        ("DEBUG", "request_answered"),
        ("WARNING", "request_retried"),
        ("WARNING", "throttled"),
        ("DEBUG", "window_planned"),
        ("DEBUG", "window_complete"),
        ("INFO", "run_finished"),
    }
    assert [facts(record)["cdr_event"] for record in written].count("request_sent") == report.requests
    assert len({facts(record)["cdr_run"] for record in written}) == 1
    reported = "\n".join(f"{record.getMessage()} {facts(record)}" for record in written)
    assert len(numbers) > 100
    assert [word for word in numbers | secrets if word in reported] == []


async def test_a_quiet_run_writes_nothing_above_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiosipcdr")
    async with Sandbox(records=10) as sandbox:
        report = await fetch(sandbox)
    began, ended = [record for record in caplog.records if record.name == "aiosipcdr"]

    assert (began.levelname, ended.levelname) == ("INFO", "INFO")
    assert (
        began.getMessage()
        == f"run {facts(began)['cdr_run']} started on {sandbox.start.isoformat()}/{sandbox.end.isoformat()}"
    )
    assert f"10 of 10 calls, certified: True, {report.requests} requests (0 retried)" in ended.getMessage()
    assert facts(ended)["cdr_unique"] == 10
    assert facts(ended)["cdr_certified"] is True


async def test_a_hook_of_the_callers_own_replaces_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosipcdr")
    seen: list[Event] = []
    async with Sandbox(records=10) as sandbox:
        await fetch(sandbox, seen.append)

    assert seen
    assert [record for record in caplog.records if record.name == "aiosipcdr"] == []


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_has_a_line_and_facts_that_json_can_hold(kind: EventKind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosipcdr")
    LoggingHook()(event(kind, error="TransportError", report=FetchReport(unknown_fields={"vendor's word": 1})))
    (record,) = caplog.records

    assert record.getMessage().startswith("run 7")
    assert json.loads(json.dumps(facts(record)))["cdr_event"] == kind
    assert facts(record)["cdr_window"] == "2026-10-01T00:00:00+00:00/2026-10-02T00:00:00+00:00"
    assert "vendor's word" not in record.getMessage() + str(facts(record))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (EventKind.REQUEST_RETRIED, "run 7 retries page 3 of {window} in 1.5 s, after TransportError"),
        (EventKind.THROTTLED, "run 7 is throttled by the vendor: the client waits 1.5 s"),
        (EventKind.REQUEST_ANSWERED, "run 7 got page 3 of {window} with 5 calls in 0.250 s"),
        (EventKind.RUN_FINISHED, "run 7 ended with TransportError"),
    ],
)
def test_a_log_line_has_the_event_and_its_window(kind: EventKind, line: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosipcdr")
    LoggingHook()(event(kind, error="TransportError"))

    assert caplog.messages == [line.format(window="2026-10-01T00:00:00+00:00/2026-10-02T00:00:00+00:00")]


def test_a_run_that_was_left_early_just_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiosipcdr")
    LoggingHook()(Event(kind=EventKind.RUN_FINISHED, run=7))

    assert caplog.messages == ["run 7 ended"]


class DeafLogger(logging.Logger):
    """A logger without listeners; writing to it fails the test."""

    asked = 0

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the standard library's name
        self.asked += 1
        return level > logging.CRITICAL

    def log(self, *arguments: object, **options: object) -> None:
        raise AssertionError(arguments, options)


def test_without_listeners_an_event_costs_one_check() -> None:
    logger = DeafLogger("nobody")
    hook = LoggingHook(logger)
    for kind in EventKind:
        hook(event(kind))

    assert logger.asked == len(EventKind)


def test_a_program_that_sets_up_no_log_is_not_written_to() -> None:
    program = (
        "from aiosipcdr.events import Event, EventKind; from aiosipcdr.events import LoggingHook; import logging;"
        "LoggingHook()(Event(kind=EventKind.THROTTLED, run=1, delay=1.0)); logging.getLogger('other').warning('heard')"
    )
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=240
    )

    assert (result.stdout, result.stderr) == ("", "heard\n")


async def test_hooks_that_are_combined_see_every_event_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosipcdr")
    seen: list[tuple[str, Event]] = []
    hook = combine(
        lambda event: seen.append(("first", event)), LoggingHook(), lambda event: seen.append(("last", event))
    )
    async with Sandbox(records=300) as sandbox:
        await fetch(sandbox, hook)

    assert seen[0::2] == [("first", event) for _, event in seen[1::2]]
    assert {name for name, _ in seen[1::2]} == {"last"}
    assert len([record for record in caplog.records if record.name == "aiosipcdr"]) == len(seen) // 2


def test_an_exception_of_one_of_several_hooks_ends_the_run() -> None:
    seen: list[Event] = []

    def refuse(event: Event) -> None:
        raise RuntimeError(event.kind)

    with pytest.raises(RuntimeError, match="throttled"):
        combine(seen.append, refuse, seen.append)(event(EventKind.THROTTLED))
    assert len(seen) == 1


def test_a_hook_must_be_callable() -> None:
    with pytest.raises(ValueError, match="a hook must be callable with one event, not list"):
        combine(print, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
def test_the_log_wants_only_events_it_would_write(level: int, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("chosen")
    caplog.set_level(level, "chosen")
    hook = LoggingHook(logger)
    for kind in EventKind:
        caplog.clear()
        hook(event(kind, error="TransportError", report=FetchReport(quarantined=1)))
        assert hook.wants(kind) == bool(caplog.records), kind


def test_unreadable_records_are_a_warning_at_the_end_of_a_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "aiosipcdr")
    report = FetchReport(quarantined=2, faulty_fields={"cost": 3}, unknown_fields={"vendor's word": 1})
    LoggingHook()(Event(kind=EventKind.RUN_FINISHED, run=7, report=report))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    words = "2 records quarantined (no readable id), unreadable values of cost (3)"
    assert record.getMessage() == f"run 7: {words}"
    assert facts(record) == {"cdr_event": "run_finished", "cdr_run": 7, "cdr_unreadable": words}
    caplog.clear()
    LoggingHook()(Event(kind=EventKind.RUN_FINISHED, run=7, report=FetchReport()))
    assert not caplog.records


def test_the_end_of_a_run_counts_the_calls_that_could_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiosipcdr")
    LoggingHook()(Event(kind=EventKind.RUN_FINISHED, run=7, report=FetchReport(total=5, unique=5, quarantined=2)))
    assert "3 of 5 calls, certified: False" in caplog.records[-1].getMessage()
    assert (facts(caplog.records[-1])["cdr_readable"], facts(caplog.records[-1])["cdr_unique"]) == (3, 5)


async def test_a_hook_derived_from_the_log_gets_events_that_are_not_logged() -> None:
    class Counting(LoggingHook):
        def __init__(self) -> None:
            super().__init__()
            self.kinds: list[EventKind] = []

        def __call__(self, event: Event, /) -> None:
            self.kinds.append(event.kind)
            super().__call__(event)

    hook = Counting()
    async with Sandbox(records=300) as sandbox:
        report = await fetch(sandbox, hook)
    assert hook.kinds.count(EventKind.REQUEST_SENT) == report.requests > 0
    assert hook.kinds.count(EventKind.REQUEST_ANSWERED) == report.requests
