"""Cost of importing the package.

Each import runs in a fresh process. Times depend on the load of the machine, so the
table also has their ratio to aiohttp's import in the same round and, if valgrind is
installed, instructions. Run: python3 benchmarks/starting.py
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from course.figures import describe_machine, median, print_table, ratio
from course.instructions import count_script, find_valgrind
from course.pinning import CLIENT, pin

AIOHTTP = "import aiohttp"
REFERENCE = "`import aiohttp`"
OURS = "from aiosipcdr import CdrClient"

# The imports before the measurement, and the measured ones.
IMPORTS = {
    REFERENCE: ("pass", AIOHTTP),
    "`import aiosipcdr`": ("pass", "import aiosipcdr"),
    "`import aiosipcdr`, after aiohttp": (AIOHTTP, "import aiosipcdr"),
    "`from aiosipcdr import CdrClient`, after aiohttp": (AIOHTTP, OURS),
    "of this, its other two dependencies": (AIOHTTP, "import anyio, msgspec"),
    "additional imports of the first `export`": (f"{AIOHTTP}; {OURS}", "import aiosipcdr.export"),
    "httpx, pydantic": ("pass", "import httpx, pydantic"),
    "requests": ("pass", "import requests"),
    "dlt's RESTClient": ("pass", "import dlt.sources.helpers.rest_client"),
}


def measure(before: str, wanted: str, environment: Mapping[str, str]) -> float:
    """Return the milliseconds of an import in a fresh process."""
    script = f"{before}; import time; began = time.perf_counter(); {wanted}; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout) * 1e3


def count(before: str, wanted: str, environment: Mapping[str, str]) -> int:
    """Return the instructions of an import: what the interpreter takes with it, less what it takes without."""
    end = "import os; os._exit(0)"  # what importing costs, and not what taking it all down again does
    with_it = count_script(f"{before}; {wanted}; {end}", environment)
    return with_it - count_script(f"{before}; {end}", environment)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    pin(CLIENT)
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as cache:
        # Modules are compiled before, as they are after any first start.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for number in range(given.rounds + 1):
            for name, (before, wanted) in IMPORTS.items():
                milliseconds = measure(before, wanted, environment)
                if number:  # the first round compiles
                    taken[name].append(milliseconds)
        counted = {}
        if find_valgrind() is None:
            print("valgrind is not installed: no instructions are counted (Debian: apt-get install valgrind)\n")
        else:
            counted = {name: f"{count(*imports, environment) / 1e6:,.0f}" for name, imports in IMPORTS.items()}
    print(f"{given.rounds} rounds; {describe_machine()}\n")
    rows = [
        (
            name,
            *(f"{figure:.1f}" for figure in (median(each), min(each), max(each))),
            ratio(each, taken[REFERENCE]),
            counted.get(name, "not counted"),
        )
        for name, each in taken.items()
    ]
    print_table(("import", "median ms", "least", "most", "to aiohttp's", "million instructions"), rows)


if __name__ == "__main__":
    main()
