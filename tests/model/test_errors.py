"""The tree of errors, the table of codes, and messages without phone numbers."""

import copy
import importlib
import pickle
import pkgutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiosipcdr
from aiosipcdr.model import errors
from aiosipcdr.model.errors import (
    ExportError,
    IncompleteRangeError,
    ProtocolError,
    RedirectError,
    SipCdrError,
    StatusCode,
    ThrottledError,
    TransportError,
    VendorError,
    http_error,
    vendor_error,
)
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CallDetailRecords, FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sandbox import Fault

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=1))

TREE = """
SipCdrError Exception
  ClientStateError RuntimeError
  TransportError ConnectionError
    RequestTimeoutError TimeoutError
    TlsError
    RedirectError
    OutageError
  ProtocolError ValueError
    ResponseTooLargeError
    SchemaMismatchError
    FilterIgnoredError
  VendorError
    AuthenticationError
    RestrictedAddressError
    ClockSkewError
    ThrottledError
    InvalidQueryError
    OutOfTimeRangeError
    ServerFaultError
  IncompleteRangeError
  ExportError OSError
    ExportConflictError
    JournalDamagedError
    StorageError
"""


def kinds() -> list[tuple[type[SipCdrError], str, str | None]]:
    """Return every class of the tree with its parent and its base from Python."""
    found, above = [], [""]
    for line in TREE.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, *base = line.split()
        above[depth:] = [name]
        found.append((getattr(errors, name), above[depth - 1] if depth else "Exception", base[0] if base else None))
    return found


@pytest.mark.parametrize(("kind", "parent", "base"), kinds())
def test_the_tree_is_that_of_the_design(kind: type[SipCdrError], parent: str, base: str | None) -> None:
    import builtins

    parent_type = getattr(errors, parent, None) or getattr(builtins, parent)
    assert parent_type in kind.__bases__
    if base is not None:
        assert issubclass(kind, getattr(builtins, base))
    assert getattr(aiosipcdr, kind.__name__) is kind
    assert not issubclass(kind, BaseExceptionGroup)
    assert kind.__doc__


def test_the_tree_has_no_other_leaves() -> None:
    def below(kind: type[SipCdrError]) -> set[type[SipCdrError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__() if child.__module__ == errors.__name__))

    assert below(SipCdrError) == {kind for kind, _, _ in kinds()}


@pytest.mark.parametrize("kind", [kind for kind, _, _ in kinds()])
def test_every_error_carries_facts_and_says_where(kind: type[SipCdrError]) -> None:
    bare = kind("it failed", window=WINDOW)
    assert str(bare) == f"it failed (window {WINDOW})"
    assert bare.window == WINDOW
    assert (bare.status, bare.reason, bare.page, bare.retry_after) == (None, None, None, None)
    assert isinstance(bare.retryable, bool)
    bare.page = 3
    assert str(bare) == f"it failed (window {WINDOW}, page 3)"
    assert str(kind("x")) == "x"
    assert str(kind()) == ""
    with pytest.raises(kind, match="it failed"):
        raise bare


@pytest.mark.parametrize("kind", [kind for kind, _, _ in kinds() if kind is not IncompleteRangeError])
def test_every_error_crosses_a_process_boundary(kind: type[SipCdrError]) -> None:
    error = kind("it failed", window=WINDOW, page=2, status=-18, reason="no", retryable=True, retry_after=3.0)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.status, again.reason, again.retryable, again.retry_after) == (-18, "no", True, 3.0)


def exceptions_of_the_package() -> list[type[BaseException]]:
    names = (found.name for found in pkgutil.walk_packages(aiosipcdr.__path__, "aiosipcdr."))
    modules = []
    for name in names:
        if not name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed
                modules.append(importlib.import_module(name))
    raised = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__.startswith("aiosipcdr")
    }
    return sorted(raised, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


ARGUMENTS: dict[str, tuple[object, ...]] = {
    "MissingExtraError": ("Parquet needs pyarrow", "arrow"),
    "UnusedFaultsError": ([Fault("http", status=500)],),
}


@pytest.mark.parametrize("kind", exceptions_of_the_package())
def test_every_exception_of_the_package_pickles_with_every_protocol(kind: type[BaseException]) -> None:
    error = kind(*ARGUMENTS.get(kind.__name__, ("it failed",)))
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for again in (*copies, copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error) != ""
        assert repr(again) == repr(error)


def test_records_and_report_of_an_incomplete_range_cross_a_process_boundary() -> None:
    report = FetchReport(total=2, unique=1)
    records = CallDetailRecords([CallDetailRecord(voice_id="1")], report=report)
    error = IncompleteRangeError("short", report=report, records=records, window=WINDOW)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
        assert (again.records, again.report, str(again)) == (records, report, str(error))
        assert again.records.report == report


def test_an_incomplete_export_error_has_the_records_read() -> None:
    report = FetchReport(total=2, unique=1)
    records = CallDetailRecords([CallDetailRecord(voice_id="1", callee="+447700900123")], report=report)
    error = IncompleteRangeError("short", report=report, records=records)
    assert error.report is report
    assert error.records is records
    assert not error.retryable
    assert "7700900" not in f"{error} {error!r}"
    bare = IncompleteRangeError()
    assert bare.records == []
    assert bare.records.report is bare.report


def test_facts_of_one_error_are_not_those_of_its_kind() -> None:
    assert ProtocolError("x", retryable=True).retryable
    assert not ProtocolError("x").retryable
    assert not TransportError("x", retryable=False).retryable
    assert TransportError("x").retryable


# --- the table of codes


@pytest.mark.parametrize(
    ("status", "name", "retryable"),
    [
        (-1, "AuthenticationError", False),
        (-2, "RestrictedAddressError", False),
        (-13, "AuthenticationError", False),
        (-15, "ThrottledError", True),
        (-16, "ClockSkewError", True),
        (-18, "ServerFaultError", True),
        (-22, "InvalidQueryError", False),
        (-25, "OutOfTimeRangeError", False),
        (-3, "VendorError", False),
        (7, "VendorError", False),
        (-(10**30), "VendorError", False),
    ],
)
def test_every_code_has_its_kind(status: int, name: str, retryable: bool) -> None:  # noqa: FBT001
    error = vendor_error(status, "the vendor's words")
    assert type(error).__name__ == name
    assert isinstance(error, VendorError)
    assert error.status == status
    assert error.reason == "the vendor's words"
    assert error.retryable is retryable
    assert f"status {status}" in str(error)
    assert "the vendor's words" in str(error)


def test_every_documented_code_is_in_the_table() -> None:
    assert {int(code) for code in StatusCode} == {0, -1, -2, -13, -15, -16, -18, -22, -25}
    for code in StatusCode:
        if code:
            assert type(vendor_error(code, None)) is not VendorError


@pytest.mark.parametrize(
    ("status", "name", "retryable"),
    [
        (301, "RedirectError", False),
        (302, "RedirectError", False),
        (304, "RedirectError", False),
        (308, "RedirectError", False),
        (400, "ProtocolError", False),
        (401, "AuthenticationError", False),
        (403, "RestrictedAddressError", False),
        (404, "ProtocolError", False),
        (405, "ProtocolError", False),
        (408, "ServerFaultError", True),
        (409, "ServerFaultError", True),
        (413, "ProtocolError", False),
        (415, "ProtocolError", False),
        (425, "ServerFaultError", True),
        (429, "ThrottledError", True),
        (500, "ServerFaultError", True),
        (501, "ProtocolError", False),
        (502, "ServerFaultError", True),
        (503, "ServerFaultError", True),
        (504, "ServerFaultError", True),
        (505, "ProtocolError", False),
    ],
)
def test_every_http_status_has_its_kind(status: int, name: str, retryable: bool) -> None:  # noqa: FBT001
    error = http_error(status)
    assert type(error).__name__ == name
    assert error.status == status
    assert error.retryable is retryable
    assert str(status) in str(error)
    assert error.retry_after is None


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_makes_it_throttling(status: int) -> None:
    error = http_error(status, retry_after=7.0)
    assert isinstance(error, ThrottledError)
    assert error.retry_after == 7.0


def test_a_redirect_is_an_error_of_its_own() -> None:
    assert isinstance(http_error(307), RedirectError)


# --- foreign words


@pytest.mark.parametrize(
    "number",
    [
        "+12125550123",
        "12125550123",
        "+1 212 555 0123",
        "+1 (212) 555-0123",
        "(212) 555 - 0123",
        "212.555.0123",
        "212/555/0123",
        "+1\u00a0212\u00a0555\u00a00123",
        "+44 7700 900123",
        "+44-7700-900-123",
        "0044 7700 900 123",
        "07700900123",
        "sip:+447700900123@example.com",
        "".join(chr(0xFF10 + int(digit)) for digit in "00447700900123"),
        "05d7a50893e22a5c4bb3216ae3396c7c",
        "05D7A50893E22A5C4BB3216AE3396C7C",
    ],
)
def test_the_vendors_words_lose_their_numbers(number: str) -> None:
    error = vendor_error(-22, f"bad number {number}, sorry")
    assert error.reason is not None
    assert error.reason.startswith("bad number")
    assert error.reason.endswith("sorry")
    for part in ("0123", "123", "555", "900", "\uff11\uff12\uff13", "e3396c7c", "E3396C7C"):
        assert part not in error.reason
        assert part not in str(error)


@pytest.mark.parametrize("before", range(1_980, 2_001))
def test_a_number_that_is_cut_in_two_is_not_shown(before: int) -> None:
    # Each number shrinks to three stars, so that the cut is within the text shown.
    numbers = "447700900123z" * (before // 13)
    error = vendor_error(-22, (numbers + "x" * (before - len(numbers)) + "987654321") + "y" * 5_000_000)
    assert error.reason is not None
    assert len(error.reason) <= 200
    assert not any(character.isdigit() for character in error.reason)


@pytest.mark.parametrize("reason", [None, "", "  ", "\n\t", "\x1b\u202e"])
def test_nothing_said_is_no_reason(reason: str | None) -> None:
    error = vendor_error(-22, reason)
    assert error.reason is None
    assert '""' not in str(error)


@given(st.text(max_size=400))
def test_the_vendors_words_are_short_and_printable(reason: str) -> None:
    cleaned = vendor_error(-22, reason).reason
    assert cleaned is None or (0 < len(cleaned) <= 200 and cleaned.isprintable() and cleaned == cleaned.strip())


def test_a_code_of_few_digits_is_no_number() -> None:
    assert vendor_error(-22, "size 100 of page 25, code 40012").reason == "size 100 of page 25, code 40012"


def test_an_export_error_is_an_os_error_with_our_words(tmp_path: Path) -> None:
    error = ExportError(f"cannot write {tmp_path}")
    assert isinstance(error, OSError)
    assert str(error) == f"cannot write {tmp_path}"
    assert error.errno is None
