"""What can be made to go wrong, and for which request: one `Fault`, checked when it is written down.

Facts alone: this module must never touch a connection, hold a queue or know how a broken
answer gets onto the wire.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Ordinal = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class _Kind(NamedTuple):
    """The parameters that a kind may have, and those of which it needs one."""

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
    """One thing that goes wrong, for the requests that it matches.

    An answer in place of the true one, which is not even looked up:

    | kind | what the client gets |
    |---|---|
    | http | `status` (200), `headers`, and `body` or `body_hex` (empty) |
    | code | the vendor's `code` with `reason` (the usual one) and no data; HTTP `status` (200), `headers` |

    The true answer, changed; the connection stays sound:

    | kind | what the client gets |
    |---|---|
    | edit | members of `data` replaced; then the first `old` by `new` or `new_hex` (nothing); then `prefix` |
    | | and `suffix` around it (U+FEFF in front is a BOM); and another HTTP `status` and `headers` |
    | late | the true answer after `seconds` |
    | cut-gzip | the first `after` bytes of it in gzip, under a Content-Length that fits |
    | corrupt-gzip | it in gzip with a wrong CRC |

    The true answer on a connection that goes wrong:

    | kind | what the client gets |
    |---|---|
    | cut-head | `after` bytes of the head, then the end (`reset`: RST) |
    | cut | the true Content-Length and `after` bytes of the body, then the end (`reset`: RST) |
    | cut-chunked | the same in a chunk, without the last one (`reset`: RST) |
    | cut-unframed | the same under neither length nor chunks: looks like a success |
    | stall | the true Content-Length and `after` bytes of the body, then nothing, for ever |
    | drip | a byte of the body every `seconds` (0.05) |
    | long | the whole body under a Content-Length of `after` |
    | large | the body under a Content-Length of `size` (1 GiB), then nothing, for ever |
    | two-lengths | two Content-Length that differ |
    | huge-head | a header with a value of `size` (16,384) bytes |
    | many-heads | `size` (200) headers more |

    No answer:

    | kind | what the client gets |
    |---|---|
    | reset | RST in place of the first byte |
    | close | the end in place of the first byte |
    | hang | nothing, for ever |
    | garbage | `body` or `body_hex` (the greeting of another protocol) where HTTP should be, then the end |
    | bomb | `size` (64 MiB) zero bytes in gzip |
    | endless | chunks of blanks without end |

    "For ever" is until the client leaves or the sandbox closes. `after` is half when absent.
    Where the true answer cannot be damaged as asked (no `old` in it, no more than `after`
    bytes, an HTTP error), it goes out as it is and the fault still waits.

    Attributes:
        kind: What goes wrong, see above.
        page: The request's `current`; None: any.
        attempt: The n-th time that this very query (range, filters, current, size) comes,
            from 1, since the sandbox has had its first fault; None: any.
        times: How many requests it hits; 0: every one that matches, and it is never left over.
        control: Control counts only (True: size 1), pages only (False), or both (None).
        status: HTTP status, 200 to 599.
        code: The vendor's status code.
        reason: The vendor's reason.
        headers: Headers that are added or replaced (`Date` too); never the framing.
        body: A body as text, sent in UTF-8.
        body_hex: A body as hexadecimal digits, for what is not UTF-8.
        data: Members of the answer's `data` and the JSON values they get.
        old: Text of the true answer that is replaced, once.
        new: What stands there instead, as text.
        new_hex: The same as hexadecimal digits.
        prefix: Text in front of the true answer.
        suffix: Text behind it.
        after: Bytes of the body (or head) that are sent, or announced, before the trouble.
        reset: RST in place of an orderly end; what was sent just before may be lost with it.
        seconds: Seconds, at most a day.
        size: Bytes, or headers.

    Raises:
        ValueError: There is no such kind, it does not take a parameter, lacks one, or a
            value is of the wrong type or makes no sense.
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
        """Refuse what cannot be meant, before anything is started."""
        try:
            # A struct checks the types of what is decoded, not of what is passed to it.
            msgspec.convert(msgspec.structs.asdict(self), _Types)
        except msgspec.ValidationError as error:
            raise ValueError(f"a fault's parameter has no such value: {error}") from None
        self._check_parameters()
        self._check_headers()
        self._check_bytes()

    def _check_parameters(self) -> None:
        """Refuse what this kind does not take, and the lack of what it needs."""
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault of kind {self.kind!r}; there are {', '.join(KINDS)}")
        takes, needs = KINDS[self.kind]
        given = {name for name in _PARAMETERS if getattr(self, name) is not None and getattr(self, name) is not False}
        if not given <= takes:
            known = f"takes {', '.join(sorted(takes))}" if takes else "takes none"
            raise ValueError(f"a fault of kind {self.kind} {known}; not {', '.join(sorted(given - takes))}")
        if needs and not given & needs:
            raise ValueError(f"a fault of kind {self.kind} needs {' or '.join(sorted(needs))}")
        for one, other in (("body", "body_hex"), ("new", "new_hex")):
            if {one, other} <= given:
                raise ValueError(f"{one} and {other} exclude each other")
        if given & {"new", "new_hex"} and self.old is None:
            raise ValueError("new and new_hex need old, the text that they replace")

    def _check_headers(self) -> None:
        """Refuse headers that the wire could not carry, or that are the wire's own."""
        for name, value in (self.headers or {}).items():
            if name.lower() in _FRAMING:
                raise ValueError(f"headers: {name} is what cut, long, large and two-lengths are for")
            if not _HEADER.fullmatch(name) or set(value) & set("\r\n\0"):
                raise ValueError("headers: a name is no header's name, or a value has a line break in it")

    def _check_bytes(self) -> None:
        """Refuse text that is not UTF-8, digits that are not bytes, and data that is not JSON."""
        try:
            for text in (self.reason, self.body, self.old, self.new, self.prefix, self.suffix):
                (text or "").encode()
            for digits in (self.body_hex, self.new_hex):
                bytes.fromhex(digits or "")
            msgspec.json.encode(self.data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a fault of kind {self.kind} cannot be sent: {error}") from None

    def reported(self) -> str:
        """Name it in a few words: what, and for which request."""
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
