"""What was asked, as files tell it.

Holds no secret.  Must never show a filter's value in a repr: a phone's name
may be a number.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec

from aiosipcdr.export.encoders import Metadata
from aiosipcdr.protocol.codec import Filters

__all__ = ["Query", "describe_query", "query_metadata"]


class Query(msgspec.Struct, frozen=True, kw_only=True):
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
) -> Query:
    """Return the question with its phone masked like the records."""
    phone = filters.phone_name
    return Query(
        start=start,
        end=end,
        sip_group_name=filters.sip_group_name,
        phone_name=phone if phone is None or mask is None else mask(phone),
        time_field=time_field,
        assume_tz=assume_tz,
        adjacent=adjacent,
    )


def query_metadata(query: Query) -> Metadata:
    """Return the question as a file's metadata: JSON under "aiosipcdr.query"."""
    return Metadata({"aiosipcdr.query": msgspec.json.encode(query).decode()})
