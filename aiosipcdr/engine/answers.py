"""What came over HTTP, as a page or as the error that it tells.

Decides nothing about what follows; keeps the key out of the vendor's words.
"""

from http import HTTPStatus

from aiosipcdr.classification import http_error, vendor_error
from aiosipcdr.errors import ClockSkewError, ProtocolError, SipCdrError
from aiosipcdr.policy.clock import measure_offset
from aiosipcdr.protocol.codec import PageAnswer, PageDecoder, Refusal
from aiosipcdr.protocol.signing import Credentials
from aiosipcdr.transport import Received

__all__ = ["read_answer"]


def read_answer(
    received: Received,
    decoder: PageDecoder,
    credentials: Credentials,
    *,
    current: int,
    size: int,
    sent: float,
    now: float,
) -> PageAnswer | SipCdrError:
    """Return what `received` holds.

    Args:
        received: the answer.
        decoder: reads its body.
        credentials: what the request was signed with; the vendor's words may quote the key.
        current: the page that was asked for.
        size: the records that were asked for.
        sent: this machine's Unix time when the request was signed.
        now: likewise when the answer had come.
    """
    answer = decoder.decode(received.body, current=current, size=size, mask=credentials.mask)
    if isinstance(answer, Refusal):
        error = _refused(received, answer)
        if isinstance(error, ClockSkewError):
            error.offset = measure_offset(received.date, sent, now)
        return error
    if received.status != HTTPStatus.OK:
        return http_error(received.status, retry_after=received.retry_after)
    if isinstance(answer, ProtocolError) and received.content_type != "application/json":
        foreign = ProtocolError(f"{answer}, sent as {received.content_type or 'nothing'}", retryable=answer.retryable)
        foreign.is_foreign = True
        return foreign
    return answer


def _refused(received: Received, answer: Refusal) -> SipCdrError:
    code, reason = answer.status, answer.reason
    if received.status == HTTPStatus.OK:
        return vendor_error(code, reason, retry_after=received.retry_after)
    return http_error(received.status, retry_after=received.retry_after, code=code, reason=reason)
