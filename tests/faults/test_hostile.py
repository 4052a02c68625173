"""Hostile responses: the cost of each is measured in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from aiosipcdr import ResponseTooLargeError
from aiosipcdr.sandbox import Fault, Sandbox
from aiosipcdr.wire.codec import PageAnswer, PageDecoder
from tests.faults.hostile_answers import ATTACKS, LARGEST, WITHIN, compress
from tests.selection import pairs, some
from tests.watch import call

if not Path("/proc/self/clear_refs").exists():
    pytest.skip("only Linux says what a process has held at most", allow_module_level=True)

ROOT = Path(__file__).parents[2]

DECODER = """
import json, os, sys, traceback
from pathlib import Path
from tests.faults.hostile_answers import ATTACKS, WITHIN, measure
from aiosipcdr.wire.codec import PageDecoder, PageAnswer
from aiosipcdr.wire.codec import Refusal
from aiosipcdr.model.errors import vendor_error
from aiosipcdr.model.errors import ProtocolError

decoder = PageDecoder()
outcome = []

def decode(body):
    answer = decoder.decode(body, current=1, size=100)
    assert isinstance(answer, (PageAnswer, Refusal, ProtocolError))
    if isinstance(answer, Refusal):
        assert len(str(vendor_error(answer.status, answer.reason))) < 400
    if isinstance(answer, PageAnswer):
        assert len(answer.page.records) <= 1_000 and len(answer.unknown_fields) <= 100
    outcome.append(answer)

def warm_up():
    answer = decoder.decode(b'{"status":"0","data":{"total":0,"size":1,"current":1,"records":[]}}')
    assert isinstance(answer, PageAnswer)

def in_child(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            print(json.dumps(traceback.format_exc()))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)

def measure_file(path):
    body = path.read_bytes()
    warm_up()
    print(json.dumps(measure(lambda: decode(body))))

warm_up()
path = Path(sys.argv[1])
for name in sys.stdin:
    # Each in a child of its own, as memory that was used before is not counted again.
    in_child(lambda: path.write_bytes((ATTACKS | WITHIN)[name.strip()]()))
    in_child(lambda: measure_file(path))
"""

ASK = """
import asyncio, json, sys, tempfile
from datetime import datetime
from pathlib import Path
from aiosipcdr import CdrClient, RetryPolicy, SipCdrError
from aiosipcdr.doctor.checks import CheckedRange, RequestCounter, check_account, probe_account
from tests.faults.hostile_answers import measure
import aiosipcdr.export

url, key, secret, start, end, method = sys.argv[1:]
span = datetime.fromisoformat(start), datetime.fromisoformat(end)

async def stream(client):
    async with client.stream(*span) as stream:
        async for _ in stream: ...

async def doctor(client):
    await check_account(client, url, CheckedRange(start=span[0], end=span[1]))
    await probe_account(client, RequestCounter(), 1_000)

METHODS = {
    "fetch_page": lambda client, n: client.fetch_page(*span),
    "count": lambda client, n: client.count(*span),
    "ping": lambda client, n: client.ping(),
    "fetch_all": lambda client, n: client.fetch_all(*span),
    "stream": lambda client, n: stream(client),
    "export": lambda client, n: client.export(*span, Path(folder) / f"calls{n}.ndjson"),
    "doctor": lambda client, n: doctor(client),
}

async def main():
    async with CdrClient(url, key, secret, retry=RetryPolicy(base=0, cap=0)) as client:
        asked = [METHODS[method](client, number) for number in range(4)]
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert error is None or not isinstance(error, Exception) or isinstance(error, SipCdrError), repr(error)

with tempfile.TemporaryDirectory() as folder:
    print(json.dumps(measure(lambda: asyncio.run(main()))))
"""


PAIRS = """
import json
from decimal import Decimal
import msgspec
from aiosipcdr.proof.overlaps import EarlierWindow, Repeats, identity
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord, ExtraFields
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from tests.faults.hostile_answers import measure
from tests.proof.made_up_pages import HOUR, answer
from tests.proof.test_overlaps import at, read

CHANGED = {
    "amounts that hash alike": lambda n: {"cost": Decimal(n * (2**61 - 1))},
    "values that cannot be read": lambda n: {"extra": ExtraFields({"cost": f'"x{n}"'})},
}

def rows(change, first, last):
    return [CallDetailRecord(voice_id="1", submit_time=at(1), **change(n)) for n in range(first, last)]

def scan_of(rows):
    scan = WindowScan(100)
    for place in range(0, len(rows), 100):
        scan.plan_pages()
        page = answer(*rows[place : place + 100], total=len(rows), size=100, current=place // 100 + 1)
        scan.add_page(page, None)
        scan.drain_anomalies()
    assert scan.is_read and scan.unique == len(rows)
    return scan

def compare():
    for change in CHANGED.values():
        scan_of(rows(change, 0, 10_000))
        earlier, later = scan_of(rows(change, 0, 3_000)), scan_of(rows(change, 3_000, 6_000))
        window = read(1, 3)
        window.scan = later
        repeats = Repeats(window, [EarlierWindow(at(2), earlier, ())], TIME_FIELDS, identity)
        assert repeats.is_doubtful and repeats.decide(rows(change, 0, 6_000), is_later=True)
        later.merge(earlier)
        assert later.unique == 6_000
        split = SplitWindow(HOUR, 3_000, 1, unclaimed=rows(change, 0, 3_000))
        split.forget(rows(change, 0, 2_998), msgspec.structs.replace)
        assert len(split.unclaimed["1"]) == 2

print(json.dumps(measure(compare)))
"""


def run(script: str, *arguments: str) -> tuple[float, float, float]:
    finished = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert finished.returncode == 0, finished.stderr[-2_000:]
    added, most, cpu = json.loads(finished.stdout)
    return added, most, cpu


Measure = Callable[[str], tuple[float, float]]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    """Return what decodes the body of a name elsewhere, and returns the MiB that it added and its seconds of CPU."""
    path = tmp_path_factory.mktemp("hostile") / "body"
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", DECODER, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        reading, writing = process.stdout, process.stdin
        assert reading is not None
        assert writing is not None

        def ask(name: str) -> tuple[float, float]:
            print(name, file=writing, flush=True)
            reported = json.loads(reading.readline())
            assert isinstance(reported, list), reported
            added, _, cpu = reported
            return added, cpu

        yield ask
        writing.close()


@pytest.mark.parametrize("attack", some(ATTACKS, every=6))
def test_one_answer_costs_at_most_35_mib_and_half_a_second(attack: str, measure: Measure) -> None:
    added, cpu = measure(attack)
    assert added <= 35, f"{added:.1f} MiB"
    assert cpu <= 0.5, f"{cpu:.2f} s"


@pytest.mark.parametrize("attack", some(ATTACKS, every=9))
def test_an_attack_is_as_long_as_an_answer_may_be(attack: str) -> None:
    assert LARGEST - 70_000 <= len(ATTACKS[attack]()) <= LARGEST + 200


@pytest.mark.parametrize("attack", some(WITHIN, every=3))
def test_an_answer_that_is_read_costs_no_more(attack: str, measure: Measure) -> None:
    body = WITHIN[attack]()
    assert isinstance(PageDecoder().decode(body, size=100), PageAnswer | ResponseTooLargeError)
    added, cpu = measure(attack)
    assert added <= 35, f"{added:.1f} MiB"
    assert cpu <= 0.5, f"{cpu:.2f} s"


def test_thousands_of_rows_of_one_id_are_not_compared_in_pairs() -> None:
    _, held, cpu = run(PAIRS)
    assert held < 150, f"{held:.0f} MiB"
    assert cpu < 4, f"{cpu:.2f} s"  # about 1; in pairs it takes minutes


METHODS = ["fetch_page", "count", "ping", "fetch_all", "stream", "export", "doctor"]


@pytest.mark.parametrize(
    ("attack", "method"), some(pairs(["zeros", "unknown names", "a long reason"], METHODS[::-1]), every=7)
)
def test_four_at_once_of_every_method_cost_at_most_150_mib_and_two_seconds(attack: str, method: str) -> None:
    body = compress(ATTACKS[attack]())
    assert len(body) < 10_000 or attack == "unknown names"
    fault = Fault("http", body_hex=body.hex(), headers={"Content-Encoding": "gzip"}, times=0)
    with Sandbox(calls=[call(0)], months_back=None, faults=[fault]) as sandbox:
        place = sandbox.base_url, sandbox.api_key, sandbox.api_secret
        span = sandbox.start.isoformat(), (sandbox.start + timedelta(days=7)).isoformat()
        _, held, cpu = run(ASK, *place, *span, method)
    assert held < 150, f"{held:.0f} MiB"
    assert cpu < 2, f"{cpu:.2f} s"
