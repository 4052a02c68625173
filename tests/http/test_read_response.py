"""An HTTP response as a page, or as the error that it reports, with all of its facts."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from aiosipcdr import ClockSkewError, ProtocolError, ServerFaultError, SipCdrError, ThrottledError
from aiosipcdr.http.transport import Received, read_response
from aiosipcdr.wire.codec import PageAnswer, PageDecoder
from aiosipcdr.wire.signing import Credentials

KEY = "canary-key"  # of letters: what holds many digits is left out of all words anyway
NOW = datetime(2026, 10, 1, tzinfo=UTC)


def read(body: bytes, status: int = 200, **reported: object) -> PageAnswer | SipCdrError:
    received = Received(body, format_datetime(NOW, usegmt=True), status, **reported)  # type: ignore[arg-type]
    sent = NOW.timestamp() - 3_600
    credentials = Credentials(KEY, "canary-secret")
    return read_response(received, PageDecoder(), credentials, current=1, size=100, sent=sent, now=sent + 2)


def refusal(code: int, reason: str = "busy") -> bytes:
    return json.dumps({"status": str(code), "reason": reason, "data": None}).encode()


def test_a_page_is_a_page() -> None:
    body = b'{"status":"0","data":{"total":1,"size":100,"current":1,"pages":1,"records":[{"voiceId":"1"}]}}'
    assert isinstance(read(body), PageAnswer)
    # With another status it is not used.
    assert isinstance(read(body, 500), SipCdrError)


@pytest.mark.parametrize("status", [200, 500])
def test_the_vendors_words_never_show_the_key_that_they_quote(status: int) -> None:
    error = read(refusal(-18, f"api key {KEY} is busy"), status)
    assert isinstance(error, ServerFaultError)
    assert "is busy" in str(error.reason)
    assert KEY not in f"{error} {error!r} {error.reason} {error.__dict__}"


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(200, -18, ServerFaultError), (200, -15, ThrottledError), (429, -15, ThrottledError)]
)
def test_a_refusal_has_its_code_its_reason_and_its_retry_after(status: int, code: int, kind: type[SipCdrError]) -> None:
    error = read(refusal(code), status, retry_after=7.0)
    assert isinstance(error, kind)
    assert error.retry_after == 7
    assert "busy" in str(error)


def test_a_refused_timestamp_measures_the_clock_offset() -> None:
    error = read(refusal(-16))
    assert isinstance(error, ClockSkewError)
    assert error.offset == 3_600 + 0.5 - 1


@pytest.mark.parametrize(("reported", "shown"), [("text/html", "sent as text/html"), ("", "sent as nothing")])
def test_an_error_about_another_body_names_its_content_type(reported: str, shown: str) -> None:
    error = read(b"<html>", content_type=reported)
    assert isinstance(error, ProtocolError)
    assert error.retryable
    assert shown in str(error)
