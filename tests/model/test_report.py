"""Reports: their text, their counts, and no phone number."""

import copy
import io
import json
import pickle
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from pydantic import TypeAdapter

from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import (
    CallDetailRecords,
    CompleteWindow,
    FetchReport,
    ReportBuilder,
    WindowReport,
    WindowReportBuilder,
    describe_unreadable,
)
from aiosipcdr.model.windows import TimeWindow

CANARY = "+447700900123"
START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=1))
CALL = CallDetailRecord(voice_id="1", submit_time=START, callee=CANARY, phone_name=CANARY)
BROKEN = QuarantinedRecord(raw=CANARY.encode(), window=WINDOW, page=3, reason="Expected `int`", voice_id="2")


def shown(thing: object) -> str:
    from rich.console import Console
    from rich.pretty import pretty_repr

    out = io.StringIO()
    Console(file=out, width=500).print(thing, [thing])
    return f"{thing} {thing!r} {[thing]} {pretty_repr(thing)} {out.getvalue()}"


def test_the_fields_are_those_of_the_design() -> None:
    ints = "total unique duplicates conflicts quarantined anomalies windows pages requests scans retries provisional"
    report = FetchReport()
    for name in ints.split():
        assert type(getattr(report, name)) is int
    assert report.certified is False
    assert type(report.elapsed) is float
    assert report.window_reports == []
    assert report.unknown_fields == report.faulty_fields == {}
    assert set(FetchReport.__struct_fields__) == {
        *ints.split(),
        "certified",
        "elapsed",
        "window_reports",
        "unknown_fields",
        "faulty_fields",
        "clipped_to",
    }
    assert report.clipped_to is None


def test_two_reports_share_nothing() -> None:
    first, second = FetchReport(), FetchReport()
    first.window_reports.append(WindowReport(window=WINDOW))
    first.unknown_fields["x"] = 1
    assert second == FetchReport()


@pytest.mark.parametrize(("certified", "words"), [(True, "certified complete"), (False, "NOT certified")])
def test_a_report_reads_as_a_sentence(certified: bool, words: str) -> None:  # noqa: FBT001
    text = str(FetchReport(total=60_000, unique=59_999, windows=61, pages=640, requests=1, certified=certified))
    assert "59,999 of 60,000 calls" in text
    assert words in text
    assert "61 windows" in text
    assert "640 pages" in text
    assert "1 request " in text
    assert "\n" not in text
    assert ("NOT" in text) is not certified


def test_trouble_is_named_and_its_absence_is_not() -> None:
    troubles = ("provisional", "retries", "duplicates", "conflicts", "quarantined", "anomalies")
    calm = str(FetchReport())
    for name in troubles:
        assert name not in calm
        text = str(FetchReport(**{name: 12_345}))  # type: ignore[arg-type]
        assert name in text
        assert "12,345" in text


def test_undecodable_records_are_reported_and_not_counted_as_calls() -> None:
    lost = FetchReport(total=3, unique=3, quarantined=3)
    assert str(lost).startswith("0 of 3 calls, NOT certified: ")
    assert str(lost).endswith(", 3 records quarantined (no readable id)")
    faulty = FetchReport(total=3, unique=3, certified=True, faulty_fields={"cost": 2, "answer_time": 1_000})
    assert str(faulty).startswith("3 of 3 calls, certified complete: ")
    assert str(faulty).endswith(", unreadable values of cost (2), answer_time (1,000)")
    both = FetchReport(quarantined=1, faulty_fields={"cost": 1})
    assert describe_unreadable(both) == "1 record quarantined (no readable id), unreadable values of cost (1)"
    assert describe_unreadable(FetchReport(unknown_fields={"carrier": 2})) == ""


@pytest.mark.parametrize(
    ("report", "complete"),
    [
        (FetchReport(certified=True), True),
        (FetchReport(), False),
        (FetchReport(total=1, unique=1, quarantined=1), True),
        (FetchReport(total=2, unique=1, quarantined=1), False),
        (FetchReport(total=1, unique=1, quarantined=1, window_reports=[WindowReport(window=WINDOW)]), False),
    ],
)
def test_a_quarantine_alone_makes_nothing_incomplete(report: FetchReport, *, complete: bool) -> None:
    assert report.is_complete is complete


def test_a_clock_that_may_be_wrong_is_named() -> None:
    judged, other = WindowReport(window=WINDOW, local_clock=True), WindowReport(window=WINDOW)
    for windows, named in (([other], False), ([other, judged], True)):
        report = FetchReport(window_reports=windows)
        assert (report.local_clock, report.facts()["local_clock"]) == (named, named)
        assert ("ages by this machine's clock" in str(report)) is named


def test_ranges_that_the_vendor_no_longer_keeps_are_counted() -> None:
    gap, read = WindowReport(window=WINDOW), WindowReport(window=WINDOW, requests=1)
    assert str(FetchReport(window_reports=[gap, read])).endswith(", 1 part that the vendor no longer keeps")
    assert str(FetchReport(window_reports=[gap, read, gap])).endswith(", 2 parts that the vendor no longer keeps")
    assert "keeps" not in str(FetchReport(window_reports=[read]))


def test_a_report_becomes_json_and_comes_back() -> None:
    report = FetchReport(
        total=2,
        unique=2,
        certified=True,
        elapsed=1.5,
        window_reports=[WindowReport(window=WINDOW, total=2, unique=2, certified=True)],
        unknown_fields={"carrier": 2},
    )
    raw = msgspec.json.encode(report)
    assert msgspec.json.decode(raw, type=FetchReport) == report


def test_a_report_holds_only_counts() -> None:
    for kind in (FetchReport, WindowReport):
        for field in msgspec.structs.fields(kind):
            allowed = {int, bool, float, TimeWindow, list[WindowReport], dict[str, int], datetime | None}
            assert field.type in allowed


def test_no_text_shows_a_number() -> None:
    complete = CompleteWindow(window=WINDOW, records=[CALL], quarantined=[BROKEN], report=WindowReport(window=WINDOW))
    records = CallDetailRecords([CALL])
    records.quarantined.append(BROKEN)
    for thing in (BROKEN, complete, records, FetchReport(), complete.report):
        assert CANARY not in shown(thing)
    assert "13 bytes" in repr(BROKEN)
    assert "records=<1>" in repr(complete)


def test_undecodable_records_count_by_id_or_bytes() -> None:
    assert BROKEN.identity == "2"
    first = QuarantinedRecord(raw=b"a", window=None, page=1, reason="x")
    same = QuarantinedRecord(raw=b"a", window=WINDOW, page=2, reason="y")
    other = QuarantinedRecord(raw=b"b", window=None, page=1, reason="x")
    assert first.identity == same.identity != other.identity
    assert first.identity == "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_records_are_a_list_with_a_report() -> None:
    report = FetchReport(total=1, unique=1, certified=True)
    records = CallDetailRecords([CALL], report=report)
    assert isinstance(records, list)
    assert records == [CALL]
    assert records.report is report
    assert CallDetailRecords().report == FetchReport()
    assert CallDetailRecords(iter([CALL])) == [CALL]
    assert repr(records) == "<CallDetailRecords: 1 records, certified>"
    assert "not certified" in repr(CallDetailRecords())
    records += [CALL]
    assert isinstance(records, CallDetailRecords)
    assert records.report is report


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_records_can_be_copied_and_sent_to_another_process(copier: object) -> None:
    records = CallDetailRecords([CALL], report=FetchReport(total=1, unique=1))
    records.quarantined.append(BROKEN)
    again = copier(records)  # type: ignore[operator]
    assert again == records
    assert again.report == records.report
    assert again.quarantined == [BROKEN]


def test_a_slice_and_a_copy_of_records_keep_type_report_and_arrow() -> None:
    records = CallDetailRecords([CALL] * 5, report=FetchReport(total=5, certified=True))
    records.quarantined.append(BROKEN)
    for part, length in ((records[:3], 3), (records[::-2], 3), (records[9:], 0), (records.copy(), 5)):
        assert type(part) is CallDetailRecords
        assert len(part) == len(part.arrow._records) == length
        assert part.report is records.report
        assert part.quarantined == [BROKEN]
    assert records[-1] is CALL
    with pytest.raises(IndexError):
        records[5]
    part = records[:1]
    part.append(CALL)
    assert len(records) == 5


def test_pydantic_takes_records_as_a_list() -> None:
    adapter = TypeAdapter(CallDetailRecords)
    assert json.loads(adapter.dump_json(adapter.validate_python(CallDetailRecords([CALL])))) == [CALL.to_dict()]


@pytest.mark.parametrize(("built", "builder"), [(FetchReport, ReportBuilder), (WindowReport, WindowReportBuilder)])
def test_a_builder_has_the_fields_of_its_report(built: type[msgspec.Struct], builder: type[msgspec.Struct]) -> None:
    own = [(field.name, field.type) for field in msgspec.structs.fields(builder)]
    assert own == [(field.name, field.type) for field in msgspec.structs.fields(built)]


def test_a_report_is_frozen_and_does_not_follow_its_builder() -> None:
    window = WindowReportBuilder(window=WINDOW, total=3, copies=1, certified=True)
    assert window.counted == window.build().counted == 4
    builder = ReportBuilder(total=3, window_reports=[window.build()], faulty_fields={"cost": 1})
    report = builder.build()
    assert report == FetchReport(total=3, window_reports=[window.build()], faulty_fields={"cost": 1})
    builder.total += 1
    builder.window_reports.append(window.build())
    builder.faulty_fields["cost"] += 1
    builder.unknown_fields["carrier"] = 1
    assert (report.total, len(report.window_reports)) == (3, 1)
    assert (report.faulty_fields, report.unknown_fields) == ({"cost": 1}, {})
    for frozen in (report, report.window_reports[0]):
        with pytest.raises(AttributeError):
            frozen.total = 5  # type: ignore[misc]
