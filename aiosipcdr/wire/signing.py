"""Credentials, and the signature of a request.

Other modules get key, secret and signature as header values only; no text shows them.
"""

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from typing import ClassVar, NoReturn

from aiosipcdr.model.privacy import hide_arguments

__all__ = [
    "Credentials",
    "CredentialsSource",
    "credentials_source",
    "mask_secrets",
    "older_fingerprint",
    "open_seal",
    "reveal",
    "seal",
    "sign",
    "stretch",
]


_NO_PICKLE = "Credentials cannot be pickled: pass them to the other process in its environment"


class Credentials:
    """An API key with its secret.

    Compares in constant time, shows neither part in any text, does not pickle.

        CdrClient(base_url, Credentials(api_key, api_secret))
        CdrClient(base_url, lambda: vault.read_credentials())  # asked before every request: keys may rotate

    Args:
        api_key: The key, from the vendor's console.
        api_secret: The secret of that key.

    Raises:
        ValueError: A part is empty, or has characters that an HTTP header cannot hold.
    """

    __slots__ = ("_key", "_secret", "_signed")

    @hide_arguments
    def __init__(self, api_key: str, api_secret: str) -> None:
        """Keep both parts without surrounding blanks."""
        self._key = _check_part("api_key", api_key)
        self._secret = _check_part("api_secret", api_secret)
        self._signed = (-1, "")  # the last timestamp and its signature, which all requests of that second share

    @property
    def key(self) -> str:
        """The value of the `Api-Key` header."""
        return self._key

    def __repr__(self) -> str:
        """Show neither part."""
        return "Credentials(***)"

    def __eq__(self, other: object) -> bool:
        """Compare both parts in constant time."""
        if not isinstance(other, Credentials):
            return NotImplemented
        same_key = hmac.compare_digest(self._key.encode(), other._key.encode())
        same_secret = hmac.compare_digest(self._secret.encode(), other._secret.encode())
        return same_key and same_secret

    # Hash tables do not compare in constant time.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __getstate__(self) -> NoReturn:
        """Refuse to be pickled in parts."""
        raise TypeError(_NO_PICKLE)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: both parts would be in clear."""
        raise TypeError(_NO_PICKLE)


CredentialsSource = Callable[[], Credentials]
"""Called before every request: it must be cheap and synchronous, and may return other credentials each time."""


def sign(credentials: Credentials, timestamp: int) -> str:
    """Return the `Sign` header of a request: 32 lower-case hexadecimal digits.

    `md5(api_key + api_secret + timestamp)`. The body is not signed, so the signature is a secret until it expires.

    Args:
        credentials: The account.
        timestamp: Unix time of the request, in seconds; the header `Timestamp` has the same.

    Source: the vendor's page "Inquire Phone Records By Batch".
    """
    signed_at, signature = credentials._signed  # noqa: SLF001
    if signed_at != timestamp:
        text = f"{credentials._key}{credentials._secret}{timestamp}"  # noqa: SLF001
        signature = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        credentials._signed = timestamp, signature  # noqa: SLF001
    return signature


def mask_secrets(credentials: Credentials, text: str) -> str:
    """Return `text` with key and secret replaced by "***"."""
    return text.replace(credentials._secret, "***").replace(credentials._key, "***")  # noqa: SLF001


def stretch(credentials: Credentials, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    """Return 32 bytes derived from both parts and `salt` by scrypt (RFC 7914), at the costs `n`, `r` and `p`.

    Takes 128 * `n` * `r` bytes of memory, and time in proportion to `n` * `r` * `p`.
    """
    parts = f"{credentials._key}\0{credentials._secret}".encode()  # noqa: SLF001
    return hashlib.scrypt(parts, salt=salt, n=n, r=r, p=p, maxmem=128 * r * (n + p + 2), dklen=32)


_SEAL_COST = {"n": 2**12, "r": 8, "p": 1}  # 4 MiB and about 10 ms: a part is opened in the event loop
_SEAL_TAG = 16
_SEAL_BLOCK = 32
_SEAL_END = b"\x80"  # before the zeros of the padding


@hide_arguments
def seal(credentials: Credentials, text: str) -> bytes:
    """Return `text` encrypted and authenticated, so that only the same account can read it with `open_seal`.

    The tag is the HMAC-SHA256 of the text and also the nonce of the key stream (SHAKE-256), as in SIV mode (RFC 5297):
    the same text gives the same seal, and no random number is needed. Padding hides the length up to 31 bytes.
    """
    plain = text.encode() + _SEAL_END
    plain += b"\0" * (-len(plain) % _SEAL_BLOCK)
    key = stretch(credentials, b"aiosipcdr seal", **_SEAL_COST)
    tag = hmac.digest(key, b"tag" + plain, "sha256")[:_SEAL_TAG]
    return tag + _mix(key, tag, plain)


def open_seal(credentials: Credentials, sealed: bytes) -> str | None:
    """Return the text in `sealed`; `None` if other credentials made it, or it was changed."""
    key = stretch(credentials, b"aiosipcdr seal", **_SEAL_COST)
    tag = sealed[:_SEAL_TAG]
    plain = _mix(key, tag, sealed[_SEAL_TAG:])
    if not hmac.compare_digest(tag, hmac.digest(key, b"tag" + plain, "sha256")[:_SEAL_TAG]):
        return None
    return plain.rstrip(b"\0").removesuffix(_SEAL_END).decode()


def _mix(key: bytes, tag: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_256(key + b"stream" + tag).digest(len(data))
    return bytes(one ^ other for one, other in zip(data, stream, strict=True))


def reveal(credentials: Credentials) -> tuple[str, str]:
    """Return key and secret, for the pipe to a process of the same user."""
    return credentials._key, credentials._secret  # noqa: SLF001


def older_fingerprint(credentials: Credentials, text: str = "") -> str:
    """Return the fingerprint of the account, or of `text` within it, as in manifests of layout 1.

    HMAC-SHA256 under the API key alone. Knowing the key, one can try every number, so no new file contains one.
    """
    return hmac.digest(credentials.key.encode(), f"aiosipcdr {text}".encode(), "sha256").hex()[:16]


@hide_arguments
def credentials_source(
    api_key: "str | Credentials | CredentialsSource", api_secret: str | None = None
) -> CredentialsSource:
    """Return the source of the credentials that a caller gave, in one of three forms.

    Args:
        api_key: The key; or key and secret together as `Credentials`; or a callable that returns `Credentials`.
        api_secret: The secret, if `api_key` is the key.

    Raises:
        ValueError: A text is empty or missing, or a secret is given beside credentials.
    """
    if not isinstance(api_key, str | None) and api_secret is not None:
        raise ValueError("api_secret is given beside credentials: leave it out, they contain it")
    if callable(api_key):
        return _checked_source(api_key)
    fixed = api_key if isinstance(api_key, Credentials) else Credentials(api_key, api_secret)  # type: ignore[arg-type]
    return lambda: fixed


def _checked_source(source: Callable[[], object]) -> CredentialsSource:
    @hide_arguments
    def check(credentials: object) -> Credentials:
        if isinstance(credentials, Credentials):
            return credentials
        if isinstance(credentials, Coroutine):
            credentials.close()
            raise ValueError("the callable for credentials must not be a coroutine function: look them up before")  # noqa: TRY004 - one kind of error for bad credentials
        raise ValueError("the callable for credentials must return Credentials(api_key, api_secret)")

    return lambda: check(source())


def _check_part(name: str, part: object) -> str:
    # No text quotes the part: it may be a real secret with a line feed.
    if not isinstance(part, str) or not part.strip():
        raise ValueError(f"{name} is empty or missing: take it from the vendor's console")
    text = part.strip()
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"{name} has characters that an HTTP header cannot hold: copy it again from the console")
    if " " in text or (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        raise ValueError(f"{name} has a blank or is in quotes: give the value alone, without quotes and comments")
    return text
