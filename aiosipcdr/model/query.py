"""Validated queries: a range of time with filters, and the options of its result."""

from datetime import datetime
from typing import Literal, Self, get_args

import msgspec

from aiosipcdr.model.arguments import check_choice
from aiosipcdr.model.privacy import hide_arguments
from aiosipcdr.model.records import TIME_FIELDS, TimeField
from aiosipcdr.model.windows import ArgumentError, TimeWindow

__all__ = ["ExportFormat", "FilterMatch", "Filters", "IfExists", "OutOfRange", "Query"]

ExportFormat = Literal["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet", "xlsx"]
"""The format of an exported file. A path that ends in .gz or .zst compresses "ndjson" and "csv", too."""

IfExists = Literal["verify", "replace", "fail"]
"""What to do about a file that exists.

"verify": keep it if its manifest and hash show that it is the certified answer to the same query, read it again if it
is provisional or incomplete, refuse any other file. "replace": replace it, whatever it is. "fail": refuse it.
"""

FilterMatch = Literal["exact", "loose"]
"""How records are compared with the filters: "exact", or "loose", without case and outer blanks."""

OutOfRange = Literal["raise", "skip"]
"""What to do if the vendor has deleted a part of the range: raise an error, or fetch the rest."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of a query; `None` selects all calls.

    Attributes:
        sip_group_name: Only calls of this group of phones.
        phone_name: Only calls of this phone.
        match: How the returned records are compared with the filters.
    """

    sip_group_name: str | None = None
    phone_name: str | None = None
    match: FilterMatch = "exact"

    @classmethod
    @hide_arguments  # a phone's name may be a number
    def of(cls, sip_group_name: str | None = None, phone_name: str | None = None, match: FilterMatch = "exact") -> Self:
        """Return the filters of a caller's arguments.

            Filters.of("sales", None)  # Filters(sip_group_name)

        Raises:
            ArgumentError: A filter is not a text, is empty, or cannot be sent.
        """
        for name, value in (("sip_group_name", sip_group_name), ("phone_name", phone_name)):
            if value is None:
                continue
            if not isinstance(value, str) or not value.strip():
                raise ArgumentError(f"{name} must be a text that is not empty, or None for all")
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise ArgumentError(f"{name} holds half a character (a lone surrogate) and cannot be sent")
        return msgspec.convert({"sip_group_name": sip_group_name, "phone_name": phone_name, "match": match}, cls)

    def __repr__(self) -> str:
        """Name the filters that are set, not their values: a phone's name may be a number."""
        names = [name for name in ("sip_group_name", "phone_name") if getattr(self, name) is not None]
        return f"Filters({', '.join(names)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return []


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A query for the calls of a range, and what to do if they are deleted or cannot be proven complete.

    Attributes:
        start: Begin of the range, aware, as the caller gave it.
        end: End of the range, aware, as the caller gave it.
        filters: Which calls of the range.
        on_out_of_range: What to do about a part of the range that the vendor has deleted.
        allow_incomplete: Whether to deliver windows that could not be proven complete.
        time_field: The time that the vendor is known to filter on: the result is trimmed to `start <= time < end`.
        adjacent: Whether the range is one of several adjacent ones, each of which owns its calls.
    """

    start: datetime
    end: datetime
    filters: Filters = Filters()
    on_out_of_range: OutOfRange = "raise"
    allow_incomplete: bool = False
    time_field: TimeField | None = None
    adjacent: bool = False

    @classmethod
    def of(
        cls,
        start: datetime,
        end: datetime,
        filters: Filters,
        *,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
        adjacent: bool = False,
    ) -> Self:
        """Return the query of a caller's arguments.

        Raises:
            ArgumentError: A time is naive, or `end` is before `start`.
            ValueError: `on_out_of_range` or `time_field` is not one of its values.
        """
        check_choice("on_out_of_range", on_out_of_range, get_args(OutOfRange))
        if time_field is not None:
            check_choice("time_field", time_field, TIME_FIELDS)
        TimeWindow.of(start, end)
        return cls(
            start=start,
            end=end,
            filters=filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
            adjacent=adjacent,
        )

    @property
    def window(self) -> TimeWindow:
        """The range as one window in whole seconds, of any width."""
        return TimeWindow.of(self.start, self.end)

    @property
    def skip_out_of_range(self) -> bool:
        """Whether to fetch the rest if the vendor has deleted a part of the range."""
        return self.on_out_of_range == "skip"
