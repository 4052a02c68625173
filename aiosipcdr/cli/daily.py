"""`export --daily`: a range as one file for each day, and which of them are still to be written.

Decides by manifests alone: must never ask the vendor or change a file.
"""

from collections.abc import Sequence
from datetime import date, datetime
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from pathlib import Path
from typing import Literal, NamedTuple

from aiosipcdr.cli.usage import UsageError
from aiosipcdr.export import JOURNAL, MANIFEST, beside, read_manifest, was_asked_by
from aiosipcdr.protocol.days import days_of
from aiosipcdr.protocol.signing import Credentials

__all__ = ["DayFile", "Wanted", "decide_day", "plan_days"]

_PLACE = "{date}"


class DayFile(NamedTuple):
    """A day of a zone, from its first instant to the first of the next, and the file of its calls."""

    date: date
    start: datetime
    end: datetime
    path: Path


class Wanted(NamedTuple):
    """What the files of all days have in common; of account and phone, manifests hold fingerprints."""

    format: str
    spreadsheet: bool
    numbers: str
    group: str | None
    credentials: Credentials
    phone: str | None
    time_field: str | None = None

    def __repr__(self) -> str:
        """Leave the filters out: a phone's name may be a number."""
        return f"Wanted({self.format})"


def plan_days(start: datetime, end: datetime, zone: TimeZone, output: Path, now: datetime) -> Sequence[DayFile]:
    """Return the days that a range touches, oldest first, each of them whole; days to come are left out.

    The date takes the place of `{date}` in the name of the file; without it,
    it is put before the ending: `calls.csv.gz` becomes `calls-2026-10-01.csv.gz`.
    """
    try:
        days = [day for day in days_of(start, end, zone) if day.start < now]
    except OverflowError:
        msg = "the range has a day at the end of the calendar: ask for less"
        raise UsageError(msg) from None
    return [DayFile(day.date, day.start, day.end, _name(output, day.date)) for day in days]


def decide_day(day: DayFile, wanted: Wanted) -> Literal["write", "write again", "skip"]:
    """Return what is to be done about a day.

    A file that was proven when nothing could be added any more is left alone.
    One that was not, or that an export was at work on, is written again, if it
    is the answer to the same question.  Any other is for the export to refuse.
    """
    try:
        size = day.path.stat().st_size
        manifest = read_manifest(beside(day.path, MANIFEST))
    except OSError:  # an ExportError is one
        return "write"
    query = manifest.query
    told = wanted._replace(
        format=manifest.format,
        spreadsheet=manifest.spreadsheet,
        numbers=manifest.numbers,
        group=query.sip_group_name,
        time_field=query.time_field,
    )
    if told != wanted or not query.adjacent or (query.start, query.end) != (day.start, day.end):
        return "write"
    if not all(was_asked_by(manifest, wanted.credentials, wanted.phone)):
        return "write"
    if beside(day.path, JOURNAL).exists():
        return "write again"  # the manifest may be that of the file to come
    if size != manifest.bytes:
        return "write"
    return "skip" if manifest.certified and not manifest.report.provisional else "write again"


def _name(output: Path, day: date) -> Path:
    if _PLACE in output.name:
        return output.with_name(output.name.replace(_PLACE, str(day)))
    stem, *endings = output.name.split(".")
    return output.with_name(".".join([f"{stem}-{day}", *endings]))
