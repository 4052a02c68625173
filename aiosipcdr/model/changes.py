"""Changes of the vendor's list of calls, as a feed yields them."""

from typing import Any, Literal

import msgspec

from aiosipcdr.model.records import CallDetailRecord

__all__ = ["Change", "ChangeKind"]

ChangeKind = Literal["added", "changed", "vanished"]
"""A call is listed that was not, has other contents, or is no longer listed."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one row of the vendor's list; the legs of a call are rows of their own.

        async for change in feed:
            print(change.kind, change.record.voice_id)  # added 7351046829403651

    Attributes:
        kind: What happened.
        record: The row as it is listed now. Of a vanished row, as it was read last: only its `voice_id` is set if that
            was too long ago, see `before`.
        before: The contents of a changed or vanished row before, if this process has read them and still remembers
            them (the last 10,000 rows); otherwise `None`.
        leg: Number of the row among those with its `voice_id`, from 0; it keeps its number. A table that is kept equal
            to the list has the key (`voice_id`, `leg`).
        key: A text that no other change has. A change that is yielded again after a crash has the same key.
    """

    kind: ChangeKind
    record: CallDetailRecord
    before: CallDetailRecord | None = None
    leg: int = 0
    key: str

    def __repr__(self) -> str:
        """Show kind and key, no contents."""
        return f"Change({self.kind}, key={self.key})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("kind", self.kind), ("key", self.key)]

    def to_dict(self) -> dict[str, Any]:
        """Return the change as a dictionary; records as `CallDetailRecord.to_dict` returns them.

        For example:

            change.to_dict()["record"]["voice_id"]
        """
        before = None if self.before is None else self.before.to_dict()
        return {"kind": self.kind, "key": self.key, "leg": self.leg, "record": self.record.to_dict(), "before": before}

    def to_json(self) -> str:
        """Return `to_dict` as JSON on one line.

        For example:

            print(change.to_json())  # {"kind":"added","key":"adf14f4f...","leg":0,"record":{"voice_id":...}}
        """
        return msgspec.json.encode(self.to_dict()).decode()
