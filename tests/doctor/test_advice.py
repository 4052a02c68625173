"""What one request means: the check that it fails, with what to do, and the others as skipped."""

from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr.doctor.advice import CHECKS, Check, Contact, Handshake, State, judge_contact, judge_range, skip_rest
from aiosipcdr.model.errors import (
    ClockSkewError,
    OutOfTimeRangeError,
    ProtocolError,
    RequestTimeoutError,
    SipCdrError,
    TlsError,
    TransportError,
    http_error,
    vendor_error,
)
from aiosipcdr.model.windows import TimeWindow

NOW = datetime(2026, 10, 1, tzinfo=UTC)
HOST = "api.example.com"
SETTINGS = Check("settings", State.GOOD, "set")


def judge(
    error: SipCdrError | None = None,
    *,
    host: str = HOST,
    secure: bool = True,
    offset: float | None = 0.4,
    lookup: str | None = None,
    handshake: Handshake | None = None,
) -> dict[str, Check]:
    contact = Contact(host=host, secure=secure, error=error, offset=offset, lookup=lookup, handshake=handshake)
    checks = skip_rest([SETTINGS, *judge_contact(contact, NOW)])
    assert tuple(check.name for check in checks) == CHECKS
    assert all(check.text for check in checks)
    return {check.name: check for check in checks}


def names(checks: dict[str, Check], state: State) -> list[str]:
    return [name for name, check in checks.items() if check.state is state]


def unresolved() -> TransportError:
    error = TransportError("cannot be resolved")
    error.resolved = False
    return error


def test_an_accepted_request_is_good_throughout() -> None:
    checks = judge()
    assert names(checks, State.WRONG) == []
    assert names(checks, State.SKIPPED) == ["range"]  # known from another request


@pytest.mark.parametrize(
    ("error", "wrong", "good"),
    [
        (unresolved(), "dns", ["settings"]),
        (TransportError("cannot connect"), "connection", ["settings", "dns"]),
        (RequestTimeoutError("no complete response"), "connection", ["settings", "dns"]),
        (TlsError("the certificate is not trusted"), "tls", ["settings", "dns", "connection"]),
        (http_error(302), "endpoint", ["settings", "dns", "connection", "tls"]),
        (http_error(404), "endpoint", ["settings", "dns", "connection", "tls"]),
        (ProtocolError("not readable as JSON"), "endpoint", ["settings", "dns", "connection", "tls"]),
        (http_error(503), "endpoint", ["settings", "dns", "connection", "tls", "clock"]),
        (vendor_error(-18, "port"), "endpoint", ["settings", "dns", "connection", "tls", "clock"]),
        (vendor_error(-15, "often"), "endpoint", ["settings", "dns", "connection", "tls", "clock"]),
        (vendor_error(-25, "old"), "endpoint", ["settings", "dns", "connection", "tls", "clock"]),
        (vendor_error(-1, "no"), "credentials", ["settings", "dns", "connection", "tls", "endpoint", "clock"]),
        (vendor_error(-13, "locked"), "credentials", ["settings", "dns", "connection", "tls", "endpoint", "clock"]),
        (http_error(401), "credentials", ["settings", "dns", "connection", "tls", "endpoint", "clock"]),
        (vendor_error(-2, "no"), "address", ["settings", "dns", "connection", "tls", "endpoint", "clock"]),
        (http_error(403), "address", ["settings", "dns", "connection", "tls", "endpoint", "clock"]),
    ],
)
def test_each_error_fails_the_check_that_it_belongs_to(error: SipCdrError, wrong: str, good: list[str]) -> None:
    checks = judge(error)
    assert names(checks, State.WRONG) == [wrong]
    assert names(checks, State.GOOD) == good
    skipped = [checks[name].text for name in names(checks, State.SKIPPED) if name != "credentials"]
    assert set(skipped) <= {f"not checked: depends on {wrong}"}


def test_an_unknown_host_shows_the_error_of_the_system() -> None:
    assert "(Name or service not known)" in judge(unresolved(), lookup="Name or service not known")["dns"].text
    assert judge(host="127.0.0.1", secure=False)["dns"].state is State.SKIPPED


def test_a_certificate_says_why_it_is_refused_and_when_it_ends() -> None:
    refused = judge(TlsError("not trusted"), handshake=Handshake(problem="certificate has expired"))
    assert "(certificate has expired)" in refused["tls"].text
    later = judge(handshake=Handshake(version="TLSv1.3", expires=NOW + timedelta(days=90)))["tls"]
    assert later.text == "TLSv1.3, the certificate is trusted until 2026-12-30"
    soon = judge(handshake=Handshake(version="TLSv1.3", expires=NOW + timedelta(days=5)))["tls"]
    assert (soon.state, "5 days from now; ask the vendor" in soon.text) == (State.GOOD, True)
    assert judge(handshake=Handshake(problem="TimeoutError"))["tls"].state is State.GOOD  # the client's own was fine
    assert judge(secure=False)["tls"].state is State.SKIPPED


@pytest.mark.parametrize(
    ("offset", "state", "words"),
    [
        (0.5, State.GOOD, "agrees"),
        (-1.9, State.GOOD, "agrees"),
        (30, State.GOOD, "30 s behind"),
        (-30, State.GOOD, "30 s ahead of"),
        (3600, State.WRONG, "3,600 s behind the vendor's; set it by NTP"),
        (None, State.SKIPPED, "no Date"),
    ],
)
def test_a_clock_is_judged_by_its_offset(offset: float | None, state: State, words: str) -> None:
    clock = judge(offset=offset)["clock"]
    assert clock.state is state
    assert words in clock.text


@pytest.mark.parametrize(
    ("offset", "words"), [(None, "does not report its own"), (0.3, "the clocks agree, but"), (-400, "400 s ahead of")]
)
def test_a_refused_time_is_wrong_and_says_nothing_of_the_login(offset: float | None, words: str) -> None:
    checks = judge(ClockSkewError("expired", status=-16), offset=offset)
    assert names(checks, State.WRONG) == ["clock"]
    assert words in checks["clock"].text
    assert names(checks, State.SKIPPED) == ["credentials", "address", "range"]


def test_a_skipped_check_names_its_closest_dependency() -> None:
    checks = judge(vendor_error(-1, "no"), offset=3600)
    assert names(checks, State.WRONG) == ["clock", "credentials"]
    assert checks["address"].text == "not checked: depends on credentials"


def test_a_refused_login_says_that_it_is_not_tried_again() -> None:
    assert "may lock the account" in judge(vendor_error(-1, "no"))["credentials"].text


def test_the_window_of_the_query_is_not_shown() -> None:
    error = vendor_error(-2, "no")
    error.window = TimeWindow(NOW, NOW)
    assert "window" not in judge(error)["address"].text


def test_a_range_has_the_number_of_calls_or_the_kept_range() -> None:
    assert judge_range(1, "a to b", filtered=False).text == "1 call in a to b"
    assert judge_range(2_000, "a to b", filtered=True).text == "2,000 calls in a to b"
    assert "matched exactly" in judge_range(0, "a to b", filtered=True).text
    old = OutOfTimeRangeError("old", status=-25)
    assert "is not kept" in judge_range(old, "a to b", filtered=False).text
    old.available_from = NOW
    check = judge_range(old, "a to b", filtered=False)
    assert check.state is State.WRONG
    assert "kept from 2026-10-01T00:00:00+00:00 on; begin later" in check.text
    assert judge_range(vendor_error(-22, "bad"), "a to b", filtered=False).state is State.WRONG


def test_everything_is_skipped_behind_the_first_that_is_wrong() -> None:
    checks = skip_rest([Check("settings", State.WRONG, "missing")])
    assert [check.name for check in checks] == list(CHECKS)
    assert {check.text for check in checks[1:]} == {"not checked: depends on settings"}
    extra = skip_rest([SETTINGS, Check("probe", State.WRONG, "ended")])
    assert extra[-1].name == "probe"
