"""Polars: a range of calls as a `LazyFrame`, read when it is collected.

    calls = scan_cdrs(start, end, credentials_file="calls.toml", time_field="submit_time")
    calls.filter(pl.col("sip_group_name") == "sales").group_by("currency").agg(pl.col("cost").sum()).collect()

Columns, filters on time, group and phone, and `head` are pushed down to the vendor, and always applied again here. The
plan holds the path of the credentials file and nothing that is in it.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec

from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.completeness import check_all_delivered
from aiosipcdr.integrations.polars_predicates import PushedFilters, read_predicate
from aiosipcdr.model.arguments import check_between
from aiosipcdr.model.arrow import schema
from aiosipcdr.model.query import Filters, OutOfRange, Query
from aiosipcdr.model.records import TimeField
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.rates import check_rate
from aiosipcdr.settings import load_settings, read_options, read_time_field

try:
    import polars as pl
    from polars.io.plugins import register_io_source
except ImportError as _error:
    raise MissingExtraError("aiosipcdr.integrations.polars needs polars", "polars", name=_error.name) from None

__all__ = ["scan_cdrs"]

_ROWS_PER_REQUEST = 1_000
"""Rows that are wanted for each concurrent request: for a few rows, reading ahead costs more than it saves."""


def scan_cdrs(
    start: datetime,
    end: datetime,
    *,
    credentials_file: str | os.PathLike[str] | None = None,
    time_field: TimeField | None = None,
    on_out_of_range: OutOfRange = "raise",
    concurrency: int = 8,
    rate: RatePolicy | float | None = None,
) -> pl.LazyFrame:
    """Return the calls of a range as a `LazyFrame`; nothing is requested before it is collected.

        calls = scan_cdrs(start, end, time_field="submit_time")
        day = calls.filter(pl.col("submit_time").dt.date() == date(2026, 10, 5), sip_group_name="sales")
        day.select(pl.len(), pl.col("cost").sum()).collect()

    The columns are those of an exported Parquet file. The vendor is asked only for what the query needs:

    - columns that the query does not use are not built;
    - comparisons with `sip_group_name` and `phone_name` (`==`), and with the column `time_field` (`<`, `<=`, `==`, `>`,
      `>=`, `is_between`, also of its `.dt.date()`), joined by `&`, are sent to the vendor;
    - `head(n)` ends the reading early.

    Other conditions are applied to what the vendor returns. Each collection reads with a client of its own, in a thread
    with its own event loop, so it also works where a loop is running (notebooks). A scan that occurs several times in
    one query is read once.

    Args:
        start: Begin of the range, aware.
        end: End of the range, aware.
        credentials_file: The credentials file of the command line, with address, key, secret and options; read when
            the frame is collected, on the machine that collects it. Without it, AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY
            and AIOSIPCDR_API_SECRET.
        time_field: The time that the vendor is known to filter on; by default that of the credentials file. Without it
            no filter on a time is pushed down.
        on_out_of_range: What to do if the vendor has deleted a part of the range: "raise" an error, or "skip" it.
        concurrency: Requests in flight at the same time, 1 to 64, of each scan.
        rate: Requests per second at most, of each scan; `None` for no limit.

    Returns:
        A frame whose collection raises the errors of `CdrClient.fetch_all`, among them `IncompleteRangeError`, which
        names the windows that could not be proven complete and why, or those with records that have no readable id
        (Polars before 2.0: a `ComputeError` with the same text); and `ValueError` for credentials that are missing.

    Raises:
        ValueError: An argument is invalid.

    Source: https://docs.pola.rs/user-guide/plugins/io_plugins
    """
    Query.of(start, end, Filters(), on_out_of_range=on_out_of_range, time_field=time_field)
    check_between("concurrency", concurrency, 1, 64)
    if rate is not None and not isinstance(rate, RatePolicy | int | float):
        raise ValueError("rate must be requests per second or a RatePolicy: a plan holds no open limiter")
    check_rate(rate)
    scan = _Scan(
        start=start,
        end=end,
        credentials_file=None if credentials_file is None else os.fspath(credentials_file),
        time_field=time_field,
        on_out_of_range=on_out_of_range,
        concurrency=concurrency,
        rate=rate,
    )
    return register_io_source(scan, schema=_empty_frame().schema, is_pure=True)


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    # A struct, not a closure: a plan that is pickled holds these values by name, and nothing else.
    start: datetime
    end: datetime
    credentials_file: str | None
    time_field: TimeField | None
    on_out_of_range: OutOfRange
    concurrency: int
    rate: RatePolicy | float | None

    def __call__(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 - a hint; batches are windows
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of the range that a query needs, window by window (the interface of Polars)."""
        empty = _empty_frame()
        columns = empty.columns if with_columns is None else with_columns
        needed = [] if predicate is None else [name for name in predicate.meta.root_names() if name not in columns]
        read = [*columns, *needed]
        # An expression that does not fit the columns fails here, before the first request.
        yield _apply(empty.select(read), predicate).select(columns)
        if n_rows == 0:
            return

        settings = load_settings(self.credentials_file)
        time_field = self.time_field or read_time_field(settings)
        # Polars cuts before it filters: the first rows of the range, not of the group.
        pushed = PushedFilters() if predicate is None or n_rows is not None else _push(predicate, time_field)
        start = self.start if pushed.start is None else max(self.start, pushed.start)
        end = self.end if pushed.end is None else min(self.end, pushed.end)
        if start >= end and (pushed.start or pushed.end):
            return

        concurrency = self.concurrency if n_rows is None else min(self.concurrency, 1 + n_rows // _ROWS_PER_REQUEST)
        client = BlockingCdrClient(
            settings.base_url,
            settings.api_key,
            settings.api_secret,
            **(read_options(settings) | {"concurrency": concurrency, "rate": self.rate, "trust_env": True}),
        )
        query = {
            "start": start,
            "end": end,
            "sip_group_name": pushed.sip_group_name,
            "phone_name": pushed.phone_name,
            "on_out_of_range": self.on_out_of_range,
            "time_field": time_field,
        }
        left = n_rows
        with closing(_read(client, query, read)) as frames:
            for whole in frames:
                frame = whole
                if left is not None:
                    frame = whole.head(left)
                    left -= frame.height
                    if not left:
                        frames.close()  # before the last rows: an engine that has them may keep this generator
                yield _apply(frame, predicate).select(columns)


def _read(client: BlockingCdrClient, query: dict[str, Any], columns: list[str]) -> Generator[pl.DataFrame, None, None]:
    with client, client.stream(**query) as stream:
        for batch in stream.arrow_batches(columns):
            yield pl.DataFrame(batch)
        check_all_delivered(stream.report)


def _empty_frame() -> pl.DataFrame:
    return pl.DataFrame(schema().empty_table())


def _apply(frame: pl.DataFrame, predicate: pl.Expr | None) -> pl.DataFrame:
    return frame if predicate is None else frame.filter(predicate)


def _push(predicate: pl.Expr, time_field: TimeField | None) -> PushedFilters:
    try:
        serialized = predicate.meta.serialize(format="json")
    except Exception:  # noqa: BLE001 - whatever Polars raises about an expression: it is applied here all the same
        return PushedFilters()
    return read_predicate(serialized, time_field)
