"""Faults: what goes wrong, and for which request; validated on construction.

Only describes faults; `fault_queue` matches them and `fault_middleware` applies them.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Ordinal = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class _Kind(NamedTuple):
    """The parameters that a kind accepts, and those of which it needs at least one."""

    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()


def _kind(takes: str = "", needs: str = "") -> _Kind:
    return _Kind(frozenset((*takes.split(), *needs.split())), frozenset(needs.split()))


KINDS: Final[Mapping[str, _Kind]] = {
    "http": _kind("status headers body body_hex"),
    "code": _kind("reason status headers", needs="code"),
    "edit": _kind(needs="data old prefix suffix status headers", takes="new new_hex"),
    "late": _kind(needs="seconds"),
    "cut-gzip": _kind("after"),
    "corrupt-gzip": _kind(),
    "reset": _kind(),
    "close": _kind(),
    "hang": _kind(),
    "garbage": _kind("body body_hex"),
    "cut-head": _kind("after reset"),
    "cut": _kind("after reset"),
    "cut-chunked": _kind("after reset"),
    "cut-unframed": _kind("after"),
    "stall": _kind("after"),
    "drip": _kind("seconds"),
    "long": _kind("after"),
    "large": _kind("size"),
    "two-lengths": _kind(),
    "huge-head": _kind("size"),
    "many-heads": _kind("size"),
    "bomb": _kind("size"),
    "endless": _kind(),
}
_FRAMING: Final = frozenset(("content-length", "transfer-encoding"))
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Fault(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault, for the requests that it matches.

    A response that replaces the true one, which is not computed:

    | kind | what the client gets |
    |---|---|
    | http | `status` (200), `headers`, and `body` or `body_hex` (empty) |
    | code | the vendor's `code` with `reason` (the usual one) and no data; HTTP `status` (200), `headers` |

    The true response, changed; the connection stays intact:

    | kind | what the client gets |
    |---|---|
    | edit | members of `data` replaced; then the first `old` by `new` or `new_hex` (nothing); then `prefix` |
    | | and `suffix` around it (U+FEFF as prefix is a BOM); and another HTTP `status` and `headers` |
    | late | the true response after `seconds` |
    | cut-gzip | the first `after` bytes of it in gzip, with a matching Content-Length |
    | corrupt-gzip | it in gzip with a wrong CRC |

    The true response on a connection that fails:

    | kind | what the client gets |
    |---|---|
    | cut-head | `after` bytes of the head, then the end (`reset`: RST) |
    | cut | the true Content-Length and `after` bytes of the body, then the end (`reset`: RST) |
    | cut-chunked | the same in a chunk, without the last one (`reset`: RST) |
    | cut-unframed | the same without length and chunks: looks like a success |
    | stall | the true Content-Length and `after` bytes of the body, then nothing, forever |
    | drip | one byte of the body every `seconds` (0.05) |
    | long | the whole body with a Content-Length of `after` |
    | large | the body with a Content-Length of `size` (1 GiB), then nothing, forever |
    | two-lengths | two different Content-Length headers |
    | huge-head | a header with a value of `size` (16,384) bytes |
    | many-heads | `size` (200) additional headers |

    No response:

    | kind | what the client gets |
    |---|---|
    | reset | RST instead of the first byte |
    | close | the end instead of the first byte |
    | hang | nothing, forever |
    | garbage | `body` or `body_hex` (the greeting of another protocol) instead of HTTP, then the end |
    | bomb | `size` (64 MiB) zero bytes in gzip |
    | endless | chunks of blanks without end |

    "Forever" is until the client leaves or the sandbox closes. `after` defaults to half of the bytes.
    If the fault cannot be applied to the true response (no `old` in it, no more than `after`
    bytes, an HTTP error), the response is sent unchanged and the fault stays in the queue.

    Attributes:
        kind: The kind of fault, see above.
        page: The request's `current`; None: any.
        attempt: Which of the identical requests (range, filters, current, size) since the sandbox got its
            first fault, counted from 1; None: any.
        times: Number of requests to which it applies; 0: every one that matches, and it never counts as unused.
        control: Control counts only (True: size 1), pages only (False), or both (None).
        status: HTTP status, 200 to 599.
        code: The vendor's status code.
        reason: The vendor's reason.
        headers: Headers to add or replace (`Date` too), but not those of the framing.
        body: A body as text, sent in UTF-8.
        body_hex: A body as hexadecimal digits, for bytes that are not UTF-8.
        data: New JSON values of members of the response's `data`.
        old: Text of the true response that is replaced, once.
        new: The replacement as text.
        new_hex: The replacement as hexadecimal digits.
        prefix: Text before the true response.
        suffix: Text after it.
        after: Number of bytes of the body (or head) that are sent, or announced, before the fault.
        reset: RST instead of an orderly end; bytes sent just before may be lost.
        seconds: Seconds, at most a day.
        size: Number of bytes, or of headers.

    Raises:
        ValueError: The kind is unknown, it does not accept a parameter or lacks one, or a value is invalid.
    """

    kind: str
    page: _Ordinal | None = None
    attempt: _Ordinal | None = None
    times: _Count = 1
    control: bool | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    code: int | None = None
    reason: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    body_hex: str | None = None
    data: dict[str, Any] | None = None
    old: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    new: str | None = None
    new_hex: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    after: _Count | None = None
    reset: bool = False
    seconds: _Seconds | None = None
    size: _Ordinal | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid fault, before anything is started."""
        try:
            # msgspec checks the types of decoded values, not of constructor arguments.
            msgspec.convert(msgspec.structs.asdict(self), _Types)
        except msgspec.ValidationError as error:
            raise ValueError(f"a fault has an invalid parameter: {error}") from None
        self._check_parameters()
        self._check_headers()
        self._check_bytes()

    def _check_parameters(self) -> None:
        """Refuse parameters that the kind does not accept, and missing ones."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; use one of {', '.join(KINDS)}")
        takes, needs = KINDS[self.kind]
        given = {name for name in _PARAMETERS if getattr(self, name) is not None and getattr(self, name) is not False}
        if not given <= takes:
            known = f"takes {', '.join(sorted(takes))}" if takes else "takes no parameters"
            raise ValueError(f"a fault of kind {self.kind} {known}; not {', '.join(sorted(given - takes))}")
        if needs and not given & needs:
            raise ValueError(f"a fault of kind {self.kind} needs {' or '.join(sorted(needs))}")
        for one, other in (("body", "body_hex"), ("new", "new_hex")):
            if {one, other} <= given:
                raise ValueError(f"{one} and {other} exclude each other; use one of them")
        if given & {"new", "new_hex"} and self.old is None:
            raise ValueError("new and new_hex need old, the text to replace")

    def _check_headers(self) -> None:
        """Refuse invalid headers, and those of the framing."""
        for name, value in (self.headers or {}).items():
            if name.lower() in _FRAMING:
                raise ValueError(f"headers: {name} cannot be set; use the kinds cut, long, large or two-lengths")
            if not _HEADER.fullmatch(name) or set(value) & set("\r\n\0"):
                raise ValueError("headers: a name is invalid, or a value has a line break or NUL; correct it")

    def _check_bytes(self) -> None:
        """Refuse text that is not valid Unicode, invalid hexadecimal digits, and data that is not JSON."""
        try:
            for text in (self.reason, self.body, self.old, self.new, self.prefix, self.suffix):
                (text or "").encode()
            for digits in (self.body_hex, self.new_hex):
                bytes.fromhex(digits or "")
            msgspec.json.encode(self.data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a fault of kind {self.kind} cannot be sent: {error}") from None

    def describe(self) -> str:
        """Return a short description: the kind, and for which requests.

        For example:

            Fault("http", status=503).describe()
        """
        where = [f"page {self.page}" if self.page else "any page", f"attempt {self.attempt or 'any'}"]
        if self.control is not None:
            where.append("control counts" if self.control else "no control counts")
        if self.times > 1:
            where.append(f"{self.times} times")
        return f"{self.kind} ({', '.join(where)})"


_FIELDS: Final = msgspec.structs.fields(Fault)
_MATCHING: Final = frozenset(("kind", "page", "attempt", "times", "control"))
_PARAMETERS: Final = tuple(field.name for field in _FIELDS if field.name not in _MATCHING)
_Types: Final = msgspec.defstruct("_Types", [(field.name, field.type) for field in _FIELDS])
