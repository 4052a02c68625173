"""Protection of secrets and phone numbers in texts and tracebacks.

Tools such as pytest, rich and Sentry print tracebacks with the local variables of each frame, so a frame with a secret
or a phone number in plain text must not be part of a traceback.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

__all__ = ["Secret", "hide_arguments"]

F = TypeVar("F", bound=Callable[..., Any])


class Secret:
    """A text that no repr, log or traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap `text`."""
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secret(***)"


def hide_arguments(function: F) -> F:
    """Keep the arguments of `function` out of the tracebacks of what it raises.

    A plain function is one that checks its arguments: its errors begin at its caller. Of a coroutine function only its
    own frame is left out; the frames below it stay, to show where a request failed.

        @hide_arguments
        def check(phone_name: str) -> None: ...
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run(*args: object, **kwargs: object) -> object:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                own = error.__traceback__.tb_next if error.__traceback__ else None
                error.__traceback__ = own.tb_next if own else None
                raise  # a bare `raise` adds no frame

        return cast("F", run)

    @wraps(function)
    def check(*args: object, **kwargs: object) -> object:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            error.__traceback__ = None
            raise  # a bare `raise` adds no frame

    return cast("F", check)
