"""Each error of ours as an answer: an honest status, and nothing in it that is not the caller's business."""

import json
import logging
from datetime import UTC, datetime

import pytest

import aiosipcdr
from aiosipcdr import (
    AuthenticationError,
    ExportConflictError,
    FetchReport,
    FilterIgnoredError,
    IncompleteRangeError,
    OutOfTimeRangeError,
    SipCdrError,
    ThrottledError,
    VendorError,
)
from aiosipcdr.integrations.problems import log_problem, plan_problem
from aiosipcdr.integrations.range_request import BadRequestError, DeadlineExceededError, HttpVersionError, RequestError
from aiosipcdr.model.report import WindowReport
from aiosipcdr.model.windows import TimeWindow

NOW = datetime(2026, 10, 1, tzinfo=UTC)

STATUSES = {
    "AuthenticationError": 502,
    "ClientStateError": 503,
    "ClockSkewError": 502,
    "ExportConflictError": 409,
    "ExportError": 500,
    "FilterIgnoredError": 502,
    "IncompleteRangeError": 502,
    "InvalidQueryError": 422,
    "JournalDamagedError": 500,
    "OutOfTimeRangeError": 422,
    "OutageError": 503,
    "ProtocolError": 502,
    "VendorError": 502,
    "RedirectError": 502,
    "RequestTimeoutError": 504,
    "ResponseTooLargeError": 502,
    "RestrictedAddressError": 502,
    "SchemaMismatchError": 502,
    "ServerFaultError": 502,
    "SipCdrError": 500,
    "StorageError": 507,
    "ThrottledError": 503,
    "TlsError": 502,
    "TransportError": 502,
}


def test_every_error_of_the_tree_has_its_status() -> None:
    errors = {name for name in aiosipcdr.__all__ if name.endswith("Error")}
    statuses = {**STATUSES, "ArgumentError": 422}  # apart from the others, as its text is for callers
    assert errors == set(statuses)
    reported = {name: plan_problem(getattr(aiosipcdr, name)("a text for the operator")).status for name in errors}
    assert reported == statuses


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_the_text_of_an_error_is_not_for_callers(name: str) -> None:
    error: SipCdrError = getattr(aiosipcdr, name)("canary 447700900123 of 10.0.0.1")
    error.reason = "canary"
    error.window = TimeWindow(NOW, NOW)
    problem = plan_problem(error)
    assert "canary" not in f"{problem.body!r} {problem.headers} {problem!r}"
    document = json.loads(problem.body)
    assert set(document) >= {"title", "status", "detail", "error"}
    assert document["status"] == problem.status
    assert document["error"] == name
    assert problem.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("seconds", "header"), [(3.2, "4"), (0.0, "0"), (120, "120")])
def test_how_long_to_wait_is_passed_on(seconds: float, header: str) -> None:
    assert plan_problem(ThrottledError(retry_after=seconds)).headers["Retry-After"] == header


def test_no_time_to_wait_is_made_up() -> None:
    assert "Retry-After" not in plan_problem(ThrottledError()).headers


def test_a_problem_has_the_facts_that_a_caller_can_use() -> None:
    refused = VendorError("status -99", status=-99)
    assert plan_problem(refused).facts["vendor_status"] == -99
    old = OutOfTimeRangeError(status=-25)
    assert "available_from" not in plan_problem(old).facts
    old.available_from = NOW
    assert json.loads(plan_problem(old).body)["available_from"] == "2026-10-01T00:00:00Z"


def test_a_range_without_proof_comes_with_its_numbers_and_without_its_windows() -> None:
    report = FetchReport(total=3, unique=2, window_reports=[WindowReport(window=TimeWindow(NOW, NOW))])
    reported = json.loads(plan_problem(IncompleteRangeError("1 is missing", report=report)).body)["report"]
    assert (reported["total"], reported["unique"], reported["certified"]) == (3, 2, False)
    assert "window_reports" not in reported


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError("x"), 500),
        (BadRequestError("x"), 422),
        (DeadlineExceededError("x"), 504),
        (HttpVersionError("x"), 505),
    ],
)
def test_an_error_of_the_request_shows_the_caller_its_text(error: RequestError, status: int) -> None:
    problem = plan_problem(error)
    assert problem.status == status
    assert problem.facts["detail"] == "x"


def test_an_error_that_users_derive_is_answered_like_its_parent() -> None:
    class MyError(FilterIgnoredError): ...

    assert plan_problem(MyError("x")).status == 502


def test_the_log_has_the_details_that_callers_do_not_see(caplog: pytest.LogCaptureFixture) -> None:
    for error in (
        AuthenticationError("check the API key"),
        ExportConflictError("it exists"),
        DeadlineExceededError("late"),
    ):
        log_problem(error, plan_problem(error))
    assert caplog.record_tuples == [
        ("aiosipcdr.integrations", logging.WARNING, "answered 502: AuthenticationError: check the API key")
    ]
