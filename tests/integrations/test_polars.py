"""A range of calls as a LazyFrame: what Polars pushes down is asked for, and the rows are those of the whole range."""

import asyncio
import gc
import os
import pickle
import threading
import time
import traceback
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from aiohttp.typedefs import Handler
from aiohttp.web import Request, Response, StreamResponse, middleware

import aiosipcdr.model.arrow
from aiosipcdr import IncompleteRangeError
from aiosipcdr.integrations import polars as integration
from aiosipcdr.integrations.polars import scan_cdrs
from aiosipcdr.integrations.polars_predicates import PushedFilters, read_predicate
from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.selection import some
from tests.system_parts import require

DAY = timedelta(days=1)
ENGINES: tuple[Literal["in-memory", "streaming"], ...] = ("in-memory", "streaming")
PHONE = "+12125550123"
RECORDS = 3_000


class Miscount:
    """Adds another number to each total of the span, so that nothing there can be proven."""

    def __init__(self) -> None:
        self.is_on = False
        self._answers = 0

        @middleware
        async def miscount(request: Request, handler: Handler) -> StreamResponse:
            response = await handler(request)
            if self.is_on:
                assert isinstance(response, Response)
                assert isinstance(response.body, bytes)
                self._answers += 1
                body = response.body.replace(b'"total":', b'"total":%d' % self._answers)
                return Response(body=body, content_type="application/json")
            return response

        self.middleware = miscount


miscount = Miscount()
gate = Gate(10**9)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(records=RECORDS, leg_every=10, middlewares=[miscount.middleware, gate.middleware]) as sandbox:
        sandbox.insert(sandbox.start + 3 * DAY, count=3, phone_name=PHONE)
        yield sandbox


@pytest.fixture(autouse=True)
def _nothing_keeps_reading() -> None:
    """Wait until the client of each earlier scan is closed.

    Where the streaming engine ended early, Polars lets go of the scan with its next operation.
    """
    deadline = time.monotonic() + 30
    while any(thread.name.startswith("aiosipcdr-client") for thread in threading.enumerate()):
        gc.collect()
        pl.LazyFrame({"a": [1]}).collect()
        assert time.monotonic() < deadline, "a client is still open"
        time.sleep(0.01)


@pytest.fixture
def sandbox(shared: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    for name in ("base_url", "api_key", "api_secret"):
        monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(shared, name))
    yield shared
    miscount.is_on = False
    gate.free = 10**9


@pytest.fixture
def calls(sandbox: Sandbox) -> pl.LazyFrame:
    return scan_cdrs(sandbox.start, sandbox.end, time_field="submit_time")


@pytest.fixture(scope="module")
def whole(shared: Sandbox) -> pl.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("base_url", "api_key", "api_secret"):
            patch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(shared, name))
        return scan_cdrs(shared.start, shared.end, time_field="submit_time").collect()


def requests_of(sandbox: Sandbox, collect: Callable[[], Any]) -> int:
    sandbox.reset_stats()
    collect()
    return sandbox.stats.requests


def day_of(sandbox: Sandbox, number: int = 7) -> pl.Expr:
    start = sandbox.start + number * DAY
    return (pl.col("submit_time") >= start) & (pl.col("submit_time") < start + DAY)


def test_a_scan_has_every_row_with_the_types_of_the_parquet_file(sandbox: Sandbox, whole: pl.DataFrame) -> None:
    rows = sandbox.rows()
    assert len(rows) == len(whole) > RECORDS
    assert whole.schema["cost"] == pl.Decimal(38, 12)
    assert whole.schema["submit_time"] == pl.Datetime("us", "UTC")
    assert sorted(whole["voice_id"]) == sorted(row["voiceId"] for row in rows)
    assert whole.columns == list(aiosipcdr.CallDetailRecord.__struct_fields__)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_and_a_day_cost_a_handful_of_requests(
    sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame, engine: Literal["in-memory", "streaming"]
) -> None:
    group = whole["sip_group_name"][0]
    query = calls.filter(day_of(sandbox), sip_group_name=group).select(pl.len(), pl.col("cost").sum())
    found: list[pl.DataFrame] = []

    few = requests_of(sandbox, lambda: found.append(query.collect(engine=engine)))
    every = requests_of(sandbox, lambda: calls.select(pl.len()).collect(engine=engine))

    expected = whole.filter(day_of(sandbox), sip_group_name=group).select(pl.len(), pl.col("cost").sum())
    assert found[0].equals(expected)
    assert found[0]["len"][0] > 0
    assert few <= 6
    assert every > 30


# Each with what the sandbox may be asked for at most; `None`: the whole range.
def conditions(sandbox: Sandbox) -> list[tuple[pl.Expr, int | None]]:
    at, group, phone = pl.col("submit_time"), pl.col("sip_group_name"), pl.col("phone_name")
    start = (sandbox.start + 7 * DAY).astimezone(UTC)
    end = start + DAY
    day = (start + timedelta(hours=20)).date()
    local = at.dt.convert_time_zone("Asia/Shanghai").dt.date()
    few = 12
    return [
        (at.is_between(start, end), few),
        (at.is_between(start, end, closed="none"), few),
        ((at > start) & (at <= end), few),
        ((pl.lit(start) <= at) & (pl.lit(end) > at), few),
        (at == start, few),
        (at.dt.date() == day, few),
        ((local > day) & (local < day + 2 * DAY), few),
        (local.is_between(day, day), few),
        (phone == PHONE, few),
        (phone.eq_missing(PHONE) & at.is_not_null(), few),
        # One part that only Polars can apply leaves the others.
        ((phone == PHONE) & ((pl.col("cost") > 0) | group.is_null()), few),
        ((at >= start) & (at < end) & group.str.starts_with("s"), few),
        ((at < sandbox.start) & (group == "sales"), 0),
        ((phone == PHONE) | (at > end), None),
        (~(phone == PHONE), None),
        (phone != PHONE, None),
        (group.is_in(["sales", "support"]), None),
        ((at - pl.duration(days=7)) < sandbox.start, None),
        (pl.col("answer_time") >= start, None),
        (group == " ", None),
    ]


@pytest.mark.parametrize("number", range(20))
def test_a_filter_gives_the_rows_of_the_whole_range_that_it_selects(
    sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame, number: int
) -> None:
    condition, most = conditions(sandbox)[number]
    assert len(conditions(sandbox)) == 20
    for engine in ENGINES if number % 5 == 0 else ENGINES[:1]:
        sandbox.reset_stats()
        found = calls.filter(condition).select("voice_id", "submit_time").collect(engine=engine)

        assert found.sort("voice_id", "submit_time").equals(
            whole.filter(condition).select("voice_id", "submit_time").sort("voice_id", "submit_time")
        )
        assert sandbox.stats.requests <= most if most is not None else sandbox.stats.requests > 30


@pytest.mark.parametrize("text", ["", "[]", "1", '{"BinaryExpr": 1}', '{"Column": null}', "[" * 10_000, '{"And": []}'])
def test_a_form_that_is_not_known_is_not_pushed_down(
    sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert read_predicate(text, "submit_time") == PushedFilters()
    if text != "[]":
        return
    monkeypatch.setattr(integration, "_push", lambda _predicate, time_field: read_predicate(text, time_field))
    assert calls.filter(day_of(sandbox)).collect().equals(whole.filter(day_of(sandbox)))


def test_without_a_known_time_field_no_time_is_pushed_down(sandbox: Sandbox, whole: pl.DataFrame) -> None:
    calls = scan_cdrs(sandbox.start, sandbox.end)
    found: list[pl.DataFrame] = []
    assert requests_of(sandbox, lambda: found.append(calls.filter(day_of(sandbox)).collect())) > 30
    assert (
        found[0].sort("voice_id", "submit_time").equals(whole.filter(day_of(sandbox)).sort("voice_id", "submit_time"))
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_rows_end_the_reading_and_are_cut_before_they_are_filtered(
    calls: pl.LazyFrame, whole: pl.DataFrame, engine: Literal["in-memory", "streaming"]
) -> None:
    gate.free = 25  # the whole range takes more, and would wait
    assert calls.head(10).collect(engine=engine).equals(whole.head(10))
    gate.free = 10**9

    group = whole["sip_group_name"][4]
    first = calls.head(10).filter(sip_group_name=group)
    assert first.collect(engine=engine).equals(whole.head(10).filter(sip_group_name=group))
    assert calls.slice(100, 5).collect(engine=engine).equals(whole.slice(100, 5))
    assert calls.head(0).collect(engine=engine).shape == (0, whole.width)


def test_only_the_columns_of_the_query_are_built(
    sandbox: Sandbox, calls: pl.LazyFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: set[str] = set()
    build = aiosipcdr.model.arrow._build_column

    def spy(pa: Any, records: Any, field: Any) -> Any:  # noqa: ANN401 - of pyarrow
        built.add(field.name)
        return build(pa, records, field)

    monkeypatch.setattr(aiosipcdr.model.arrow, "_build_column", spy)
    totals = calls.filter(day_of(sandbox)).group_by("currency").agg(pl.col("cost").sum()).collect()

    assert totals.height > 1
    assert built == {"currency", "cost", "submit_time"}


def test_a_query_is_collected_where_an_event_loop_is_running(sandbox: Sandbox, calls: pl.LazyFrame) -> None:
    async def notebook() -> int:
        return calls.filter(day_of(sandbox)).collect().height

    assert asyncio.run(notebook()) > 0


def test_a_scan_that_occurs_twice_is_read_once(sandbox: Sandbox, calls: pl.LazyFrame) -> None:
    once = requests_of(sandbox, lambda: calls.select("voice_id", "callee").collect())
    ids = calls.select("voice_id", "callee")
    twice = requests_of(sandbox, lambda: ids.join(ids, on="voice_id").collect())
    assert twice < 1.5 * once


@pytest.mark.parametrize("engine", some(ENGINES, every=2))
def test_a_range_that_cannot_be_certified_fails_the_query_with_window_and_reason(
    sandbox: Sandbox, calls: pl.LazyFrame, engine: Literal["in-memory", "streaming"]
) -> None:
    miscount.is_on = True
    start = sandbox.start + 7 * DAY
    with pytest.raises((IncompleteRangeError, pl.exceptions.ComputeError)) as caught:
        calls.filter(day_of(sandbox)).collect(engine=engine)
    text = str(caught.value)
    assert f"{start:%Y-%m-%d}" in text or f"{start.astimezone(UTC):%Y-%m-%d}" in text, text
    assert "total" in text or "count" in text, text


def test_records_without_an_id_fail_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(records=50, days=1) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        sandbox.add_rows([{"callee": PHONE}], at=sandbox.start + timedelta(hours=1))
        calls = scan_cdrs(sandbox.start, sandbox.end)
        with pytest.raises(
            (IncompleteRangeError, pl.exceptions.ComputeError), match="1 record without a readable id in"
        ):
            calls.collect()
        assert calls.head(0).collect().height == 0


def test_a_filter_that_does_not_fit_the_columns_fails_before_the_first_request(
    sandbox: Sandbox, calls: pl.LazyFrame
) -> None:
    naive = datetime(2026, 10, 1)  # noqa: DTZ001 - what is refused
    sandbox.reset_stats()
    with pytest.raises(pl.exceptions.PolarsError):
        calls.filter(pl.col("submit_time") > naive).collect()
    assert sandbox.stats.requests == 0


def test_the_credentials_file_is_that_of_the_command_line(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BASE_URL", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"AIOSIPCDR_{name}")
    file = tmp_path / "account.toml"
    calls = scan_cdrs(sandbox.start, sandbox.end, credentials_file=file).filter(day_of(sandbox))
    with pytest.raises((ValueError, pl.exceptions.ComputeError), match="cannot be read: No such file"):
        calls.collect()
    file.touch(mode=0o600)
    file.write_text(
        f'base_url = "{sandbox.base_url}"\napi_key = "{sandbox.api_key}"\napi_secret = "{sandbox.api_secret}"\n'
        'time_field = "submit_time"\n'
    )
    assert requests_of(sandbox, calls.collect) < 15
    with pytest.raises((ValueError, pl.exceptions.ComputeError), match="api_key is missing in the environment"):
        scan_cdrs(sandbox.start, sandbox.end).collect()


def test_a_plan_holds_no_credentials(sandbox: Sandbox, calls: pl.LazyFrame) -> None:
    secrets = (sandbox.api_key, sandbox.api_secret)
    query = calls.filter(day_of(sandbox), sip_group_name="sales")
    query.collect()
    for shown in (query.explain(), query.explain(optimized=False), repr(query), query.show_graph(raw_output=True)):
        assert not any(secret in str(shown) for secret in secrets)


def test_a_pickled_plan_holds_no_credentials_and_is_collected_elsewhere(
    sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame
) -> None:
    require("package:cloudpickle")
    query = calls.filter(day_of(sandbox))
    query.collect()
    pickled = pickle.dumps(query)
    assert not any(secret.encode() in pickled for secret in (sandbox.api_key, sandbox.api_secret))
    assert pickle.loads(pickled).collect().equals(whole.filter(day_of(sandbox)))  # noqa: S301 - our own


def test_a_filter_in_python_leaves_the_others(sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame) -> None:
    require("package:cloudpickle")

    def checksum_is_even(text: str) -> bool:
        return sum(map(int, text)) % 2 == 0

    is_even = pl.col("voice_id").map_elements(checksum_is_even, return_dtype=pl.Boolean)
    found: list[pl.DataFrame] = []
    assert requests_of(sandbox, lambda: found.append(calls.filter(day_of(sandbox) & is_even).collect())) < 15
    assert found[0].equals(whole.filter(day_of(sandbox) & is_even))


def test_an_error_shows_no_credentials(sandbox: Sandbox, calls: pl.LazyFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", "wrong-0815")
    with pytest.raises(Exception, match=r"(?i)sign|auth") as caught:
        calls.collect()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert sandbox.api_key not in text
    assert "wrong-0815" not in text
    assert "0815" not in os.linesep.join(map(repr, caught.value.args))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": datetime(2026, 10, 1)}, "start is naive"),  # noqa: DTZ001 - what is refused
        ({"time_field": "submitTime"}, "time_field"),
        ({"on_out_of_range": "ignore"}, "on_out_of_range"),
        ({"concurrency": 0}, "concurrency"),
        ({"rate": -1}, "must be positive"),
        ({"rate": object()}, "a plan holds no open limiter"),
    ],
)
def test_an_invalid_argument_is_refused_when_the_scan_is_made(arguments: dict[str, Any], message: str) -> None:
    span = {"start": datetime(2026, 10, 1, tzinfo=UTC), "end": datetime(2026, 11, 1, tzinfo=UTC)}
    with pytest.raises(ValueError, match=message):
        scan_cdrs(**(span | arguments))


CLOCK_CHANGES = [
    ("Europe/Berlin", date(2026, 10, 25)),  # at 3:00
    ("America/Havana", date(2026, 3, 8)),  # from 0:00 to 1:00: the day has no midnight
    ("America/Havana", date(2025, 11, 2)),  # from 1:00 to 0:00: it has two
    ("Asia/Beirut", date(2026, 3, 29)),  # from 0:00 to 1:00
    ("Asia/Beirut", date(2025, 10, 26)),  # from 0:00 to 23:00 of the day before
    ("America/Santiago", date(2025, 9, 7)),  # from 0:00 to 1:00
    ("America/Santiago", date(2026, 4, 5)),  # from 0:00 to 23:00 of the day before
    ("America/St_Johns", date(2010, 11, 7)),  # from 0:01 to 23:01 of the day before: the day begins twice
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that does not exist
    ("Asia/Manila", date(1844, 12, 31)),  # likewise, and 16 hours from UTC
    ("Pacific/Kiritimati", date(2026, 6, 1)),
]


@pytest.mark.parametrize(("zone", "changed"), CLOCK_CHANGES)
def test_a_day_is_pushed_down_whole_where_the_clock_changes_at_midnight(zone: str, changed: date) -> None:
    first = datetime.combine(changed, datetime.min.time(), UTC) - 3 * DAY
    times = pl.DataFrame({"submit_time": pl.datetime_range(first, first + 6 * DAY, "30s", eager=True)})
    local = pl.col("submit_time").dt.convert_time_zone(zone).dt.date()
    for day in (changed - DAY, changed, changed + DAY):
        for condition in (
            local == day,
            local < day,
            local <= day,
            local > day,
            local >= day,
            local.is_between(day, day),
        ):
            found = times.filter(condition)["submit_time"]

            pushed = read_predicate(condition.meta.serialize(format="json"), "submit_time")

            if found.is_empty():
                assert day == changed  # it does not exist: nothing can be left out
                continue
            wanted = times.filter(
                (pl.col("submit_time") >= (pushed.start or first))
                & (pl.col("submit_time") < (pushed.end or first + 7 * DAY))
            )["submit_time"]
            assert found.is_in(wanted.implode()).all()
            assert found[0] - wanted[0] <= timedelta(minutes=1)
            assert wanted[-1] - found[-1] <= timedelta(minutes=1)


@pytest.fixture
def _other_rules(tmp_path: Path) -> Iterator[None]:
    """Python's time zone database has other rules for a zone than that of Polars, as after a law has changed."""
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Shanghai").write_bytes((files("tzdata") / "zoneinfo" / "UTC").read_bytes())
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


@pytest.mark.usefixtures("_other_rules")
def test_days_are_those_of_the_time_zone_database_of_polars(
    sandbox: Sandbox, calls: pl.LazyFrame, whole: pl.DataFrame
) -> None:
    day = (sandbox.start + 7 * DAY).date()
    condition = pl.col("submit_time").dt.convert_time_zone("Asia/Shanghai").dt.date() == day
    found: list[pl.DataFrame] = []

    assert requests_of(sandbox, lambda: found.append(calls.filter(condition).collect())) <= 12

    assert found[0].equals(whole.filter(condition))
    assert zoneinfo.ZoneInfo("Asia/Shanghai").utcoffset(datetime(2026, 10, 5)) == timedelta(0)  # noqa: DTZ001 - of a zone
