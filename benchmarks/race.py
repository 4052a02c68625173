"""Client CPU of several libraries for the same calls, on accounts as the vendor's page describes them.

The endpoint runs in a process of its own, each contender in another, pinned to
different cores if the system allows it. Every round goes through all accounts, so
that a slow minute of the machine is not one account's. It starts each contender
anew, warms it up with a few calls, and lets it fetch all of them twice: first
with fresh memory, as in a nightly job, then again, as in a service. The medians of
the rounds' ratios to a bare loop that reads the pages alone are compared.
Run: python3 benchmarks/race.py (under 10 minutes), or with --quick (about 2)
"""

import argparse
import random
import tempfile
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path

import msgspec
from course.calls import PROFILES
from course.chart import draw_bars
from course.contenders import CONTENDERS, find_missing
from course.figures import Ratio, describe_machine, median, print_table, ratio
from course.instructions import count_instructions, find_valgrind
from course.processes import Certificates, Course, Runner
from course.runner import Measured
from course.task import Task

_WARMING = 2_000
_MOST = 600_000

Rounds = dict[str, list[Measured]]

OWN = ("pages", "fetch_all", "stream", "ndjson")
TYPED = ("pages", "fetch_all", "stream", "curl", "pyreqwest", "rnet", "httpx_msgspec")
"""The contenders whose records have types."""


class Account(msgspec.Struct, frozen=True):
    """What is fetched, and by whom.

    Attributes:
        profile: What its records look like, see `course.calls.PROFILES`.
        contenders: Who takes part.
        calls: How many there are, if not as many as the command line says.
        is_tls: Whether it is fetched over TLS.
        limit: The bound for `fetch_all` to the bare loop.
    """

    profile: str
    contenders: tuple[str, ...] = OWN
    calls: int | None = None
    is_tls: bool = False
    limit: float = 1.20


ACCOUNTS = {
    **{name: Account(name) for name in PROFILES},
    "all contenders": Account("null", tuple(CONTENDERS)),
    "TLS": Account("null", TYPED, is_tls=True),
    "second, 600,000 calls": Account("second", ("pages", "fetch_all"), calls=_MOST, limit=1.25),
}
"""The first is the vendor's page; the others differ from it as they say.

All contenders read it, too, but in a race of their own: a round of them takes a minute, in which the machine changes.
"""

GOALS = [
    ("stream to fetch_all", "stream", "fetch_all", "at most", 1.10),
    ("NDJSON to fetch_all", "ndjson", "fetch_all", "at most", 1.40),
    ("httpx and pydantic to fetch_all", "httpx", "fetch_all", "at least", 7.0),
    ("dlt's client to fetch_all", "dlt", "fetch_all", "at least", 4.8),
    ("dlt's pipeline to export", "pipeline", "export", "at least", 11.0),
]
"""What is compared, who with whom, and the bound for the CPU of a call; wherever both take part."""


def record(course: Course, concurrency: int, folder: str, names: list[str]) -> Task:
    """Return the task to fetch all calls of `course`, with the requests that `fetch_all` sends if they are replayed."""
    task = msgspec.structs.replace(course.task, concurrency=concurrency, folder=folder)
    if not {"floor", "limit"} & {*names}:
        return task
    with Runner("fetch_all") as runner:
        course.record()
        runner.run(task)
        return msgspec.structs.replace(task, bodies=course.seen())


class Race:
    """The contenders of an account, in another order each round.

    Attributes:
        first: What the first runs took.
        again: What the second ones took.
        server: The endpoint's CPU seconds for a request.
    """

    def __init__(self, account: Account, names: list[str], calls: int, concurrency: int, stack: ExitStack) -> None:
        """Start the endpoints, until `stack` is closed."""
        self._names = names
        self._calls = calls
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        tls = Certificates(folder) if account.is_tls else None
        self._course = stack.enter_context(Course(calls, account.profile, tls=tls))
        small = stack.enter_context(Course(_WARMING, account.profile, tls=tls))
        self._task, self._warming = (record(each, concurrency, folder, names) for each in (self._course, small))
        self.first: Rounds = {name: [] for name in names}
        self.again: Rounds = {name: [] for name in names}
        self.server: dict[str, list[float]] = {name: [] for name in names}

    def run(self, number: int) -> None:
        """Run each contender once more, in the order of round `number`."""
        for name in random.Random(number).sample(self._names, len(self._names)):
            with Runner(name) as runner:
                for _ in range(2):
                    runner.run(self._warming)
                self._course.reset()
                first = runner.run(self._task)
                stats = self._course.stats()
                again = runner.run(self._task)
            for one in (first, again):
                if one.calls < self._calls or one.requests != stats["requests"]:
                    raise SystemExit(f"{name} has read {one.calls} calls, reports {one.requests} requests")
            self.first[name].append(first)
            self.again[name].append(again)
            self.server[name].append(stats["cpu"] / stats["requests"])

    def compare(self, name: str, other: str) -> tuple[Ratio, Ratio]:
        """Compare the CPU of two contenders for one call, in the first runs and in the second ones."""
        cold, warm = (
            ratio(*([one.cpu / one.calls for one in reported[each]] for each in (name, other)))
            for reported in (self.first, self.again)
        )
        return cold, warm

    def print(self) -> None:
        """Print a row for each contender, the one with the least CPU first."""
        rows = []
        for name in sorted(self.first, key=lambda name: self.compare(name, "pages")[0].median):
            timed = self.first[name]
            cpu, wall = median(map(attrgetter("cpu"), timed)), median(map(attrgetter("wall"), timed))
            calls, requests = timed[0].calls, timed[0].requests
            first = [one.first for one in timed if one.first is not None]
            rows.append(
                (
                    CONTENDERS[name][2],
                    requests,
                    f"{cpu / calls * 1e8:,.0f}",
                    *self.compare(name, "pages"),
                    f"{calls / wall:,.0f}",
                    f"{median([one.peak - one.before for one in timed]):.0f}",
                    f"{median(first) * 1e3:.0f}" if first else "all at once",
                    f"{median(self.server[name]) * 1e6:.0f}",
                )
            )
        names = (
            "contender",
            "requests",
            "CPU µs a page of 100",
            "CPU a call, to the bare loop",
            "again",
            "calls a second",
        )
        print_table((*names, "memory MiB", "first call ms", "endpoint's CPU µs"), rows)


def print_goals(raced: dict[str, Race]) -> None:
    """Print what was aimed at and what was reached."""
    rows = []
    goals = [("fetch_all to the bare loop", "fetch_all", "pages", "at most", 1.20), *GOALS]
    for text, name, other, side, bound in goals:
        for account, results in raced.items():
            if name not in results.first or other not in results.first:
                continue
            limit = ACCOUNTS[account].limit if (name, other) == ("fetch_all", "pages") else bound
            row: list[object] = [f"{text}: {account}", f"{side} {limit:.2f}"]
            for found in results.compare(name, other):
                is_met = found.median <= limit if side == "at most" else found.median >= limit
                row += [found, "yes" if is_met else "no"]
            rows.append(row)
    print_table(("CPU a call", "goal", "median (middle half)", "met", "again", "met"), rows)


def print_instructions(calls: int) -> None:
    """Print the instructions of those that are close to each other, for each profile."""
    if find_valgrind() is None:
        print("valgrind is not installed: no instructions are counted (Debian: apt-get install valgrind)\n")
        return
    names, counted = ("pages", "fetch_all", "stream"), {}
    tasks = []
    courses = [Course(calls, profile) for profile in PROFILES]
    try:
        tasks = [course.task for course in courses]
        counted = {name: count_instructions(name, tasks) for name in names}
    finally:
        for course in courses:
            course.close()
    rows = [
        (
            profile,
            *(f"{counted[name][place] / calls:,.0f}" for name in names),
            *(f"{counted[name][place] / counted['pages'][place]:.3f}" for name in names[1:]),
        )
        for place, profile in enumerate(PROFILES)
    ]
    ratios = [f"{CONTENDERS[name][2]}, to the bare loop" for name in names[1:]]
    print_table(("instructions a call", *(CONTENDERS[name][2] for name in names), *ratios), rows)


def draw(reported: Rounds, path: Path) -> None:
    """Write a chart of the CPU that 100 calls take."""
    taken = {name: median([one.cpu / one.calls for one in reported[name]]) * 1e8 for name in reported}
    bars = [
        (CONTENDERS[name][2], taken[name], f"{taken[name] / 1000:.2f} ms", CONTENDERS[name][0].startswith("ours"))
        for name in sorted(taken, key=taken.__getitem__)
    ]
    path.write_text(draw_bars("Client CPU for 100 call records (less is better)", bars))


def main() -> None:
    """Measure, print Markdown, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--accounts", nargs="+", choices=ACCOUNTS, default=list(ACCOUNTS), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="10,000 calls, 2 rounds, without dlt's pipeline")
    parser.add_argument("--instructions", type=int, default=0, metavar="CALLS", help="count them, for so many calls")
    parser.add_argument("--chart", type=Path, help="where to write the chart (SVG)")
    given = parser.parse_args()
    calls, rounds = (10_000, 2) if given.quick else (given.calls, given.rounds)
    left_out = find_missing() | ({"pipeline": "--quick"} if given.quick else {})
    print(f"{calls:,} calls, {rounds} rounds, concurrency {given.concurrency}; {describe_machine()}\n")
    for name, why in left_out.items():
        print(f"left out: {CONTENDERS[name][2]} ({why})\n")
    raced: dict[str, Race] = {}
    with ExitStack() as stack:
        for title in given.accounts:
            account = ACCOUNTS[title]
            if given.quick and account.calls is not None:
                continue
            names = [
                name for name in account.contenders if name in {"pages", *given.contenders} and name not in left_out
            ]
            raced[title] = Race(account, names, account.calls or calls, given.concurrency, stack)
        for number in range(rounds):
            for one in raced.values():
                one.run(number)
    for title, one in raced.items():
        print(f"### {title}\n")
        one.print()
    print_goals(raced)
    if given.chart is not None and "all contenders" in raced:
        draw(raced["all contenders"].first, given.chart)
    if given.instructions:
        print_instructions(given.instructions)


if __name__ == "__main__":
    main()
