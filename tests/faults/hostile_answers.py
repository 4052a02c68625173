"""Hostile responses, small on the wire: each unpacks to the largest page of a hundred records."""

import gc
import gzip
import time
from collections.abc import Callable
from pathlib import Path

LARGEST = 101 * 64 * 1024


def page(record: Callable[[int], str], size: int = LARGEST) -> bytes:
    """Return a page of as many records as fit into `size` bytes."""
    head = b'{"status":"0","reason":"ok","data":{"total":1,"size":100,"current":1,"pages":1,"records":['
    size -= len(head) + 3
    records, number = [], 0
    while (size := size - len(one := record(number)) - 1) > 0:
        records.append(one)
        number += 1
    return head + ",".join(records).encode(errors="surrogateescape") + b"]}}"


def members(member: Callable[[int], str], size: int = LARGEST) -> bytes:
    """Return a page of one record with as many members as fit into `size` bytes."""
    filled = page(member, size - 40)
    return filled.replace(b'"records":[', b'"records":[{"voiceId":"1",').replace(b"]}}", b"}]}}")


def refusal(reason: str) -> bytes:
    return b'{"status":"-22","data":null,"reason":"' + (reason * LARGEST)[: LARGEST - 60].encode() + b'"}'


def padded(text: bytes, filling: bytes) -> bytes:
    return text.replace(b"@", (filling * LARGEST)[: LARGEST - len(text) + 1])


ATTACKS: dict[str, Callable[[], bytes]] = {
    "zeros": lambda: page(lambda _: "0"),
    "empty objects": lambda: page(lambda _: "{}"),
    "empty texts": lambda: page(lambda _: '""'),
    "nulls": lambda: page(lambda _: "null"),
    "least records": lambda: page(lambda n: f'{{"voiceId":"{n}"}}'),
    "exponents": lambda: page(lambda n: f'{{"voiceId":"{n}","cost":"1e999999"}}'),
    "exponents as numbers": lambda: page(lambda n: f'{{"voiceId":"{n}","cost":1e999999}}'),
    "distinct amounts": lambda: page(lambda n: f'{{"voiceId":"{n}","cost":"0.{n}","rate":"1.{n}"}}'),
    "long ids": lambda: page(lambda _: '{"voiceId":' + "9" * 4_300 + "}"),
    "long amounts": lambda: page(lambda n: f'{{"voiceId":"{n}","cost":"' + "9" * 4_300 + '"}'),
    "unknown names": lambda: members(lambda n: f'"x{n}":0'),
    "unknown names in data": lambda: padded(b'{"status":"0","data":{@"total":0}}', b'"x":0,'),
    "unknown names around": lambda: padded(b'{@"status":"0","data":null}', b'"x":0,'),
    "a long reason": lambda: refusal("x"),
    "a reason of digits": lambda: refusal("1 "),
    "a reason of commas": lambda: refusal("a,"),
    "deep arrays": lambda: padded(b'{"status":"0","data":@}', b"["),
    "quotes": lambda: padded(b'{"status":"0","data":[@', b'"'),
    "blanks": lambda: padded(b'{"status":@"0","data":null}', b" "),
    "blanks and no end": lambda: padded(b'{"status":@', b" "),
    "escapes": lambda: padded(b'{"status":"0","reason":"@\xff","data":null}', b"\\u0041"),
    "half surrogates": lambda: padded(b'{"status":"0","reason":"@","data":null}', b"\\ud800"),
    # One character beyond the others makes four bytes of each.
    "one huge text": lambda: page(lambda n: f'{{"voiceId":"{n}","code":"\U0001f642' + "x" * (LARGEST - 200) + '"}'),
    "long texts": lambda: page(lambda n: f'{{"voiceId":"{n}","code":"' + "x" * 60_000 + '"}'),
    "raw tabs": lambda: page(lambda n: f'{{"voiceId":"{n}","code":"\t"}}'),
    "empty values": lambda: padded(b'{"status":"0","data":{"x":@}', b':""'),
    "binary": lambda: b"\xff" * LARGEST,
}

TIMES = ("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime")
WITHIN: dict[str, Callable[[], bytes]] = {
    "as many plain records as are read at once": lambda: page(lambda n: f'{{"voiceId":"{n}"}}', 260_000),
    "as many values as are read one by one": lambda: members(lambda n: f'"x{n}":"\\ud800"', 600_000),
    "a thousand records of awkward values": lambda: page(
        lambda n: f'{{"voiceId":{n},"cost":"{n}e-40",' + ",".join(f'"{t}":"2026-11-26T10:00+08"' for t in TIMES) + "}",
        180_000,
    ),
    "a thousand records of broken values": lambda: page(
        lambda n: f'{{"voiceId":{n},"cost":"\t",' + ",".join(f'"{t}":NaN' for t in TIMES) + "}", 90_000
    ),
    "a thousand records without an id": lambda: page(lambda n: f'{{"n":{n},"\t":NaN}}', 17_000),
    "broken texts": lambda: page(lambda n: f'{{"voiceId":"{n}","cost":"\udcff' + "\udcff" * 60_000 + '"}'),
    "broken names": lambda: page(lambda n: f'{{"voiceId":"{n}","\udcff' + "\udcff" * 60_000 + '":0}'),
    "broken records": lambda: page(lambda _: '{"x":"' + "\udcff" * 60_000 + '"}'),
    "wide texts": lambda: page(lambda n: f'{{"voiceId":"{n}","code":"\U0001f642' + "x" * 60_000 + '"}'),
    "deep values": lambda: page(lambda n: f'{{"voiceId":"{n}","x":' + "[" * 40 + "NaN" + "]" * 40 + "}", 100_000),
}
"""Answers that are read, at the most that they may cost."""


def compress(body: bytes) -> bytes:
    return gzip.compress(body, 9, mtime=0)


def held(what: str) -> float:
    """Return the MiB that this process holds ("VmRSS"), or has held at most since that was last reset ("VmHWM")."""
    # The kernel's figure for this program alone: getrusage also knows what was there before exec.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


def measure(work: Callable[[], object]) -> tuple[float, float, float]:
    """Return the MiB that `work` adds, the MiB that are held at most meanwhile, and its seconds of CPU."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began = held("VmRSS"), time.process_time()
    work()
    took = time.process_time() - began
    return held("VmHWM") - before, held("VmHWM"), took
