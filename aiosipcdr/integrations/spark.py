"""Spark: the calls of a range as a data source, one partition for each part.

    spark.dataSource.register(SipCdrDataSource)
    calls = (
        spark.read.format("sipcdr")
        .option("credentialsFile", "/etc/calls/acme.toml")
        .option("start", "2026-10-01T00:00:00+08:00")
        .option("end", "2026-11-01T00:00:00+08:00")
        .load()
    )

Spark writes options into plans and logs. So they name a file of credentials, and never hold one: driver and executors
read the file, or without one their environment. Needs the extra `spark` on the driver and on each executor.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final, Self, get_args

from msgspec.structs import replace

from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.completeness import check_all_delivered
from aiosipcdr.integrations.driver_rate import rate_key, shared_rate
from aiosipcdr.model.arguments import check_between, check_choice
from aiosipcdr.model.arrow import load_pyarrow, schema
from aiosipcdr.model.errors import IncompleteRangeError
from aiosipcdr.model.query import Filters, OutOfRange
from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS, CallDetailRecord, TimeField
from aiosipcdr.model.windows import SECOND, ArgumentError
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.proof.parts import RangePart
from aiosipcdr.rates import RemoteRate
from aiosipcdr.settings import load_settings, parse_length, read_options, read_time_field
from aiosipcdr.wire.signing import Credentials

try:
    from pyspark.sql.datasource import (
        DataSource,
        DataSourceReader,
        DataSourceStreamReader,
        EqualNullSafe,
        EqualTo,
        Filter,
        GreaterThan,
        GreaterThanOrEqual,
        InputPartition,
        LessThan,
        LessThanOrEqual,
    )
    from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
    from pyspark.sql.types import StructType
except ImportError as _error:
    raise MissingExtraError("the data source needs pyspark 4.2 or later", "spark", name=_error.name) from None

__all__ = ["SipCdrDataSource"]

_COLUMNS: Final[Mapping[str, str]] = (
    dict.fromkeys(CallDetailRecord.__struct_fields__, "string")
    | dict.fromkeys(TIME_FIELDS, "timestamp")
    | dict.fromkeys(DURATION_FIELDS, "bigint")
    | dict.fromkeys(MONEY_FIELDS, "decimal(38,12)")
)
_PUSHDOWN_WORKER: Final = "pyspark.sql.worker.data_source_pushdown_filters"
_LATENESS: Final = timedelta(hours=4)  # the client's default
_SECRET_NAME: Final = re.compile(r"key|secret|password|token|sign|proxy", re.IGNORECASE)


class _CallsSource(DataSource):
    """The format "sipcdr" of `spark.read` and `spark.readStream`.

        spark.dataSource.register(SipCdrDataSource)
        spark.read.format("sipcdr").option("start", start).option("end", end).load()

    Options, all of them texts, upper and lower case alike:

    - `credentialsFile`: The file of the command line's `--credentials-file`, at the same path on driver and executors;
      without it, AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET of their environment.
    - `start`, `end`: The range, as in `2026-10-01T00:00:00+08:00`. A stream needs no `end`.
    - `timeField`: The time that the vendor is known to filter on; by default that of the file.
    - `rows`: About how many calls a partition has; 50,000 by default.
    - `rate`: Requests a second of all tasks of the application on this account together; unlimited by default.
    - `rateHost`: The driver's address for the executors, which the server of `rate` listens on.
    - `concurrency`: Requests in flight of each task; 8 by default.
    - `lateness`: Younger calls are provisional, and not yet in a stream: 90m, 4h (the default) or 1d.
    - `onOutOfRange`, `allowIncomplete`: See `CdrClient.fetch_all`.
    - `maxRowsPerTrigger`: About the most calls of a micro-batch; 1,000,000 by default.
    - `interval`: A stream goes on in steps of this length; 1m by default.
    - `pushdown`: true lets conditions of the query narrow what is requested. Load a frame for each use then: Spark 4.3
      lets what one query pushes narrow every other use of the same frame, too.
    """

    @classmethod
    def name(cls) -> str:
        """Return the name of the format."""
        return "sipcdr"

    def schema(self) -> str:
        """Return the columns of a Parquet export: amounts are `decimal(38,12)`, times are instants.

        Raises:
            ValueError: An option is missing or invalid.
        """
        _Options.of(self.options)  # refused by `load`, not by the first action
        return ", ".join(f"{name} {kind}{' NOT NULL' if name == 'voice_id' else ''}" for name, kind in _COLUMNS.items())

    def reader(self, schema: StructType) -> "_CallsReader":
        """Return the reader of a range.

        Args:
            schema: The columns; with `spark.read.schema(...)` those that the user chose.

        Raises:
            ValueError: An option is missing or invalid, or a column does not exist.
        """
        options = _Options.of(self.options)
        if options.end is None:
            raise ArgumentError('option "end" is missing: the end of the range, as in "2026-11-01T00:00:00+08:00"')
        return (_PushingReader if options.pushdown and _is_pushing() else _CallsReader)(options, schema)

    def streamReader(self, schema: StructType) -> "_CallsStreamReader":  # noqa: N802 - Spark's name
        """Return the reader of a stream.

        Args:
            schema: See `reader`.

        Raises:
            ValueError: See `reader`.
        """
        return _CallsStreamReader(_Options.of(self.options), schema)


SipCdrDataSource: type[Any] = _CallsSource
"""The format "sipcdr" of Spark, see `_CallsSource`."""  # `Any`: its types are complete where Spark is not installed


def _is_pushing() -> bool:
    # Spark refuses a reader that has `pushFilters` unless spark.sql.python.filterPushdown.enabled is set, which it is
    # not by default. If it is set, filters are pushed by a process that runs this module.
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return _PUSHDOWN_WORKER in sys.modules or getattr(main, "name", "") == _PUSHDOWN_WORKER


@dataclass(frozen=True, kw_only=True)
class _Options:
    start: datetime
    end: datetime | None = None
    credentials_file: str | None = None
    time_field: TimeField | None = None
    rows: int = 50_000
    rate: float | None = None
    rate_host: str | None = None
    concurrency: int = 8
    lateness: timedelta | None = None
    on_out_of_range: OutOfRange = "raise"
    allow_incomplete: bool = False
    max_rows_per_trigger: int = 1_000_000
    interval: timedelta = timedelta(minutes=1)
    # Not by default: Spark keeps the partitions of a pushed filter with the frame, and reads them for other queries of
    # it, too, whose rows would then be missing (https://github.com/apache/spark/pull/57752 keeps them with the scan).
    pushdown: bool = False

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Self:
        """Read the options.

        Raises:
            ArgumentError: One is missing, unknown or invalid; values are not repeated, since one may be a secret.
        """
        names = {name.lower(): name for name in _READERS}
        for name in texts:
            if name.lower() in names:
                continue
            if _SECRET_NAME.search(name):
                raise ArgumentError(
                    f'option "{name}" is refused: Spark shows options in plans and logs. Name a file in'
                    ' option "credentialsFile", or set the environment; if the value was real, change it'
                )
            raise ArgumentError(f'there is no option "{name}"; there are {", ".join(_READERS)}')
        values: dict[str, Any] = {}
        for name, text in texts.items():
            camel = names[name.lower()]
            try:
                values[re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", camel)] = _READERS[camel](text)
            except ValueError as error:
                raise ArgumentError(f'option "{camel}" is invalid: {error}') from None
        if "start" not in values:
            raise ArgumentError('option "start" is missing: the begin of the range, as in "2026-10-01T00:00:00+08:00"')
        return cls(**values)

    def open(self, rate_address: str | None) -> BlockingCdrClient:
        """Return a client that is not open yet, with credentials from the file or the environment of this process."""
        settings = load_settings(self.credentials_file)
        credentials = Credentials(settings.api_key, settings.api_secret)
        # Spark compares exactly what a filter selects, so that a vendor who ignores case does no harm.
        arguments = {"filter_match": "loose"} | read_options(settings)
        if self.lateness is not None:
            arguments["lateness"] = self.lateness
        if rate_address is not None:
            arguments["rate"] = RemoteRate(rate_address, key=rate_key(credentials))
        return BlockingCdrClient(
            settings.base_url, credentials, concurrency=self.concurrency, trust_env=True, **arguments
        )

    def known_time_field(self) -> TimeField | None:
        """Return the time that the vendor filters on, from the option or the credentials file."""
        return self.time_field or read_time_field(load_settings(self.credentials_file))

    def known_lateness(self) -> timedelta:
        """Return how old a call must be for a stream."""
        lateness: timedelta = read_options(load_settings(self.credentials_file)).get("lateness", _LATENESS)
        return lateness if self.lateness is None else self.lateness

    def serve_rate(self) -> str | None:
        """Return the address of the driver's rate server, which is started if it does not run."""
        if self.rate is None:
            return None
        settings = load_settings(self.credentials_file)
        key = rate_key(Credentials(settings.api_key, settings.api_secret))
        return shared_rate(self.rate, key, host=self.rate_host, base_url=settings.base_url)


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError('must be a time with an offset, as in "2026-10-01T00:00:00+08:00"') from None
    if time.utcoffset() is None:
        raise ArgumentError('needs an offset, as in "2026-10-01T00:00:00+08:00"')
    return time


def _read_number(name: str, low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit():
            raise ArgumentError("must be a whole number")
        check_between(name, int(text), low, high)
        return int(text)

    return read


def _read_choice(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        check_choice(name, text, choices)
        return text

    return read


def _read_flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ArgumentError("must be true or false")
    return text.lower() == "true"


def _read_rate(text: str) -> float:
    try:
        return RatePolicy(float(text)).requests_per_second
    except ValueError:
        raise ArgumentError("must be a number of requests a second") from None


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "credentialsFile": str,
    "start": _read_time,
    "end": _read_time,
    "timeField": _read_choice("timeField", TIME_FIELDS),
    "rows": _read_number("rows", 1, 10**9),
    "rate": _read_rate,
    "rateHost": str,
    "concurrency": _read_number("concurrency", 1, 64),
    "lateness": lambda text: parse_length("lateness", text),
    "onOutOfRange": _read_choice("onOutOfRange", get_args(OutOfRange)),
    "allowIncomplete": _read_flag,
    "maxRowsPerTrigger": _read_number("maxRowsPerTrigger", 1, 10**12),
    "interval": lambda text: parse_length("interval", text),
    "pushdown": _read_flag,
}


class _PartPartition(InputPartition):
    """A part, and where its requests take their turn; holds no key. Without a part it has no rows."""

    def __init__(self, part: RangePart | None = None, rate_address: str | None = None) -> None:
        super().__init__(part)
        self.rate_address = rate_address


class _PartReader:
    """Reads a part, in a process of an executor."""

    def __init__(self, options: _Options, schema: StructType) -> None:
        self._options = options
        for field in schema.fields:
            kind = field.dataType.simpleString()
            if _COLUMNS.get(field.name) != kind:
                raise ArgumentError(f"no column {field.name} {kind}; there are {_describe_columns()}")
        # Spark decides on its own which columns may be null, and compares.
        self._columns = {field.name: field.nullable for field in schema.fields}

    def read(self, partition: InputPartition) -> Iterator[Any]:
        """Yield the calls of a partition, as Arrow batches.

        Args:
            partition: One of those that `partitions` returned.

        Raises:
            IncompleteRangeError: The part is not certified; the message names window and reason.
        """
        if not isinstance(partition, _PartPartition) or partition.value is None:
            return
        part: RangePart = partition.value
        options = self._options
        names = [*self._columns]
        shape = load_pyarrow().schema([field.with_nullable(self._columns[field.name]) for field in schema(names)])
        with (
            options.open(partition.rate_address) as client,
            client.stream(
                part=part, on_out_of_range=options.on_out_of_range, allow_incomplete=options.allow_incomplete
            ) as stream,
        ):
            try:
                for batch in stream.arrow_batches(names):
                    yield load_pyarrow().RecordBatch.from_arrays(batch.columns, schema=shape)
                if not options.allow_incomplete:
                    check_all_delivered(stream.report)
            except IncompleteRangeError as error:
                raise IncompleteRangeError(
                    f'{part} is not certified: {error}; option "allowIncomplete" delivers the rest'
                ) from None


def _describe_columns() -> str:
    return ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())


class _CallsReader(_PartReader, DataSourceReader):
    """Reads a range: one partition for each part."""

    def __init__(self, options: Any, schema: StructType) -> None:  # noqa: ANN401 - private
        """Read the range of `options`; nothing is sent yet."""
        super().__init__(options, schema)
        self._start: datetime = options.start
        self._end: datetime = options.end
        self._filters: dict[str, str] = {}

    def partitions(self) -> Sequence[InputPartition]:
        """Return the partitions, found by counting: about three requests for each."""
        if self._start >= self._end:
            return [_PartPartition()]
        options = self._options
        address = options.serve_rate()
        with options.open(address) as client:
            parts = client.plan_parts(
                self._start,
                self._end,
                rows=options.rows,
                time_field=options.known_time_field(),
                on_out_of_range=options.on_out_of_range,
                **self._filters,
            )
        return [_PartPartition(part, address) for part in parts]


class _PushingReader(_CallsReader):
    """A reader that also asks the vendor for no more than filters of the query select."""

    def pushFilters(self, filters: list[Filter]) -> list[Filter]:  # noqa: N802 - Spark's name
        """Narrow the range, and return all filters: Spark applies each of them again.

        Args:
            filters: Conditions that all hold. Those on the time field, `sip_group_name` and `phone_name` are used.
        """
        time_field = self._options.known_time_field()
        for one in filters:
            match one:
                case EqualTo((name,), value) | EqualNullSafe((name,), value):
                    low, high = value, value
                case GreaterThan((name,), value) | GreaterThanOrEqual((name,), value):
                    low, high = value, None
                case LessThan((name,), value) | LessThanOrEqual((name,), value):
                    low, high = None, value
                case _:
                    continue
            if name == time_field:
                self._narrow(low, high)
            elif low is high and name in ("sip_group_name", "phone_name"):
                self._select(name, value)
        return filters

    def _narrow(self, low: object, high: object) -> None:
        # In whole seconds, outwards.
        if isinstance(low, datetime) and low.tzinfo is not None:
            self._start = max(self._start, low.replace(microsecond=0))
        if isinstance(high, datetime) and high.tzinfo is not None:
            self._end = min(self._end, high.replace(microsecond=0) + SECOND)

    def _select(self, name: str, value: str) -> None:
        try:
            Filters.of(value)
        except ValueError:
            return  # cannot be sent
        self._filters.setdefault(name, value)


class _CallsStreamReader(_PartReader, DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Reads calls as they become older than `lateness`; an offset is the time up to which they were read."""

    def __init__(self, options: Any, schema: StructType) -> None:  # noqa: ANN401 - private
        """Read from the start of `options`; nothing is sent yet."""
        super().__init__(options, schema)
        self._target: datetime | None = None
        self._rate_address: str | None = None
        self._client: BlockingCdrClient | None = None  # in the driver

    def initialOffset(self) -> dict[str, str]:  # noqa: N802 - Spark's name
        """Return the start of the range."""
        return _offset(self._options.start)

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802 - Spark's name
        """Return the limit of a micro-batch, `maxRowsPerTrigger`."""
        return ReadMaxRows(self._options.max_rows_per_trigger)

    def latestOffset(self, start: dict[str, str], limit: ReadLimit) -> dict[str, str]:  # noqa: N802 - Spark's name
        """Return the time up to which the next micro-batch goes.

        Args:
            start: The time up to which calls were read.
            limit: How many calls it may have. A single second is never cut.
        """
        first = _time(start)
        last = self._target or self._find_latest()
        if last <= first:
            return start
        if isinstance(limit, ReadMaxRows):
            last = self._cut(first, last, limit.max_rows)
        return _offset(last)

    def reportLatestOffset(self) -> dict[str, str]:  # noqa: N802 - Spark's name
        """Return the time before which all calls are older than `lateness`."""
        return _offset(self._find_latest())

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        """End with the calls that are old enough now."""
        self._target = self._find_latest()

    def partitions(self, start: dict[str, str], end: dict[str, str]) -> Sequence[InputPartition]:
        """Return the partitions of a micro-batch.

        Args:
            start: The time up to which calls were read.
            end: The time up to which the micro-batch goes.
        """
        first, last = _time(start), _time(end)
        if first >= last:
            return []
        options = self._options
        parts = self._open().plan_parts(
            first,
            last,
            rows=options.rows,
            time_field=options.known_time_field(),
            on_out_of_range=options.on_out_of_range,
        )
        # Micro-batches are neighbours, too: the one before owns the calls of the second that both of them read.
        before = int(first != options.start)
        return [
            _PartPartition(replace(part, index=part.index + before, parts=part.parts + before + 1), self._rate_address)
            for part in parts
        ]

    def stop(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> BlockingCdrClient:
        if self._client is None:
            self._rate_address = self._options.serve_rate()
            self._client = self._options.open(self._rate_address).open()
        return self._client

    def _find_latest(self) -> datetime:
        options, client = self._options, self._open()
        if client.clock_offset is None:
            client.ping()  # its answer has the vendor's time
        now = datetime.now(UTC) + timedelta(seconds=client.clock_offset or 0.0)
        steps = (now - options.known_lateness() - options.start) // options.interval
        latest = (options.start + max(0, steps) * options.interval).replace(microsecond=0)
        return max(options.start, latest if options.end is None else min(latest, options.end))

    def _cut(self, first: datetime, last: datetime, rows: int) -> datetime:
        """Return the end of a range from `first` on that has at most `rows` calls, and if possible half as many."""
        client = self._open()
        high = ceil((last - first).total_seconds())
        if (high_rows := client.count(first, last)) <= rows:
            return last
        low, low_rows, is_guess = 0, 0, True
        while high - low > 1 and low_rows < rows / 2:
            share = (rows - low_rows) * 0.9 / (high_rows - low_rows) if is_guess else 0.5
            middle = min(max(low + int((high - low) * share), low + 1), high - 1)
            is_guess = not is_guess
            if (counted := client.count(first, first + middle * SECOND)) <= rows:
                low, low_rows = middle, counted
            else:
                high, high_rows = middle, counted
        return (first + max(low, 1) * SECOND).replace(microsecond=0)


def _offset(time: datetime) -> dict[str, str]:
    return {"time": time.astimezone(UTC).isoformat()}


def _time(offset: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(offset["time"])
