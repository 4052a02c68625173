"""A file held against its manifest: what differs, each in one sentence.

Reads every row.  Must never change a file, and never quote what stands in one.
"""

import hashlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from aiosipcdr.errors import ExportError
from aiosipcdr.export.manifest import Manifest, MoneySum, money_sums
from aiosipcdr.export.reading import read_columns
from aiosipcdr.money import EXACT, SUMMED_FIELDS, MoneyRow, MoneyTotals

__all__ = ["FileFacts", "find_differences", "read_facts", "verify_file"]


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is, found by reading it: size, hash, rows, calls with an answer time, sums."""

    bytes: int
    sha256: str
    rows: int
    answered: int
    money: list[MoneySum]


def read_facts(path: Path, format_name: str) -> FileFacts:
    """Read a file from its first byte to its last.

    Raises:
        ImportError: an extra is missing; the text says what to install.
        ExportError: it cannot be read, or not as one of its format.
    """
    size, sha256 = _hash(path)
    seen = _Seen()
    totals = MoneyTotals()
    totals.add_rows(_amounts(path, format_name, seen))
    return FileFacts(bytes=size, sha256=sha256, rows=seen.rows, answered=seen.answered, money=money_sums(totals))


def verify_file(path: Path, manifest: Manifest) -> list[str]:
    """Return what differs between a file, what stands beside it and its manifest, each in one sentence.

    Raises:
        ImportError: an extra is missing; the text says what to install.
        ExportError: the file cannot be read.
    """
    try:
        found = find_differences(manifest, read_facts(path, manifest.format))
    except ExportError as unreadable:
        found = [*_compare_bytes(manifest, *_hash(path)), str(unreadable)]
    if manifest.quarantine_file is not None:
        found += _check_quarantine(path.with_name(manifest.quarantine_file), manifest.quarantined)
    return found


def _hash(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return file.tell(), digest.hexdigest()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None


def _check_quarantine(path: Path, records: int) -> list[str]:
    try:
        with path.open("rb") as file:
            there = sum(1 for _ in file)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return [f"{path.name} with {records:,} records that could not be decoded cannot be read: {why}"]
    return [] if there == records else [f"{path.name} has {there:,} records, the manifest says {records:,}"]


class _Seen:
    rows = 0
    answered = 0


def _amounts(path: Path, format_name: str, seen: _Seen) -> Iterator[MoneyRow]:
    columns = ("currency", "answer_time", *SUMMED_FIELDS)
    for currency, answer_time, *amounts in read_columns(path, format_name, columns):
        seen.rows += 1
        seen.answered += answer_time is not None
        for field, amount in zip(SUMMED_FIELDS, amounts, strict=True):
            if amount is not None:
                yield MoneyRow(field, currency, _decimal(amount, path))


def find_differences(manifest: Manifest, facts: FileFacts) -> list[str]:
    """Return what the file is and the manifest does not say, each in one sentence; nothing when they agree."""
    found = _compare_bytes(manifest, facts.bytes, facts.sha256)
    if facts.rows != manifest.rows:
        found.append(f"the file has {facts.rows:,} rows, the manifest says {manifest.rows:,}")
    there, told = _by_group(facts.money), _by_group(manifest.money)
    for group in sorted({*there, *told}, key=str):
        if there.get(group, 0) != told.get(group, 0):
            field, currency = group
            found.append(
                f"the sum of {field} ({currency or 'no currency told'}) is {there.get(group, 0)},"
                f" the manifest says {told.get(group, 0)}"
            )
    return found


def _compare_bytes(manifest: Manifest, size: int, sha256: str) -> list[str]:
    found = []
    if size != manifest.bytes:
        found.append(f"the file has {size:,} bytes, the manifest says {manifest.bytes:,}")
    if sha256 != manifest.sha256:
        found.append("the file's SHA-256 is not the manifest's: the file was changed after it was written")
    return found


def _by_group(money: list[MoneySum]) -> dict[tuple[str, str | None], Decimal]:
    return {(one.field, one.currency): Decimal(one.sum) for one in money}


def _decimal(amount: object, path: Path) -> Decimal:
    try:
        told = Decimal(str(amount))
    except InvalidOperation:
        told = Decimal("NaN")
    if not told.is_finite() or abs(told.adjusted()) > EXACT.prec:  # cheaper than to ask the codec
        raise ExportError(f"{path} cannot be read: what should be an amount is none")
    return told
