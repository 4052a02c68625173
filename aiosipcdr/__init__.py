"""Every call detail record of a range, exactly once, with a proof that says so.

`CdrClient` is the front door; `aiosipcdr.model.errors` draws the tree of what it raises.
Names are loaded when they are first used: `import aiosipcdr` alone loads no
HTTP library and no optional package.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient
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
        StorageError,
        ThrottledError,
        TlsError,
        TransportError,
        VendorError,
    )
    from aiosipcdr.model.records import CallDetailRecord, Page
    from aiosipcdr.model.report import CallDetailRecords, FetchReport
    from aiosipcdr.policy.pacing import RatePolicy
    from aiosipcdr.policy.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "CallDetailRecord",
    "CallDetailRecords",
    "CdrClient",
    "ClientStateError",
    "ClockSkewError",
    "ExportConflictError",
    "ExportError",
    "FetchReport",
    "FilterIgnoredError",
    "IncompleteRangeError",
    "InsecureTlsWarning",
    "InvalidQueryError",
    "JournalDamagedError",
    "OutOfTimeRangeError",
    "OutageError",
    "Page",
    "ProtocolError",
    "RatePolicy",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RestrictedAddressError",
    "RetryPolicy",
    "SchemaMismatchError",
    "ServerFaultError",
    "SipCdrError",
    "StorageError",
    "ThrottledError",
    "TlsError",
    "TransportError",
    "VendorError",
]

_HOMES = {
    "CallDetailRecord": "aiosipcdr.model.records",
    "CallDetailRecords": "aiosipcdr.model.report",
    "CdrClient": "aiosipcdr.client",
    "FetchReport": "aiosipcdr.model.report",
    "Page": "aiosipcdr.model.records",
    "RatePolicy": "aiosipcdr.policy.pacing",
    "RetryPolicy": "aiosipcdr.policy.retry",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        msg = f"module 'aiosipcdr' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(_HOMES.get(name, "aiosipcdr.model.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
