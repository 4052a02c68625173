"""A record of the vendor without a readable id; no repr shows its bytes."""

import hashlib

import msgspec

from aiosipcdr.model.windows import TimeWindow

__all__ = ["QuarantinedRecord"]


class QuarantinedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be decoded.

    Attributes:
        raw: Its bytes as sent. They may hold phone numbers, so no repr shows them.
        window: The window in which it was read.
        page: Number of the page within the window.
        reason: Why it could not be decoded.
        voice_id: Its id, if that could be read.
    """

    raw: bytes
    window: TimeWindow | None
    page: int
    reason: str
    voice_id: str | None = None

    @property
    def identity(self) -> str:
        """Its id, or a hash of its bytes if it has none."""
        return self.digest if self.voice_id is None else self.voice_id

    @property
    def digest(self) -> str:
        """Hash of its bytes."""
        return f"sha256:{hashlib.sha256(self.raw).hexdigest()}"

    def __repr__(self) -> str:
        """Show the page and the reason, not the bytes."""
        return f"QuarantinedRecord(page={self.page}, reason={self.reason!r}, raw=<{len(self.raw)} bytes>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("page", self.page), ("reason", self.reason)]
