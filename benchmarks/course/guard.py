"""Has a change made the client more expensive?  Counts instead of timing, so that a busy machine cannot fail it.

For a fixed script (`fetch_all` of 6,000 calls, then the bare loop with the same
requests) it counts requests, tasks, calls of functions in Python, and with
valgrind also instructions, those of `stream` too.  Each has a limit; the last two are held against the bare loop's,
so that another interpreter or another aiohttp moves both.  Fails when a limit
is passed.  Run: python3 -m nox -s guard
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from aiosipcdr import CdrClient
from course.calls import END, START
from course.contenders.floor import replay
from course.figures import print_table
from course.instructions import count_instructions, find_valgrind
from course.processes import Course
from course.task import KEY, SECRET, Task

CALLS = 6_000

# What it is today, and a little for the vagaries of sockets.
MOST_REQUESTS = 70
MOST_TASKS = 84  # before Python 3.12 aiohttp makes one for each request
MOST_FUNCTION_CALLS = 1.47
MOST_INSTRUCTIONS = {"fetch_all": 1.07, "stream": 1.13}


def count_tasks(task: Task) -> int:
    """Return how many tasks `fetch_all` creates."""
    created = 0

    def create(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **settings: Any) -> Any:  # noqa: ANN401 - as asyncio has it
        nonlocal created
        created += 1
        return asyncio.Task(coroutine, loop=loop, **settings)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(create)
        await _fetch_all(task)

    asyncio.run(main())
    return created


async def _fetch_all(task: Task) -> None:
    async with CdrClient(f"http://127.0.0.1:{task.port}/v3/voice", KEY, SECRET) as client:
        records = await client.fetch_all(START, END)
    if len(records) != CALLS or not records.report.certified:
        raise SystemExit(f"not as it should be: {records.report}")


def count_function_calls(script: Callable[[], object]) -> int:
    """Return the calls of functions in Python that `script` makes."""
    script()  # caches are warm then
    called = 0

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001 - as sys has it
        nonlocal called
        called += event == "call"

    sys.setprofile(note)
    try:
        script()
    finally:
        sys.setprofile(None)
    return called


def main() -> None:
    """Count, print, and fail where a limit is passed."""
    with Course(CALLS) as course:
        course.record()
        tasks = count_tasks(Task(course.port))
        bodies = course.seen()
        task = Task(course.port, bodies=bodies)
        own = count_function_calls(lambda: asyncio.run(_fetch_all(task)))
        floor = count_function_calls(lambda: replay(task))
        counted = [
            ("requests", f"{len(bodies)}", MOST_REQUESTS, len(bodies) <= MOST_REQUESTS),
            ("tasks", f"{tasks}", MOST_TASKS, tasks <= MOST_TASKS),
            (
                "function calls, to the bare loop",
                f"{own / floor:.3f}",
                MOST_FUNCTION_CALLS,
                own / floor <= MOST_FUNCTION_CALLS,
            ),
        ]
        if find_valgrind() is None:
            print("valgrind is not installed: instructions are not counted (Debian: apt-get install valgrind)\n")
        else:
            reference = count_instructions("floor", course, bodies)
            for name, most in MOST_INSTRUCTIONS.items():
                share = count_instructions(name, course, bodies) / reference
                counted.append((f"instructions of {name}, to the bare loop", f"{share:.3f}", most, share <= most))
    print_table(
        ("for 6,000 calls", "counted", "at most", "kept"), [(*row[:3], "yes" if row[3] else "NO") for row in counted]
    )
    if not all(row[3] for row in counted):
        raise SystemExit("the client has become more expensive: mend it, or say in the commit why it is worth it")


if __name__ == "__main__":
    main()
