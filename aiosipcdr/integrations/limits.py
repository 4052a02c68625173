"""Limits of an application: the widest range, concurrent streams, host names.

Independent of frameworks; does no I/O.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus

from aiosipcdr.integrations.range_request import RequestError
from aiosipcdr.model.arguments import check_between

__all__ = ["MAX_RANGE", "MAX_STREAMS", "HostNotAllowedError", "Limits", "TooManyStreamsError"]

MAX_RANGE = timedelta(days=31)
MAX_STREAMS = 8

_RETRY_AFTER = 5.0

_is_name = re.compile(r"[a-z0-9._-]+|\[[0-9a-f.:]+\]").fullmatch


class TooManyStreamsError(RequestError):
    """The application is already sending as many responses as it allows."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: float | None = _RETRY_AFTER


class HostNotAllowedError(RequestError):
    """The request is for a host that the application does not serve."""

    status = HTTPStatus.BAD_REQUEST


class Limits:
    """The limits of one application, and its open streams; `None` means no limit."""

    def __init__(
        self,
        max_range: timedelta | None = MAX_RANGE,
        max_streams: int | None = MAX_STREAMS,
        allowed_hosts: Sequence[str] | None = None,
    ) -> None:
        """Check and store the limits.

        Raises:
            ValueError: A limit is not positive, or a host name is not a string.
        """
        if max_range is not None and (not isinstance(max_range, timedelta) or max_range <= timedelta()):
            raise ValueError(
                f"max_range must be a positive timedelta, or None for ranges of any width, not {max_range!r}"
            )
        if max_streams is not None:
            check_between("max_streams", max_streams, 1, 1_000_000)
        if isinstance(allowed_hosts, str) or not all(isinstance(host, str) and host for host in allowed_hosts or ()):
            raise ValueError('allowed_hosts must be host names as in ["calls.example.com", "*.example.org"]')
        self.max_range: timedelta | None = max_range
        self.max_streams: int | None = max_streams
        self.allowed_hosts: tuple[str, ...] | None = (
            None if allowed_hosts is None else tuple(host.lower() for host in allowed_hosts)
        )
        self.open_streams: int = 0

    def __eq__(self, other: object) -> bool:
        """Compare the settings."""
        return isinstance(other, Limits) and self._settings == other._settings

    def __hash__(self) -> int:
        """Hash the settings."""
        return hash(self._settings)

    @property
    def _settings(self) -> tuple[object, ...]:
        return self.max_range, self.max_streams, self.allowed_hosts

    def merged_with(self, other: "Limits") -> "Limits":
        """Return the limits that apply: those of the two that are not all defaults.

        For example:

            Limits(max_streams=4).merged_with(Limits()).max_streams  # 4

        Raises:
            ValueError: Both were set, and they differ.
        """
        if other == self or other == Limits():
            return self
        if self == Limits():
            return other
        raise ValueError("the limits of this application were set twice and differ; set them in one place")

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one more stream while the block runs.

        For example:

            with limits.stream():
                await send(response)

        Raises:
            TooManyStreamsError: `max_streams` are already open.
        """
        if self.max_streams is not None and self.open_streams >= self.max_streams:
            raise TooManyStreamsError(f"{self.max_streams} responses are already being sent; try again later")
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1

    def check_host(self, header: str | None) -> None:
        """Check the `Host` of a request: its name, without the port, must match `allowed_hosts`.

        For example:

            Limits(allowed_hosts=["*.example.org"]).check_host("cdr.example.org:8443")

        Raises:
            HostNotAllowedError: It does not.
        """
        if self.allowed_hosts is None:
            return
        host = (header or "").strip().lower()
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():  # no port; an IPv6 address ends with a bracket
            name = host
        # Only a plain name: "evil.example/.example.org" would match a pattern.
        if not _is_name(name) or not any(_matches(name, pattern) for pattern in self.allowed_hosts):
            raise HostNotAllowedError("the request is for a host that is not served here; check its Host header")


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern
