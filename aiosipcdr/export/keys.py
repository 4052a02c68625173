"""Keys of manifests and journals: who asked, as fingerprints that reveal nothing, and signatures.

A key is derived by scrypt (RFC 7914) from API key and secret with a salt that
is stored beside what the key made.  Without the secret a fingerprint cannot be
reversed by trying all numbers, and a signature cannot be made.  A derivation
takes about a tenth of a second and 32 MiB: call it in a worker thread.  The
keys of the last salts are remembered in memory, never on disk.
"""

import hmac
import secrets
import threading
from collections import deque
from typing import Annotated, NoReturn

import msgspec

from aiosipcdr.wire.signing import Credentials

__all__ = ["ACCOUNT", "PHONE", "PSEUDONYMS", "DerivedKey", "KeyDerivation", "derive_key"]

ACCOUNT = "#account"
PHONE = "#phone_name"
PSEUDONYMS = "#key of pseudonyms"
"""The names under which account, phone and the key of pseudonyms have their fingerprints."""

# The costs of new derivations.
N = 2**15
R = 8
P = 1

# What is accepted of a file that somebody else may have written: at most 128 MiB, and 16 times the work of ours.
_LARGEST_N = 2**17
_LARGEST_R = 8
_LARGEST_P = 4

_REMEMBERED = 8


class KeyDerivation(msgspec.Struct, frozen=True, kw_only=True):
    """The salt and the costs with which a key was derived, as scrypt names them.

    Raises:
        ValueError: the costs are none, or too high.
    """

    salt: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    n: Annotated[int, msgspec.Meta(ge=2, le=_LARGEST_N)]
    r: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_R)]
    p: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_P)]

    def __post_init__(self) -> None:
        """Refuse what scrypt refuses."""
        if self.n & (self.n - 1):
            raise ValueError("n must be a power of two")

    @classmethod
    def new(cls) -> "KeyDerivation":
        """Return one with a new salt."""
        return cls(salt=secrets.token_hex(16), n=N, r=R, p=P)

    @property
    def is_current(self) -> bool:
        """Whether its costs are those of new derivations."""
        return (self.n, self.r, self.p) == (N, R, P)


class DerivedKey:
    """A derived key: makes fingerprints and signatures; shows itself in no text and does not pickle."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Take the key."""
        self._key = key

    def fingerprint(self, name: str, value: str = "") -> str:
        """Return 16 hexadecimal digits that stand for the value of that name."""
        return self._authenticate(b"fingerprint", name.encode(), value.encode())[:16]

    def sign(self, content: bytes) -> str:
        """Return the signature of a manifest's content: 64 hexadecimal digits."""
        return self._authenticate(b"manifest", content)

    def _authenticate(self, *parts: bytes) -> str:
        return hmac.digest(self._key, b"\0".join((b"aiosipcdr", *parts)), "sha256").hex()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the key would be in clear."""
        msg = "keys do not pickle"
        raise TypeError(msg)


_remembered: deque[tuple[Credentials, KeyDerivation, DerivedKey]] = deque(maxlen=_REMEMBERED)
_turn = threading.Lock()


def derive_key(credentials: Credentials, derivation: KeyDerivation) -> DerivedKey:
    """Return the key of `credentials` for a salt; derived once for each of the last eight."""
    with _turn:
        for owner, known, key in _remembered:
            if known == derivation and owner == credentials:
                return key
        derived = credentials.derive_key(bytes.fromhex(derivation.salt), n=derivation.n, r=derivation.r, p=derivation.p)
        key = DerivedKey(derived)
        _remembered.append((credentials, derivation, key))
        return key
