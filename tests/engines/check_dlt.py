"""The source of dlt, into DuckDB: what several runs leave in the table. Run by the session `dlt`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aiohttp.typedefs import Handler
from aiohttp.web import Request, Response, StreamResponse, middleware

import aiosipcdr
from aiosipcdr import IncompleteRangeError
from aiosipcdr.integrations.dlt import cdr_source
from aiosipcdr.sandbox import Sandbox

DAY = timedelta(days=1)
Rows = list[tuple[Any, ...]]


class Miscount:
    """Adds another number to each total, so that nothing can be proven."""

    def __init__(self) -> None:
        self.is_on = False
        self._answers = 0

        @middleware
        async def miscount(request: Request, handler: Handler) -> StreamResponse:
            response = await handler(request)
            if not self.is_on:
                return response
            assert isinstance(response, Response)
            assert isinstance(response.body, bytes)
            self._answers += 1
            body = response.body.replace(b'"total":', b'"total":%d' % self._answers)
            return Response(body=body, content_type="application/json")

        self.middleware = miscount


@pytest.fixture
def miscount() -> Miscount:
    return Miscount()


@pytest.fixture
def sandbox(miscount: Miscount, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(records=1_500, leg_every=5, months_back=None, middlewares=[miscount.middleware]) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        yield sandbox


class Loads:
    """A pipeline into a DuckDB file, whose destination can be looked at between runs."""

    def __init__(self, folder: Path) -> None:
        import dlt

        self.folder = folder
        self.file = folder / "calls.duckdb"
        self.pipeline = dlt.pipeline(
            "calls",
            destination=dlt.destinations.duckdb(str(self.file)),
            dataset_name="vendor",
            pipelines_dir=str(folder / "pipelines"),
        )

    def run(self, since: datetime, **options: Any) -> None:  # noqa: ANN401 - those of the source
        self.pipeline.run(cdr_source(since, **options))

    def query(self, text: str) -> Rows:
        with duckdb.connect(str(self.file), read_only=True) as database:
            return database.sql(text).fetchall()


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loads:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    return Loads(tmp_path)


@pytest.fixture
def truth(sandbox: Sandbox) -> Callable[[], Rows]:
    def read() -> Rows:
        rows = sandbox.rows()
        return sorted((row["voiceId"], Decimal(row["cost"])) for row in rows if row["cost"] is not None)

    return read


CONTENTS = "select voice_id, cost from vendor.calls where cost is not null order by all"


def test_runs_find_new_late_and_changed_calls_and_load_each_once(
    sandbox: Sandbox, loads: Loads, truth: Callable[[], Rows]
) -> None:
    loads.run(sandbox.start)
    assert loads.query(CONTENTS) == truth()
    described = {name: kind for name, kind, *_ in loads.query("describe vendor.calls")}
    assert list(described) == [*aiosipcdr.CallDetailRecord.__struct_fields__, "leg"]
    assert described["cost"] == "DECIMAL(38,12)"
    assert described["submit_time"] == "TIMESTAMP WITH TIME ZONE"

    full = sandbox.stats.requests
    sandbox.insert(sandbox.end - 2 * DAY)
    sandbox.insert(sandbox.end - timedelta(minutes=1))
    rated = sandbox.rows(sandbox.end - DAY, sandbox.end)[0]["voiceId"]
    sandbox.update(rated, cost="12345678901234567890.123456789012")
    sandbox.reset_stats()
    loads.run(sandbox.start)
    assert loads.query(CONTENTS) == truth()
    assert sandbox.stats.requests < full / 2
    ((cost,),) = loads.query(f"select max(cost) from vendor.calls where voice_id = '{rated}'")  # noqa: S608 - our id
    assert cost == Decimal("12345678901234567890.123456789012")


def test_legs_keep_their_numbers_whatever_part_of_them_a_run_reads(sandbox: Sandbox, loads: Loads) -> None:
    # A lookback that begins between the legs of calls: each run reads legs whose first one is before it.
    legs = "select voice_id, leg, submit_time, cost from vendor.calls order by all"
    loads.run(sandbox.start)
    first = loads.query(legs)
    assert {leg for _, leg, *_ in first} == {0, 1}
    numbered: dict[str, list[tuple[int, datetime]]] = {}
    for voice_id, leg, time, _ in first:
        numbered.setdefault(voice_id, []).append((leg, time))
    assert all(found == sorted(found, key=lambda one: one[1]) for found in numbered.values())
    second = sorted(time for _, leg, time, _ in first if leg == 1)[-3]
    newest = max(time for _, _, time, _ in first)
    loads.run(sandbox.start, lookback=newest - second)
    assert loads.query(legs) == first


def test_without_the_span_before_the_lookback_a_leg_would_take_the_number_of_another(
    sandbox: Sandbox, loads: Loads
) -> None:
    # Shows that the test above can fail.
    loads.run(sandbox.start)
    ((second, newest),) = loads.query(
        "select (select submit_time from vendor.calls where leg = 1 order by submit_time desc limit 1 offset 2),"
        " (select max(submit_time) from vendor.calls)"
    )
    before = loads.query("select count(*) from vendor.calls where leg = 0 and submit_time < '2026-06-16'")
    assert before[0][0] > 0
    total = loads.query("select count(distinct (voice_id, submit_time)) from vendor.calls")
    loads.run(sandbox.start, lookback=newest - second, leg_span=timedelta(0))
    assert loads.query("select count(distinct (voice_id, submit_time)) from vendor.calls") != total


def test_deleted_calls_stay(sandbox: Sandbox, loads: Loads) -> None:
    loads.run(sandbox.start)
    gone = sandbox.rows(sandbox.end - DAY, sandbox.end)[0]["voiceId"]
    assert sandbox.delete(gone)
    loads.run(sandbox.start)
    assert loads.query(f"select count(*) from vendor.calls where voice_id = '{gone}'")[0][0] > 0  # noqa: S608 - our id


def test_a_range_that_cannot_be_certified_loads_nothing_and_the_next_run_goes_on(
    sandbox: Sandbox, loads: Loads, miscount: Miscount, truth: Callable[[], Rows]
) -> None:
    loads.run(sandbox.start, end=sandbox.start + 10 * DAY)
    held = loads.query(CONTENTS)
    miscount.is_on = True
    with pytest.raises(Exception, match=r"step=extract") as caught:
        loads.run(sandbox.start)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, IncompleteRangeError):
        error = error.__cause__
    assert error is not None
    assert str(error) in str(caught.value)  # with windows and reasons
    assert loads.query(CONTENTS) == held
    miscount.is_on = False
    loads.run(sandbox.start)
    assert loads.query(CONTENTS) == truth()


def test_records_without_an_id_fail_the_run_and_nothing_is_loaded(sandbox: Sandbox, loads: Loads) -> None:
    loads.run(sandbox.start, end=sandbox.start + 10 * DAY)
    held = loads.query(CONTENTS)
    sandbox.add_rows([{"callee": "+12125550123"}], at=sandbox.start + 11 * DAY)
    with pytest.raises(Exception, match=r"1 record without a readable id in ") as caught:
        loads.run(sandbox.start)
    assert "2125550123" not in str(caught.value)
    assert loads.query(CONTENTS) == held


def test_a_backfill_leaves_the_cursor_where_it_is(sandbox: Sandbox, loads: Loads, truth: Callable[[], Rows]) -> None:
    loads.run(sandbox.start + 20 * DAY)
    loads.run(sandbox.start, end=sandbox.start + 21 * DAY)
    assert loads.query(CONTENTS) == truth()
    sandbox.reset_stats()
    loads.run(sandbox.start + 20 * DAY)
    assert sandbox.stats.rows_read < 450  # of the last four days; of all ten it is 600


def test_only_the_calls_of_the_filters_are_loaded(sandbox: Sandbox, loads: Loads) -> None:
    group = sandbox.rows()[0]["sipGroupName"]
    loads.run(sandbox.start, sip_group_name=group, table="of_group")
    expected = sum(row["sipGroupName"] == group for row in sandbox.rows())
    assert loads.query("select count(*) from vendor.of_group") == [(expected,)]


def test_nothing_that_dlt_keeps_holds_key_secret_or_the_phone_of_a_filter(sandbox: Sandbox, loads: Loads) -> None:
    phone = "+12125550123"
    sandbox.insert(sandbox.start + DAY, phone_name="+447700900123")
    loads.run(sandbox.start, phone_name=phone)
    loads.run(sandbox.start, table="others", end=sandbox.start + DAY)
    secrets = [text.encode() for text in (sandbox.api_key, sandbox.api_secret, phone)]
    files = [path for path in loads.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files for secret in secrets if secret in path.read_bytes()] == []
    assert phone not in repr(cdr_source(sandbox.start, phone_name=phone))


def test_the_credentials_file_is_read_when_the_pipeline_runs(
    sandbox: Sandbox, loads: Loads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AIOSIPCDR_API_SECRET")
    file = tmp_path / "account.toml"
    source = cdr_source(sandbox.start, credentials_file=file)
    file.touch(mode=0o600)
    file.write_text(
        f'base_url = "{sandbox.base_url}"\napi_key = "{sandbox.api_key}"\napi_secret = "{sandbox.api_secret}"\n'
    )
    loads.pipeline.run(source)
    assert loads.query("select count(*) from vendor.calls")[0][0] > 0
    with pytest.raises(Exception, match="api_secret is missing in the environment"):
        loads.run(sandbox.start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"since": datetime(2026, 10, 1)}, "start is naive"),  # noqa: DTZ001 - what is refused
        ({"end": datetime(2026, 9, 1, tzinfo=UTC)}, "end"),
        ({"lookback": timedelta(days=-1)}, "lookback"),
        ({"leg_span": 3}, "leg_span"),
        ({"concurrency": 0}, "concurrency"),
        ({"sip_group_name": " "}, "sip_group_name"),
    ],
)
def test_an_invalid_argument_is_refused_when_the_source_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cdr_source(**({"since": datetime(2026, 10, 1, tzinfo=UTC)} | arguments))


@pytest.mark.usefixtures("loads")
def test_the_page_works(run_howto: Callable[[str], list[str]]) -> None:
    assert len(run_howto("dlt.md")) == 2
