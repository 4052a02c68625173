"""Codec: encodes queries and decodes answers, usually in one typed pass.

Never raises for the content of an answer: one that cannot be decoded is returned as an error, so that its bytes (which
have phone numbers) do not appear in a traceback. Answers are limited in size before they are decoded: a small
compressed body must not use up memory or time.
"""

import re
from collections.abc import Callable, Mapping
from datetime import tzinfo
from decimal import DecimalException
from typing import Final

import msgspec

from aiosipcdr.model.errors import ProtocolError, ResponseTooLargeError
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.decimals import DecimalCache, fill_in_numbers
from aiosipcdr.wire.field_values import read_count
from aiosipcdr.wire.lenient import LenientDecoder
from aiosipcdr.wire.raw_json import DECODE_FAULTS, RawValue, read_text, split_array, split_object
from aiosipcdr.wire.typed import (
    NO_FIELDS,
    Envelope,
    clear_empty_texts,
    find_empty_texts,
    number_decoder,
    quote_decoder,
    text_decoder,
)

__all__ = [
    "CONTENT_TYPE",
    "PATH",
    "PageAnswer",
    "PageDecoder",
    "Refusal",
    "encode_params",
    "encode_query",
]

PATH = "/recordSipQuery"
CONTENT_TYPE = "application/json;charset=UTF-8"


class PageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded page.

    Attributes:
        page: The page.
        quarantined: Records without a readable id.
        unknown_fields: Names of fields that this version does not know, with the number of records that have them.
        faulty_fields: Names of fields that could not be read, with the number of records.
        is_bare: Whether the answer had no data, which means "no calls".
        anomalies: Number of other anomalies.
    """

    page: Page
    quarantined: list[QuarantinedRecord] = []
    unknown_fields: dict[str, int] = {}
    faulty_fields: dict[str, int] = {}
    is_bare: bool = False
    anomalies: int = 0

    def __repr__(self) -> str:
        """Show numbers of records only: the name of an unknown field may be a phone number."""
        return f"PageAnswer({self.page}, quarantined=<{len(self.quarantined)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("page", self.page), ("quarantined", len(self.quarantined))]


class Refusal(msgspec.Struct, frozen=True):
    """An answer with a status other than 0."""

    status: int
    reason: str | None

    def __repr__(self) -> str:
        """Omit the vendor's text: it may quote a phone number."""
        return f"Refusal(status={self.status})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("status", self.status)]


def encode_params(window: TimeWindow, filters: Filters) -> bytes:
    """Return the part of a query that all requests of a window share, as JSON.

    Times are in the vendor's format: whole seconds with an offset, never `Z`.

        encode_params(TimeWindow.of(start, end), Filters())
        # b'{"strTime":"2026-10-01T00:00:00+00:00","endTime":"2026-10-01T23:59:59+00:00"}'
    """
    params = {"strTime": window.start.isoformat(), "endTime": window.end.isoformat()}
    if filters.sip_group_name:
        params["sipGroupName"] = filters.sip_group_name
    if filters.phone_name:
        params["phoneName"] = filters.phone_name
    return msgspec.json.encode(params)


# JSON allows white space between tokens: a serial number in white space changes the bytes of a query, not its meaning.
_AS_BLANKS = str.maketrans("01", " \t")


def encode_query(params: bytes, *, current: int, size: int, serial: int | None = None) -> bytes:
    """Return the body of the request for one page of a window.

    Args:
        params: The encoded window and filters, see `encode_params`.
        current: Number of the page, from 1.
        size: Page size.
        serial: Makes the bytes differ from those of the same query with another serial number.
    """
    blanks = b"" if serial is None else f"{serial:b}".translate(_AS_BLANKS).encode()
    return b'{%b"current":%d,"size":%d,"params":%b}' % (blanks, current, size, params)


# Bounded, so that no phone number can be mistaken for a status.
_status: Final = re.compile(rb'"?\s*([-+]?[0-9]{1,6})(?:\.0)?\s*"?').fullmatch
_LONGEST_STATUS: Final = 64
_nothing: Final = re.compile(rb"null|\[\s*+\]").fullmatch
# Fallbacks for a refusal whose JSON is damaged: repeating a refused login may lock the account. Compiled on first use,
# since most runs need none of them.
_LEADING_STATUS: Final = rb'\s*+\{\s*+"status"\s*+:\s*+"?\s*+(-[0-9]{1,6})\s*+"?\s*+[,}]'
_REFUSED_LOGIN: Final = rb'"status"\s*+:\s*+"?\s*+(-(?:13|1|2))(?:\.0)?\s*+(?:"|[,}\s]|\Z)'
_EMPTY_VALUE: Final = b':""'
# Enough records to show most fields that are ever empty.
_LEARNED_BYTES: Final = 16 * 1024
# The ends of the vendor's names of times and durations.
_EMPTY_NUMBERS: Final = (b'Time":""', b'Duration":""')
# Enough bytes for the first record; all others have the same fields.
_FIRST_RECORDS: Final = 4096
_BOM: Final = b"\xef\xbb\xbf"

_LARGEST_REFUSAL: Final = 64 * 1024
_LONGEST_REASON: Final = 4096
_MAX_TIMES_SIZE: Final = 10
# A server may ignore the requested page size and use its own.
_LARGEST_OWN_SIZE: Final = 100
# Max size of a page that is decoded in one pass; larger ones are checked first.
_PLAIN_BYTES: Final = 64 * 1024
_PLAIN_RECORD_BYTES: Final = 2 * 1024
# Limit for the lenient decoder: each value takes about 100 bytes and a microsecond.
_MAX_VALUES: Final = 30_000
_MAX_QUOTES: Final = 4 * _MAX_VALUES


class PageDecoder:
    """Decodes the bytes of an answer into a `PageAnswer`, a `Refusal` or a `ProtocolError`.

    One typed msgspec decoder reads plain answers; amounts are read as text and looked up, see `DecimalCache`. Until a
    page has amounts in a settlement currency, only `cost` and `rate` are accepted and looked at. A text field that was
    `""` once may be so in every later answer, and becomes `None` after decoding. What a typed decoder cannot accept is
    rewritten to plain JSON: a time or a duration that is `""` becomes `null` (a type cannot be both a datetime and a
    text), and one brand's `costEur` becomes `cost`. In JSON the bytes `:""` and `"costEur":` can only be
    a value and a key, never part of a text, because quotes are escaped there. Everything else is read record by record,
    field by field: see `aiosipcdr.wire.lenient`.
    """

    __slots__ = (
        "_amounts",
        "_decode_numbers",
        "_decode_quotes",
        "_decode_texts",
        "_empty",
        "_first_way",
        "_is_rewritten",
        "_lenient",
    )

    def __init__(self, zone: tzinfo | None = None) -> None:
        """Create a decoder; times without an offset are in `zone`."""
        self._lenient = LenientDecoder(zone)
        self._amounts = DecimalCache()
        # All pages of a vendor have the same dialect.
        self._is_rewritten = False
        self._first_way = 0
        self._allow_empty(NO_FIELDS)

    def _allow_empty(self, names: frozenset[str]) -> None:
        self._empty = names
        self._decode_quotes = quote_decoder(names).decode
        self._decode_texts = text_decoder(names).decode
        self._decode_numbers = number_decoder(names).decode

    def decode(
        self, body: bytes, *, current: int = 1, size: int = 100, mask: Callable[[str], str] | None = None
    ) -> PageAnswer | Refusal | ProtocolError:
        """Read one answer; never raises for its content.

        Args:
            body: The answer.
            current: Number of the page that was requested.
            size: Number of records that were requested; at most ten times as many are read.
            mask: Removes secrets from the vendor's text and from the names of unknown fields.
        """
        envelope = None
        if len(body) <= _PLAIN_BYTES + _PLAIN_RECORD_BYTES * size:
            if not self._is_rewritten:
                envelope = self._decode_plain(body)
            if envelope is None:
                envelope = self._decode_dialect(body)
        if envelope is None or (data := envelope.data) is None or data.records is None:
            return self._decode_leniently(body, current, size, mask)
        if envelope.status not in {"0", 0}:
            return self._decode_leniently(body, current, size, mask)
        if len(data.records) > size and len(data.records) > _max_records(size):
            return _too_many(size)
        return PageAnswer(
            page=Page(
                total=data.total, size=data.size, current=data.current, pages=data.pages or 0, records=data.records
            )
        )

    def _decode_plain(self, body: bytes) -> Envelope | None:
        ways = (
            (self._decode_quotes, self._amounts.fill_in_quotes),
            (self._decode_texts, self._amounts.fill_in),
            (self._decode_numbers, fill_in_numbers),
        )
        for decode, fill_in in ways[self._first_way :]:
            try:
                envelope = decode(body)
                records = () if envelope.data is None else envelope.data.records or ()
                fill_in(records)
            except (*DECODE_FAULTS, DecimalException):
                continue
            if self._empty:
                clear_empty_texts(records, self._empty)
            if decode is self._decode_texts:
                self._first_way = 1
            return envelope
        return None

    def _decode_dialect(self, body: bytes) -> Envelope | None:
        is_tried, has_empty_numbers = not self._is_rewritten, any(value in body for value in _EMPTY_NUMBERS)
        if is_tried and not has_empty_numbers and (envelope := self._learn_empty_texts(body)) is not None:
            return envelope
        plain = re.sub(_EMPTY_VALUE, b":null", body)  # half the cost of `replace`, which searches twice
        euro = b'"costEur":' in plain[:_FIRST_RECORDS] and b'"cost":' not in plain
        if euro:
            plain = plain.replace(b'"costEur":', b'"cost":')
        self._is_rewritten = euro or has_empty_numbers
        if is_tried and plain == body:
            return None
        if (envelope := self._decode_plain(plain)) is None:
            return None
        if euro and envelope.data is not None:
            for record in envelope.data.records or ():
                if record.cost is not None and record.currency is None:
                    # The record is not shared yet: it may still be modified.
                    msgspec.structs.force_setattr(record, "currency", "EUR")
        return envelope

    def _learn_empty_texts(self, body: bytes) -> Envelope | None:
        for part in (body[:_LEARNED_BYTES], body):
            names = self._empty | find_empty_texts(part)
            if names != self._empty:
                self._allow_empty(names)
                if (envelope := self._decode_plain(body)) is not None:
                    return envelope
        return None

    def _decode_leniently(
        self, body: bytes, current: int, size: int, mask: Callable[[str], str] | None
    ) -> PageAnswer | Refusal | ProtocolError:
        # The slow path: refusals, empty pages, unknown fields, values in other forms.
        body = body.removeprefix(_BOM)
        commas, brackets, quotes = body.count(b","), body.count(b"[") + body.count(b"{"), body.count(b'"')
        is_bounded = commas + brackets <= _MAX_VALUES and quotes <= _MAX_QUOTES
        try:
            if not is_bounded:
                raise msgspec.DecodeError
            members = split_object(body)
        except DECODE_FAULTS as error:
            refused = body[:_LARGEST_REFUSAL]
            status = re.match(_LEADING_STATUS, refused) or re.search(_REFUSED_LOGIN, refused)
            if status is not None:
                return Refusal(int(status[1]), None)
            return _misfit(_describe(error, body)) if is_bounded else _too_many(size)
        code = _read_status(members.get("status", b""))
        if code is None:
            return _misfit("it has no status")
        if code != 0:
            return Refusal(code, _read_reason(members.get("reason", b"null"), mask))
        if "data" not in members:
            return _misfit("it has no data")
        try:
            return self._decode_data(members["data"], current, size, mask)
        except (*DECODE_FAULTS, ValueError) as error:
            return _misfit(_describe(error, body))

    def _decode_data(
        self, raw: RawValue, current: int, size: int, mask: Callable[[str], str] | None
    ) -> PageAnswer | ProtocolError:
        if _is_nothing(raw):
            return PageAnswer(page=Page(total=0, size=size, current=current, pages=0, records=[]), is_bare=True)
        data = split_object(raw)
        total, page_size, page_current = (_read_number(data, name) for name in ("total", "size", "current"))
        if total is None or page_size is None or page_current is None:
            return _misfit("its data lacks `total`, `size` or `current`")
        records = data.get("records", b"null")
        is_null = bytes(memoryview(records)[:5]) == b"null"
        if is_null and total > (page_current - 1) * page_size:
            return _misfit(f"{total} records are counted, none are sent (`records` is null)")
        raws = [] if is_null else split_array(records)
        if len(raws) > _max_records(size):
            return _too_many(size)
        read = self._lenient.decode(raws, page=page_current, mask=mask)
        return PageAnswer(
            page=Page(
                total=total,
                size=page_size,
                current=page_current,
                pages=_read_pages(data),
                records=read.records,
            ),
            quarantined=read.quarantined,
            unknown_fields=read.unknown_fields,
            faulty_fields=read.faulty_fields,
            anomalies=read.anomalies,
        )


def _read_status(raw: RawValue) -> int | None:
    view = memoryview(raw)
    found = _status(view) if len(view) <= _LONGEST_STATUS else None
    return None if found is None else int(found[1])


def _is_nothing(raw: RawValue) -> bool:
    return _nothing(memoryview(raw)[: _LONGEST_STATUS + 1]) is not None


def _read_number(data: Mapping[str, RawValue], name: str) -> int | None:
    try:
        return read_count(bytes(data.get(name, b"null")))
    except ValueError:
        raise ValueError(f"`{name}` is not a number of calls or pages") from None


def _read_pages(data: Mapping[str, RawValue]) -> int:
    try:
        return _read_number(data, "pages") or 0
    except ValueError:  # it is not needed; a wrong one counts as an anomaly
        return 0


def _read_reason(raw: RawValue, mask: Callable[[str], str] | None) -> str | None:
    try:
        # Longer than any part that is shown.
        reason = read_text(bytes(raw))[:_LONGEST_REASON]
    except DECODE_FAULTS:
        return None
    return reason if mask is None else mask(reason)


def _describe(error: Exception, body: bytes) -> str:
    # Uses our own texts only: those of a decoder may quote bytes.
    if type(error) is ValueError:
        return str(error)
    return f"not readable as JSON ({type(error).__name__}, {len(body)} bytes)"


def _misfit(what: str) -> ProtocolError:
    return ProtocolError(f"the response is not one of this endpoint: {what}", retryable=True)


def _max_records(size: int) -> int:
    return _MAX_TIMES_SIZE * max(size, _LARGEST_OWN_SIZE)


def _too_many(size: int) -> ProtocolError:
    return ResponseTooLargeError(
        f"the response holds more than {_max_records(size):,} records or {_MAX_VALUES:,} values", retryable=True
    )
