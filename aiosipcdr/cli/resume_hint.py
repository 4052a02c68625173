"""The command that resumes the current one, to be pasted into a shell.

Does not repeat what may be a phone number or a password.
"""

import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Final

__all__ = ["invocation", "resume_command"]

invocation: ContextVar[Sequence[str]] = ContextVar("invocation", default=())
"""The arguments of the running command."""

_SPAN: Final = {"--start": 1, "--end": 1, "--last": 1, "--yesterday": 0, "--month": 1, "--last-month": 0}
_PRIVATE: Final = {"--phone", "--proxy"}  # a proxy's address may hold a password
_ONCE: Final = {"--restart"}


def resume_command(start: datetime, end: datetime, *, keep_range: bool = False) -> str:
    """Return the command that resumes this one.

    Args:
        start: The start of the range.
        end: Its end.
        keep_range: Keep the range as it was given; else both times are written, since "--last 24h" would mean another
            range by then.
    """
    arguments = [argument for argument in invocation.get() if argument not in _ONCE]
    if not keep_range:
        arguments = [*_without_span(arguments), "--start", start.isoformat(), "--end", end.isoformat()]
    return shlex.join(["aiosipcdr", *_hide_private(arguments)])


def _without_span(arguments: Sequence[str]) -> Iterator[str]:
    skip = 0
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if skip:
            skip -= 1
        elif name in _SPAN:
            skip = 0 if equals else _SPAN[name]
        else:
            yield argument


def _hide_private(arguments: Sequence[str]) -> Iterator[str]:
    is_private = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if is_private:
            argument = "THE-SAME"  # noqa: PLW2901 - that is the point
        elif name in _PRIVATE and equals:
            argument = f"{name}=THE-SAME"  # noqa: PLW2901 - likewise
        is_private = argument in _PRIVATE
        yield argument
