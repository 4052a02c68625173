"""Report of a sync."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from aiosipcdr.model.report import counted

__all__ = ["OnVanished", "SyncReport"]

OnVanished = Literal["mark", "delete", "keep"]
"""What to do about a row that the vendor no longer lists: set its `vanished_at`, delete it, or leave it as it is."""


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync changed in a table, and what the table is proven to hold.

        report = await client.sync("sqlite:///calls.db", since=start)
        print(report)  # 1,204 added, 0 changed, 0 vanished, 0 unchanged: complete until ...

    Attributes:
        table: The table, without user, password and host.
        added: Rows that are new, or back after they had vanished.
        changed: Rows whose contents changed.
        vanished: Rows that the vendor no longer lists.
        unchanged: Rows that were read and are equal. Spans of time that were only counted have more.
        certified_until: End of the time for which the table holds every call, from its first second on; `None` if that
            is not proven for any time.
        checked_at: When the run began, by the vendor's clock: the table is right as of then, or later.
        spans_read: Spans of time that were read.
        spans_counted: Spans whose count was unchanged, so that they were not read. A call whose contents changed has
            the same count: `deep=True` reads them.
        unproven: Spans that could not be proven complete; nothing was changed for them.
        deleted: Those of them that cannot be proven any more: the vendor has deleted their calls. A run with a later
            `since` leaves them out.
        quarantined: Records without a readable id. Their spans got new and changed rows; no row of them was marked as
            vanished, and they are read again by the next run.
        faulty_fields: Names of fields that could not be read, with the number of calls: NULL in the table, and the
            vendor's JSON in `extra`.
        requests: Requests sent, retries included.
        retries: Requests that were repeated after an error.
        elapsed: Seconds.
        dry_run: Whether nothing was written.
    """

    table: str
    added: int = 0
    changed: int = 0
    vanished: int = 0
    unchanged: int = 0
    certified_until: datetime | None = None
    checked_at: datetime
    spans_read: int = 0
    spans_counted: int = 0
    unproven: int = 0
    deleted: int = 0
    quarantined: int = 0
    faulty_fields: dict[str, int] = {}
    requests: int = 0
    retries: int = 0
    elapsed: float = 0.0
    dry_run: bool = False

    @property
    def certified(self) -> bool:
        """Whether every span that was read is proven complete, with nothing in quarantine."""
        return not self.unproven and not self.quarantined

    def facts(self) -> dict[str, Any]:
        """Return the report for JSON: its fields and `certified`, times as ISO 8601.

        For example:

            report.facts()["added"]  # 1204
        """
        facts = msgspec.to_builtins(self)
        return {**facts, "certified": self.certified}

    def __str__(self) -> str:
        """Return a summary in one line."""
        changes = f"{self.added:,} added, {self.changed:,} changed, {self.vanished:,} vanished"
        until = "no time is proven complete yet"
        if self.certified_until is not None:
            until = f"complete until {self.certified_until.isoformat()}"
        words = [
            f"{self.unchanged:,} unchanged",
            *([f"{counted(self.unproven, 'span', 'spans')} NOT proven, left as they were"] if self.unproven else []),
            *([f"{self.deleted:,} of them deleted by the vendor: sync with a later since"] if self.deleted else []),
            *([f"{counted(self.quarantined, 'record', 'records')} quarantined"] if self.quarantined else []),
            *([f"unreadable values of {', '.join(self.faulty_fields)}"] if self.faulty_fields else []),
            f"{counted(self.requests, 'request', 'requests')} in {self.elapsed:.1f} s",
        ]
        dry = " (dry run: nothing was written)" if self.dry_run else ""
        return f"{self.table}: {changes}, {until}: {', '.join(words)}{dry}"
