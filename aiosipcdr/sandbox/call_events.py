"""Scripted events: calls that arrive late, change or vanish after a number of queries.

A client can thus be tested against a list that changes between two of its requests, the same way each time.
"""

from collections.abc import Iterable
from datetime import datetime
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from aiosipcdr.sandbox.calls import CallGenerator, Row
from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fixtures import update_row
from aiosipcdr.sandbox.store import Store


class CallEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of the sandbox's calls.

        Sandbox(events=[CallEvent(kind="vanish", query=40, count=3)])

    Attributes:
        kind: What happens. "late": `count` calls are listed that were submitted at `at`; "change": `fields` of the calls
            `voice_ids`, or of `count` random ones, get new values; "vanish": the calls `voice_ids`, or `count` random
            ones, are no longer listed.
        query: Number of the query, counted from 1, before whose answer it happens. Refused requests do not count.
        count: Number of calls.
        voice_ids: The calls.
        at: When late calls were submitted; by default in the middle of the default range.
        fields: New values by the API's names or the client's; by default a new `recordingFileId`.

    Raises:
        ValueError: A value is invalid.
    """

    kind: Literal["late", "change", "vanish"]
    query: Annotated[int, msgspec.Meta(ge=1)] = 1
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    voice_ids: tuple[str, ...] = ()
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    fields: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse an invalid event, before anything is started."""
        try:
            # msgspec checks the types of decoded values, not of constructor arguments.
            msgspec.convert(msgspec.structs.asdict(self), _Types)
            msgspec.json.encode(self.fields)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise ValueError(f"an event has an invalid value: {error}") from None
        if self.kind == "late" and self.voice_ids:
            raise ValueError("a late call gets a new id: leave out voice_ids")
        if self.kind != "change" and self.fields:
            raise ValueError("only changed calls have fields: leave them out")


_Types = msgspec.defstruct("_Types", [(field.name, field.type) for field in msgspec.structs.fields(CallEvent)])


class EventScript:
    """The events of a sandbox that have not happened yet."""

    def __init__(self, events: Iterable[CallEvent], *, middle: int) -> None:
        """Plan `events`; `middle` is the time (Unix, in seconds) of late calls without one.

        Raises:
            TypeError: Something is not a `CallEvent`.
        """
        self._events = [*events]
        self._middle = middle
        for event in self._events:
            if not isinstance(event, CallEvent):
                raise TypeError(f"events must be aiosipcdr.sandbox.CallEvent; not {type(event).__name__}")

    def happen(self, query: int, store: Store, generator: CallGenerator, config: SandboxConfig, rng: Random) -> None:
        """Make the changes that are due before the answer to a query, by its number."""
        for event in self._events:
            if event.query != query:
                continue
            if event.kind == "late":
                second = self._middle if event.at is None else int(event.at.timestamp())
                store.add([generator.make_at(second, None, None) for _ in range(event.count)])
                continue
            voice_ids = event.voice_ids or _choose(store, event.count, rng)
            if event.kind == "vanish":
                store.remove(voice_ids)
            else:
                fields = event.fields or {"recordingFileId": f"{rng.getrandbits(60):015x}.mp3"}
                update_rows(store, voice_ids, fields, config)


def update_rows(store: Store, voice_ids: Iterable[str], fields: dict[str, Any], config: SandboxConfig) -> int:
    """Give `fields` of some calls new values; return how many records were changed."""

    def change(row: Row) -> Row:
        return update_row(row, fields, config)

    return store.update(voice_ids, change)


def _choose(store: Store, count: int, rng: Random) -> list[str]:
    known = [voice_id for voice_id in store.voice_ids() if voice_id is not None]
    return rng.sample(known, min(count, len(known)))
