"""The specification of an export: its query, its files and the form of its rows.

Holds credentials, which no repr shows; neither does a repr show a filter's value, as a phone's name may be a number.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import get_args

import msgspec

from aiosipcdr.export.formats import choose_format, open_encoder
from aiosipcdr.export.formats.encoders import Encoder, Metadata
from aiosipcdr.export.formats.excel import zone_name
from aiosipcdr.export.keys import ACCOUNT, PHONE, PSEUDONYMS, DerivedKey
from aiosipcdr.export.masking import Numbers, Pseudonyms, mask_number
from aiosipcdr.export.paths import ExportPaths
from aiosipcdr.model.query import Filters, IfExists
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials

__all__ = ["RELATIVE", "ExportQuery", "ExportSpec", "check_file_mode", "describe_query", "query_metadata"]


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query of an export: times as given, filters as sent unless they are masked.

    `adjacent`: the range is one of several adjacent ones, and the file holds only the calls that belong to it.
    """

    start: datetime
    end: datetime
    sip_group_name: str | None = None
    phone_name: str | None = None
    time_field: str | None = None
    assume_tz: str | None = None
    adjacent: bool = False

    def __repr__(self) -> str:
        """Leave the filters out."""
        return f"ExportQuery({self.start.isoformat()}, {self.end.isoformat()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than in a plain one."""
        return [("start", self.start), ("end", self.end)]


def describe_query(
    start: datetime,
    end: datetime,
    filters: Filters,
    time_field: str | None,
    mask: Callable[[str], str] | None,
    *,
    assume_tz: str | None = None,
    adjacent: bool = False,
) -> ExportQuery:
    """Return the query with its phone masked like the records."""
    phone = filters.phone_name
    return ExportQuery(
        start=start,
        end=end,
        sip_group_name=filters.sip_group_name,
        phone_name=phone if phone is None or mask is None else mask(phone),
        time_field=time_field,
        assume_tz=assume_tz,
        adjacent=adjacent,
    )


def query_metadata(query: ExportQuery) -> Metadata:
    """Return the query as a file's metadata: JSON under "aiosipcdr.query"."""
    return Metadata({"aiosipcdr.query": msgspec.json.encode(query).decode()})


_MODES = (0o600, 0o640, 0o644, 0o660, 0o664)

RELATIVE = "relative"
"""The setting that says whether the range is relative to the present, such as the last 24 hours."""


class ExportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A validated export: what to write, and where.

    Attributes:
        paths: The target and its sidecars, absolute, so that a change of the working directory does not affect them.
        format: The format, a result of `choose_format`.
        if_exists: What to do with an existing file.
        is_outdated: Read the range again even if its file is finished.
        restart: Start over, discarding the progress of an earlier run.
        strict: Fail on a record or value that cannot be read.
        spreadsheet: See `open_encoder`.
        zone: The time zone of dates, in Excel only; `None` in other formats.
        mask: Hides phone numbers; `None` leaves them.
        query: The query, masked like the records.
        filters: The filters as sent.
        credentials: The credentials of the account.
        settings: The settings that a journal must agree in, by name; see `seal` for names beginning with "#".
        tiles: The windows of the plan.
        mode: The mode of the file and its manifest; `None`: 0600.
        lock: Whether to lock the journal.
    """

    paths: ExportPaths
    format: str
    if_exists: IfExists
    is_outdated: bool
    restart: bool
    strict: bool = False
    spreadsheet: bool
    zone: tzinfo | None = None
    mask: Callable[[str], str] | None
    query: ExportQuery
    filters: Filters
    credentials: Credentials
    settings: dict[str, str | None]
    tiles: list[TimeWindow]
    mode: int | None = None
    lock: bool = True

    def __repr__(self) -> str:
        """Show the target only."""
        return f"ExportSpec({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The target."""
        return self.paths.target

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than in a plain one."""
        return [("path", str(self.path))]

    @classmethod
    def plan(
        cls,
        paths: ExportPaths,
        start: datetime,
        end: datetime,
        filters: Filters,
        *,
        format: str | None,  # noqa: A002 - the public name
        if_exists: IfExists = "verify",
        is_outdated: bool = False,
        restart: bool,
        strict: bool = False,
        time_field: str | None,
        assume_tz: str | None = None,
        adjacent: bool = False,
        is_relative: bool = False,
        spreadsheet: bool,
        mask: Callable[[str], str] | None,
        credentials: Credentials,
        tiles: Sequence[TimeWindow],
        mode: int | None = None,
        lock: bool = True,
        zone: tzinfo | None = None,
    ) -> "ExportSpec":
        """Return the spec of an export of a range to the target of `paths`.

        Raises:
            ValueError: The format is unknown, or a setting is invalid.
        """
        chosen = choose_format(paths.target, format)
        check_file_mode(mode)
        if if_exists not in get_args(IfExists):
            msg = f"if_exists must be one of {', '.join(get_args(IfExists))}, not {if_exists!r}"
            raise ValueError(msg)
        if any("\ud800" <= character <= "\udfff" for path in paths for character in path.name):
            raise ValueError("the file name contains characters that are not valid Unicode; choose another name")
        settings = {
            "start": start.astimezone(UTC).isoformat(),
            "end": end.astimezone(UTC).isoformat(),
            "sip_group_name": filters.sip_group_name,
            PHONE: filters.phone_name,
            "time_field": time_field,
            "assume_tz": assume_tz,
            "adjacent": "yes" if adjacent else "no",
            RELATIVE: "yes" if is_relative else "no",
            ACCOUNT: "",
            "format": chosen,
            "spreadsheet": "yes" if spreadsheet else "no",
            "numbers": _describe_mask(mask),
            PSEUDONYMS: mask("") if isinstance(mask, Pseudonyms) else None,
        }
        zone = (zone or UTC) if chosen == "xlsx" else None
        if zone is not None:
            settings["tz"] = zone_name(zone)
        return cls(
            paths=paths.absolute(),
            format=chosen,
            if_exists=if_exists,
            is_outdated=is_outdated,
            restart=restart,
            strict=strict,
            spreadsheet=spreadsheet,
            zone=zone,
            mask=mask,
            query=describe_query(start, end, filters, time_field, mask, assume_tz=assume_tz, adjacent=adjacent),
            filters=filters,
            credentials=credentials,
            settings=settings,
            tiles=list(tiles),
            mode=mode,
            lock=lock,
        )

    def seal(self, key: DerivedKey) -> dict[str, str | None]:
        """Return the settings as stored in files: those beginning with "#" are fingerprints under `key`."""
        return {
            name: key.fingerprint(name, value) if name.startswith("#") and value is not None else value
            for name, value in self.settings.items()
        }

    @property
    def numbers(self) -> Numbers:
        """How phone numbers are stored in the file."""
        return _describe_mask(self.mask)

    @property
    def public_query(self) -> ExportQuery:
        """The query as stored outside the export itself, without phone numbers."""
        phone = self.query.phone_name
        if phone is None or self.mask is not None:
            return self.query
        return msgspec.structs.replace(self.query, phone_name=mask_number(phone))

    @property
    def tz(self) -> str | None:
        """The name of the zone of dates, in Excel only."""
        return None if self.zone is None else zone_name(self.zone)

    @property
    def as_lists(self) -> bool:
        """Whether rows are rendered as lists, which only columnar formats can read."""
        return self.format == "parquet"

    def open_encoder(self) -> Encoder:
        """Return a new encoder for the file: see `aiosipcdr.export.formats.open_encoder`."""
        metadata, zone = query_metadata(self.query), self.zone or UTC
        return open_encoder(self.format, spreadsheet=self.spreadsheet, metadata=metadata, zone=zone)


def check_file_mode(mode: object) -> None:
    """Refuse a mode that the owner cannot read and write, that is executable, or that lets everyone write.

    Raises:
        ValueError: The mode is not allowed.
    """
    if mode is not None and mode not in _MODES:
        raise ValueError("mode must be one of 0o600, 0o640, 0o644, 0o660 and 0o664")


def _describe_mask(mask: Callable[[str], str] | None) -> Numbers:
    return "unchanged" if mask is None else "pseudonyms" if isinstance(mask, Pseudonyms) else "masked"
