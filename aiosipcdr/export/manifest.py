"""The manifest of a file: the query, the proof and the expected contents of the file.

A manifest is JSON that ends with its signature and with a hash of all bytes before it. The hash detects any change; the
signature also detects a consistent change of file and manifest by anyone without the account's secret. Holds no record,
no secret and no phone number. `verify` compares a file with its manifest.
"""

import hashlib
import hmac
import platform
import re
import stat
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from glob import escape
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from aiosipcdr import __version__
from aiosipcdr.export.journal_records import Header, WrittenWindow
from aiosipcdr.export.keys import ACCOUNT, PHONE, PSEUDONYMS, DerivedKey, KeyDerivation, derive_key
from aiosipcdr.export.masking import CurrencyNames, read_numbers
from aiosipcdr.export.paths import DATASET_PREFIX, MANIFEST
from aiosipcdr.export.reading import open_plain
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.spec import ExportQuery, ExportSpec
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.money import MoneyTotals, MoneyUnit, unit_of
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials, mask_secrets, older_fingerprint

__all__ = [
    "Manifest",
    "MoneySum",
    "QuarantineFile",
    "Signature",
    "StoredManifest",
    "TileCount",
    "compare_owner",
    "describe_file",
    "encode_manifest",
    "find_derivation",
    "money_sums",
    "read_manifest",
    "read_stored",
]

Signature = Literal["valid", "invalid", "not checked", "unsigned"]
"""The result of checking a signature: "not checked" without its credentials, "unsigned" for an older manifest."""

LAYOUT = 2
"""The version of the manifest; raised when an older version would misread it. Layout 1 had no hash of its content."""

# The last lines of a manifest: a signature of all bytes before it, then the SHA-256 of all bytes before that.
_SIGNATURE = b',\n  "signature": "%b"'
_CONTENT_HASH = b',\n  "content_sha256": "%b"\n}\n'
_HEX = b"0" * 64
_END = re.compile((_SIGNATURE + _CONTENT_HASH) % (b"([0-9a-f]{64})", b"([0-9a-f]{64})"))
_END_SIZE = len((_SIGNATURE + _CONTENT_HASH) % (_HEX, _HEX))

_MAX_BYTES = 64 * 1024 * 1024  # about 150,000 windows

# How many manifests of a folder are read for a salt, and how many salts are tried.
_MAX_MANIFESTS_READ = 20
_MAX_SALTS_TRIED = 3


class MoneySum(msgspec.Struct, frozen=True, kw_only=True):
    """The exact sum of a field over some rows, in plain digits.

    Attributes:
        field: "cost" or "settle_pay".
        currency: The currency of the quote in these rows; `None`: rows without a currency.
        unit: The unit of the sum: "quote" (`currency`; without one US dollars, on most brands) or "settlement", the
            currency of the account, which no field names. Missing in older manifests.
        sum: The sum.
    """

    field: str
    currency: str | None
    unit: MoneyUnit | None = None
    sum: Annotated[str, msgspec.Meta(pattern=r"\A-?[0-9]+(\.[0-9]+)?\Z", max_length=200)]


class TileCount(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's last count of a window, for comparison with a later count."""

    window: TimeWindow
    count: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of an exported file.

    Attributes:
        manifest: The layout version of the manifest; 1 ("older") has no hash of its content and of the quarantine.
        file: The name of the file.
        format: Its format, a value of `--format`.
        spreadsheet: Whether it was written for spreadsheets.
        tz: The time zone of its dates, in Excel only.
        numbers: "unchanged", "masked" or "pseudonyms".
        query: The query; the name of a phone is masked.
        key: The key derivation of both fingerprints and of the signature.
        account: The fingerprint of API key and secret.
        phone: The fingerprint of the phone in the filter.
        pseudonyms: The fingerprint of the pseudonym key.
        tiles: The windows of the plan before any split, and the vendor's count of each.
        rows: Number of calls in the file.
        bytes: Its size.
        sha256: Its SHA-256, in hexadecimal.
        certified: Whether every window was certified, none was skipped and nothing was quarantined.
        quarantined: Number of records without a readable id, kept in `quarantine_file`.
        quarantine_file: The name of the quarantine file, if there is one.
        quarantine_sha256: Its SHA-256, in hexadecimal.
        faulty_fields: Number of values per field that are in `extra` instead of their column: they could not be read,
            or the format cannot hold them.
        money: Sums per field and currency; "***" stands for currencies whose names are hidden: see `CurrencyNames`.
        report: The report of the runs, with the proof of each window.
        versions: Versions of everything that affects the bytes.
        created: When the file was finished (UTC).
    """

    manifest: int = LAYOUT
    file: str
    format: str
    spreadsheet: bool = False
    tz: str | None = None
    numbers: str = "unchanged"
    query: ExportQuery
    key: KeyDerivation | None = None
    account: str
    phone: str | None = None
    pseudonyms: str | None = None
    tiles: list[TileCount] = []
    rows: int
    bytes: int
    sha256: str
    certified: bool
    quarantined: int
    quarantine_file: str | None = None
    quarantine_sha256: str | None = None
    faulty_fields: dict[str, int] = {}
    money: list[MoneySum]
    report: FetchReport
    versions: dict[str, str]
    created: datetime

    @property
    def is_older(self) -> bool:
        """Whether it was written before manifests had a hash of their content."""
        return self.manifest < LAYOUT

    def as_report(self) -> FetchReport:
        """Return the report of the runs; its faulty fields include values that the file's format cannot hold."""
        faulty = self.faulty_fields or self.report.faulty_fields
        return msgspec.structs.replace(self.report, certified=self.certified, faulty_fields=faulty)


class QuarantineFile(NamedTuple):
    """A quarantine file: its name and its SHA-256 in hexadecimal."""

    name: str
    sha256: str


def describe_file(
    spec: ExportSpec,
    header: Header,
    *,
    end: Mark,
    windows: Collection[WrittenWindow],
    tiles: list[TileCount],
    report: FetchReport,
    quarantine: QuarantineFile | None,
) -> Manifest:
    """Return the manifest of a file that is about to be published.

    Args:
        spec: The export.
        header: The header of its journal, with the fingerprints.
        end: Size and hash of the file.
        windows: The written windows.
        tiles: The vendor's counts of the windows of the plan.
        report: The report of the runs.
        quarantine: The quarantine file, if there is one.
    """
    money = MoneyTotals(CurrencyNames(partial(mask_secrets, spec.credentials)))
    faulty = Counter(report.faulty_fields)
    for window in windows:
        money.add_rows(window.money)
        faulty.update(window.unfit)
    return Manifest(
        file=spec.path.name,
        format=spec.format,
        spreadsheet=spec.spreadsheet,
        tz=spec.tz,
        numbers=spec.numbers,
        query=spec.public_query,
        key=header.key,
        account=header.settings[ACCOUNT] or "",
        phone=header.settings[PHONE],
        pseudonyms=header.settings[PSEUDONYMS],
        tiles=tiles,
        rows=sum(window.rows for window in windows),
        bytes=end.end,
        sha256=end.sha256,
        certified=report.certified,
        quarantined=report.quarantined,
        quarantine_file=None if quarantine is None else quarantine.name,
        quarantine_sha256=None if quarantine is None else quarantine.sha256,
        faulty_fields=dict(faulty),
        money=money_sums(money),
        report=report,
        versions=_versions(spec.format),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def encode_manifest(manifest: Manifest, key: DerivedKey) -> bytes:
    """Return the manifest as indented JSON that ends with its signature under `key` and the hash of its content."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2).removesuffix(b"\n}")
    signed = content + _SIGNATURE % key.sign(content).encode()
    return signed + _CONTENT_HASH % hashlib.sha256(signed).hexdigest().encode()


class StoredManifest(NamedTuple):
    """A manifest as stored: with the signed bytes and their signature, which an older one does not have."""

    manifest: Manifest
    content: bytes
    signature: str | None

    def check_signature(self, credentials: Credentials) -> Signature:
        """Return the result of checking the signature with `credentials`; may derive a key: see `derive_key`."""
        manifest = self.manifest
        if manifest.key is None or self.signature is None:
            return "unsigned"
        key = derive_key(credentials, manifest.key)
        if key.fingerprint(ACCOUNT) != manifest.account:
            return "not checked"
        return "valid" if hmac.compare_digest(key.sign(self.content), self.signature) else "invalid"


def compare_owner(manifest: Manifest, credentials: Credentials, phone: str | None) -> tuple[bool, bool]:
    """Return whether a manifest belongs to the account of `credentials`, and whether its filter is `phone`.

    The same API key with another secret counts as another account.
    """
    if manifest.key is None:
        account, reported = older_fingerprint(credentials), phone and older_fingerprint(credentials, phone)
    else:
        key = derive_key(credentials, manifest.key)
        account, reported = key.fingerprint(ACCOUNT), phone and key.fingerprint(PHONE, phone)
    return account == manifest.account, reported == manifest.phone


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path` after checking the hash of its content; the signature is not checked.

    Raises:
        ExportError: The manifest is missing, not a manifest, or was changed.
    """
    return read_stored(path).manifest


def read_stored(path: Path) -> StoredManifest:
    """Return the manifest at `path` with its signature: see `read_manifest`.

    Raises:
        ExportError: The manifest is missing, not a manifest, or was changed.
    """
    try:
        with open_plain(path) as file:
            raw = file.read(_MAX_BYTES)
        manifest = msgspec.json.decode(raw, type=Manifest)
    except FileNotFoundError:
        raise ExportError(
            f"{path} is missing; without a manifest the file cannot be verified: export it again"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ExportError(f"{path} is not a manifest of aiosipcdr, or was changed; export the file again") from None
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if not 1 <= manifest.manifest <= LAYOUT:
        raise ExportError(
            f"{path} was written by another version of aiosipcdr (layout {manifest.manifest}, this is {LAYOUT}); use"
            " that version"
        )
    content, end = raw[:-_END_SIZE], _END.fullmatch(raw, max(0, len(raw) - _END_SIZE))
    if manifest.is_older:
        # A newer manifest disguised as an older one is refused.
        is_changed = b'"content_sha256"' in raw or manifest.quarantine_sha256 is not None or manifest.key is not None
        signature = None
    else:
        signed = content + _SIGNATURE % end[1] if end else b""
        is_changed = not end or end[2] != hashlib.sha256(signed).hexdigest().encode() or manifest.key is None
        signature = end[1].decode() if end else None
    if is_changed:
        raise ExportError(
            f"{path} was changed after it was written: the hash of its content differs; export the file again"
        )
    manifest = msgspec.structs.replace(manifest, numbers=read_numbers(manifest.numbers))
    return StoredManifest(manifest, content, signature)


def find_derivation(manifest: Path, credentials: Credentials) -> KeyDerivation | None:
    """Return the key derivation of the newest manifest in the same folder that `credentials` have signed.

    If each day has its own folder, manifests of the same name in the neighbouring folders count. Only a few are tried,
    since each may need a derivation; `None` only means a new salt.
    """
    folder = manifest.parent
    is_dataset = manifest.name.startswith(DATASET_PREFIX)
    candidates = folder.parent.glob(f"*/{escape(manifest.name)}") if is_dataset else folder.glob(f"*{MANIFEST}")
    dated: list[tuple[int, Path]] = []
    for path in candidates:
        with suppress(FileNotFoundError):  # removed meanwhile
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                dated.append((status.st_mtime_ns, path))
    tried: set[KeyDerivation] = set()
    for _, path in sorted(dated, reverse=True)[:_MAX_MANIFESTS_READ]:
        try:
            stored = read_stored(path)
        except ExportError:
            continue
        derivation = stored.manifest.key
        if derivation is None or derivation in tried or not derivation.is_current:
            continue
        if stored.check_signature(credentials) == "valid":
            return derivation
        tried.add(derivation)
        if len(tried) == _MAX_SALTS_TRIED:
            break
    return None


def money_sums(money: MoneyTotals) -> list[MoneySum]:
    """Return the sums as a manifest holds them."""
    return [
        MoneySum(field=row.field, currency=row.currency, unit=unit_of(row.field), sum=format(row.amount, "f"))
        for row in money.rows()
    ]


def _versions(format_name: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and only needed for files

    found = {"aiosipcdr": __version__, "python": platform.python_version()}
    packages = {"parquet": "pyarrow", "zst": "backports.zstd", "xlsx": "XlsxWriter"}
    for suffix, package in packages.items():
        if format_name.endswith(suffix):
            with suppress(PackageNotFoundError):  # zstd is part of Python from 3.14 on
                found[package] = version(package)
    return found
