"""The manifest beside a file: what was asked, what was proven, and what the file must be.

Holds no record, no secret and no phone number.  Must never judge: that is for `aiosipcdr verify`.
"""

import platform
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from aiosipcdr import __version__
from aiosipcdr.errors import ExportError
from aiosipcdr.export.entries import WrittenWindow
from aiosipcdr.export.order import ExportOrder
from aiosipcdr.export.query import Query
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.money import MoneyTotals
from aiosipcdr.report import FetchReport

__all__ = ["Manifest", "MoneySum", "describe_file", "encode_manifest", "money_sums", "read_manifest"]

LAYOUT = 1
"""Rises when a manifest changes so that an older version would misread it."""

_LARGEST = 256 * 1024 * 1024


class MoneySum(msgspec.Struct, frozen=True, kw_only=True):
    """The exact sum of a field over the rows that name `currency` (`None`: those that name none), in plain digits."""

    field: str
    currency: str | None
    sum: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an exported file.

    Attributes:
        manifest: the layout of the manifest itself.
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
    money: list[MoneySum]
    report: FetchReport
    versions: dict[str, str]
    created: datetime


def describe_file(
    order: ExportOrder, end: Mark, windows: Collection[WrittenWindow], report: FetchReport, quarantine: str | None
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
        quarantine_file=quarantine,
        money=money_sums(money),
        report=report,
        versions=_versions(order.format),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return it as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`.

    Raises:
        ExportError: it is missing, or is none.
    """
    try:
        with path.open("rb") as file:
            manifest = msgspec.json.decode(file.read(_LARGEST), type=Manifest)
    except FileNotFoundError:
        raise ExportError(f"{path} is missing: without it nothing is known of the file") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ExportError(f"{path} is not a manifest of aiosipcdr, or was changed") from None
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if manifest.manifest != LAYOUT:
        raise ExportError(f"{path} is of another version of aiosipcdr (layout {manifest.manifest}, this is {LAYOUT})")
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
