"""The decoder's contract for any bytes, used by hypothesis and atheris."""

import json

from aiosipcdr import ProtocolError
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, Refusal
from tests.faults.shapes import whole_call


def answer(records: list[dict[str, object]]) -> bytes:
    data = {"total": len(records), "size": 100, "current": 1, "pages": 1, "records": records}
    return json.dumps({"status": "0", "reason": "success", "data": data}, separators=(",", ":")).encode()


TRUE = [
    answer([whole_call(n) for n in range(3)]),
    answer([whole_call(1, costEur="0.1", rate=None, voiceId=7)]),
    answer([whole_call(1, cost="", callTime="")]),
    answer([]),
    b'{"status":"-18","reason":"Port program unusual","data":null}',
]


def look(body: bytes) -> None:
    """Fail where bytes become anything but a page, a refusal or an error of ours, or are shown."""
    answer = PageDecoder().decode(body)
    assert isinstance(answer, PageAnswer | Refusal | ProtocolError), type(answer)
    repr(answer)
    if isinstance(answer, PageAnswer):
        assert min(answer.page.total, answer.page.size, answer.page.current, answer.page.pages) >= 0
        for record in answer.page.records:
            assert isinstance(record.voice_id, str)
        for quarantined in answer.quarantined:
            assert quarantined.identity
