"""Windows made by hand, and exports of them without a network; all numbers are fictional."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from aiosipcdr.export import MANIFEST, ExportJob, ExportPaths, ExportSpec
from aiosipcdr.export.keys import KeyDerivation, derive_key
from aiosipcdr.export.manifest import Manifest, encode_manifest, read_manifest
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import NO_EXTRA, ExtraFields
from aiosipcdr.model.report import CompleteWindow, FetchReport, ReportBuilder, WindowReport, WindowShare
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Delivered, JournalEvent, WindowSplit
from aiosipcdr.wire.signing import Credentials
from tests.made_up_calls import START, call

CREDENTIALS = Credentials("sandbox-key", "sandbox-secret")
DERIVATION = KeyDerivation(salt="5" * 32, n=16, r=8, p=1)
HOURS = 3
END = START + timedelta(hours=HOURS)
SPAN = TimeWindow(START, END)
RAW = b'{"voiceId":7,"callee":"+12125550199"}'


def sidecar_path(path: Path, ending: str) -> Path:
    """The sidecar of `path` with that ending."""
    return path.with_name(path.name + ending)


def hour(number: int) -> TimeWindow:
    start = START + timedelta(hours=number)
    return TimeWindow(start, start + timedelta(hours=1))


def window(number: int, calls: int = 3, *, bad: int = 0, **reported: Any) -> CompleteWindow:  # noqa: ANN401
    """The hour of that number, read to its end: so many calls, and so many that could not be decoded."""
    records = [call(100 * number + one) for one in range(calls)]
    if records:
        records[0] = msgspec.structs.replace(records[0], extra=ExtraFields(newField='"1"'))
    figures = {"total": calls + bad, "unique": calls + bad, "requests": 2, "pages": 1, "scans": 1, "certified": True}
    report = WindowReport(window=hour(number), **figures | reported)
    return CompleteWindow(
        window=report.window,
        records=records,
        quarantined=[
            QuarantinedRecord(raw=RAW, window=report.window, page=1, reason="no id", voice_id=f"bad{number}")
            for _ in range(bad)
        ],
        report=report,
        share=WindowShare(unique=calls + bad, total=calls + bad, quarantined=bad),
        repeated=[call(100 * number - 1)] if number else [],
        unread_ids=[f"bad{number}"] * bad,
    )


def plain(reported: CompleteWindow) -> CompleteWindow:
    """`reported` without extra fields, whose quotes make objects of its rows."""
    records = [msgspec.structs.replace(record, extra=NO_EXTRA) for record in reported.records]
    return msgspec.structs.replace(reported, records=records)


CUT = WindowSplit(reported=WindowReport(window=SPAN, total=6), parts=[hour(number) for number in range(HOURS)])
STORY: tuple[JournalEvent | CompleteWindow, ...] = (CUT, window(0), window(1, calls=0), window(2, calls=2, bad=1))
"""A whole run, as the stream delivers it: a range that is split, and its three hours, one of them empty."""


def order(path: Path, **changes: Any) -> ExportSpec:  # noqa: ANN401
    """The order to write the story to `path`; `changes` are arguments of `ExportSpec.plan`, and filters."""
    filters = Filters(
        sip_group_name=changes.pop("sip_group_name", None),
        phone_name=changes.pop("phone_name", None),
    )
    settings = {
        "start": START,
        "end": END,
        "format": None,
        "restart": False,
        "time_field": None,
        "spreadsheet": False,
        "mask": None,
        "credentials": CREDENTIALS,
        "tiles": [SPAN],
    } | changes
    settings.setdefault("if_exists", "replace" if settings.pop("overwrite", False) else "fail")
    paths = settings.pop("paths", ExportPaths.sidecar_path(path))
    return ExportSpec.plan(paths, settings.pop("start"), settings.pop("end"), filters, **settings)


def report_of(story: Sequence[JournalEvent | CompleteWindow] = STORY) -> FetchReport:
    report = ReportBuilder(certified=True, requests=9, elapsed=1.5)
    for entry in story:
        if isinstance(entry, CompleteWindow):
            report.windows += 1
            report.unique += entry.share.unique
            report.total += entry.share.total
            report.quarantined += entry.share.quarantined
            report.certified = report.certified and entry.report.certified
            report.provisional += entry.report.provisional
            report.window_reports.append(entry.report)
    return report.build()


def as_delivered(entry: JournalEvent | CompleteWindow) -> JournalEvent | Delivered:
    """What a history says of `entry`."""
    return Delivered(reported=entry.report, share=entry.share) if isinstance(entry, CompleteWindow) else entry


async def export(
    path: Path,
    story: Sequence[JournalEvent | CompleteWindow] = STORY,
    *,
    until: int | None = None,
    **changes: Any,  # noqa: ANN401
) -> FetchReport:
    """Export `story` as the client does, going on where a journal ends; stop before the entry of the number `until`."""
    async with ExportJob(order(path, **changes)) as job:
        if job.published is not None:
            return job.published
        checkpoint = await job.checkpoint(allow_incomplete=True, changed=[])
        written = len(checkpoint.entries)
        assert checkpoint.entries == [as_delivered(entry) for entry in story[:written]]
        for entry in story[written:until]:
            await job.write(entry, report_of(story))
        report = report_of(story)
        if until is None:
            await job.publish(report)
        return report


def sealed(manifest: Manifest) -> bytes:
    """The bytes of `manifest`, signed as the export signs it."""
    key = derive_key(CREDENTIALS, manifest.key or DERIVATION)
    return encode_manifest(msgspec.structs.replace(manifest, key=manifest.key or DERIVATION), key)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """All files of `folder`, byte for byte, but for the time and the salt of manifests."""
    found = {}
    for path in folder.iterdir():
        found[path.name] = path.read_bytes()
        if path.name.endswith(MANIFEST):
            # The salt, and the values made with it, differ for each export that finds none.
            manifest = msgspec.structs.replace(read_manifest(path), created=START, key=None, account="", phone=None)
            found[path.name] = msgspec.json.encode(manifest)
    return found
