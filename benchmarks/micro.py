"""Micro-benchmarks: decoding, signing, checking and merging pages, planning windows.

Uses pytest-benchmark; its options follow the name of the script. Run:
python3 benchmarks/micro.py    (or: python3 benchmarks/micro.py --benchmark-compare)
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from course.calls import END, START, Calls
from pytest_benchmark.fixture import BenchmarkFixture

from aiosipcdr.http.transport import Signer
from aiosipcdr.model.query import Filters
from aiosipcdr.model.report import ReportBuilder
from aiosipcdr.model.windows import TimeWindow, plan_tiles, split_window
from aiosipcdr.policy.clock import AgePolicy, ClockOffset, VendorTime
from aiosipcdr.proof.budget import Budget, RowQuota
from aiosipcdr.proof.merge import OwnedSpan, RangeMerger, sort_records
from aiosipcdr.proof.page import PageRequest, Verdict, find_sorted_run, judge_answer
from aiosipcdr.proof.queries import WindowCounts
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.proof.window import WindowReader
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, encode_params, encode_query
from aiosipcdr.wire.signing import Credentials

CALLS = 1_200
WINDOW = TimeWindow(START, END)
OWNER = WindowCounts([], Filters())
AGES = AgePolicy(lambda: VendorTime(END, is_local=False), timedelta(0), timedelta(0))
_calls = Calls(CALLS)


def page(current: int, size: int = 100) -> bytes:
    """Return the answer with page `current` of all calls."""
    begin, end = min(CALLS, (current - 1) * size), min(CALLS, current * size)
    reported = bytes(_calls.block[_calls.offsets[begin] : _calls.offsets[end] - 1])
    head = b'{"status":"0","reason":"success","data":{"total":%d,"size":%d,"current":%d,"pages":%d,"records":[%b]}}'
    return head % (CALLS, size, current, -(-CALLS // size), reported)


def answer(current: int, size: int = 100) -> PageAnswer:
    """Return that page decoded."""
    decoded = PageDecoder().decode(page(current, size))
    assert isinstance(decoded, PageAnswer)
    return decoded


def read_window() -> WindowReader:
    """Read all calls as one window, from prepared answers."""
    proof = WindowReader(WINDOW, Filters(), size=100, max_rows=2_000, budget=Budget(100), ages=AGES)
    while (request := proof.next_request()) is not None:
        proof.accept(request, ANSWERS[request.current, request.size])
    return proof


PAGES = range(1, CALLS // 100 + 2)
ANSWERS = {(current, 100): answer(current) for current in PAGES} | {(1, 1): answer(1, 1)}


def test_decoding_a_page(benchmark: BenchmarkFixture) -> None:
    """A hundred records."""
    decoder, body = PageDecoder(), page(1)
    assert isinstance(benchmark(decoder.decode, body), PageAnswer)


def test_decoding_a_control_count(benchmark: BenchmarkFixture) -> None:
    """One record."""
    decoder, body = PageDecoder(), page(1, 1)
    assert isinstance(benchmark(decoder.decode, body), PageAnswer)


def test_signing(benchmark: BenchmarkFixture) -> None:
    """A request."""
    signer = Signer(Credentials("key", "secret"), ClockOffset(), datetime.now(UTC).timestamp)
    assert benchmark(signer)["Sign"]


def test_encoding_a_query(benchmark: BenchmarkFixture) -> None:
    """A request's body."""
    params = encode_params(WINDOW, Filters())
    assert benchmark(encode_query, params, current=1, size=100)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_judging_a_page(benchmark: BenchmarkFixture, is_sorted: bool) -> None:  # noqa: FBT001 - a parameter
    """Whether it is the requested page, sorted, and within the window."""
    request = PageRequest(owner=OWNER, window=WINDOW, params=b"", current=1, size=100)
    answer = ANSWERS[1, 100]
    if not is_sorted:
        records = answer.page.records
        page = msgspec.structs.replace(answer.page, records=records[::2] + records[1::2])
        answer = msgspec.structs.replace(answer, page=page)

    def judge() -> Verdict:
        sorted_run = find_sorted_run(answer.page.records)
        assert (sorted_run is not None) == is_sorted
        return judge_answer(request, answer, Filters(), sorted_run=sorted_run)[0]

    assert benchmark(judge) is Verdict.USE


def test_proving_a_window(benchmark: BenchmarkFixture) -> None:
    """1,200 calls in 12 pages, a control count, and the page after a full last one."""
    assert benchmark(read_window).report.certified


def test_merging_a_window(benchmark: BenchmarkFixture) -> None:
    """1,200 calls that no earlier window has delivered."""
    proof = read_window()

    def merge() -> int:
        return len(RangeMerger(ReportBuilder(), span=OwnedSpan(window=WINDOW)).merge(proof, ()).records)

    assert benchmark(merge) == CALLS


def test_sorting_a_window(benchmark: BenchmarkFixture) -> None:
    """1,200 calls, newest first."""
    records = [record for current in reversed(PAGES) for record in reversed(ANSWERS[current, 100].page.records)]
    assert len(benchmark(sort_records, records, may_share_ids=False)) == CALLS


def test_planning_tiles(benchmark: BenchmarkFixture) -> None:
    """Ten years."""
    window = TimeWindow(START, START + timedelta(days=3652))
    assert len(benchmark(plan_tiles, window)) > 100


def test_planning_windows(benchmark: BenchmarkFixture) -> None:
    """A tile in 800 parts: a million calls."""
    assert len(benchmark(split_window, WINDOW, 800)) == 800


def test_starting_a_range(benchmark: BenchmarkFixture) -> None:
    """A range and its first request."""

    def start() -> object:
        reader = RangeReader(OwnedSpan(window=WINDOW), Filters(), size=100, quota=RowQuota(8), ages=AGES)
        return reader.next_request()

    assert benchmark(start) is not None


if __name__ == "__main__":
    columns = "--benchmark-columns=median,iqr,ops,rounds"
    options = ["-p", "no:randomly", "-q", columns, "--benchmark-sort=name"]
    options += ["--benchmark-warmup=on", "--benchmark-max-time=0.3", "-o", f"pythonpath={Path(__file__).parent}"]
    # In a separate process: pytest warns about modules that are already imported, and warnings are errors.
    done = subprocess.run([sys.executable, "-m", "pytest", __file__, *options, *sys.argv[1:]], check=False)
    raise SystemExit(done.returncode)
