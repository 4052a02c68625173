"""Keys of manifests and journals: irreversible fingerprints of account and phone, and signatures.

A key is derived with scrypt (RFC 7914) from API key and secret, with a salt that is stored with the result. Without the
secret a fingerprint cannot be reversed by trying all numbers, and a signature cannot be made. A derivation takes about
a tenth of a second and 32 MiB: call it in a worker thread. Recent keys are cached in memory, never on disk.
"""

import hmac
import secrets
import threading
from collections import deque
from typing import Annotated, NoReturn

import msgspec

from aiosipcdr.wire.signing import Credentials, stretch

__all__ = ["ACCOUNT", "PHONE", "PSEUDONYMS", "DerivedKey", "KeyDerivation", "derive_key"]

ACCOUNT = "#account"
PHONE = "#phone_name"
PSEUDONYMS = "#key of pseudonyms"
"""The names of the fingerprints of account, phone and pseudonym key."""

# scrypt parameters of new derivations.
N = 2**15
R = 8
P = 1

# Limits for parameters read from a file, which may be hostile: at most 128 MiB, and 16 times our own work.
_MAX_N = 2**17
_MAX_R = 8
_MAX_P = 4

_CACHE_SIZE = 8


class KeyDerivation(msgspec.Struct, frozen=True, kw_only=True):
    """A salt and the scrypt parameters of a key.

    Raises:
        ValueError: A parameter is invalid or too high.
    """

    salt: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    n: Annotated[int, msgspec.Meta(ge=2, le=_MAX_N)]
    r: Annotated[int, msgspec.Meta(ge=1, le=_MAX_R)]
    p: Annotated[int, msgspec.Meta(ge=1, le=_MAX_P)]

    def __post_init__(self) -> None:
        """Refuse an n that scrypt refuses."""
        if self.n & (self.n - 1):
            raise ValueError("n must be a power of two")

    @classmethod
    def new(cls) -> "KeyDerivation":
        """Return a derivation with a new salt."""
        return cls(salt=secrets.token_hex(16), n=N, r=R, p=P)

    @property
    def is_current(self) -> bool:
        """Whether the parameters are those of new derivations."""
        return (self.n, self.r, self.p) == (N, R, P)


class DerivedKey:
    """A derived key for fingerprints and signatures; its repr hides the key, and it cannot be pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def fingerprint(self, name: str, value: str = "") -> str:
        """Return the fingerprint of a named value: 16 hexadecimal digits."""
        return self._authenticate(b"fingerprint", name.encode(), value.encode())[:16]

    def sign(self, content: bytes) -> str:
        """Return the signature of a manifest's content: 64 hexadecimal digits."""
        return self._authenticate(b"manifest", content)

    def _authenticate(self, *parts: bytes) -> str:
        return hmac.digest(self._key, b"\0".join((b"aiosipcdr", *parts)), "sha256").hex()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the pickle would hold the key in clear."""
        msg = "a key cannot be pickled; derive it again in the other process"
        raise TypeError(msg)


_key_cache: deque[tuple[Credentials, KeyDerivation, DerivedKey]] = deque(maxlen=_CACHE_SIZE)
_cache_lock = threading.Lock()


def derive_key(credentials: Credentials, derivation: KeyDerivation) -> DerivedKey:
    """Return the key of `credentials` for a salt; the last eight keys are cached."""
    with _cache_lock:
        for owner, known, key in _key_cache:
            if known == derivation and owner == credentials:
                return key
        derived = stretch(credentials, bytes.fromhex(derivation.salt), n=derivation.n, r=derivation.r, p=derivation.p)
        key = DerivedKey(derived)
        _key_cache.append((credentials, derivation, key))
        return key
