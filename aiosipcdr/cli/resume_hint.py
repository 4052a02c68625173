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

_SPAN: Final = {"--start": 1, "--end": 1, "--last": 1, "--yesterday": 0}
_PRIVATE: Final = {"--phone", "--proxy"}  # a proxy's address may hold a password
_ONCE: Final = {"--restart"}


def resume_command(start: datetime, end: datetime, *, keep_words: bool = False) -> str:
    """Return the command that resumes this one.

    Args:
        start: The start of the range.
        end: Its end.
        keep_words: Keep the range as it was given; else both times are written, since "--last 24h" would mean another
            range by then.
    """
    words = [word for word in invocation.get() if word not in _ONCE]
    if not keep_words:
        words = [*_without_span(words), "--start", start.isoformat(), "--end", end.isoformat()]
    return shlex.join(["aiosipcdr", *_discreet(words)])


def _without_span(words: Sequence[str]) -> Iterator[str]:
    left_out = 0
    for word in words:
        name, equals, _ = word.partition("=")
        if left_out:
            left_out -= 1
        elif name in _SPAN:
            left_out = 0 if equals else _SPAN[name]
        else:
            yield word


def _discreet(words: Sequence[str]) -> Iterator[str]:
    is_private = False
    for word in words:
        name, equals, _ = word.partition("=")
        if is_private:
            word = "THE-SAME"  # noqa: PLW2901 - that is the point
        elif name in _PRIVATE and equals:
            word = f"{name}=THE-SAME"  # noqa: PLW2901 - likewise
        is_private = word in _PRIVATE
        yield word
