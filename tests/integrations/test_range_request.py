"""What callers ask for in a URL, and the deadline of a call."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from aiosipcdr.integrations.range_request import (
    BadRequestError,
    DeadlineExceededError,
    RequestError,
    check_names,
    deadline,
    read_query,
)

START = datetime(2026, 10, 1, tzinfo=UTC)


def test_a_range_and_a_group_become_arguments_of_the_client() -> None:
    asked = read_query("2026-10-01T00:00:00Z", "2026-10-02T08:00:00+08:00", "sales-us")
    assert asked == {"start": START, "end": START + timedelta(days=1), "sip_group_name": "sales-us"}
    assert read_query("2026-10-01T00:00:00Z", "2026-10-01T00:00:01Z")["sip_group_name"] is None


@pytest.mark.parametrize("text", ["2026-10-01T08:00:00 08:00", "2026-10-01T08:00 0800", "2026-10-01T08:00:00.0 08:00"])
def test_a_plus_sign_that_arrived_as_a_blank_is_one(text: str) -> None:
    read = read_query(text, "2027-01-01T00:00:00Z")["start"]
    assert read == START
    assert read.utcoffset() == timedelta(hours=8)


def test_a_blank_between_date_and_time_stays_one() -> None:
    eight = datetime(2026, 10, 1, 8, tzinfo=timezone(timedelta(hours=2)))
    assert read_query("2026-10-01 08:00:00+02:00", "2027-01-01T00:00:00Z")["start"] == eight
    with pytest.raises(BadRequestError, match="start has no offset"):
        read_query("2026-10-01 08:00", "2027-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("start", "end", "group", "reported"),
    [
        (None, "2026-10-02T00:00:00Z", None, "start is missing; use for example"),
        ("2026-10-01T00:00:00Z", None, None, "end is missing"),
        ("yesterday", "2026-10-02T00:00:00Z", None, "start is not an ISO 8601 time"),
        ("2026-10-01T00:00:00Z", "", None, "end is not an ISO 8601 time"),
        ("2026-10-01", "2026-10-02T00:00:00Z", None, "start has no offset; .*%2B"),
        ("2026-10-02T00:00:00Z", "2026-10-01T00:00:00Z", None, "inverted"),
        ("2026-10-01T00:00:00Z", "2026-10-01T08:00:00+08:00", None, "the same instant; for a whole day"),
        ("2026-10-01T00:00:00Z", "9999-12-31T23:59:59.5Z", None, "outside the calendar"),
        ("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", " ", "sip_group_name must be a text that is not empty"),
    ],
)
def test_an_invalid_parameter_is_reported_with_a_valid_form(
    start: str | None, end: str | None, group: str | None, reported: str
) -> None:
    with pytest.raises(BadRequestError, match=reported) as caught:
        read_query(start, end, group)
    assert isinstance(caught.value, RequestError)
    assert caught.value.status == 422


def test_a_month_in_which_clocks_are_set_back_is_a_month() -> None:
    october = ("2026-10-01T00:00:00+02:00", "2026-11-01T00:00:00+01:00")
    assert read_query(*october, max_range=timedelta(days=31))
    with pytest.raises(BadRequestError, match="too wide; request at most 31 days"):
        read_query("2026-10-01T00:00:00+02:00", "2026-11-01T00:00:01+01:00", max_range=timedelta(days=31))
    with pytest.raises(BadRequestError, match="too wide"):  # offsets that no clock ever changed between
        read_query("2026-10-01T00:00:00+14:00", "2026-11-01T00:00:00-12:00", max_range=timedelta(days=31))
    with pytest.raises(BadRequestError, match="request at most 90 seconds"):
        read_query("2026-10-01T00:00:00Z", "2026-10-01T00:01:31Z", max_range=timedelta(seconds=90))


def test_parameter_names_are_known_and_given_once() -> None:
    check_names(["start", "end"], {"start", "end", "more"})
    with pytest.raises(BadRequestError, match=r"unknown query parameter phone_name; use end, start"):
        check_names(["start", "phone_name"], {"start", "end"})
    with pytest.raises(BadRequestError, match="start is given 3 times"):
        check_names(["start", "start", "start"], {"start"})
    with pytest.raises(BadRequestError) as caught:
        check_names(["\x1b[31m" + "x" * 1_000], {"start"})
    assert len(str(caught.value)) < 100
    assert str(caught.value).isprintable()


async def test_a_deadline_that_strikes_is_the_error_of_the_call() -> None:
    with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s") as caught:
        async with deadline(0.01):
            await asyncio.Event().wait()
    assert caught.value.status == 504
    assert isinstance(caught.value, TimeoutError)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_timeout_of_the_block_itself_is_not_the_deadline() -> None:
    mine = TimeoutError("mine")
    with pytest.raises(TimeoutError) as caught:
        async with deadline(60):
            raise mine
    assert caught.value is mine


async def test_no_deadline_gives_all_the_time() -> None:
    async with deadline(None):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), True])
async def test_an_invalid_deadline_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        async with deadline(seconds):
            pass
