"""How a row of the table of faults is written: what strikes, and what it comes to.

Five calls lie on pages of two: a run without faults takes four requests (three pages and the
control count), `fetch_page` one. A row's faults strike page 1 in their order, the last of them
as often as the client asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiosipcdr import (
    ProtocolError,
    SipCdrError,
)
from aiosipcdr.sandbox import Fault
from tests.watch import call

CALLS = 5
PAGE_SIZE = 2
CLEAN = {"fetch_page": 1, "fetch_all": 4, "stream": 4, "export": 4}


def whole_call(number: int, **fields: object) -> dict[str, object]:
    """Return a call with all that the faults damage."""
    times = dict.fromkeys(("callTime", "answerTime"), "2026-10-01T00:00:00+00:00")
    return call(number, **{"callDuration": 7, "cost": "0.25", **times, **fields})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Expected outcome of a run.

    Attributes:
        requests: how many the vendor sees, exactly.
        error: the exact class; None: the records of a run without faults, certified.
        status: the error's status.
        retryable: the error's own word.
        retry_after: the vendor's `Retry-After`, as in the error.
        report: members of the report that are not as usual.
        others: the records may differ from those without faults (what a fault changed in them).
    """

    requests: int
    error: type[SipCdrError] | None = None
    status: int | None = None
    retryable: bool = False
    retry_after: float | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    others: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way in which a row of the matrix happens.

    Attributes:
        number: the row of the matrix.
        name: what happens.
        faults: what is scripted.
        whole: what becomes of `fetch_all`, `stream` and `export`.
        page: what becomes of `fetch_page`, where that differs: it judges nothing.
        python: what becomes of all with aiohttp's parser in pure Python, where that differs.
        python_page: the same for `fetch_page`, where that differs from it again.
        strikes: how often the last fault strikes; None: every request.
        passes: whether a case is added in which the last fault strikes once less than is fatal.
        switches: what is special about the sandbox.
        warm: whether the client was answered before.
        settings: what is special about the client.
        impatient: whether the time of requests that are struck runs out; two attempts then.
        why: why it is so, where the matrix suggests something else.
    """

    number: int
    name: str
    faults: tuple[Fault, ...] = ()
    whole: Outcome
    page: Outcome | None = None
    python: Outcome | None = None
    python_page: Outcome | None = None
    strikes: int | None = None
    passes: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warm: bool = False
    impatient: bool = False
    why: str = ""


def fatal(number: int, name: str, *faults: Fault, error: type[SipCdrError], **facts: Any) -> Row:  # noqa: ANN401 - facts of two kinds
    """Return a row that ends in the same error at the first request, for a page and for a range."""
    row: dict[str, Any] = {name: facts.pop(name) for name in ("config", "why", "python") if name in facts}
    return Row(number=number, name=name, faults=faults, whole=Outcome(requests=1, error=error, **facts), **row)


def retried(number: int, name: str, fault: Fault, error: type[SipCdrError], requests: int, **facts: Any) -> Row:  # noqa: ANN401 - likewise
    """Return a row that is asked for again, so often, and may pass before."""
    row: dict[str, Any] = {
        name: facts.pop(name) for name in ("config", "why", "python", "warm", "impatient", "passes") if name in facts
    }
    outcome = Outcome(requests=requests, error=error, retryable=True, **facts)
    return Row(number=number, name=name, faults=(fault,), whole=outcome, **({"passes": True} | row))


def http(status: int, **headers: str) -> Fault:
    """Return an HTTP answer with an empty body, `_` in headers' names for `-`."""
    return Fault("http", status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def body(text: str) -> Fault:
    """Return another body under 200."""
    return Fault("http", body=text)


def edit(old: str, new: str) -> Fault:
    """Return the true answer with one thing changed."""
    return Fault("edit", old=old, new=new)


def unchanged(number: int, name: str, *faults: Fault, **facts: Any) -> Row:  # noqa: ANN401 - likewise
    """Return a row that costs nothing: same records, no request more."""
    row: dict[str, Any] = {name: facts.pop(name) for name in ("config", "why") if name in facts}
    return Row(
        number=number,
        name=name,
        faults=faults,
        whole=Outcome(requests=4, **facts),
        page=Outcome(requests=1, **{name: fact for name, fact in facts.items() if name != "report"}),
        **row,
    )


def unread(number: int, name: str, fault: Fault, field: str, **facts: Any) -> Row:  # noqa: ANN401 - likewise
    """Return a row that costs one value on each of three pages, and no request more."""
    return unchanged(number, name, fault, report={"faulty_fields": {field: 3}}, others=True, **facts)


DESIGN = "the design wins: a value that cannot be read costs its field alone"

ALONE: Mapping[str, Any] = {"concurrency": 1}  # the order of requests is the vendor's luck otherwise


def unfit(number: int, name: str, fault: Fault) -> Row:
    """Return a row whose answer no proof can use: asked for once more, by a plan, which is no retry."""
    return Row(
        number=number,
        name=name,
        faults=(fault,),
        whole=Outcome(requests=2, error=ProtocolError),
        page=Outcome(requests=1, others=True),
        passes=True,
    )


def proven(number: int, name: str, *faults: Fault, requests: int, strikes: int = 1, **facts: Any) -> Row:  # noqa: ANN401 - likewise
    """Return a row that only the proof notices: read again until it holds."""
    row: dict[str, Any] = {name: facts.pop(name) for name in ("config", "why", "settings") if name in facts}
    row["settings"] = {**ALONE, **row.get("settings", {})}
    return Row(
        number=number,
        name=name,
        faults=faults,
        strikes=strikes if faults else None,
        whole=Outcome(requests=requests, others=True, **facts),
        page=Outcome(requests=1, others=True),
        **row,
    )
