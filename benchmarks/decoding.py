"""Cost of decoding a page of 100 records, with each way in which the vendor writes missing values.

Contenders are interleaved and repeated; the ratios are medians over rounds of
one run, since single timings are noisy. Run: python3 benchmarks/decoding.py
"""

import statistics
import time
from collections.abc import Callable

import msgspec

from aiosipcdr.wire.codec import PageAnswer, PageDecoder

RECORDS = 100
NEVER_ANSWERED = 0.4
ROUNDS = 60
LOOPS = 40

ANSWERED = {
    "voiceId": "",
    "sipGroupName": "group1",
    "phoneName": "sales-17",
    "callee": "15550100123",
    "displayNum": "15550100199",
    "code": "United States(New York)",
    "submitTime": "2026-10-01T08:00:00+08:00",
    "callTime": "2026-10-01T08:00:00+08:00",
    "ringingTime": "2026-10-01T08:00:02+08:00",
    "answerTime": "2026-10-01T08:00:09+08:00",
    "hangupTime": "2026-10-01T08:00:51+08:00",
    "callDuration": 42,
    "chargedDuration": 60,
    "terminationCode": "200",
    "terminationReason": "OK",
    "cost": "0.0132",
    "billPeriod": "60+60",
    "rate": "0.0132",
    "recordingFileId": "1202610010800cc2484c59d4f8b9745d34226285b1e.mp3",
    "currency": "USD",
}
ABSENT_WHEN_UNANSWERED = ("answerTime", "recordingFileId")


def page(absent: object) -> bytes:
    """Build an answer; a value of `...` leaves the key out."""
    records = []
    for number in range(RECORDS):
        record: dict[str, object] = {**ANSWERED, "voiceId": str(2203031113381000000 + number)}
        # Evenly spread: every run of ten has its four.
        if number % 10 < NEVER_ANSWERED * 10:
            record |= dict.fromkeys(ABSENT_WHEN_UNANSWERED, absent) | {
                "callDuration": 0,
                "chargedDuration": 0,
                "cost": "0",
            }
        records.append({key: value for key, value in record.items() if value is not ...})
    data = {"total": RECORDS, "size": RECORDS, "current": 1, "pages": 1, "searchCount": True, "records": records}
    return msgspec.json.encode({"status": "0", "reason": "success", "data": data})


def decoding(body: bytes) -> Callable[[], object]:
    """Return a decode of `body` by a decoder that has seen such a page before."""
    decoder = PageDecoder()

    def decode() -> object:
        return decoder.decode(body)

    answer = decode()
    if not isinstance(answer, PageAnswer) or len(answer.page.records) != RECORDS or answer.quarantined:
        raise SystemExit("the page was not decoded as it should be")
    return decode


def main() -> None:
    """Measure and print a Markdown table."""
    euro = page(None).replace(b'"cost"', b'"costEur"')
    contenders = {
        "null (reference)": decoding(page(None)),
        '""': decoding(page("")),
        "missing": decoding(page(...)),
        "null, costEur": decoding(euro),
        "null, a field we do not know": decoding(page(None).replace(b'"code":', b'"newField":1,"code":')),
    }
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, decode in contenders.items():
            begun = time.perf_counter()
            for _ in range(LOOPS):
                decode()
            samples[name].append((time.perf_counter() - begun) / LOOPS * 1e6)
    reference = samples["null (reference)"]
    print(
        f"page of {RECORDS} records, {len(page(None)):,} bytes, {NEVER_ANSWERED:.0%} never answered, {ROUNDS} rounds\n"
    )
    print("| absent is written as | median µs | ratio | middle half of the ratios |")
    print("|---|---:|---:|---|")
    for name, taken in samples.items():
        ratios = sorted(one / other for one, other in zip(taken, reference, strict=True))
        quarter = len(ratios) // 4
        print(
            f"| {name} | {statistics.median(taken):.0f} | {statistics.median(ratios):.2f} |"
            f" {ratios[quarter]:.2f} to {ratios[-quarter - 1]:.2f} |"
        )


if __name__ == "__main__":
    main()
