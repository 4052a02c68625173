"""How often a vendor's faults end in a false certificate, and what the proof costs healthy vendors.

Every fault is driven in memory, without a network: a vendor with that habit, seeded, against the plan that
`fetch_all` and `export` use. A certificate is false when a row that was there at the instant of its count was not
handed over, or one was handed over twice. Nothing is timed, and the same command prints the same table.
Run: python3 benchmarks/false_certificates.py [--runs 50] [--only TEXT] [--show]
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import aiosipcdr

# The package is what is installed; only the model of the vendor comes from this checkout.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.proof.vendor_faults import FAULTS, HEALTHY, Fault, tally


def print_row(fault: Fault, runs: int, *, show: bool) -> None:
    """Measure one fault and print its row."""
    verdicts, results = tally(fault, runs)
    ratio = median(result.requests / result.pages for result in results)
    most = max(result.requests / result.pages for result in results)
    refused = verdicts["refused"] + verdicts["storm"]
    print(
        f"| {fault.item} | {fault.name} | {len(results)} | {verdicts['false']} | {refused} | {verdicts['certified']} |"
        f" {ratio:.2f} | {most:.2f} |",
        flush=True,
    )
    if show:
        whys = Counter(result.why or f"{type(result.error).__name__}: {result.error}"[:150] for result in results)
        for why, times in whys.most_common(4):
            print(f"  {times} × {why}", file=sys.stderr)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description="Measure false certificates.")
    parser.add_argument("--runs", type=int, default=50, help="trials of a fault; large ones have fewer (50)")
    parser.add_argument("--only", default="", help="faults whose item or name contains this text")
    parser.add_argument("--show", action="store_true", help="say on stderr how trials ended")
    given = parser.parse_args()
    chosen = [fault for fault in FAULTS if given.only in f"{fault.item} {fault.name}"]
    healthy = [fault for fault in HEALTHY if given.only in f"{fault.item} {fault.name}"]
    header = "| runs | false | refused | certified | requests a page, median | most |"
    header += "\n|---|---|---:|---:|---:|---:|---:|---:|"
    print(f"aiosipcdr {aiosipcdr.__version__}, {Path(aiosipcdr.__file__).parent}\n", file=sys.stderr)
    print(f"| item | fault {header}")
    for fault in chosen:
        print_row(fault, given.runs, show=given.show)
    print(f"\n| item | healthy vendor {header}")
    for fault in healthy:
        print_row(fault, given.runs, show=given.show)


if __name__ == "__main__":
    main()
