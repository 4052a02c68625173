"""Medians, spreads and tables: what many noisy rounds come to."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

__all__ = ["Ratio", "describe_machine", "median", "print_table", "ratio"]

median = statistics.median


class Ratio(msgspec.Struct, frozen=True):
    """The median of the rounds' ratios, and their middle half."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Print the median with the middle half."""
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(own: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Compare round by round: what disturbs one contender of a round disturbs the others too."""
    ratios = sorted(one / other for one, other in zip(own, reference, strict=True))
    quarter = len(ratios) // 4
    return Ratio(median(ratios), ratios[quarter], ratios[-quarter - 1])


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown: the first column to the left, numbers to the right."""
    print(f"| {' | '.join(names)} |")
    print(f"|---|{'---:|' * (len(names) - 1)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)


def describe_machine() -> str:
    """Say what the figures were measured on."""
    import os
    import platform
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if "model name" in line), model
        )
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "msgspec"))
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}, {packages}"
