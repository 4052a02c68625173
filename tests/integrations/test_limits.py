"""What one application grants its callers."""

from datetime import timedelta
from typing import Any

import pytest

from aiosipcdr.integrations.limits import HostNotAllowedError, Limits, TooManyStreamsError


def test_no_more_streams_than_there_may_be() -> None:
    limits = Limits(max_streams=2)
    with limits.stream():
        with limits.stream(), pytest.raises(TooManyStreamsError) as caught, limits.stream():
            pass
        assert caught.value.status == 503
        assert caught.value.retry_after == 5
        with pytest.raises(KeyError), limits.stream():
            raise KeyError
        with limits.stream():
            assert limits.open_streams == 2
    assert limits.open_streams == 0


def test_none_is_no_limit() -> None:
    limits = Limits(max_range=None, max_streams=None, allowed_hosts=None)
    for _ in range(100):
        limits.stream().__enter__()
    limits.check_host(None)
    limits.check_host("anything")


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.example", "calls.example.com.evil.example", "notexample.org", ".example.org"),
        *("evil.example/.example.org", "evil.example?.example.org", "a@b.example.org", "evil.example:80.example.org"),
    ],
)
def test_a_host_that_is_not_named_is_refused(host: str | None) -> None:
    with pytest.raises(HostNotAllowedError) as caught:
        Limits(allowed_hosts=["calls.example.com", "*.example.org"]).check_host(host)
    assert caught.value.status == 400
    assert not host or host not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["calls.example.com", "CALLS.example.com:8443", "a.example.org", "a.b.example.org:80", "[::1]:80", "[::1]"]
)
def test_a_host_that_is_named_is_served(host: str) -> None:
    Limits(allowed_hosts=["Calls.example.com", "*.example.org", "[::1]"]).check_host(host)


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"max_range": timedelta()}, "max_range must be a positive timedelta"),
        ({"max_range": 31}, "max_range must be a positive timedelta"),
        ({"max_streams": 0}, "max_streams must be a whole number"),
        ({"allowed_hosts": "example.com"}, "allowed_hosts must be host names"),
        ({"allowed_hosts": [""]}, "allowed_hosts must be host names"),
    ],
)
def test_an_invalid_limit_is_refused(settings: dict[str, Any], reported: str) -> None:
    with pytest.raises(ValueError, match=reported):
        Limits(**settings)


def test_limits_that_are_set_replace_the_defaults_once() -> None:
    default, mine, other = Limits(), Limits(max_streams=2), Limits(max_streams=3)
    assert default.merged_with(mine) is mine
    assert mine.merged_with(Limits()) is mine
    assert mine.merged_with(Limits(max_streams=2)) is mine
    with pytest.raises(ValueError, match="set twice"):
        mine.merged_with(other)
