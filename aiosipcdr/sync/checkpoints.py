"""Checkpoints of a synced table: which spans of time were read, how many calls each owns, and whose calls they are."""

from datetime import datetime
from typing import Annotated

import msgspec

from aiosipcdr.export.keys import KeyDerivation

__all__ = ["Owner", "Span", "TableState"]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time: its calls are the rows of the table with this `span_start`.

    Spans do not overlap. One of no length was given up: the vendor has deleted its calls, and it was never proven.
    Which span owns a call at a shared bound is the vendor's choice, see `aiosipcdr.proof.merge`.

    Attributes:
        start: Begin, in whole seconds, UTC.
        end: End, likewise.
        count: Number of calls that it owned, as the vendor counts them, when it was last read and proven; `None` if it
            must be read: it was never proven, or it had records that could not be decoded.
        read_at: When that reading began, by the vendor's clock or this machine's, the earlier one; `None` if there was
            none.
    """

    start: datetime
    end: datetime
    count: int | None = None
    read_at: datetime | None = None


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose calls a table holds; irreversible without the account's secret.

    Attributes:
        key: The key derivation of the fingerprints.
        account: The fingerprint of API key and secret.
        filters: The fingerprint of the filters.
    """

    key: KeyDerivation
    account: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    filters: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]


class TableState(msgspec.Struct, kw_only=True):
    """What a table stores about earlier runs.

    Attributes:
        version: Number of transactions so far. Each one requires that no other took place since the state was read.
        owner: Whose calls it holds; `None` for a new table, and if it was removed by hand.
        spans: Its spans, oldest first.
        left_out: End of older spans that it no longer stores; `None` if it stores all.
    """

    version: int = 0
    owner: Owner | None = None
    spans: list[Span] = []
    left_out: datetime | None = None
