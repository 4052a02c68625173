"""Secrets are shown by no text, and arguments by no traceback."""

import asyncio
import inspect
import traceback

import pytest
from rich.pretty import pretty_repr

from aiosipcdr.model.privacy import Secret, hide_arguments


def test_a_secret_is_shown_by_no_text() -> None:
    secret = Secret("canary")
    assert secret.reveal() == "canary"
    for text in (repr(secret), str(secret), f"{secret}", pretty_repr([secret])):
        assert "canary" not in text


def fail(text: str) -> None:
    raise LookupError(len(text))


@hide_arguments
def check(text: str, *, wanted: bool = False) -> str:
    if not wanted:
        fail(text)
    return text


class Client:
    @hide_arguments
    def __init__(self, text: str) -> None:
        check(text)

    @hide_arguments
    async def fetch(self, text: str) -> str:
        await asyncio.sleep(0)
        return await self.send(len(text))

    async def send(self, size: int) -> str:
        raise LookupError(size)


def frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_tracebacks_begin_at_the_caller() -> None:
    assert check("canary", wanted=True) == "canary"
    with pytest.raises(LookupError) as caught:
        check("canary")
    assert frames(caught.value) == ["test_tracebacks_begin_at_the_caller"]
    with pytest.raises(LookupError) as caught:
        Client("canary")
    assert frames(caught.value) == ["test_tracebacks_begin_at_the_caller"]


async def test_of_a_coroutine_function_only_its_own_frame_is_left_out() -> None:
    client = Client.__new__(Client)
    with pytest.raises(LookupError) as caught:
        await client.fetch("canary")
    own = "test_of_a_coroutine_function_only_its_own_frame_is_left_out"
    assert frames(caught.value) == [own, "send"]
    with pytest.raises(TypeError) as refused:
        await client.fetch()  # type: ignore[call-arg]
    assert frames(refused.value) == [own]


async def test_a_cancellation_shows_no_argument_either() -> None:
    task = asyncio.create_task(Client.__new__(Client).fetch("canary"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "canary" not in "".join(shown.format())


def test_a_function_keeps_its_signature_and_its_kind() -> None:
    assert str(inspect.signature(check)) == "(text: str, *, wanted: bool = False) -> str"
    assert str(inspect.signature(Client)) == "(text: str) -> None"
    assert inspect.iscoroutinefunction(Client.fetch)
    assert not inspect.iscoroutinefunction(check)
