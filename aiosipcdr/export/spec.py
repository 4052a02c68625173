"""What was asked, as files tell it.

Holds no secret.  Must never show a filter's value in a repr: a phone's name
may be a number.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec

from aiosipcdr.export.formats import choose_format, open_encoder
from aiosipcdr.export.formats.encoders import Encoder, Metadata
from aiosipcdr.export.keys import ACCOUNT, PHONE, PSEUDONYMS, DerivedKey
from aiosipcdr.export.masking import Numbers, Pseudonyms, mask_number
from aiosipcdr.export.paths import ExportPaths
from aiosipcdr.model.query import Filters, IfExists
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.signing import Credentials

__all__ = ["RELATIVE", "ExportQuery", "ExportSpec", "check_file_mode", "describe_query", "query_metadata"]


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question: times as they were given, filters as they were sent, unless they are masked.

    `adjacent`: the range is one of several that touch, and the file holds the calls that belong to it alone.
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
        return f"Query({self.start.isoformat()}, {self.end.isoformat()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
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
    """Return the question with its phone masked like the records."""
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
    """Return the question as a file's metadata: JSON under "aiosipcdr.query"."""
    return Metadata({"aiosipcdr.query": msgspec.json.encode(query).decode()})


_MODES = (0o600, 0o640, 0o644, 0o660, 0o664)

RELATIVE = "relative"
"""The setting that says whether the range is relative to the present, as the last 24 hours are."""


class ExportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, and where.

    Attributes:
        paths: the target and its sidecars, absolute: a change of the working folder meanwhile must not move them.
        format: as `choose_format` names it.
        if_exists: what to do about a file that is there.
        is_outdated: read the range again even if its file is finished.
        restart: begin anew, whatever an earlier run has left.
        strict: admit no record or value that cannot be read.
        spreadsheet: see `open_encoder`.
        mask: what makes numbers unrecognisable, if they are to be.
        query: what is asked, masked like the records.
        filters: what is asked, as it is sent.
        credentials: the account's.
        settings: what a journal must agree in, by name; see `seal` for names beginning with "#".
        tiles: the windows to begin with.
        mode: the mode of the file and its manifest, 0600 by default.
        lock: whether to lock the journal.
    """

    paths: ExportPaths
    format: str
    if_exists: IfExists
    is_outdated: bool
    restart: bool
    strict: bool = False
    spreadsheet: bool
    mask: Callable[[str], str] | None
    query: ExportQuery
    filters: Filters
    credentials: Credentials
    settings: dict[str, str | None]
    tiles: list[TimeWindow]
    mode: int | None = None
    lock: bool = True

    def __repr__(self) -> str:
        """Name the target alone."""
        return f"ExportOrder({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The target."""
        return self.paths.target

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
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
    ) -> "ExportSpec":
        """Return the order to write a range to the target of `paths`.

        Raises:
            ValueError: the format cannot be told or written, or `if_exists` is not one of its values.
        """
        chosen = choose_format(paths.target, format)
        check_file_mode(mode)
        if if_exists not in get_args(IfExists):
            msg = f"if_exists must be one of {', '.join(get_args(IfExists))}, not {if_exists!r}"
            raise ValueError(msg)
        if any("\ud800" <= character <= "\udfff" for path in paths for character in path.name):
            raise ValueError("the name of the file is no proper text, which its manifest could not tell: name it anew")
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
            "numbers": _told(mask),
            PSEUDONYMS: mask("") if isinstance(mask, Pseudonyms) else None,
        }
        return cls(
            paths=paths.absolute(),
            format=chosen,
            if_exists=if_exists,
            is_outdated=is_outdated,
            restart=restart,
            strict=strict,
            spreadsheet=spreadsheet,
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
        """Return the settings as files may hold them: those beginning with "#" are fingerprints under `key`."""
        return {
            name: key.fingerprint(name, value) if name.startswith("#") and value is not None else value
            for name, value in self.settings.items()
        }

    @property
    def numbers(self) -> Numbers:
        """How phone numbers stand in the file."""
        return _told(self.mask)

    @property
    def public_query(self) -> ExportQuery:
        """The question as other files than the export itself may tell it: no number in it."""
        phone = self.query.phone_name
        if phone is None or self.mask is not None:
            return self.query
        return msgspec.structs.replace(self.query, phone_name=mask_number(phone))

    @property
    def as_lists(self) -> bool:
        """Whether its rows wait as lists: they are read as columns then, and nobody else sees them."""
        return self.format == "parquet"

    def open_encoder(self) -> Encoder:
        """Return a new encoder for the file; see `aiosipcdr.export.formats.open_encoder`."""
        return open_encoder(self.format, spreadsheet=self.spreadsheet, metadata=query_metadata(self.query))


def check_file_mode(mode: object) -> None:
    """Refuse a mode that its owner could not read and write, that runs programs, or that lets everybody write.

    Raises:
        ValueError: it is none.
    """
    if mode is not None and mode not in _MODES:
        raise ValueError("mode must be one of 0o600, 0o640, 0o644, 0o660 and 0o664")


def _told(mask: Callable[[str], str] | None) -> Numbers:
    return "as told" if mask is None else "pseudonyms" if isinstance(mask, Pseudonyms) else "masked"
