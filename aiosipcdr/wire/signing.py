"""Credentials and the signature of a request.

Never prints a secret: the key, the secret and the signature leave this module
only as header values.
"""

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from typing import ClassVar, NoReturn

__all__ = ["Credentials", "CredentialsSource", "SecretText", "credentials_source", "sign"]


class SecretText:
    """A text that no repr, log or traceback shows: a proxy's address may hold a password."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep `text`."""
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Show nothing."""
        return "SecretText(***)"


class Credentials:
    """An API key with its secret.

    Compares in constant time, shows neither part in any text, does not pickle.

    Raises:
        ValueError: a part is empty, or holds what cannot stand in a header.
    """

    __slots__ = ("_key", "_secret")

    def __init__(self, api_key: str, api_secret: str) -> None:
        """Take both parts, without surrounding blanks."""
        problems = [_find_problem("api_key", api_key), _find_problem("api_secret", api_secret)]
        if any(problems):
            del api_key, api_secret  # a traceback may print the locals of this frame
            raise ValueError(next(filter(None, problems)))
        self._key = api_key.strip()
        self._secret = api_secret.strip()

    @property
    def key(self) -> str:
        """The value of the `Api-Key` header."""
        return self._key

    def mask(self, text: str) -> str:
        """Return `text` without key and secret, should somebody have quoted them in it."""
        return text.replace(self._secret, "***").replace(self._key, "***")

    def derive_key(self, salt: bytes, *, n: int, r: int, p: int) -> bytes:
        """Return 32 bytes made of both parts and `salt` by scrypt (RFC 7914), at the costs `n`, `r` and `p`.

        Takes 128 * `n` * `r` bytes of memory, and time in proportion to `n` * `r` * `p`.
        """
        return hashlib.scrypt(
            f"{self._key}\0{self._secret}".encode(), salt=salt, n=n, r=r, p=p, maxmem=128 * r * (n + p + 2), dklen=32
        )

    def older_fingerprint(self, text: str = "") -> str:
        """Return the fingerprint of the account, or of `text` within it, as manifests of layout 1 have it.

        HMAC-SHA256 under the API key alone: whoever has that key can try all numbers, so no new file gets one.
        """
        return hmac.digest(self._key.encode(), f"aiosipcdr {text}".encode(), "sha256").hex()[:16]

    def __repr__(self) -> str:
        """Say what this is and nothing of what it holds."""
        return "Credentials(***)"

    def __eq__(self, other: object) -> bool:
        """Compare both parts in constant time."""
        if not isinstance(other, Credentials):
            return NotImplemented
        same_key = hmac.compare_digest(self._key.encode(), other._key.encode())
        same_secret = hmac.compare_digest(self._secret.encode(), other._secret.encode())
        return same_key and same_secret

    # A hash would be a comparison that is not constant in time.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __getstate__(self) -> NoReturn:
        """Refuse to hand out both parts in clear."""
        msg = "Credentials do not pickle: pass them to the other process by its environment"
        raise TypeError(msg)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied into a file."""
        msg = "Credentials do not pickle: pass them to the other process by its environment"
        raise TypeError(msg)


CredentialsSource = Callable[[], Credentials]
"""What is asked before every request: cheap, synchronous, free to rotate the keys."""


def sign(credentials: Credentials, timestamp: int) -> str:
    """Return the lower-case hex `Sign` of a request sent at `timestamp`.

    `md5(api_key + api_secret + timestamp)`, the timestamp in Unix seconds as
    text (the vendor's page "Inquire Phone Records By Batch").  The body is not
    signed, so treat the result as a secret for as long as it is fresh.
    """
    text = f"{credentials._key}{credentials._secret}{timestamp}"  # noqa: SLF001 - the one reader
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class _FixedPart:
    # A text behind a call, so that no frame holds it under a name.
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> str:
        return self._text


def credentials_source(
    api_key: str | Callable[[], str | Credentials],
    api_secret: str | Callable[[], str] | None,
) -> CredentialsSource:
    """Return the one source of credentials behind the ways in which they can be given.

    Two texts; or a callable for either; or one callable that returns
    `Credentials`, so that key and secret rotate together (then no secret is
    given beside it).  Callables run before every request: keep them cheap.

    Raises:
        ValueError: a text is empty, or the parts do not make a pair.
    """
    if callable(api_key) and api_secret is None:
        return _pair_source(api_key)
    for name, part in (("api_key", api_key), ("api_secret", api_secret)):
        problem = None if callable(part) else _find_problem(name, part)
        if problem is not None:
            raise ValueError(problem)
    if isinstance(api_key, str) and isinstance(api_secret, str):
        fixed = Credentials(api_key, api_secret)
        return lambda: fixed
    key = _FixedPart(api_key) if isinstance(api_key, str) else api_key
    secret = _FixedPart(api_secret) if isinstance(api_secret, str) else api_secret
    return lambda: Credentials(key(), secret())  # type: ignore[arg-type, misc]  # Credentials checks them


def _pair_source(pair: Callable[[], object]) -> CredentialsSource:
    def ask() -> Credentials:
        credentials = pair()
        if isinstance(credentials, Credentials):
            return credentials
        if isinstance(credentials, Coroutine):
            credentials.close()
        del credentials
        raise ValueError("a callable without api_secret beside it must return Credentials(api_key, api_secret)")

    return ask


def _find_problem(name: str, part: object) -> str | None:
    if isinstance(part, Coroutine):
        part.close()
        return f"{name}: its callable must return a text at once; look the credentials up before, not in a coroutine"
    # The text must not quote the value: it may be a real secret with a line feed.
    if not isinstance(part, str) or not part.strip():
        return f"{name} is empty or missing: take it from the vendor's console"
    text = part.strip()
    if not text.isprintable() or not text.isascii():
        return f"{name} holds characters that cannot stand in an HTTP header"
    if " " in text or (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        return f"{name} holds a blank, or is in quotes: give the value alone, without quotes and comments"
    return None
