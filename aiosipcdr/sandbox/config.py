"""The sandbox's settings: a frozen, validated record of every choice that the vendor's documentation leaves open.

Describes the behaviour without implementing it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from ipaddress import ip_address
from os import PathLike
from types import NoneType
from typing import Final, Literal, get_args, get_type_hints

WireTimeField = Literal["submitTime", "callTime", "ringingTime", "answerTime", "hangupTime"]
Order = Literal["newest", "oldest", "scattered", "none"]
Absent = Literal["null", "empty", "missing"]
Overflow = Literal[
    "empty", "first", "last", "null-records", "null-data", "no-content", "code-18", "code-22", "http-500"
]
Replica = Literal["empty", "lagging", "shard"]

IN_MEMORY: Final = ":memory:"
TEMPORARY: Final = "temp"

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "absent": ("null", "empty", "missing"),
    "cache": ("off", "polite", "always"),
    "cost_field": ("cost", "costEur"),
    "echo_size": ("used", "requested"),
    "empty_records": ("list", "null"),
    "filters": ("exact", "loose", "ignored"),
    "order": ("newest", "oldest", "scattered", "none"),
    "overflow": get_args(Overflow),
    "replica": get_args(Replica),
    "status_as": ("text", "int"),
    "time_field": ("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime"),
}
# The smallest value of each setting.
_MINIMUM: Final[Mapping[str, float]] = {
    "change_every": 1,
    "count_cache": 0,
    "count_cap": 0,
    "count_lag": 0,
    "days": 1,
    "delete_every": 1,
    "drift_requests": 0,
    "forced_size": 1,
    "insert_every": 1,
    "insert_late_every": 1,
    "leg_every": 1,
    "live": 0,
    "max_size": 1,
    "min_size": 1,
    "months_back": 1,
    "port": 0,
    "rate_limit": 0.001,
    "records": 0,
    "refuse_below": 1,
    "repeat_every": 1,
    "replica_every": 1,
    "replica_lag": 0,
    "tolerance": 0,
}
_PLAIN: Final = frozenset((int, float, bool, str, NoneType))
_LAST_PORT: Final = 65_535
# Settings that apply when the calls are generated and cannot change afterwards.
FIXED: Final = frozenset(
    (
        *("absent", "account", "cost_field", "days", "extra_record_keys", "host", "leg_every", "live"),
        *("path", "port", "records", "repeat_every", "seed", "start", "success_code", "time_field"),
        "utc_offset",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxConfig:
    """Settings of a sandbox: which calls it holds and how it behaves.

    Attributes:
        records: Number of generated calls.
        seed: The same seed, `records` and `start` give the same calls, byte for byte.
        days: Length of the default range, `start` to `end`.
        start: First second of the default range (aware; fractions of a second are cut off). By default chosen so
            that the range ends at the last midnight that is at least six hours past.
            The environment variable AIOSIPCDR_SANDBOX_TODAY (YYYY-MM-DD) replaces the current date.
        utc_offset: UTC offset of every time in responses.
        account: Name of the account; the same name always gives the same key and secret. By default they are random.
        path: ":memory:", "temp" (a temporary file, removed at the end) or a new file.
        host: Loopback address to bind.
        port: Port to bind; 0 for a free one.
        repeat_every: Every n-th generated call is stored twice, byte for byte.
        leg_every: Every n-th generated call that is answered is transferred: a second record
            with the same voiceId, submitted in the second in which the first hangs up, and
            stored in addition to the `records` calls.
        absent: How a field without a value is written.
        cost_field: Name of the field with the cost.
        extra_record_keys: Whether records have undocumented fields.
        success_code: terminationCode of an answered call ("200", "1000", "0").
        order: Order of the listing. "scattered" is a fixed order that is not by time;
            "none" is another random order for every request.
        time_field: The time that a range is compared with (its name in the API).
        start_inclusive: Whether a call exactly at strTime is in the range.
        end_inclusive: Whether a call exactly at endTime is in the range.
        filters: "exact", "loose" (ignores case and surrounding blanks) or "ignored".
        clock_offset: Seconds by which the sandbox's clock (and `Date`) is ahead.
        tolerance: Seconds by which a request's timestamp may differ from that clock.
        send_date: Whether responses have a `Date` header.
        months_back: Retention in calendar months; None: unlimited.
        retention: Retention as a duration, instead of `months_back`.
        overflow: The response to a page beyond `pages`: what LIMIT and OFFSET return ("empty"),
            page 1 ("first") or the last page ("last") with its own number; `records: null`
            ("null-records"), `data: null` ("null-data"), HTTP 204 ("no-content"), HTTP 500
            ("http-500"), or status -18 or -22 ("code-18", "code-22").
        max_size: Largest page size; larger sizes are silently reduced to it.
        min_size: Smallest page size; smaller sizes are silently raised to it.
        forced_size: Size of every page, whatever size is requested.
        refuse_below: Smaller sizes are refused with -22.
        echo_size: `size` in a response: the size that is "used", or the one that was "requested".
        pages_from_requested_size: Compute `pages` from the requested size, not the used one.
        search_count: False: nothing is counted, so `total` and `pages` are 0.
        wrong_total: Added to every `total`.
        count_cap: Largest value that COUNT returns; `pages` and `overflow` follow it.
        count_lag: Seconds by which COUNT lags behind SELECT: it misses calls that were added since
            (by drift, `insert`, `add_rows` or `live`), while deletions count at once.
        count_cache: Seconds for which the COUNT of a range and its filters is cached.
        replica_every: Every n-th query is answered by another replica.
        replica: What that replica lacks: all calls ("empty": "0 of 0"), those added in the last
            `replica_lag` seconds ("lagging"), or one call in four ("shard": a fixed quarter).
        replica_lag: Seconds by which a lagging replica is behind.
        cache: A cache in front of the endpoint, which answers a request body that it has seen with
            the same bytes: "polite" forwards requests with `Cache-Control: no-cache`,
            "always" does not. Only responses with status 0 are cached.
        extra_keys: Whether `data` has the other keys of MyBatis-Plus.
        empty_records: `records` of a response without records: an empty list or null.
        status_as: Whether `status` is a string or an int.
        pretty: Whether responses have line breaks and indentation.
        gzip: Whether responses are compressed for clients that accept it.
        latency: Seconds before each response, or a pair (min, max) for a random delay.
        rate_limit: Requests per second; requests above it get status -15.
        insert_every: Every n-th query adds a newest call to its range.
        insert_late_every: Every n-th query adds a call in the middle of its range.
        delete_every: Every n-th query deletes one call of its range.
        change_every: Every n-th query changes one record of its range: it gets a new
            `recordingFileId`.
        drift_between: Apply these changes between COUNT and SELECT instead of before both.
        drift_requests: Number of queries after which these changes end; None: never.
        live: Calls per second that end, and appear, while the sandbox runs.
    """

    records: int = 1_000
    seed: int = 7
    days: int = 30
    start: datetime | None = None
    utc_offset: timedelta = timedelta(hours=8)
    account: str | None = None
    path: str | PathLike[str] = IN_MEMORY
    host: str = "127.0.0.1"
    port: int = 0
    repeat_every: int | None = None
    leg_every: int | None = None
    absent: Absent = "null"
    cost_field: Literal["cost", "costEur"] = "cost"
    extra_record_keys: bool = False
    success_code: str = "200"

    order: Order = "newest"
    time_field: WireTimeField = "submitTime"
    start_inclusive: bool = True
    end_inclusive: bool = True
    filters: Literal["exact", "loose", "ignored"] = "exact"

    clock_offset: float = 0.0
    tolerance: float = 300.0
    send_date: bool = True
    months_back: int | None = 2
    retention: timedelta | None = None

    overflow: Overflow = "empty"
    max_size: int | None = None
    min_size: int | None = None
    forced_size: int | None = None
    refuse_below: int | None = None
    echo_size: Literal["used", "requested"] = "used"
    pages_from_requested_size: bool = False
    search_count: bool = True
    wrong_total: int = 0
    count_cap: int | None = None
    count_lag: float = 0.0
    count_cache: float = 0.0
    replica_every: int | None = None
    replica: Replica = "empty"
    replica_lag: float = 1.0
    cache: Literal["off", "polite", "always"] = "off"
    extra_keys: bool = False
    empty_records: Literal["list", "null"] = "list"
    status_as: Literal["text", "int"] = "text"
    pretty: bool = False
    gzip: bool = False
    latency: float | tuple[float, float] = 0.0
    rate_limit: float | None = None

    insert_every: int | None = None
    insert_late_every: int | None = None
    delete_every: int | None = None
    change_every: int | None = None
    drift_between: bool = False
    drift_requests: int | None = None
    live: float = 0.0

    def __post_init__(self) -> None:
        """Refuse invalid settings, before anything is started."""
        self._check_kinds()
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                message = f"{name} must be one of {', '.join(choices)}; not {value!r}"
                raise ValueError(message)
        for name, minimum in _MINIMUM.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                message = f"{name} must be {minimum} or more; not {value!r}"
                raise ValueError(message)
        self._check_times()
        _check_host(self.host)
        if self.port > _LAST_PORT:
            message = f"port must be {_LAST_PORT} or less; not {self.port}"
            raise ValueError(message)
        low, high = self.latency_range
        if not 0 <= low <= high:
            message = f"latency must be seconds or a pair (min, max); not {self.latency!r}"
            raise ValueError(message)

    def _check_kinds(self) -> None:
        """Check numbers, strings and booleans: an int is accepted for a float, a bool is not accepted for an int."""
        for name, kinds in _kinds().items():
            value = getattr(self, name)
            if kinds <= _PLAIN and type(value) not in kinds and not (float in kinds and type(value) is int):
                wanted = " or ".join(sorted(kind.__name__ for kind in kinds - {NoneType}))
                message = f"{name} must be a value of type {wanted}; not {value!r}"
                raise ValueError(message)
        pair = self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)
        if len(pair) != 2 or not all(type(seconds) in {int, float} for seconds in pair):  # noqa: PLR2004 - a pair
            message = f"latency must be seconds or a pair (min, max); not {self.latency!r}"
            raise ValueError(message)

    def _check_times(self) -> None:
        """Check the start and the offset."""
        if self.start is not None:
            if self.start.utcoffset() is None:
                message = "start must be an aware datetime; add a tzinfo"
                raise ValueError(message)
            # The vendor writes whole seconds; `datetime.now(UTC)` has fractions.
            object.__setattr__(self, "start", self.start.replace(microsecond=0))
        if abs(self.utc_offset) >= timedelta(days=1) or self.utc_offset % timedelta(minutes=1):
            message = "utc_offset must be whole minutes and less than a day; choose another offset"
            raise ValueError(message)

    @property
    def latency_range(self) -> tuple[float, float]:
        """The minimum and maximum seconds before a response."""
        if isinstance(self.latency, tuple):
            return self.latency
        return self.latency, self.latency


@cache
def _kinds() -> dict[str, frozenset[type]]:
    """Return the types of each setting; cached, as evaluating type hints is slow."""
    return {name: frozenset(get_args(hint) or (hint,)) for name, hint in get_type_hints(SandboxConfig).items()}


def _check_host(host: str) -> None:
    """Refuse anything but a loopback address: the sandbox must not be reachable from other machines."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        message = f"host must be a loopback address (127.0.0.1, ::1, localhost); not {host!r}"
        raise ValueError(message)
