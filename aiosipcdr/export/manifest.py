"""The manifest beside a file: what was asked, what was proven, and what the file must be.

A manifest is JSON that ends with its signature and with a hash of all bytes
before it: any change is detected, and one that was made together with a change
of the file by those who have the account's secret.  Holds no record, no secret and no phone number.
Whether a file agrees with its manifest is decided in `verification`.
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
from glob import escape
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from aiosipcdr import __version__
from aiosipcdr.export.journal_records import Header, WrittenWindow
from aiosipcdr.export.keys import ACCOUNT, PHONE, PSEUDONYMS, DerivedKey, KeyDerivation, derive_key
from aiosipcdr.export.masking import CurrencyNames
from aiosipcdr.export.paths import IN_DATASET, MANIFEST
from aiosipcdr.export.reading import open_plain
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.export.spec import ExportQuery, ExportSpec
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.money import MoneyTotals, MoneyUnit, unit_of
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials

__all__ = [
    "Manifest",
    "MoneySum",
    "QuarantineFile",
    "Signature",
    "StoredManifest",
    "TileCount",
    "describe_file",
    "encode_manifest",
    "find_derivation",
    "money_sums",
    "read_manifest",
    "read_stored",
    "was_asked_by",
]

Signature = Literal["valid", "invalid", "not checked", "unsigned"]
"""What a signature proves: "not checked" without the credentials that made it, "unsigned" of an older manifest."""

LAYOUT = 2
"""Rises when a manifest changes so that an older version would misread it; 1 had no hash of its own content."""

# The last lines of a manifest: a signature of every byte before it, and the SHA-256 of every byte before that.
_SIGNATURE = b',\n  "signature": "%b"'
_CONTENT_HASH = b',\n  "content_sha256": "%b"\n}\n'
_HEX = b"0" * 64
_END = re.compile((_SIGNATURE + _CONTENT_HASH) % (b"([0-9a-f]{64})", b"([0-9a-f]{64})"))
_END_SIZE = len((_SIGNATURE + _CONTENT_HASH) % (_HEX, _HEX))

_LARGEST = 64 * 1024 * 1024  # some 150,000 windows

# How many manifests of a folder are looked at for a salt, and how many salts are tried.
_MOST_READ = 20
_MOST_TRIED = 3


class MoneySum(msgspec.Struct, frozen=True, kw_only=True):
    """The exact sum of a field over some rows, in plain digits.

    Attributes:
        field: "cost" or "settle_pay".
        currency: The rows that name this currency of the quote; `None`: those that name none.
        unit: What the sum is in: "quote" (`currency`; where none is named US dollars, on most brands) or "settlement",
            the currency of the account, which no field names. Older manifests do not have it.
        sum: The sum.
    """

    field: str
    currency: str | None
    unit: MoneyUnit | None = None
    sum: Annotated[str, msgspec.Meta(pattern=r"\A-?[0-9]+(\.[0-9]+)?\Z", max_length=200)]


class TileCount(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's last count of a window: what a later count is compared with."""

    window: TimeWindow
    count: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an exported file.

    Attributes:
        manifest: the layout of the manifest itself; 1 ("older") has no hash of its own content and of the quarantine.
        file: the name of the file.
        format: its format, as `--format` names it.
        spreadsheet: whether it was written for people and not for programs.
        numbers: "as told", "masked" or "pseudonyms".
        query: what was asked; a phone's name is masked.
        key: how the key of both fingerprints and of the signature is derived.
        account: the fingerprint of key and secret.
        phone: the fingerprint of the phone asked for.
        pseudonyms: the fingerprint of the key of pseudonyms.
        tiles: the windows that the range was asked for with, before any was cut, and the vendor's count of each.
        rows: calls in the file.
        bytes: its size.
        sha256: its hash, in hexadecimal.
        certified: whether every window was proven complete, none was left out, and nothing was quarantined.
        quarantined: records without a readable id, kept in `quarantine_file`.
        quarantine_file: the name of the file beside, if there is one.
        quarantine_sha256: its hash, in hexadecimal.
        faulty_fields: values that are in `extra` instead of their column, by field: they could not be read, or the
            format cannot hold them.
        money: sums per field and currency; "***" stands for currencies whose names are not repeated: `CurrencyNames`.
        report: what the runs did and what each window proves.
        versions: of everything that shapes the bytes.
        created: when the file was finished.
    """

    manifest: int = LAYOUT
    file: str
    format: str
    spreadsheet: bool = False
    numbers: str = "as told"
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
        """Whether it was written before manifests had a hash of their own content."""
        return self.manifest < LAYOUT

    def as_report(self) -> FetchReport:
        """Return the report of the runs, with what the file's format could not hold among the faulty fields."""
        faulty = self.faulty_fields or self.report.faulty_fields
        return msgspec.structs.replace(self.report, certified=self.certified, faulty_fields=faulty)


class QuarantineFile(NamedTuple):
    """The quarantine beside a file: its name and its SHA-256 in hexadecimal."""

    name: str
    sha256: str


def describe_file(
    order: ExportSpec,
    header: Header,
    *,
    end: Mark,
    windows: Collection[WrittenWindow],
    tiles: list[TileCount],
    report: FetchReport,
    quarantine: QuarantineFile | None,
) -> Manifest:
    """Return the manifest of a file that is about to appear and ends at `end`.

    Args:
        order: what was exported.
        header: that of its journal, with the fingerprints.
        end: size and hash of the file.
        windows: what was written.
        tiles: the vendor's counts of the windows that the range was asked for with.
        report: what the runs did.
        quarantine: the file beside it, if there is one.
    """
    money = MoneyTotals(CurrencyNames(order.credentials.mask))
    faulty = Counter(report.faulty_fields)
    for window in windows:
        money.add_rows(window.money)
        faulty.update(window.unfit)
    return Manifest(
        file=order.path.name,
        format=order.format,
        spreadsheet=order.spreadsheet,
        numbers=order.numbers,
        query=order.public_query,
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
        versions=_versions(order.format),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def encode_manifest(manifest: Manifest, key: DerivedKey) -> bytes:
    """Return it as JSON that a person can read, ended by its signature under `key` and the hash of its own content."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2).removesuffix(b"\n}")
    signed = content + _SIGNATURE % key.sign(content).encode()
    return signed + _CONTENT_HASH % hashlib.sha256(signed).hexdigest().encode()


class StoredManifest(NamedTuple):
    """A manifest as it is stored: with the bytes that were signed, and their signature (an older one has none)."""

    manifest: Manifest
    content: bytes
    signature: str | None

    def check_signature(self, credentials: Credentials) -> Signature:
        """Return what the signature proves to the holder of `credentials`; may take a derivation: see `derive_key`."""
        manifest = self.manifest
        if manifest.key is None or self.signature is None:
            return "unsigned"
        key = derive_key(credentials, manifest.key)
        if key.fingerprint(ACCOUNT) != manifest.account:
            return "not checked"
        return "valid" if hmac.compare_digest(key.sign(self.content), self.signature) else "invalid"


def was_asked_by(manifest: Manifest, credentials: Credentials, phone: str | None) -> tuple[bool, bool]:
    """Return whether a manifest is of the account of `credentials`, and whether it is of `phone` (`None`: of all).

    With another secret it is another account.
    """
    if manifest.key is None:
        account, reported = credentials.older_fingerprint(), phone and credentials.older_fingerprint(phone)
    else:
        key = derive_key(credentials, manifest.key)
        account, reported = key.fingerprint(ACCOUNT), phone and key.fingerprint(PHONE, phone)
    return account == manifest.account, reported == manifest.phone


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`, its content compared with its own hash; the signature is not checked.

    Raises:
        ExportError: it is missing, is none, or was changed.
    """
    return read_stored(path).manifest


def read_stored(path: Path) -> StoredManifest:
    """Return the manifest at `path` with its signature: see `read_manifest`.

    Raises:
        ExportError: it is missing, is none, or was changed.
    """
    try:
        with open_plain(path) as file:
            raw = file.read(_LARGEST)
        manifest = msgspec.json.decode(raw, type=Manifest)
    except FileNotFoundError:
        raise ExportError(f"{path} is missing: without it nothing is known of the file") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ExportError(f"{path} is not a manifest of aiosipcdr, or was changed") from None
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if not 1 <= manifest.manifest <= LAYOUT:
        raise ExportError(f"{path} is of another version of aiosipcdr (layout {manifest.manifest}, this is {LAYOUT})")
    content, end = raw[:-_END_SIZE], _END.fullmatch(raw, max(0, len(raw) - _END_SIZE))
    if manifest.is_older:
        # A newer one that was made to look older is not one.
        is_changed = b'"content_sha256"' in raw or manifest.quarantine_sha256 is not None or manifest.key is not None
        signature = None
    else:
        signed = content + _SIGNATURE % end[1] if end else b""
        is_changed = not end or end[2] != hashlib.sha256(signed).hexdigest().encode() or manifest.key is None
        signature = end[1].decode() if end else None
    if is_changed:
        raise ExportError(f"{path} was changed after it was written: its content is not what its own hash says")
    return StoredManifest(manifest, content, signature)


def find_derivation(manifest: Path, credentials: Credentials) -> KeyDerivation | None:
    """Return the key derivation of the newest manifest beside `manifest` that `credentials` have signed.

    Where each day has a folder of its own, those of the same name in the folders beside it count.
    Few are tried, for each may take a derivation: `None` costs a new salt and nothing else.
    """
    folder = manifest.parent
    is_dataset = manifest.name.startswith(IN_DATASET)
    places = folder.parent.glob(f"*/{escape(manifest.name)}") if is_dataset else folder.glob(f"*{MANIFEST}")
    dated: list[tuple[int, Path]] = []
    for place in places:
        with suppress(FileNotFoundError):  # removed meanwhile
            status = place.lstat()
            if stat.S_ISREG(status.st_mode):
                dated.append((status.st_mtime_ns, place))
    tried: set[KeyDerivation] = set()
    for _, place in sorted(dated, reverse=True)[:_MOST_READ]:
        try:
            stored = read_stored(place)
        except ExportError:
            continue
        derivation = stored.manifest.key
        if derivation is None or derivation in tried or not derivation.is_current:
            continue
        if stored.check_signature(credentials) == "valid":
            return derivation
        tried.add(derivation)
        if len(tried) == _MOST_TRIED:
            break
    return None


def money_sums(money: MoneyTotals) -> list[MoneySum]:
    """Return sums as they stand in a manifest."""
    return [
        MoneySum(field=row.field, currency=row.currency, unit=unit_of(row.field), sum=format(row.amount, "f"))
        for row in money.rows()
    ]


def _versions(format_name: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # heavy, and for files alone

    found = {"aiosipcdr": __version__, "python": platform.python_version()}
    packages = {"parquet": "pyarrow", "zst": "backports.zstd"}
    for ending, package in packages.items():
        if format_name.endswith(ending):
            with suppress(PackageNotFoundError):  # zstd is part of Python from 3.14 on
                found[package] = version(package)
    return found
