"""The public surface as type checkers see it: read by mypy and basedpyright, never run.

Each way to write a method call is here once, with its type.
Refused calls have an `ignore` comment, which both checkers report when it is not needed.
"""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, assert_type

import aiohttp
import polars as pl
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from aiosipcdr import (
    ArrowRecords,
    CallDetailRecord,
    CallDetailRecords,
    CdrClient,
    CdrStream,
    Change,
    ClockSkewError,
    CompleteWindow,
    Credentials,
    DaysReport,
    Event,
    EventHook,
    EventKind,
    ExportError,
    FetchReport,
    IncompleteRangeError,
    LoggingHook,
    OutOfTimeRangeError,
    Page,
    PageAnswer,
    PageRequest,
    Plan,
    QuarantinedRecord,
    RangePart,
    RateLimiter,
    RatePolicy,
    RateServer,
    RecordsPreview,
    RemoteRate,
    RetryPolicy,
    SipCdrError,
    StatusCode,
    SyncReport,
    TimeField,
    TimeWindow,
    Transition,
    VendorError,
    WindowReport,
    __version__,
)
from aiosipcdr.analytics import (
    REPORT_GROUPINGS,
    BillingResult,
    Certificate,
    FraudHint,
    GroupKey,
    HintThresholds,
    Peak,
    TrafficMetrics,
    TrafficSummary,
    Verdict,
    render_report,
    summarize,
    write_report,
)
from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.events import combine
from aiosipcdr.integrations import fastapi as on_fastapi
from aiosipcdr.integrations.opentelemetry import OpenTelemetryHook
from aiosipcdr.integrations.polars import scan_cdrs
from aiosipcdr.sandbox import Fault, Sandbox, SandboxConfig, SandboxProcess, Stats, read_calls

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(days=1)
URL = "https://api.example.com/v3/voice"

VERSION: str = __version__


async def both_ways_to_open() -> None:
    async with CdrClient(URL, "key", "secret") as client:
        assert_type(client, CdrClient)
    async with CdrClient.from_env() as from_env:
        assert_type(from_env, CdrClient)
    CdrClient.from_env(threads=16)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    CdrClient.from_env(rate="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    opened = await CdrClient.from_env(concurrency=16, strict=True).open()
    assert_type(opened, CdrClient)
    assert_type(await opened.aclose(), None)


def every_setting(session: aiohttp.ClientSession) -> None:
    CdrClient(
        URL,
        "key",
        "secret",
        concurrency=8,
        page_size=100,
        rate=RatePolicy(50, burst=5),
        retry=RetryPolicy(attempts=4),
        timeout=60,
        lateness=timedelta(hours=4),
        count_delay=timedelta(seconds=1),
        trust_env=True,
        strict=False,
        filter_match="loose",
        session=session,
        proxy="http://127.0.0.1:3128",
        ssl_context=ssl.create_default_context(),
        user_agent="nightly/1.0",
        hook=LoggingHook(),
    )
    CdrClient(URL, "key", "secret", rate=5)
    CdrClient(URL, "key", "secret", rate=0.5, hook=None)
    CdrClient(URL, Credentials("key", "secret"))
    CdrClient(URL, lambda: Credentials("key", "secret"))
    CdrClient(URL, "key", lambda: "secret")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    CdrClient(URL, lambda: "key")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    CdrClient(URL, "key", "secret", 8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    CdrClient(URL, "key", "secret", hook=print)
    CdrClient(URL, "key", "secret", hook=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def into_memory(client: CdrClient) -> None:
    records = await client.fetch_all(START, END)
    assert_type(records, CallDetailRecords)
    assert_type(
        await client.fetch_all(
            START,
            END,
            sip_group_name="sales",
            phone_name=None,
            on_out_of_range="skip",
            allow_incomplete=True,
            time_field="submit_time",
        ),
        CallDetailRecords,
    )
    await client.fetch_all(START, END, on_out_of_range="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def with_closed_sets(client: CdrClient, field: TimeField) -> None:
    assert_type(client.stream(START, END, time_field=field), CdrStream)
    client.stream(START, END, time_field="submitTime")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    assert_type(await client.export(START, END, "calls.xlsx", tz="Asia/Shanghai"), FetchReport)
    await client.export(START, END, "calls", format="xls")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.export(START, END, "calls", if_exists="keep")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await client.export_days(START.date(), END.date(), "UTC", "{date}.csv"), DaysReport)
    assert_type(await client.sync("sqlite:///calls.db", since=START, on_vanished="delete"), SyncReport)
    async with client.follow(START, every=timedelta(seconds=30), checkpoint="calls.checkpoint") as feed:
        async for change in feed:
            assert_type(change, Change)
            assert_type(change.kind, Literal["added", "changed", "vanished"])
    await client.sync("sqlite:///calls.db", on_vanished="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class OwnPlan:
    """A plan of an extension."""

    span: TimeWindow | None = None
    has_result: bool = False

    def next_request(self) -> PageRequest | None:
        return None

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        del request, answer
        return None

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        del request
        return error


async def a_plan_of_ones_own(client: CdrClient) -> None:
    plan: Plan = OwnPlan()
    assert_type(await client.run_plan(plan), None)


def as_list_and_as_arrow(records: CallDetailRecords) -> None:
    as_list: list[CallDetailRecord] = records
    assert_type(as_list[0], CallDetailRecord)
    assert_type(records[0], CallDetailRecord)
    assert_type(records[:3], CallDetailRecords)
    assert_type(records[:3].arrow, ArrowRecords)
    assert_type(records.copy(), CallDetailRecords)
    assert_type(records.preview(3, mask_numbers=False), RecordsPreview)
    records.to_pandas(float_money=True)
    records.to_polars()
    assert_type(len(records), int)
    assert_type(records.report, FetchReport)
    assert_type(records.quarantined, list[QuarantinedRecord])
    assert_type(records.arrow, ArrowRecords)
    assert_type(records.arrow.select(["voice_id", "cost"]), ArrowRecords)
    assert_type(records.arrow.__arrow_c_stream__(), object)
    assert_type(records.__arrow_c_stream__(requested_schema=None), object)
    assert_type(CallDetailRecords(records, report=FetchReport()), CallDetailRecords)


def a_record(record: CallDetailRecord) -> None:
    assert_type(record.voice_id, str)
    assert_type(record.sip_group_name, str | None)
    assert_type(record.phone_name, str | None)
    assert_type(record.callee, str | None)
    assert_type(record.display_num, str | None)
    assert_type(record.code, str | None)
    assert_type(record.submit_time, datetime | None)
    assert_type(record.call_time, datetime | None)
    assert_type(record.ringing_time, datetime | None)
    assert_type(record.answer_time, datetime | None)
    assert_type(record.hangup_time, datetime | None)
    assert_type(record.call_duration, int | None)
    assert_type(record.charged_duration, int | None)
    assert_type(record.termination_code, str | None)
    assert_type(record.termination_reason, str | None)
    assert_type(record.cost, Decimal | None)
    assert_type(record.bill_period, str | None)
    assert_type(record.rate, Decimal | None)
    assert_type(record.recording_file_id, str | None)
    assert_type(record.currency, str | None)
    assert_type(record.settle_rate, Decimal | None)
    assert_type(record.quote_exchange, Decimal | None)
    assert_type(record.settle_pay, Decimal | None)
    assert_type(record.answered, bool)
    assert_type(record.post_dial_delay, timedelta | None)
    assert_type(record.to_dict(), dict[str, Any])
    assert_type(record.to_json(), str)
    assert_type(CallDetailRecord(voice_id="2610241209441000001", cost=Decimal("0.007")), CallDetailRecord)


def a_report(report: FetchReport) -> None:
    counts = (report.total, report.unique, report.duplicates, report.conflicts, report.quarantined, report.anomalies)
    assert_type(counts, tuple[int, int, int, int, int, int])
    effort = (report.windows, report.pages, report.requests, report.scans, report.retries, report.provisional)
    assert_type(effort, tuple[int, int, int, int, int, int])
    assert_type(report.certified, bool)
    assert_type(report.elapsed, float)
    assert_type(report.window_reports, list[WindowReport])
    assert_type(report.unknown_fields, dict[str, int])


async def parts_of_a_range(client: CdrClient, part: RangePart) -> None:
    assert_type(await client.plan_parts(START, END, time_field="call_time", on_out_of_range="skip"), list[RangePart])
    assert_type((part.start, part.rows, part.index, part.parts), tuple[datetime, int, int, int])
    async with client.stream(part=part, allow_incomplete=True) as stream:
        async for batch in stream.arrow_batches(columns=["voice_id"]):
            assert_type(batch, Any)
    client.stream()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.stream(START, END, part=part)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def three_ways_to_read_a_stream(client: CdrClient) -> None:
    async with client.stream(START, END, sip_group_name="sales") as stream:
        async for record in stream:
            assert_type(record, CallDetailRecord)
        assert_type(stream.report, FetchReport)
    async with client.stream(START, END, on_out_of_range="raise", allow_incomplete=False) as stream:
        async for batch in stream.batches():
            assert_type(batch, CallDetailRecords)
    async with client.stream(
        part=(await client.plan_parts(START, END, rows=1_000))[0], allow_incomplete=True
    ) as stream:
        async for batch in stream.arrow_batches(columns=["voice_id"]):
            assert_type(batch, Any)
    client.stream()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    async with client.stream(START, END, phone_name="p", time_field="call_time") as stream:
        async for window in stream.windows():
            assert_type(window.window, TimeWindow)
            assert_type(window.records, list[CallDetailRecord])
            assert_type(window.report, WindowReport)


async def single_questions(client: CdrClient) -> None:
    assert_type(await client.count(START, END, sip_group_name="sales", phone_name=None), int)
    page = await client.fetch_page(START, END, 2, 50)
    assert_type(page, Page)
    assert_type(page.to_dict(), dict[str, Any])
    assert_type(page.to_json(), str)
    assert_type(await client.fetch_page(START, END, current=1, size=100, sip_group_name=None), Page)
    assert_type((page.total, page.size, page.current, page.pages), tuple[int, int, int, int])
    assert_type(page.records, list[CallDetailRecord])
    assert_type(page.quarantined, list[QuarantinedRecord])
    assert_type(await client.ping(), None)
    report = (await client.fetch_all(START, END)).report
    counts = await client.recount([window.window for window in report.window_reports], phone_name=None)
    assert sum(counts.values()) >= 0


def without_await(client: BlockingCdrClient, part: RangePart, plan: Plan) -> None:
    with BlockingCdrClient.from_env(concurrency=16) as opened, BlockingCdrClient(URL, "key", "secret", rate=5):
        assert_type(opened, BlockingCdrClient)
    assert_type(client.fetch_all(START, END, sip_group_name="sales", time_field="submit_time"), CallDetailRecords)
    client.fetch_all(START)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.fetch_all(START, END, on_out_of_range="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(client.plan_parts(START, END, rows=10_000), list[RangePart])
    assert_type(client.count(START, END), int)
    assert_type(client.recount([TimeWindow(START, END)]), dict[TimeWindow, int])
    assert_type(client.fetch_page(START, END, 2, size=50), Page)
    assert_type(client.export(START, END, "calls.csv", overwrite=True), FetchReport)
    assert_type(client.export_days(START.date(), END.date(), "UTC", "{date}.csv"), DaysReport)
    client.ping()
    client.run_plan(plan)
    with client.stream(START, END, phone_name="p") as stream:
        for record in stream:
            assert_type(record, CallDetailRecord)
        assert_type(stream.report, FetchReport)
    with client.stream(part=part, allow_incomplete=True) as stream:
        for batch in stream.batches():
            assert_type(batch, CallDetailRecords)
        for window in stream.windows():
            assert_type(window, CompleteWindow)
    client.stream(START, part=part)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    assert_type(client.open(), BlockingCdrClient)
    assert_type(client.close(), None)


class OwnLimiter:
    """A limiter of a user."""

    async def acquire(self) -> None:
        """Wait."""


async def one_rate_for_all() -> None:
    with RateServer(30, host="127.0.0.1", port=0) as server:
        assert_type(server.address, str)
        assert_type(server.handle, RemoteRate)
    async with RateServer(RatePolicy(30, burst=5), key_file="key") as server:
        limiter: RateLimiter = server.handle
        CdrClient(URL, "key", "secret", rate=limiter)
    CdrClient(URL, "key", "secret", rate=RemoteRate("10.0.0.5:7300", key_file=Path("key")))
    CdrClient(URL, "key", "secret", rate=OwnLimiter())
    CdrClient(URL, "key", "secret", rate=threading.Lock())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def into_a_file(client: CdrClient) -> None:
    assert_type(await client.export(START, END, "calls.parquet"), FetchReport)
    assert_type(
        await client.export(
            START,
            END,
            Path("calls.csv"),
            format="csv",
            overwrite=True,
            restart=True,
            sip_group_name="sales",
            phone_name=None,
            on_out_of_range="skip",
            allow_incomplete=True,
            time_field="submit_time",
            adjacent=True,
            spreadsheet=True,
            mask_numbers="mask",
            mode=0o640,
            lock=False,
        ),
        FetchReport,
    )
    await client.export(START, END, "calls.ndjson", mask_numbers=b"a key of sixteen bytes")
    await client.export(START, END, "calls.ndjson", mask_numbers="hash")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def the_facts_of_errors(error: SipCdrError) -> None:
    assert_type(error.status, int | None)
    assert_type(error.reason, str | None)
    assert_type(error.window, TimeWindow | None)
    assert_type(error.page, int | None)
    assert_type(error.retryable, bool)
    assert_type(error.retry_after, float | None)
    match error:
        case IncompleteRangeError():
            assert_type(error.report, FetchReport)
            assert_type(error.records, CallDetailRecords)
        case OutOfTimeRangeError():
            assert_type(error.available_from, datetime | None)
        case ClockSkewError():
            assert_type(error.offset, float | None)
        case VendorError():
            assert_type(StatusCode(error.status or 0), StatusCode)
        case _:
            pass


def errors_are_also_what_the_standard_library_has(error: ExportError) -> None:
    as_os_error: OSError = error
    assert_type(as_os_error.errno, int | None)


def policies() -> None:
    assert_type(RatePolicy(5), RatePolicy)
    assert_type(RatePolicy(requests_per_second=0.5, burst=3).burst, int)
    policy = RetryPolicy(
        attempts=4,
        base=0.5,
        throttle_base=2,
        cap=30,
        deadline=60,
        longest_retry_after=30,
        budget=100,
        stall=120,
    )
    assert_type(policy.attempts, int | None)
    assert_type(policy.stall, float)
    RetryPolicy(4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class OwnHook:
    """Any callable is a hook, objects with state among them."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self, event: Event, /) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE:
            self.records += event.records or 0


def hooks(traces: TracerProvider, meters: MeterProvider) -> None:
    seen: list[Event] = []
    own: EventHook = OwnHook()
    both = combine(own, LoggingHook(), seen.append, OpenTelemetryHook(tracer_provider=traces, meter_provider=meters))
    assert_type(both, EventHook)
    CdrClient(URL, "key", "secret", hook=both)
    CdrClient(URL, "key", "secret", hook=lambda _event: None)
    event = seen[0]
    assert_type((event.kind, event.run), tuple[EventKind, int])
    assert_type(event.window, TimeWindow | None)
    assert_type((event.page, event.attempt), tuple[int | None, int | None])
    assert_type((event.records, event.total), tuple[int | None, int | None])
    assert_type(event.error, str | None)
    assert_type((event.elapsed, event.delay), tuple[float | None, float | None])
    assert_type(event.report, FetchReport | None)


def a_range_as_a_lazy_frame(path: Path, field: TimeField) -> None:
    assert_type(scan_cdrs(START, END), pl.LazyFrame)
    frame = scan_cdrs(
        START,
        END,
        credentials_file=path,
        time_field=field,
        on_out_of_range="skip",
        concurrency=4,
        rate=RatePolicy(requests_per_second=10),
    )
    assert_type(frame, pl.LazyFrame)


async def the_sandbox() -> None:
    faults = [Fault("reset", page=2), Fault("http", status=503, headers={"Retry-After": "0"}, times=3, control=False)]
    async with Sandbox(records=500, order="newest", faults=faults) as sandbox:
        assert_type(sandbox, Sandbox)
        assert_type((sandbox.base_url, sandbox.api_key, sandbox.api_secret), tuple[str, str, str])
        assert_type((sandbox.start, sandbox.end), tuple[datetime, datetime])
    with Sandbox(calls=[{"voiceId": "1"}]) as in_a_thread:
        in_a_thread.add_faults(Fault("code", code=-15))
        in_a_thread.answer_next(0, -15)
        in_a_thread.change(order="oldest")
        assert_type(in_a_thread.insert(START, count=2), list[str])
        assert_type(in_a_thread.delete("1"), int)
        assert_type(in_a_thread.faults_left, list[Fault])
        assert_type(in_a_thread.stats, Stats)
        assert_type(in_a_thread.config, SandboxConfig)
        assert_type(in_a_thread.voice_ids(START, END), list[str])
    with Sandbox(calls=read_calls(Path("calls.ndjson"), months_back=None), live=5.0) as from_a_file:
        assert_type(from_a_file, Sandbox)
    with SandboxProcess(records=500) as process:
        assert_type(process.base_url, str)


def in_a_fixture(cdr_sandbox: Sandbox) -> Iterator[CdrClient]:
    yield CdrClient(cdr_sandbox.base_url, cdr_sandbox.api_key, cdr_sandbox.api_secret)


async def in_fastapi(
    client: on_fastapi.ClientDep,
    asked: on_fastapi.RangeParams,
    acme: Annotated[CdrClient, on_fastapi.ClientDep("acme")],
) -> on_fastapi.CsvResponse:
    assert_type(await client.count(**asked), int)
    assert_type(await acme.count(**asked), int)
    on_fastapi.client_lifespan({"acme": CdrClient.from_env}, max_range=None, max_streams=2, allowed_hosts=["localhost"])
    return on_fastapi.CsvResponse(client.stream(**asked), timeout=60, spreadsheet=True)


def every_source_of_a_summary(records: CallDetailRecords, batches: Iterator[CallDetailRecords], path: Path) -> None:
    assert_type(summarize(records), TrafficSummary)
    summarize(batches, by="code", tz=UTC)
    summarize([path, "calls.csv"], by=("code", ("weekday", "hour")), peaks_by=("code",), billing=False, hints=False)
    summarize(records, ("day",))
    summarize(records, by=("callee",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    summarize(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def what_a_summary_says(summary: TrafficSummary) -> None:
    assert_type(summary + summary, TrafficSummary)
    assert_type(summary.table("weekday", "hour"), dict[GroupKey, TrafficMetrics])
    assert_type(summary.total.asr, float | None)
    assert_type(summary.total.pdd(0.95), int | None)
    assert_type(summary.total.effective_rate("EUR", per="minute"), Decimal | None)
    if summary.total.concurrent is not None:
        assert_type(summary.total.concurrent.peak(), Peak | None)
    if summary.billing is not None:
        assert_type(summary.billing.result(), BillingResult)
    if summary.hints is not None:
        assert_type(summary.hints.find(HintThresholds(run_length=5)), list[FraudHint])


async def reports_for_people(client: CdrClient, records: CallDetailRecords) -> None:
    assert_type(await client.report(START, END, "page.html", tz="Asia/Shanghai", compare=True), FetchReport)
    summary = summarize(records, by=REPORT_GROUPINGS)
    certificate = Certificate.of_files(["october.ndjson"])
    assert_type(certificate.verdict, Verdict)
    write_report(summary, "page.html", certificate=certificate, before=summary, certificate_before=records.report)
    assert_type(render_report(summary, certificate=records.report), str)
    write_report(summary, "page.html", certificate="certified")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
