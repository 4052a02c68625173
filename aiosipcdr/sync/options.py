"""Options of a sync, checked before anything is opened."""

from datetime import UTC, datetime, timedelta
from typing import Self, get_args

import msgspec

from aiosipcdr.model.arguments import check_choice, check_span
from aiosipcdr.model.records import TIME_FIELDS, TimeField
from aiosipcdr.model.sync import OnVanished
from aiosipcdr.model.windows import ArgumentError, TimeWindow

__all__ = ["SyncOptions", "read_since"]

# A longer one would begin before the year 1.
_LONGEST_LOOKBACK = timedelta(days=36_500)


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run; see `CdrClient.sync`.

    Those of a feed:

    Attributes:
        span_rows: About how many calls a span has; by default `aiosipcdr.sync.spans.SPAN_ROWS`.
        small_rows: The last span is read again together with new time while it has fewer calls; by default
            `aiosipcdr.sync.spans.SMALL_ROWS`.
        reread_after: A span is read again this long after its last reading, whatever its count.
        reread_rows: About how many calls of such spans one run reads.
        recheck_seconds: Seconds until a span from which suspiciously many rows would vanish is read again; by default
            `aiosipcdr.sync.synchronizer.RECHECK_SECONDS`.
        believe_recheck: Accept what that second reading proves, instead of raising.
    """

    since: datetime | None = None
    lookback: timedelta = timedelta(days=3)
    deep: bool = False
    on_vanished: OnVanished = "mark"
    time_field: TimeField | None = None
    dry_run: bool = False
    allow_mass_vanish: bool = False
    span_rows: int | None = None
    small_rows: int | None = None
    reread_after: timedelta | None = None
    reread_rows: int = 0
    recheck_seconds: float | None = None
    believe_recheck: bool = False

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
        return cls(
            since=read_since(since),
            lookback=min(lookback, _LONGEST_LOOKBACK),
            deep=deep,
            on_vanished=on_vanished,
            time_field=time_field,
            dry_run=dry_run,
            allow_mass_vanish=allow_mass_vanish,
        )


def read_since(since: datetime | None) -> datetime | None:
    """Return the argument `since` in whole seconds, UTC.

    Raises:
        ArgumentError: It is naive.
    """
    if since is None:
        return None
    if not isinstance(since, datetime) or since.utcoffset() is None:
        raise ArgumentError("since must be an aware datetime, as in datetime(2026, 10, 1, tzinfo=UTC)")
    return TimeWindow.of(since, since).start.astimezone(UTC)
