"""Events: one frozen type, without phone numbers."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from aiosipcdr.events import Event, EventHook, EventKind, choose_events
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=1))


def test_an_event_is_a_frozen_value() -> None:
    event = Event(kind=EventKind.REQUEST_SENT, run=1, window=WINDOW, page=2, attempt=1)
    assert event == Event(kind=EventKind.REQUEST_SENT, run=1, window=WINDOW, page=2, attempt=1)
    with pytest.raises(AttributeError):
        event.page = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Event(EventKind.REQUEST_SENT, 1)  # type: ignore[call-arg]


def test_fields_that_do_not_apply_are_none() -> None:
    event = Event(kind=EventKind.RUN_STARTED, run=1)
    rest = [name for name in Event.__struct_fields__ if name not in {"kind", "run"}]
    assert all(getattr(event, name) is None for name in rest)


def test_kinds_are_distinguished_by_their_names() -> None:
    assert [str(kind) for kind in EventKind] == [kind.name.lower() for kind in EventKind]
    # Request sent, answered, retried, throttled, window complete, run finished.
    wanted = {"REQUEST_SENT", "REQUEST_ANSWERED", "REQUEST_RETRIED", "THROTTLED", "WINDOW_COMPLETE", "RUN_FINISHED"}
    assert wanted <= set(EventKind.__members__)


def test_an_event_cannot_hold_a_record_a_filter_or_a_secret() -> None:
    allowed = {
        "kind",
        "run",
        "window",
        "page",
        "attempt",
        "records",
        "total",
        "elapsed",
        "delay",
        "error",
        "report",
    }
    assert set(Event.__struct_fields__) <= allowed
    counts = {field.name: field.type for field in msgspec.structs.fields(Event)}
    assert counts["records"] == int | None


def test_an_event_becomes_json() -> None:
    event = Event(kind=EventKind.RUN_FINISHED, run=1, window=WINDOW, elapsed=0.5, report=FetchReport(total=3, unique=3))
    reported = msgspec.json.decode(msgspec.json.encode(event))
    assert reported["kind"] == "run_finished"
    assert reported["window"]["start"] == "2026-10-01T00:00:00Z"
    assert reported["report"]["unique"] == 3


def test_anything_that_can_be_called_is_a_hook() -> None:
    seen: list[Event] = []
    hook: EventHook = seen.append
    hook(Event(kind=EventKind.RUN_STARTED, run=7))
    assert [event.run for event in seen] == [7]


def test_a_hook_gets_all_events_unless_it_selects() -> None:
    class Choosy:
        def wants(self, kind: EventKind) -> bool:
            return kind is EventKind.THROTTLED

        def __call__(self, event: Event, /) -> None:
            raise AssertionError(event)

    def reported(hook: EventHook | None) -> list[EventKind]:
        wants = choose_events(hook)
        return [kind for kind in EventKind if wants(kind)]

    assert reported(None) == []
    assert reported(lambda _: None) == list(EventKind)
    assert reported(Choosy()) == [EventKind.THROTTLED]
