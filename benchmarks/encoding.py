"""What does it cost to turn 100,000 calls into the bytes of each format?

The sandbox makes the calls up; they come in batches of 2,000, as windows do,
and become rows first, as in the journal.
Contenders are interleaved: CPU seconds of this process, medians of the rounds.
"""

import asyncio
import statistics
import time
from collections.abc import Callable

from aiosipcdr import CallDetailRecord, CdrClient
from aiosipcdr.export import FORMATS, encode_rows, open_encoder
from aiosipcdr.export.masking import Pseudonyms, mask_number
from aiosipcdr.export.render import encode_lists
from aiosipcdr.model.arrow import record_batches
from aiosipcdr.sandbox import Sandbox

CALLS = 100_000
BATCH = 2_000
ROUNDS = 3


async def made_up_calls() -> list[CallDetailRecord]:
    """Fetch the sandbox's calls."""
    with Sandbox(records=CALLS) as sandbox:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
            return await client.fetch_all(sandbox.start, sandbox.end)


def encode(name: str, records: list[CallDetailRecord]) -> int:
    """Encode all `records` and return the number of bytes."""
    if name == "arrow":
        return sum(batch.nbytes for batch in record_batches(records))
    masks: dict[str, Callable[[str], str]] = {"masked": mask_number, "pseudonyms": Pseudonyms(b"a key for a benchmark")}
    form, _, masking = name.partition(", ")
    encoder = open_encoder(form.split()[0], spreadsheet="spreadsheet" in form)
    size = len(encoder.begin())
    for start in range(0, len(records), BATCH):
        batch, mask = records[start : start + BATCH], masks.get(masking)
        rows = (encode_lists(batch, mask=mask) if form == "parquet" else None) or encode_rows(batch, mask=mask)
        size += len(encoder.encode(rows))
    return size + len(encoder.finish())


def main() -> None:
    """Print one line for each contender."""
    records = asyncio.run(made_up_calls())
    contenders = [*FORMATS, "csv spreadsheet", "ndjson, masked", "ndjson, pseudonyms", "arrow"]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    sizes = {name: encode(name, records) for name in contenders}  # and every import is done
    for _ in range(ROUNDS):
        for name in contenders:
            began = time.process_time()
            encode(name, records)
            seconds[name].append(time.process_time() - began)
    reference = seconds["ndjson"]
    print("| format | CPU s | to ndjson | MB |")
    print("|---|---:|---:|---:|")
    for name in contenders:
        ratio = statistics.median(own / base for own, base in zip(seconds[name], reference, strict=True))
        print(f"| {name} | {statistics.median(seconds[name]):.2f} | {ratio:.2f} | {sizes[name] / 1e6:.1f} |")


if __name__ == "__main__":
    main()
