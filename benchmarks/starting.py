"""What does importing cost?

Each import has a fresh process.  Run: python3 benchmarks/starting.py
"""

import argparse
import os
import subprocess
import sys
import tempfile

from course.figures import describe_machine, median, print_table

IMPORTS = {
    "aiohttp": ("", "aiohttp"),
    "aiosipcdr": ("", "aiosipcdr"),
    "aiosipcdr, after aiohttp": ("aiohttp", "aiosipcdr"),
    "aiosipcdr and its client, after aiohttp": ("aiohttp", "aiosipcdr; aiosipcdr.CdrClient"),
    "httpx, pydantic": ("", "httpx, pydantic"),
    "requests": ("", "requests"),
    "dlt's RESTClient": ("", "dlt.sources.helpers.rest_client"),
}


def measure(there: str, wanted: str, cache: str) -> float:
    """Return the milliseconds of an import in a fresh process, compiled modules being in the folder `cache`."""
    before = f"import {there}; " if there else ""
    script = f"{before}import time; began = time.perf_counter(); import {wanted}; print(time.perf_counter() - began)"
    environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout) * 1e3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(given.rounds + 1):
            for name, (there, wanted) in IMPORTS.items():
                milliseconds = measure(there, wanted, cache)
                if number:  # the first round compiles
                    taken[name].append(milliseconds)
    print(f"{given.rounds} rounds; {describe_machine()}\n")
    rows = [(name, f"{median(each):.0f}", f"{min(each):.0f}", f"{max(each):.0f}") for name, each in taken.items()]
    print_table(("import", "median ms", "least", "most"), rows)


if __name__ == "__main__":
    main()
