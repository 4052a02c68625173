"""The manifest beside a file: what was asked, what was proven, and what the file must be.

A manifest is JSON that ends with a hash of all bytes before it, so that any
change in it is detected.  Holds no record, no secret and no phone number.
Whether a file agrees with its manifest is decided in `verification`.
"""

import hashlib
import platform
import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from aiosipcdr import __version__
from aiosipcdr.errors import ExportError
from aiosipcdr.export.entries import WrittenWindow
from aiosipcdr.export.order import ExportOrder
from aiosipcdr.export.query import Query
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.money import MoneyTotals
from aiosipcdr.report import FetchReport

__all__ = ["Manifest", "MoneySum", "QuarantineFile", "describe_file", "encode_manifest", "money_sums", "read_manifest"]

LAYOUT = 2
"""Rises when a manifest changes so that an older version would misread it; 1 had no hash of its own content."""

# The last line of a manifest: the SHA-256 of every byte before it.
_CONTENT_HASH = re.compile(rb',\n  "content_sha256": "([0-9a-f]{64})"\n}\n')
_CONTENT_HASH_SIZE = len(b',\n  "content_sha256": ""\n}\n') + 64

_LARGEST = 256 * 1024 * 1024


class MoneySum(msgspec.Struct, frozen=True, kw_only=True):
    """The exact sum of a field over the rows that name `currency` (`None`: those that name none), in plain digits."""

    field: str
    currency: str | None
    sum: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an exported file.

    Attributes:
        manifest: the layout of the manifest itself; 1 ("older") has no hash of its own content and of the quarantine.
        file: the name of the file.
        format: its format, as `--format` names it.
        spreadsheet: whether it was written for people and not for programs.
        numbers: "as told", "masked" or "pseudonyms".
        query: what was asked; a phone's name is masked.
        account: 16 hexadecimal digits that stand for the account and tell nothing of its key.
        phone: likewise for the phone asked for.
        rows: calls in the file.
        bytes: its size.
        sha256: its hash, in hexadecimal.
        certified: whether every window was proven complete and none was left out.
        quarantined: records that could not be decoded and stand in `quarantine_file`.
        quarantine_file: the name of the file beside, if there is one.
        quarantine_sha256: its hash, in hexadecimal.
        money: sums per field and currency.
        report: what the runs did and what each window proves.
        versions: of everything that shapes the bytes.
        created: when the file was finished.
    """

    manifest: int = LAYOUT
    file: str
    format: str
    spreadsheet: bool = False
    numbers: str = "as told"
    query: Query
    account: str
    phone: str | None = None
    rows: int
    bytes: int
    sha256: str
    certified: bool
    quarantined: int
    quarantine_file: str | None = None
    quarantine_sha256: str | None = None
    money: list[MoneySum]
    report: FetchReport
    versions: dict[str, str]
    created: datetime

    @property
    def is_older(self) -> bool:
        """Whether it was written before manifests had a hash of their own content."""
        return self.manifest < LAYOUT


class QuarantineFile(NamedTuple):
    """The quarantine beside a file: its name and its SHA-256 in hexadecimal."""

    name: str
    sha256: str


def describe_file(
    order: ExportOrder,
    end: Mark,
    windows: Collection[WrittenWindow],
    report: FetchReport,
    quarantine: QuarantineFile | None,
) -> Manifest:
    """Return the manifest of a file that is about to appear and ends at `end`; `quarantine` is the one beside it."""
    money = MoneyTotals()
    for window in windows:
        money.add_rows(window.money)
    return Manifest(
        file=order.path.name,
        format=order.format,
        spreadsheet=order.spreadsheet,
        numbers=order.numbers,
        query=order.public_query,
        account=order.account,
        phone=order.phone,
        rows=sum(window.rows for window in windows),
        bytes=end.end,
        sha256=end.sha256,
        certified=report.certified,
        quarantined=report.quarantined,
        quarantine_file=None if quarantine is None else quarantine.name,
        quarantine_sha256=None if quarantine is None else quarantine.sha256,
        money=money_sums(money),
        report=report,
        versions=_versions(order.format),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return it as JSON that a person can read, with the hash of its own content at the end."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2).removesuffix(b"\n}")
    return b'%b,\n  "content_sha256": "%b"\n}\n' % (content, hashlib.sha256(content).hexdigest().encode())


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`, its content compared with its own hash.

    Raises:
        ExportError: it is missing, is none, or was changed.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST)
        manifest = msgspec.json.decode(raw, type=Manifest)
    except FileNotFoundError:
        raise ExportError(f"{path} is missing: without it nothing is known of the file") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ExportError(f"{path} is not a manifest of aiosipcdr, or was changed") from None
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if not 1 <= manifest.manifest <= LAYOUT:
        raise ExportError(f"{path} is of another version of aiosipcdr (layout {manifest.manifest}, this is {LAYOUT})")
    content, end = raw[:-_CONTENT_HASH_SIZE], _CONTENT_HASH.fullmatch(raw, len(raw) - _CONTENT_HASH_SIZE)
    if manifest.is_older:
        is_changed = b'"content_sha256"' in raw or manifest.quarantine_sha256 is not None
    else:
        is_changed = end is None or end[1] != hashlib.sha256(content).hexdigest().encode()
    if is_changed:
        raise ExportError(f"{path} was changed after it was written: its content is not what its own hash says")
    return manifest


def money_sums(money: MoneyTotals) -> list[MoneySum]:
    """Return sums as they stand in a manifest."""
    return [MoneySum(field=row.field, currency=row.currency, sum=format(row.amount, "f")) for row in money.rows()]


def _versions(format_name: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # heavy, and for files alone

    found = {"aiosipcdr": __version__, "python": platform.python_version()}
    packages = {"parquet": "pyarrow", "zst": "backports.zstd"}
    for ending, package in packages.items():
        if format_name.endswith(ending):
            with suppress(PackageNotFoundError):  # zstd is part of Python from 3.14 on
                found[package] = version(package)
    return found
