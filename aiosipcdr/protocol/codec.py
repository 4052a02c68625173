"""The wire: queries encoded, answers decoded, at the price of one typed pass.

Never raises for what the vendor sent: an answer that cannot be understood is
returned as an error, so that its bytes (which hold phone numbers) stay out of
every traceback.
"""

import re
from decimal import DecimalException
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from aiosipcdr.errors import ProtocolError
from aiosipcdr.protocol.amounts import Amounts, money_fits
from aiosipcdr.protocol.records import CallDetailRecord, Page
from aiosipcdr.protocol.salvage import DECODE_FAULTS, salvage_records
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import QuarantinedRecord

__all__ = [
    "CONTENT_TYPE",
    "PATH",
    "FilterMatch",
    "Filters",
    "PageAnswer",
    "PageDecoder",
    "Refusal",
    "encode_params",
    "encode_query",
]

PATH = "/recordSipQuery"
CONTENT_TYPE = "application/json;charset=UTF-8"


FilterMatch = Literal["exact", "loose"]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor narrows a range down to, besides time; `None` asks for everything.

    `match` says how the records that come back are compared: "exact", or
    "loose", without case and outer blanks.
    """

    sip_group_name: str | None = None
    phone_name: str | None = None
    match: FilterMatch = "exact"

    def __repr__(self) -> str:
        """Say which filters are set: a phone's name may be a number."""
        names = [name for name in ("sip_group_name", "phone_name") if getattr(self, name) is not None]
        return f"Filters({', '.join(names)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return []


class PageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page with what was odd about decoding it."""

    page: Page
    quarantined: list[QuarantinedRecord] = []
    unknown_fields: dict[str, int] = {}
    extras: dict[CallDetailRecord, str] = {}
    """The fields that this version does not know, as a JSON object, for the records that have some."""
    anomalies: int = 0

    def __repr__(self) -> str:
        """Count instead of printing: under a name that is not known may stand a number."""
        return f"PageAnswer({self.page}, quarantined=<{len(self.quarantined)}>, extras=<{len(self.extras)}>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("page", self.page), ("quarantined", len(self.quarantined)), ("extras", len(self.extras))]


class Refusal(msgspec.Struct, frozen=True):
    """An answer whose status is not 0."""

    status: int
    reason: str | None

    def __repr__(self) -> str:
        """Leave out the vendor's words: they may quote a number."""
        return f"Refusal(status={self.status})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("status", self.status)]


def encode_params(window: TimeWindow, filters: Filters) -> bytes:
    """Return the part of a query that all requests of a window share.

    Times stand as the vendor shows them: whole seconds with an offset, never `Z`.
    """
    params = {"strTime": window.start.isoformat(), "endTime": window.end.isoformat()}
    if filters.sip_group_name:
        params["sipGroupName"] = filters.sip_group_name
    if filters.phone_name:
        params["phoneName"] = filters.phone_name
    return msgspec.json.encode(params)


# JSON allows white space between its tokens: a serial number in it changes the bytes of a query, not its meaning.
_AS_BLANKS = str.maketrans("01", " \t")


def encode_query(params: bytes, *, current: int, size: int, serial: int | None = None) -> bytes:
    """Return the body of the request for one page of a window.

    Args:
        params: the window and its filters, see `encode_params`.
        current: number of the page.
        size: records a page.
        serial: makes the bytes differ from those of the same query with another number.
    """
    blanks = b"" if serial is None else f"{serial:b}".translate(_AS_BLANKS).encode()
    return b'{%b"current":%d,"size":%d,"params":%b}' % (blanks, current, size, params)


Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
# Java services often write long integers as text, for the sake of JavaScript.
Digits = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]


# Bounded, so that no text can show a phone number as a status.
Status = Annotated[int, Meta(ge=-999_999, le=999_999)]
StatusText = Annotated[str, Meta(pattern=r"^\s*[-+]?[0-9]{1,6}\s*$")]


class _Data(msgspec.Struct):
    total: Count
    size: Count
    current: Count
    pages: Count | None = None
    records: list[CallDetailRecord] | None = None


class _Envelope(msgspec.Struct):
    status: int | str
    reason: str | None = None
    data: _Data | None = None


if TYPE_CHECKING:
    _TextRecord = CallDetailRecord
else:
    # The very class; its money is still text, which is looked up.
    _TextRecord = CallDetailRecord[str]


class _TextData(_Data):
    records: list[_TextRecord] | None = None


class _TextEnvelope(_Envelope):
    data: _TextData | None = None


class _RawData(msgspec.Struct):
    total: Count | Digits
    size: Count | Digits
    current: Count | Digits
    pages: Count | Digits | None = None
    records: msgspec.Raw = msgspec.Raw(b"null")


class _RawEnvelope(msgspec.Struct):
    status: Status | StatusText
    reason: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")


# The last resorts for a refusal whose other words are broken: a refused login
# that is sent again may lock the account.  Most runs need none of them: `re`
# compiles each at its first use, and keeps it.
_LEADING_STATUS = rb'\s*\{\s*"status"\s*:\s*"?\s*(-[0-9]{1,6})\s*"?\s*[,}]'
_REFUSED_LOGIN = rb'"status"\s*:\s*"?\s*(-(?:13|1|2))(?:\.0)?\s*(?:"|[,}\s]|\Z)'
_SURROGATES = rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
_BLANK_VALUE = rb':""'
# Enough bytes to hold the first record, whose fields all its followers share.
_FIRST_RECORDS = 4096
_LARGEST_REFUSAL = 65_536
_BOM = b"\xef\xbb\xbf"


class PageDecoder:
    """Bytes of an answer in; a `PageAnswer`, a `Refusal` or a `ProtocolError` out.

    One typed msgspec decoder reads everything that is plain, money as text:
    what that comes to is looked up, see `Amounts`.  Two dialects are
    rewritten into plain JSON first: `""` for "absent" becomes `null` (a type
    cannot be both a datetime and a text), and one brand's `costEur` becomes
    `cost`.  In JSON the bytes `:""` and `"costEur":` can only be a value and a
    key, never part of a text, for there a quote is escaped.
    """

    __slots__ = ("_amounts", "_dialect", "_envelope", "_raw_data", "_raw_envelope", "_text_envelope")

    def __init__(self) -> None:
        """Expect plain answers until one comes that is not."""
        self._text_envelope = msgspec.json.Decoder(_TextEnvelope)
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._raw_envelope = msgspec.json.Decoder(_RawEnvelope)
        self._raw_data = msgspec.json.Decoder(_RawData | None)
        self._amounts = Amounts()
        # A vendor speaks one dialect: what one page needed, the next will need.
        self._dialect = False

    def decode(self, body: bytes) -> PageAnswer | Refusal | ProtocolError:
        """Read one answer; never raises for its content."""
        envelope = None if self._dialect else self._decode_plain(body)
        if envelope is None:
            envelope = self._decode_dialect(body)
        if envelope is None or (data := envelope.data) is None or data.records is None:
            return self._decode_raw(body)
        if envelope.status not in {"0", 0}:
            return self._decode_raw(body)
        return PageAnswer(
            page=Page(
                total=data.total, size=data.size, current=data.current, pages=data.pages or 0, records=data.records
            )
        )

    def _decode_plain(self, body: bytes) -> _Envelope | None:
        if not self._amounts.repeat:
            return self._decode_amounts(body)
        try:
            envelope = self._text_envelope.decode(body)
            if envelope.data is not None and envelope.data.records:
                self._amounts.fill_in(envelope.data.records)
        except (*DECODE_FAULTS, DecimalException):
            return self._decode_amounts(body)
        return envelope

    def _decode_amounts(self, body: bytes) -> _Envelope | None:
        # Amounts that are numbers, impossible, or never the same.
        try:
            envelope = self._envelope.decode(body)
        except DECODE_FAULTS:
            return None
        if envelope.data is not None and envelope.data.records and not money_fits(envelope.data.records):
            return None
        return envelope

    def _decode_dialect(self, body: bytes) -> _Envelope | None:
        plain = re.sub(_BLANK_VALUE, b":null", body)  # half as dear as `replace`, which looks for it twice
        euro = b'"costEur":' in plain[:_FIRST_RECORDS] and b'"cost":' not in plain
        if euro:
            plain = plain.replace(b'"costEur":', b'"cost":')
        was_tried, self._dialect = not self._dialect, plain != body
        if was_tried and not self._dialect:
            return None
        if (envelope := self._decode_plain(plain)) is None:
            return None
        if euro and envelope.data is not None:
            for record in envelope.data.records or ():
                if record.cost is not None:
                    # The record is not yet anybody's: it may still be written to.
                    msgspec.structs.force_setattr(record, "currency", "EUR")
        return envelope

    def _decode_raw(self, body: bytes) -> PageAnswer | Refusal | ProtocolError:
        # The patient way: refusals, empty pages, unknown fields, broken records.
        body = body.removeprefix(_BOM)
        try:
            envelope = self._raw_envelope.decode(body)
        except DECODE_FAULTS as error:
            status = re.match(_LEADING_STATUS, body) or re.search(_REFUSED_LOGIN, body[:_LARGEST_REFUSAL])
            if status is not None:
                return Refusal(int(status[1]), None)
            # Half a character in a text: what is left of it is replaced, the rest of the page read.
            whole = re.sub(_SURROGATES, lambda found: rb"\ufffd" if found[1] else found[0], body)
            return self._decode_raw(whole) if whole != body else _misfit(_describe(error, body))
        if int(envelope.status) != 0:
            return Refusal(int(envelope.status), _read_reason(envelope.reason))
        try:
            return self._decode_raw_data(envelope.data)
        except DECODE_FAULTS as error:
            return _misfit(_describe(error, body))

    def _decode_raw_data(self, raw: msgspec.Raw) -> PageAnswer | ProtocolError:
        data = self._raw_data.decode(raw)
        if data is None:
            return _misfit("status 0 without data")
        total, size, current, pages = (int(count or 0) for count in (data.total, data.size, data.current, data.pages))
        records = bytes(data.records)
        if records == b"null":
            if total:
                return _misfit(f"{total} records told, none sent (`records` is null)")
            records = b"[]"
        salvage = salvage_records(records, page=current)
        return PageAnswer(
            page=Page(total=total, size=size, current=current, pages=pages, records=salvage.records),
            quarantined=salvage.quarantined,
            unknown_fields=salvage.unknown_fields,
            extras=salvage.extras,
            anomalies=salvage.anomalies,
        )


def _read_reason(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except DECODE_FAULTS:
        return None


def _describe(error: Exception, body: bytes) -> str:
    # A ValidationError names a path and types; the others might quote bytes.
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return f"not readable as JSON ({type(error).__name__}, {len(body)} bytes)"


def _misfit(what: str) -> ProtocolError:
    return ProtocolError(f"the answer is not one of this endpoint: {what}", retryable=True)
