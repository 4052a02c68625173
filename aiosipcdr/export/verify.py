"""Verification of a file against its manifest: one sentence for each difference.

Reads every row, changes nothing and quotes no record.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation, localcontext
from itertools import pairwise
from pathlib import Path

import msgspec

from aiosipcdr.display import shorten
from aiosipcdr.export.formats import FORMATS
from aiosipcdr.export.manifest import Manifest, MoneySum, money_sums
from aiosipcdr.export.masking import HIDDEN
from aiosipcdr.export.paths import find_paths
from aiosipcdr.export.reading import open_plain, read_columns
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.money import EXACT, SUMMED_FIELDS, MoneyRow, MoneyTotals, describe_unit

__all__ = [
    "FileFacts",
    "check_quarantine",
    "find_contradictions",
    "find_differences",
    "hash_file",
    "read_facts",
    "verify_file",
]


_BLOCK = 1024 * 1024
# In characters of currency names, with the overhead of each: about 10,000 names.
_MAX_CURRENCY_BUDGET = 1024 * 1024
_CURRENCY_OVERHEAD = 100


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a file, found by reading it: size, hash, rows, answered calls (with an answer time), sums."""

    bytes: int
    sha256: str
    rows: int
    answered: int
    money: list[MoneySum]


def read_facts(path: Path, format_name: str) -> FileFacts:
    """Read a whole file.

    Raises:
        ImportError: An extra is missing; the message says what to install.
        ExportError: The file cannot be read in its format.
    """
    size, sha256 = hash_file(path)
    counter = _RowCounter()
    totals = MoneyTotals()
    totals.add_rows(_amounts(path, format_name, counter))
    return FileFacts(bytes=size, sha256=sha256, rows=counter.rows, answered=counter.answered, money=money_sums(totals))


def verify_file(path: Path, manifest: Manifest, sidecars: Path | None = None) -> list[str]:
    """Return the differences between a file, its quarantine and its manifest, and contradictions in the manifest.

    Raises:
        ImportError: An extra is missing; the message says what to install.
        ExportError: The file cannot be read.
    """
    found = find_contradictions(manifest)
    if not _same_name(manifest.file, path.name):
        found.append(
            f"the manifest belongs to a file named {shorten(manifest.file)}; if the file was renamed, rename both back"
        )
    if manifest.format not in FORMATS:
        return [*found, "the manifest names a format that this version does not know; use the version that wrote it"]
    try:
        found += find_differences(manifest, read_facts(path, manifest.format))
    except ExportError as unreadable:
        found += [*_compare_bytes(manifest, *hash_file(path)), str(unreadable)]
    return found + check_quarantine(find_paths(path, sidecars).quarantine, manifest)


def find_contradictions(manifest: Manifest) -> list[str]:
    """Return the contradictions in a manifest, one sentence each; empty if it is consistent."""
    report = manifest.report
    proofs = report.window_reports
    checks = [
        (manifest.certified == report.certified, "certified differs from its report"),
        (manifest.quarantined == report.quarantined, "quarantined differs from its report"),
        (report.provisional == sum(proof.provisional for proof in proofs), "provisional differs from its windows"),
    ]
    if report.certified:
        checks += [
            (report.total == report.unique, "certified, but total and unique differ"),
            (manifest.rows + manifest.quarantined == report.unique, "certified, but unique is not its rows"),
            (report.windows == len(proofs), "certified, but the number of windows differs"),
            (all(proof.certified for proof in proofs), "certified, but a window is not"),
            (all(proof.total == proof.unique for proof in proofs), "certified, but a window's total and unique differ"),
            (sum(proof.unique for proof in proofs) >= report.unique, "certified, but its windows hold fewer calls"),
            (_covers(manifest), "certified, but its windows do not cover the range"),
        ]
    return [f"the manifest contradicts itself: {what}" for is_right, what in checks if not is_right]


def _covers(manifest: Manifest) -> bool:
    windows = [proof.window for proof in manifest.report.window_reports]
    query = manifest.query
    end = manifest.report.clipped_to or query.end
    return (
        bool(windows)
        and windows[0].start <= query.start
        and max(window.end for window in windows) >= end
        and all(later.start <= earlier.end for earlier, later in pairwise(windows))
    )


def _same_name(one: str, other: str) -> bool:
    # Some file systems store names in another Unicode normal form.
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file.

    Raises:
        ExportError: It cannot be read.
    """
    try:
        with open_plain(path) as file:
            digest = hashlib.file_digest(file, "sha256")
            return file.tell(), digest.hexdigest()
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None


def check_quarantine(path: Path, manifest: Manifest) -> list[str]:
    """Return the differences between the quarantine file at `path` and the manifest, one sentence each."""
    records = manifest.quarantined
    if manifest.quarantine_file is None:
        # An older manifest may have been written beside the quarantine file of another export.
        is_wrong = records or (path.exists() and not manifest.is_older)
        return [f"the manifest does not mention {path.name} or its records"] if is_wrong else []
    if not _same_name(manifest.quarantine_file, path.name):
        return ["the manifest names another quarantine file than the one of this file"]
    digest = hashlib.sha256()
    actual = 0
    try:
        with open_plain(path, follow_links=False) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                actual += block.count(b"\n")
    except OSError as error:  # an ExportError is one
        why = error.strerror or str(error)
        return [f"{path.name} ({records:,} records that could not be decoded) cannot be read: {why}"]
    if actual != records:
        return [f"{path.name} has {actual:,} records, the manifest says {records:,}"]
    if digest.hexdigest() != manifest.quarantine_sha256 and not manifest.is_older:
        return [f"the SHA-256 of {path.name} differs from the manifest: it was changed after it was written"]
    return []


class _RowCounter:
    def __init__(self) -> None:
        self.rows = 0
        self.answered = 0
        self._currencies: set[str | None] = set()
        self._budget = _MAX_CURRENCY_BUDGET

    def take_currency(self, currency: str | None, path: Path) -> None:
        """Refuse a file with a new currency in each row, whose sums would fill the memory."""
        if currency not in self._currencies:
            self._currencies.add(currency)
            self._budget -= len(currency or "") + _CURRENCY_OVERHEAD
            if self._budget < 0:
                raise ExportError(f"{path} cannot be read: it names more currencies than any export; export it again")


def _amounts(path: Path, format_name: str, counter: _RowCounter) -> Iterator[MoneyRow]:
    columns = ("currency", "answer_time", *SUMMED_FIELDS)
    for currency, answer_time, *amounts in read_columns(path, format_name, columns):
        counter.rows += 1
        counter.answered += answer_time is not None
        counter.take_currency(currency, path)
        for field, amount in zip(SUMMED_FIELDS, amounts, strict=True):
            if amount is not None:
                yield MoneyRow(field, currency, _decimal(amount, path))


def find_differences(manifest: Manifest, facts: FileFacts) -> list[str]:
    """Return the differences between the facts and the manifest, one sentence each; empty if they agree."""
    found = _compare_bytes(manifest, facts.bytes, facts.sha256)
    if facts.rows != manifest.rows:
        found.append(f"the file has {facts.rows:,} rows, the manifest says {manifest.rows:,}")
    actual, reported = _by_group(facts.money, manifest.money), _by_group(manifest.money, manifest.money)
    for group in sorted({*actual, *reported}, key=str):
        if actual.get(group, 0) != reported.get(group, 0):
            field, currency = group
            unit = describe_unit(field, None if currency is None else shorten(currency))
            found.append(
                f"the sum of {shorten(field)} ({unit}) is {actual.get(group, 0)},"
                f" the manifest says {reported.get(group, 0)}"
            )
    return found


def _compare_bytes(manifest: Manifest, size: int, sha256: str) -> list[str]:
    found = []
    if size != manifest.bytes:
        found.append(f"the file has {size:,} bytes, the manifest says {manifest.bytes:,}")
    if sha256 != manifest.sha256:
        found.append("the file's SHA-256 differs from the manifest: the file was changed after it was written")
    return found


def _by_group(money: list[MoneySum], reported: list[MoneySum]) -> dict[tuple[str, str | None], Decimal]:
    # If the manifest hides currency names, only the sum over all currencies can be compared.
    hidden = {one.field for one in reported if one.currency == HIDDEN}
    sums: dict[tuple[str, str | None], Decimal] = {}
    with localcontext(EXACT):
        for one in money:
            group = one.field, HIDDEN if one.field in hidden else one.currency
            sums[group] = sums.get(group, Decimal()) + Decimal(one.sum)
    return sums


def _decimal(amount: object, path: Path) -> Decimal:
    try:
        reported = Decimal(str(amount))
    except InvalidOperation:
        reported = Decimal("NaN")
    if not reported.is_finite() or abs(reported.adjusted()) > EXACT.prec:  # cheaper than asking the codec
        raise ExportError(f"{path} cannot be read: an amount is not a number; export it again")
    return reported
