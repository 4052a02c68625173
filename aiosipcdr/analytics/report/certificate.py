"""The certificate of a set of calls: whether they are proven to be all calls of a period, and each exactly once.

It comes from the report of a run, or from the manifests beside exported files.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec

from aiosipcdr.display import shorten
from aiosipcdr.export.manifest import Manifest, read_stored
from aiosipcdr.export.overlaps import end_of, find_overlaps
from aiosipcdr.export.paths import find_paths
from aiosipcdr.export.verify import find_contradictions, hash_file
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.masking import mask_text
from aiosipcdr.model.report import FetchReport, counted
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials

__all__ = ["Certificate", "CertifiedFile", "Verdict"]

Verdict = Literal["certified", "provisional", "unknown", "not certified"]
"""State of the proof.

"certified": these are all calls of the period. "provisional": they were when it was read, but its end is so young that
calls may still be added. "unknown": nothing says whether calls are missing. "not certified": calls may be missing or
counted twice, or a file was changed.
"""

_WORST: tuple[Verdict, ...] = ("certified", "provisional", "unknown", "not certified")
_MOST_NAMED = 3


class CertifiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a certificate.

    Attributes:
        name: Its name, without its folder.
        verdict: What its manifest proves.
        calls: Its calls; `None` without a manifest.
        sha256: The SHA-256 of its contents, in hexadecimal; `None` without a manifest.
    """

    name: str
    verdict: Verdict
    calls: int | None = None
    sha256: str | None = None


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The proof of a set of calls, and the reasons for what it lacks.

        Certificate.of_files(["october.parquet"]).verdict  # "certified"
        Certificate.of_report(records.report).verdict      # "provisional"

    Attributes:
        verdict: The state of the proof.
        reasons: What keeps it from being "certified", one sentence each.
        notes: What else to know of the calls, one sentence each, such as values that could not be read.
        calls: Calls that it is about; `None` if that is not known.
        counted: Calls that the vendor counts; likewise.
        windows: Windows that were proven one by one.
        requests: Requests that this took.
        start: Begin of the period; `None` if it is not known.
        end: End of the period; likewise.
        sip_group_name: The group in the filter of the query; `None` for all.
        is_one_phone: Whether the filter named one phone.
        files: The files, if the calls come from files.
        is_signed: Whether the signatures of all manifests were checked, and are valid; `None` without manifests.
        is_complete: Whether all windows were proven, even if records or values could not be read.
        is_unreadable: Whether records or values could not be read.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int | None = None
    counted: int | None = None
    windows: int = 0
    requests: int = 0
    start: datetime | None = None
    end: datetime | None = None
    sip_group_name: str | None = None
    is_one_phone: bool = False
    files: tuple[CertifiedFile, ...] = ()
    is_signed: bool | None = None
    is_complete: bool = False
    is_unreadable: bool = False

    @classmethod
    def of_report(
        cls,
        report: FetchReport,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> Self:
        """Return the certificate of the calls that a run fetched.

            Certificate.of_report(records.report)

        Args:
            report: The report of `fetch_all`, of a stream after its last record, or of an export.
            start: Begin of the period; by default that of the first window, which may be a second earlier.
            end: End of the period; likewise.
            sip_group_name: The group in the query's filter.
            phone_name: The phone in the query's filter. The certificate does not name it.
        """
        reasons, notes = _judge(report)
        verdict: Verdict = "not certified" if reasons else "certified"
        if not reasons and report.provisional:
            verdict, reasons = "provisional", [_describe_provisional(report)]
        proofs = report.window_reports
        return cls(
            verdict=verdict,
            reasons=tuple(reasons),
            notes=tuple(notes),
            calls=report.unique - report.quarantined,
            counted=report.total,
            windows=report.windows,
            requests=report.requests,
            start=start or (proofs[0].window.start if proofs else None),
            end=end or (max(proof.window.end for proof in proofs) if proofs else None),
            sip_group_name=sip_group_name,
            is_one_phone=phone_name is not None,
            is_complete=report.is_complete,
            is_unreadable=bool(report.quarantined or report.faulty_fields),
        )

    @classmethod
    def of_files(
        cls,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        *,
        sidecars: str | PathLike[str] | None = None,
        credentials: Credentials | None = None,
    ) -> Self:
        """Return the certificate of exported files, from their manifests. Each file is hashed, and no row is read.

            Certificate.of_files(["october.parquet"])

        A file without a manifest makes the verdict "unknown". One that was changed, files that overlap and gaps between
        files make it "not certified".

        Args:
            paths: The files.
            sidecars: The folder of their manifests, if that is not the folder of the files.
            credentials: Those of the account, to check the signatures of the manifests, too.

        Raises:
            ExportError: A file cannot be read.
        """
        listed = [Path(paths)] if isinstance(paths, str | PathLike) else [Path(path) for path in paths]
        read = [_read_file(path, sidecars, credentials) for path in listed]
        manifests = [one.manifest for one in read if one.manifest is not None]
        is_known = bool(read) and len(manifests) == len(read)
        wrong, doubtful = _find_overlaps(read, credentials)
        wrong += _find_gaps(manifests)
        verdicts: list[Verdict] = [one.file.verdict for one in read]
        if wrong or doubtful:
            verdicts.append("not certified" if wrong else "unknown")
        wrong, doubtful, unclear = map(_shortened, (wrong, doubtful, _describe_queries(manifests)))
        reports = [manifest.report for manifest in manifests]
        groups = {manifest.query.sip_group_name for manifest in manifests}
        phones = {manifest.phone for manifest in manifests}
        is_sound = is_known and not wrong and not any(one.is_changed for one in read)
        return cls(
            verdict=max(verdicts, key=_WORST.index, default="unknown"),
            reasons=tuple([reason for one in read for reason in one.reasons] + wrong + doubtful),
            notes=tuple(dict.fromkeys([note for one in read for note in one.notes] + unclear)),
            calls=sum(manifest.rows for manifest in manifests) if is_known else None,
            counted=sum(report.total for report in reports) if is_known else None,
            windows=sum(report.windows for report in reports),
            requests=sum(report.requests for report in reports),
            start=min(manifest.query.start for manifest in manifests) if is_known else None,
            end=max(end_of(manifest) for manifest in manifests) if is_known else None,
            sip_group_name=groups.pop() if len(groups) == 1 else None,
            is_one_phone=len(phones) == 1 and None not in phones,
            files=tuple(one.file for one in read),
            is_signed=all(one.is_signed for one in read if one.manifest is not None) if manifests else None,
            is_complete=is_sound and all(report.is_complete for report in reports),
            is_unreadable=any(manifest.quarantined or manifest.as_report().faulty_fields for manifest in manifests),
        )

    def compared_with(self, attempts: int) -> Self:
        """Return this certificate, or one that is "not certified" if it is about another number of calls.

            certificate.compared_with(summary.total.attempts)

        Args:
            attempts: The calls of the summary.
        """
        if self.calls is None or self.calls == attempts:
            return self
        reason = f"The summary has {attempts:,} calls, and the certificate is about {self.calls:,}."
        return msgspec.structs.replace(self, verdict="not certified", reasons=(reason, *self.reasons))


def _judge(report: FetchReport) -> tuple[list[str], list[str]]:
    """Return why a run is not certified, and what else to know of it."""
    reasons = []
    unproven = [proof for proof in report.window_reports if not proof.certified]
    gaps = [proof for proof in unproven if not proof.requests]
    unproven = [proof for proof in unproven if proof.requests]
    reasons += [
        f"The vendor has already deleted the calls of {_describe_window(proof.window)}." for proof in gaps[:_MOST_NAMED]
    ]
    if len(gaps) > _MOST_NAMED:
        reasons.append(f"It has also deleted those of {len(gaps) - _MOST_NAMED:,} more parts.")
    reasons += [
        f"From {_describe_window(proof.window)} the vendor counts {proof.counted:,} calls; {proof.unique:,} were read."
        for proof in unproven[:_MOST_NAMED]
    ]
    if len(unproven) > _MOST_NAMED:
        reasons.append(f"{len(unproven) - _MOST_NAMED:,} more windows are not proven complete either.")
    if report.quarantined:
        records = counted(report.quarantined, "record has", "records have")
        kept = "it is" if report.quarantined == 1 else "they are"
        reasons.append(f"{records} no readable id; {kept} kept apart and in no number of this page.")
    if not report.certified and not reasons:
        reasons.append("The run did not prove its calls complete." if report.windows else "Nothing was read.")
    notes = [
        f"{name} could not be read in {counted(calls, 'call', 'calls')}: sums and metrics lack these values."
        for name, calls in islice(((shorten(name), calls) for name, calls in report.faulty_fields.items()), 20)
    ]
    if report.clipped_to is not None:
        notes.append(f"The period ends in the future; it was read up to {report.clipped_to.isoformat()}.")
    return reasons, notes


def _describe_provisional(report: FetchReport) -> str:
    windows = counted(report.provisional, "window was", "windows were")
    return f"{windows} so recent that the vendor may add calls later."


def _describe_window(window: TimeWindow) -> str:
    return f"{window.start.isoformat(' ')} to {window.end.isoformat(' ')}"


class _Read(NamedTuple):
    """A file that was read: its part of the certificate."""

    file: CertifiedFile
    manifest: Manifest | None
    reasons: list[str]
    notes: list[str]
    is_changed: bool = False
    is_signed: bool = False


def _read_file(path: Path, sidecars: str | PathLike[str] | None, credentials: Credentials | None) -> _Read:
    name = shorten(path.name)
    manifest_path = find_paths(path, sidecars).manifest
    size, sha256 = hash_file(path)
    if not manifest_path.exists():
        reason = f"{name} has no manifest beside it, so nothing says whether calls are missing."
        return _Read(CertifiedFile(name=name, verdict="unknown", sha256=sha256), None, [reason], [])
    try:
        stored = read_stored(manifest_path)
    except ExportError:
        reason = f"The manifest of {name} is damaged or was changed."
        file = CertifiedFile(name=name, verdict="not certified", sha256=sha256)
        return _Read(file, None, [reason], [], is_changed=True)
    manifest = stored.manifest
    reasons, notes = _judge(manifest.as_report())
    signature = "not checked" if credentials is None else stored.check_signature(credentials)
    changes = _find_changes(name, path, (size, sha256), manifest)
    if signature == "invalid":
        changes.append(f"{name} and its manifest were changed together: the signature is invalid.")
    verdict: Verdict = "not certified" if reasons or changes else "certified"
    if verdict == "certified" and manifest.report.provisional:
        verdict, reasons = "provisional", [f"{name}: {_describe_provisional(manifest.report)}"]
    if manifest.spreadsheet:
        notes.append(f"{name} was written for spreadsheets: names that it guards begin with an apostrophe here.")
    if manifest.numbers != "unchanged":
        notes.append(
            f"Numbers in {name} are hidden: hints of sequential numbers cannot be found, and calls to two numbers may"
            " look like one that was charged twice."
        )
    file = CertifiedFile(name=name, verdict=verdict, calls=manifest.rows, sha256=sha256)
    return _Read(file, manifest, changes + reasons, notes, bool(changes), signature == "valid")


def _find_changes(name: str, path: Path, facts: tuple[int, str], manifest: Manifest) -> list[str]:
    found = []
    if facts != (manifest.bytes, manifest.sha256):
        found.append(f"{name} was changed after it was written: its size or hash is not that of its manifest.")
    if manifest.file != path.name:
        found.append(f"{name} has the manifest of a file with another name.")
    return found + [f"{name}: {contradiction}." for contradiction in find_contradictions(manifest)]


def _find_overlaps(read: Sequence[_Read], credentials: Credentials | None) -> tuple[list[str], list[str]]:
    """Return which files count calls twice, and which may do so."""
    wrong, doubtful = [], []
    own = {id(one.manifest) for one in read if one.is_signed}  # those of the account of the credentials
    for one, other, is_same_account in find_overlaps([one.manifest for one in read if one.manifest is not None]):
        names = f"{shorten(one.file)} and {shorten(other.file)}"
        if is_same_account or {id(one), id(other)} <= own:
            wrong.append(f"{names} overlap: calls that both hold are counted twice.")
        elif credentials is None or not {id(one), id(other)} & own:
            doubtful.append(f"{names} overlap, and may be of one account: calls that both hold are counted twice.")
    return wrong, doubtful


def _by_query(manifests: Iterable[Manifest]) -> list[list[Manifest]]:
    """Return the files of each account, group and phone, by their begin."""
    found: dict[tuple[str, str | None, str | None], list[Manifest]] = {}
    for manifest in sorted(manifests, key=lambda one: (one.query.start, one.query.end)):
        found.setdefault((manifest.account, manifest.query.sip_group_name, manifest.phone), []).append(manifest)
    return [*found.values()]


def _neighbours(files: Sequence[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each file but the first, after the one before it that ends last."""
    latest, *rest = files
    for manifest in rest:
        yield latest, manifest
        latest = max(latest, manifest, key=end_of)


def _find_gaps(manifests: Iterable[Manifest]) -> list[str]:
    """Return where calls of the whole period are missing."""
    by_query = _by_query(manifests)
    wrong = [
        f"Between {shorten(one.file)} and {shorten(other.file)} there is a gap, whose calls are missing."
        for files in by_query
        for one, other in _neighbours(files)
        if other.query.start > end_of(one)
    ]
    if len({(files[0].query.start, max(map(end_of, files))) for files in by_query}) > 1:
        wrong.append("Files of several groups, phones or accounts cover different periods: calls of some are missing.")
    return wrong


def _describe_queries(manifests: Iterable[Manifest]) -> list[str]:
    """Return what else to know of the queries of files."""
    by_query = _by_query(manifests)
    unclear = [
        f"{shorten(one.file)} and {shorten(other.file)} meet: a call exactly there may be in both; see the rows that"
        " are charged twice."
        for files in by_query
        for one, other in _neighbours(files)
        if other.query.start == end_of(one)
        and not all(manifest.query.adjacent or manifest.query.time_field for manifest in (one, other))
    ]
    if len({files[0].account for files in by_query}) > 1:
        unclear.append("The files may be of several accounts.")
    groups = dict.fromkeys(files[0].query.sip_group_name for files in by_query)
    if len(groups) > 1 and None not in groups:
        names = ", ".join(mask_text(shorten(name)) for name in groups if name is not None)
        unclear.append(f"The files hold only calls of these groups: {names}.")
    elif len(by_query) > 1 and all(files[0].query.sip_group_name or files[0].phone for files in by_query):
        unclear.append("The files hold only calls of some groups or phones.")
    return unclear


def _shortened(sentences: list[str]) -> list[str]:
    more = len(sentences) - 2 * _MOST_NAMED
    return sentences if more <= 0 else [*sentences[: 2 * _MOST_NAMED], f"There are {more:,} more like these."]
