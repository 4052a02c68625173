"""The way of a page through the package, counted: modules, calls, and changes of module.

`fetch_all` runs with one request at a time, so that nothing else happens
meanwhile, and a profiler notes every call of a Python function of the package.
Not counted: generators and coroutines that go on, comprehensions (Python 3.12
inlines them), and what the standard library and other packages do.

Three stretches are counted, each for the sixth page of a window, neither the
first nor the last:

- `page`: from reading the bytes of the answer to the end of what it causes:
  decoded, checked, its rows kept for the caller's list, the plan asked what has changed.
- `turn`: from there to the same point of the next page; includes choosing,
  signing and sending the request between them.
- `window`: what it takes, once for a window of up to 2,000 rows, to take
  the window from the plan and add its rows to the caller's list.
"""

import asyncio
import sys
from pathlib import Path
from types import FrameType

import msgspec

import aiosipcdr
from aiosipcdr import CdrClient
from course.calls import END, START
from course.task import KEY, SECRET, Task

__all__ = ["Steps", "trace_page"]

_PACKAGE = str(Path(aiosipcdr.__file__).parent)
_PAGE = 6  # of the second window: everything is warm, and more pages follow
_INLINED = ("<listcomp>", "<setcomp>", "<dictcomp>")


class Call(msgspec.Struct, frozen=True):
    """The call of a function: its module's path in the package, and its qualified name."""

    module: str
    name: str


class Steps(msgspec.Struct, frozen=True):
    """The calls of one stretch, in order."""

    calls: list[Call]

    @property
    def modules(self) -> int:
        """How many modules of the package they run in."""
        return len({call.module for call in self.calls})

    @property
    def changes(self) -> int:
        """How many of them are in another module than the call before."""
        return sum(one.module != other.module for one, other in zip(self.calls, self.calls[1:], strict=False))


class _Tracer:
    """A profiler that keeps the calls of the package, and how many there were at each end of `Engine._settle`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.settled: list[int] = []
        self._entered: dict[int, FrameType] = {}  # keeps the frames alive, so that no id is used twice

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG002 - as sys has it
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) or event not in {"call", "return"}:
            return
        if event == "return":
            if code.co_name == "_settle" and code.co_filename.endswith("engine.py"):
                self.settled.append(len(self.calls))
            return
        if id(frame) in self._entered or code.co_name in _INLINED:
            return
        self._entered[id(frame)] = frame
        self.calls.append(Call(code.co_filename[len(_PACKAGE) + 1 :], code.co_qualname))


def trace_page(task: Task) -> dict[str, Steps]:
    """Return the calls of each stretch."""
    tracer = _Tracer()

    async def main() -> None:
        address = f"http://127.0.0.1:{task.port}/v3/voice"
        async with CdrClient(address, KEY, SECRET, concurrency=1) as client:
            await client.fetch_all(START, END)
            sys.setprofile(tracer)
            try:
                await client.fetch_all(START, END)
            finally:
                sys.setprofile(None)

    asyncio.run(main())
    calls = tracer.calls
    reads = [place for place, call in enumerate(calls) if call.name in {"read_body", "_read_body"}]
    taken = [place for place, call in enumerate(calls) if call.name.endswith(".take_complete")]
    first = next(at for at, place in enumerate(reads) if place > taken[0])
    begin, following = reads[first + _PAGE - 1], reads[first + _PAGE]
    end = next(place for place in tracer.settled if place > begin)
    handed_over = next(place for place in range(taken[1], len(calls)) if calls[place].name == "Engine.wake")
    return {
        "page": Steps(calls[begin:end]),
        "turn": Steps(calls[begin:following]),
        "window": Steps(calls[taken[1] : handed_over]),
    }
