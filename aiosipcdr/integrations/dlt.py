"""dlt: a source that loads new and changed calls into a table, incrementally by `submit_time`.

    pipeline = dlt.pipeline("calls", destination="duckdb", dataset_name="vendor")
    pipeline.run(cdr_source(datetime(2026, 10, 1, tzinfo=UTC), credentials_file="calls.toml"))

dlt does not see what the destination holds, so calls that the vendor deletes stay in the table: `CdrClient.sync` marks
or deletes them. Importing this module does not import dlt.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.completeness import check_all_delivered
from aiosipcdr.model.arguments import check_between, check_span
from aiosipcdr.model.arrow import load_pyarrow, record_batch
from aiosipcdr.model.query import Filters, OutOfRange, Query
from aiosipcdr.model.records import CallDetailRecord, TimeField
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.rates import RateLimiter, check_rate
from aiosipcdr.settings import load_settings, read_options, read_time_field
from aiosipcdr.sync.rows import leg_order, to_values

__all__ = ["cdr_source"]


def cdr_source(
    since: datetime,
    *,
    end: datetime | None = None,
    lookback: timedelta = timedelta(days=3),
    leg_span: timedelta = timedelta(days=1),
    table: str = "calls",
    credentials_file: str | os.PathLike[str] | None = None,
    sip_group_name: str | None = None,
    phone_name: str | None = None,
    time_field: TimeField | None = None,
    on_out_of_range: OutOfRange = "raise",
    concurrency: int = 8,
    rate: RatePolicy | float | RateLimiter | None = None,
) -> Any:  # noqa: ANN401 - a DltSource; dlt is optional
    """Return a dlt source with one resource, the calls of an account.

        pipeline.run(cdr_source(datetime(2026, 10, 1, tzinfo=UTC)))  # every morning, with the same arguments

    The first run loads the calls from `since` on, each further one those from `lookback` before the newest call on:
    calls that were added late or changed since. The write disposition is "merge", the primary key `voice_id` and `leg`,
    the cursor `submit_time`. A run whose range cannot be proven complete loads nothing.

    The table has the columns of an exported Parquet file, amounts as `decimal(38, 12)`, and `leg`: the number of the
    row among those with its `voice_id`, from 0, by `submit_time`.

    Args:
        since: Begin of the table, aware; calls with an earlier `submit_time` are not loaded.
        end: Load only up to this time, aware, and leave the cursor where it is, for backfills. By default until now.
        lookback: How far before the newest call changes are looked for; longer than your longest call.
        leg_span: Calls are read from this long before the lookback, so that the legs of a call are numbered in the same
            way by each run; longer than the time between the first and the last leg of a call.
        table: The name of the table and of the resource; the cursor belongs to it. Another account or other filters
            need another table.
        credentials_file: See `aiosipcdr.integrations.polars.scan_cdrs`; read when the pipeline runs.
        sip_group_name: See `CdrClient.fetch_all`.
        phone_name: See `CdrClient.fetch_all`.
        time_field: The time that the vendor is known to filter on; by default that of the credentials file.
        on_out_of_range: What to do if the vendor has deleted a part of the range that is due: "raise" an error, or
            "skip" it.
        concurrency: Requests in flight at the same time, 1 to 64.
        rate: See `CdrClient`.

    Returns:
        A `DltSource`. Running it raises dlt's `PipelineStepFailed`; its cause is the error of `CdrClient.fetch_all`,
        or `IncompleteRangeError` for records without a readable id. Nothing is loaded then.

    Raises:
        ImportError: The extra `dlt` is not installed.
        ValueError: An argument is invalid.

    Source: https://dlthub.com/docs/general-usage/incremental-loading
    """
    try:
        import dlt
    except ImportError as error:
        raise MissingExtraError("aiosipcdr.integrations.dlt needs dlt", "dlt", name=error.name) from None

    filters = Filters.of(sip_group_name, phone_name)
    Query.of(since, end or since, filters, on_out_of_range=on_out_of_range, time_field=time_field)
    check_span("lookback", lookback)
    check_span("leg_span", leg_span)
    check_between("concurrency", concurrency, 1, 64)
    check_rate(rate)
    load = _Load(
        since=since.astimezone(UTC),
        end=end,
        leg_span=leg_span,
        credentials_file=credentials_file,
        filters=filters,
        time_field=time_field,
        on_out_of_range=on_out_of_range,
        settings={"concurrency": concurrency, "rate": rate, "trust_env": True},
    )
    cursor = dlt.sources.incremental(
        "submit_time",
        initial_value=load.since,
        end_value=None if end is None else end.astimezone(UTC),
        lag=lookback.total_seconds(),
        on_cursor_value_missing="include",
    )

    def read(submit_time: Any = cursor) -> Iterator[Any]:  # noqa: ANN401 - dlt passes the cursor of the run
        yield from load.batches(submit_time.start_value)

    resource = dlt.resource(
        read, name=table, table_name=table, primary_key=("voice_id", "leg"), write_disposition="merge"
    )
    return dlt.source(lambda: resource, name="sipcdr")()


class _Load(msgspec.Struct, frozen=True, kw_only=True):
    # What one run of a pipeline reads.
    since: datetime
    end: datetime | None
    leg_span: timedelta
    credentials_file: str | os.PathLike[str] | None
    filters: Filters
    time_field: TimeField | None
    on_out_of_range: OutOfRange
    settings: dict[str, Any]

    def __repr__(self) -> str:
        """Hide the filters: a phone's name may be a number."""
        return f"<calls since {self.since.isoformat()}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("since", self.since)]

    def batches(self, first: datetime) -> Iterator[Any]:
        """Yield the calls from `first` on, each window as a `pyarrow.RecordBatch` with the column `leg`."""
        settings = load_settings(self.credentials_file)
        # Legs are numbered as of the begin of the table, never as of an earlier one.
        start = max(self.since, first - self.leg_span)
        end = max(start, datetime.now(UTC) if self.end is None else self.end)
        numbers = _LegNumbers(self.leg_span)
        client = BlockingCdrClient(
            settings.base_url, settings.api_key, settings.api_secret, **(read_options(settings) | self.settings)
        )
        with (
            client,
            client.stream(
                start,
                end,
                sip_group_name=self.filters.sip_group_name,
                phone_name=self.filters.phone_name,
                on_out_of_range=self.on_out_of_range,
                time_field=self.time_field or read_time_field(settings),
            ) as stream,
        ):
            for window in stream.windows():
                if window.records:
                    legs = numbers.take(window.records, window.window.start)
                    pa = load_pyarrow()
                    field = pa.field("leg", pa.int64(), nullable=False)  # of the key, like voice_id
                    yield record_batch(window.records).append_column(field, pa.array(legs, field.type))
            check_all_delivered(stream.report)


class _LegNumbers:
    # Numbers the rows with one id, and forgets an id after one to two spans without it.

    def __init__(self, span: timedelta) -> None:
        self._span = span
        self._since: datetime | None = None
        self._older: dict[str, int] = {}
        self._newer: dict[str, int] = {}

    def take(self, records: Sequence[CallDetailRecord], start: datetime) -> list[int]:
        """Return the numbers of the rows of a window that begins at `start`."""
        if self._since is None or start - self._since > self._span:
            self._older, self._newer, self._since = self._newer, {}, start
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            places[record.voice_id].append(place)
        legs = [0] * len(records)
        for voice_id, found in places.items():
            number = self._newer.get(voice_id, self._older.get(voice_id, 0))
            if len(found) > 1:
                values = dict(zip(found, to_values([records[place] for place in found]), strict=True))
                found.sort(key=lambda place: leg_order(values[place]))
            for leg, place in enumerate(found, number):
                legs[place] = leg
            self._newer[voice_id] = number + len(found)
        return legs
