"""Guard against a more expensive client: counts instead of times, so that a busy machine cannot fail it.

For a fixed script (`fetch_all` of 6,000 calls, then the bare loop with the same requests) it counts requests, tasks,
calls of Python functions, and with valgrind also instructions, those of `stream` too. The last two are relative to the
bare loop, so that another interpreter or another aiohttp changes both. For one page from the middle of a window it
counts the modules and the calls of the package, see `course.steps`. Fails if a limit is exceeded.

Run: python3 -m nox -s guard
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import FrameType
from typing import Any

from aiosipcdr import CdrClient
from course.calls import END, START
from course.contenders.floor import replay
from course.figures import print_table
from course.instructions import count_instructions, find_valgrind
from course.processes import Course
from course.steps import trace_page
from course.task import KEY, SECRET, Task

CALLS = 6_000

# Today's values, with a small margin for variation in sockets.
MAX_REQUESTS = 70
MAX_TASKS = 84  # before Python 3.12 aiohttp creates one for each request
MAX_FUNCTION_CALLS = 1.40
# To a bare loop that reads the pages alone, by the profile of the records.
MAX_INSTRUCTIONS = {
    "fetch_all": {"null": 1.17, "empty": 1.20, "five": 1.07},
    "stream": {"null": 1.24, "empty": 1.28, "five": 1.13},
}
# Modules and calls of the package; see `course.steps` for what is counted.
MAX_STEPS = {"page": (10, 18), "turn": (12, 35), "window": (12, 46)}
STEPS = {
    "page": "a page, from its bytes to its rows",
    "turn": "a page and the request for the next one",
    "window": "a window, from its pages to the caller's list",
}


def count_tasks(task: Task) -> int:
    """Return the number of tasks that `fetch_all` creates."""
    created = 0

    def create(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **settings: Any) -> Any:  # noqa: ANN401 - the signature of asyncio
        nonlocal created
        created += 1
        return asyncio.Task(coroutine, loop=loop, **settings)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(create)
        await _fetch_all(task)

    asyncio.run(main())
    return created


async def _fetch_all(task: Task) -> None:
    async with CdrClient(task.base_url, KEY, SECRET) as client:
        records = await client.fetch_all(START, END)
    if len(records) != CALLS or not records.report.certified:
        raise SystemExit(f"the benchmark did not fetch all calls: {records.report}")


def count_function_calls(script: Callable[[], object]) -> int:
    """Return the number of calls of Python functions that `script` makes."""
    script()  # fills caches
    called = 0

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001 - the signature of sys
        nonlocal called
        called += event == "call"

    sys.setprofile(note)
    try:
        script()
    finally:
        sys.setprofile(None)
    return called


def count_all_instructions() -> list[tuple[str, str, float, bool]]:
    """Return a row for each contender and profile; none without valgrind."""
    if find_valgrind() is None:
        print("valgrind is not installed: instructions are not counted (Debian: apt-get install valgrind)\n")
        return []
    profiles = list(MAX_INSTRUCTIONS["fetch_all"])
    rows = []
    with ExitStack() as stack:
        tasks = [stack.enter_context(Course(CALLS, profile)).task for profile in profiles]
        reference = count_instructions("pages", tasks)
        for name, limits in MAX_INSTRUCTIONS.items():
            counts = count_instructions(name, tasks)
            for profile, limit, own, other in zip(profiles, limits.values(), counts, reference, strict=True):
                what = f"instructions of {name}, to the bare loop: {profile}"
                rows.append((what, f"{own / other:.3f}", limit, own / other <= limit))
    return rows


def main() -> None:
    """Count, print, and fail if a limit is exceeded."""
    with Course(CALLS) as course:
        course.record()
        tasks = count_tasks(Task(course.port))
        bodies = course.seen()
        task = Task(course.port, bodies=bodies)
        own = count_function_calls(lambda: asyncio.run(_fetch_all(task)))
        floor = count_function_calls(lambda: replay(task))
        counted = [
            ("requests", f"{len(bodies)}", MAX_REQUESTS, len(bodies) <= MAX_REQUESTS),
            ("tasks", f"{tasks}", MAX_TASKS, tasks <= MAX_TASKS),
            (
                "function calls, to the bare loop",
                f"{own / floor:.3f}",
                MAX_FUNCTION_CALLS,
                own / floor <= MAX_FUNCTION_CALLS,
            ),
        ]
        for name, steps in trace_page(task).items():
            max_modules, max_calls = MAX_STEPS[name]
            what = STEPS[name]
            counted += [
                (f"modules: {what}", f"{steps.modules}", max_modules, steps.modules <= max_modules),
                (f"calls: {what}", f"{len(steps.calls)}", max_calls, len(steps.calls) <= max_calls),
            ]
            print(f"changes of module: {what}: {steps.changes}")
    counted += count_all_instructions()
    print_table(
        ("for 6,000 calls", "counted", "at most", "kept"), [(*row[:3], "yes" if row[3] else "NO") for row in counted]
    )
    if not all(row[3] for row in counted):
        raise SystemExit("the client has become more expensive: fix it, or justify a new limit in the commit")


if __name__ == "__main__":
    main()
