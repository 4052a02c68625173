"""Options of a sync, checked before anything is opened."""

from datetime import UTC, datetime, timedelta
from typing import Self, get_args

import msgspec

from aiosipcdr.model.arguments import check_choice, check_span
from aiosipcdr.model.records import TIME_FIELDS, TimeField
from aiosipcdr.model.sync import OnVanished
from aiosipcdr.model.windows import ArgumentError, TimeWindow

__all__ = ["SyncOptions"]

# A longer one would begin before the year 1.
_LONGEST_LOOKBACK = timedelta(days=36_500)


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run; see `CdrClient.sync`."""

    since: datetime | None = None
    lookback: timedelta = timedelta(days=3)
    deep: bool = False
    on_vanished: OnVanished = "mark"
    time_field: TimeField | None = None
    dry_run: bool = False
    allow_mass_vanish: bool = False

    @classmethod
    def of(
        cls,
        *,
        since: datetime | None,
        lookback: timedelta,
        deep: bool,
        on_vanished: OnVanished,
        time_field: TimeField | None,
        dry_run: bool,
        allow_mass_vanish: bool,
    ) -> Self:
        """Return the options of a caller's arguments.

        Raises:
            ValueError: One of them is invalid.
            ArgumentError: `since` is naive.
        """
        check_choice("on_vanished", on_vanished, get_args(OnVanished))
        check_span("lookback", lookback)
        if time_field is not None:
            check_choice("time_field", time_field, TIME_FIELDS)
        if since is not None and (not isinstance(since, datetime) or since.utcoffset() is None):
            raise ArgumentError("since must be an aware datetime, as in datetime(2026, 10, 1, tzinfo=UTC)")
        return cls(
            since=None if since is None else TimeWindow.of(since, since).start.astimezone(UTC),
            lookback=min(lookback, _LONGEST_LOOKBACK),
            deep=deep,
            on_vanished=on_vanished,
            time_field=time_field,
            dry_run=dry_run,
            allow_mass_vanish=allow_mass_vanish,
        )
