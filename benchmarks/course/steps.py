"""Counts of the calls of one page: modules, calls and changes of module, from its bytes to the caller's list.

`fetch_all` runs with one request in flight, so that nothing else runs in between, and a profiler records the calls of
functions of the package. Not counted: resumed coroutines and generators, comprehensions (which Python 3.12 inlines),
and functions of other packages.

- `page`: from reading the bytes of an answer until the plan has processed it: decoded, checked, and its rows kept.
- `turn`: a `page`, and everything until the worker reads the bytes of the next page: choosing, signing and sending the
  next request.
- `window`: once per window of up to 2,000 rows, when all its pages are read: repeated rows are removed, the window is
  certified, and its records are taken for the caller's list.

Pages are from the middle of a window in a warm client. Of several, the one with the fewest calls is reported: a timer
of the event loop may add calls to the others.
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
_MIDDLE_PAGES = range(4, 12)  # of the second window, which has about 20
_INLINED = ("<listcomp>", "<setcomp>", "<dictcomp>")


class Call(msgspec.Struct, frozen=True):
    """Call of a function: the path of its module within the package, and its qualified name."""

    module: str
    name: str


class Steps(msgspec.Struct, frozen=True):
    """Calls in order."""

    calls: list[Call]

    @property
    def modules(self) -> int:
        """Number of modules of the package that run."""
        return len({call.module for call in self.calls})

    @property
    def changes(self) -> int:
        """Number of calls in another module than the call before."""
        return sum(one.module != other.module for one, other in zip(self.calls, self.calls[1:], strict=False))


class _Tracer:
    """Profiler that records the calls of the package, and their number at each return of `Engine._settle`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.settled: list[int] = []
        self._entered: dict[int, FrameType] = {}  # keeps the frames alive, so that no id is reused

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG002 - the signature of sys
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) or code.co_name in _INLINED:
            return
        if event == "return" and code.co_qualname == "Engine._settle":
            self.settled.append(len(self.calls))
        elif event == "call" and id(frame) not in self._entered:
            self._entered[id(frame)] = frame
            self.calls.append(Call(code.co_filename[len(_PACKAGE) + 1 :], code.co_qualname))


def trace_page(task: Task) -> dict[str, Steps]:
    """Return the calls of a page, a turn and a window."""
    tracer = _Tracer()

    async def main() -> None:
        async with CdrClient(task.base_url, KEY, SECRET, concurrency=1) as client:
            await client.fetch_all(START, END)
            sys.setprofile(tracer)
            try:
                await client.fetch_all(START, END)
            finally:
                sys.setprofile(None)

    asyncio.run(main())
    calls = tracer.calls
    delivered = [index for index, call in enumerate(calls) if call.name == "RangeReader.take_complete"]
    reads = [index for index, call in enumerate(calls) if call.name == "_read_body" and index > delivered[0]]
    begins = [reads[number] for number in _MIDDLE_PAGES]
    ends = [next(index for index in tracer.settled if index > begin) for begin in begins]
    nexts = [reads[number + 1] for number in _MIDDLE_PAGES]
    taken = next(index for index in range(delivered[1], len(calls)) if calls[index].name == "Engine.wake")
    return {
        "page": _fewest(calls, begins, ends),
        "turn": _fewest(calls, begins, nexts),
        "window": Steps(calls[delivered[1] : taken]),
    }


def _fewest(calls: list[Call], begins: list[int], ends: list[int]) -> Steps:
    steps = [Steps(calls[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    return min(steps, key=lambda one: len(one.calls))
