"""Every call detail record of a time range, exactly once, with a proof of completeness.

`CdrClient` is where to begin; `aiosipcdr.model.errors` shows the tree of errors. Names are loaded when they are first
used: `import aiosipcdr` alone loads no HTTP library and no optional package.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient, ClientSettings
    from aiosipcdr.engine.run import Plan
    from aiosipcdr.engine.stream import CdrStream
    from aiosipcdr.events import Event, EventHook, EventKind, LoggingHook
    from aiosipcdr.model.arrow import ArrowRecords
    from aiosipcdr.model.changes import Change, ChangeKind
    from aiosipcdr.model.errors import (
        AuthenticationError,
        ClientStateError,
        ClockSkewError,
        ExportConflictError,
        ExportError,
        FilterIgnoredError,
        IncompleteRangeError,
        InsecureTlsWarning,
        InvalidQueryError,
        JournalDamagedError,
        OutageError,
        OutOfTimeRangeError,
        ProtocolError,
        RedirectError,
        RequestTimeoutError,
        ResponseTooLargeError,
        RestrictedAddressError,
        SchemaMismatchError,
        ServerFaultError,
        SipCdrError,
        StatusCode,
        StorageError,
        ThrottledError,
        TlsError,
        TransportError,
        VendorError,
    )
    from aiosipcdr.model.html import RecordsPreview
    from aiosipcdr.model.quarantine import QuarantinedRecord
    from aiosipcdr.model.query import ExportFormat, FilterMatch, Filters, IfExists, OutOfRange
    from aiosipcdr.model.records import CallDetailRecord, ExtraFields, Page, TimeField
    from aiosipcdr.model.report import (
        CallDetailRecords,
        CompleteWindow,
        DayOutcome,
        DayReport,
        DaysReport,
        FetchReport,
        WindowReport,
        WindowShare,
    )
    from aiosipcdr.model.sync import OnVanished, SyncReport
    from aiosipcdr.model.windows import ArgumentError, TimeWindow
    from aiosipcdr.policy.pacing import RatePolicy
    from aiosipcdr.policy.retry import RetryPolicy
    from aiosipcdr.proof.page import PageRequest, PlanChange, RequestOwner, Transition
    from aiosipcdr.proof.parts import RangePart
    from aiosipcdr.rates import RateLimiter, RateServer, RemoteRate
    from aiosipcdr.sync.feed.feed import ChangeFeed
    from aiosipcdr.wire.codec import PageAnswer, encode_params
    from aiosipcdr.wire.signing import Credentials, CredentialsSource

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "ArrowRecords",
    "AuthenticationError",
    "CallDetailRecord",
    "CallDetailRecords",
    "CdrClient",
    "CdrStream",
    "Change",
    "ChangeFeed",
    "ChangeKind",
    "ClientSettings",
    "ClientStateError",
    "ClockSkewError",
    "CompleteWindow",
    "Credentials",
    "CredentialsSource",
    "DayOutcome",
    "DayReport",
    "DaysReport",
    "Event",
    "EventHook",
    "EventKind",
    "ExportConflictError",
    "ExportError",
    "ExportFormat",
    "ExtraFields",
    "FetchReport",
    "FilterIgnoredError",
    "FilterMatch",
    "Filters",
    "IfExists",
    "IncompleteRangeError",
    "InsecureTlsWarning",
    "InvalidQueryError",
    "JournalDamagedError",
    "LoggingHook",
    "OnVanished",
    "OutOfRange",
    "OutOfTimeRangeError",
    "OutageError",
    "Page",
    "PageAnswer",
    "PageRequest",
    "Plan",
    "PlanChange",
    "ProtocolError",
    "QuarantinedRecord",
    "RangePart",
    "RateLimiter",
    "RatePolicy",
    "RateServer",
    "RecordsPreview",
    "RedirectError",
    "RemoteRate",
    "RequestOwner",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RestrictedAddressError",
    "RetryPolicy",
    "SchemaMismatchError",
    "ServerFaultError",
    "SipCdrError",
    "StatusCode",
    "StorageError",
    "SyncReport",
    "ThrottledError",
    "TimeField",
    "TimeWindow",
    "TlsError",
    "Transition",
    "TransportError",
    "VendorError",
    "WindowReport",
    "WindowShare",
    "encode_params",
]

_MODULES = {
    "aiosipcdr.client": (
        "CdrClient",
        "ClientSettings",
    ),
    "aiosipcdr.engine.run": ("Plan",),
    "aiosipcdr.engine.stream": ("CdrStream",),
    "aiosipcdr.events": (
        "Event",
        "EventHook",
        "EventKind",
        "LoggingHook",
    ),
    "aiosipcdr.model.arrow": ("ArrowRecords",),
    "aiosipcdr.model.changes": ("Change", "ChangeKind"),
    "aiosipcdr.model.html": ("RecordsPreview",),
    "aiosipcdr.model.quarantine": ("QuarantinedRecord",),
    "aiosipcdr.model.query": (
        "ExportFormat",
        "FilterMatch",
        "Filters",
        "IfExists",
        "OutOfRange",
    ),
    "aiosipcdr.model.records": (
        "CallDetailRecord",
        "ExtraFields",
        "Page",
        "TimeField",
    ),
    "aiosipcdr.model.report": (
        "CallDetailRecords",
        "CompleteWindow",
        "DayOutcome",
        "DayReport",
        "DaysReport",
        "FetchReport",
        "WindowReport",
        "WindowShare",
    ),
    "aiosipcdr.model.sync": ("OnVanished", "SyncReport"),
    "aiosipcdr.model.windows": (
        "ArgumentError",
        "TimeWindow",
    ),
    "aiosipcdr.policy.pacing": ("RatePolicy",),
    "aiosipcdr.policy.retry": ("RetryPolicy",),
    "aiosipcdr.proof.page": ("PageRequest", "PlanChange", "RequestOwner", "Transition"),
    "aiosipcdr.rates": ("RateLimiter", "RateServer", "RemoteRate"),
    "aiosipcdr.proof.parts": ("RangePart",),
    "aiosipcdr.sync.feed.feed": ("ChangeFeed",),
    "aiosipcdr.wire.codec": ("PageAnswer", "encode_params"),
    "aiosipcdr.wire.signing": (
        "Credentials",
        "CredentialsSource",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'aiosipcdr' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES.get(name, "aiosipcdr.model.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
