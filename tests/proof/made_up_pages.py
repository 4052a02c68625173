"""Answers of the vendor as the protocol sees them: calls of one hour, on pages of any size."""

from datetime import UTC, datetime, timedelta

from aiosipcdr.model.errors import SipCdrError
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest, RequestOwner
from aiosipcdr.wire.codec import PageAnswer

CANARY = "+447700900123"
START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = TimeWindow(START, START + timedelta(hours=1))


def call(voice_id: str, at: float | None = 60, **fields: object) -> CallDetailRecord:
    time = None if at is None else START + timedelta(seconds=at)
    return CallDetailRecord(voice_id=voice_id, submit_time=time, **fields)  # type: ignore[arg-type]


def answer(
    *records: CallDetailRecord, total: int | None = None, size: int = 10, current: int = 1, pages: int | None = None
) -> PageAnswer:
    total = len(records) if total is None else total
    pages = -(-total // max(1, size)) if pages is None else pages
    return PageAnswer(page=Page(total=total, size=size, current=current, pages=pages, records=list(records)))


def accept(owner: RequestOwner, request: PageRequest, reported: PageAnswer) -> SipCdrError | None:
    """Pass an answer to a plan or an owner; return the error that ends the run."""
    changed = owner.accept(request, reported)
    return changed if isinstance(changed, SipCdrError) else None


def refuse(owner: RequestOwner, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
    """Pass an error to a plan or an owner; return the error that ends the run."""
    changed = owner.refuse(request, error)
    return changed if isinstance(changed, SipCdrError) else None
