"""A signature is made when it is asked for, with the clock as it is known then."""

from aiosipcdr.http.transport import Signer
from aiosipcdr.policy.clock import ClockOffset
from aiosipcdr.wire.signing import Credentials, sign

CREDENTIALS = Credentials("canary-key", "canary-secret")


def test_a_request_that_waited_is_signed_with_the_offset_that_was_learned_meanwhile() -> None:
    clock = ClockOffset()
    instants = iter([1_000.0, 1_010.0])
    signer = Signer(CREDENTIALS, clock, lambda: next(instants))
    assert (signer.signed_at, signer.version) == (0.0, 0)
    clock.note_refusal(600.0, signed_under=0, now=0.0)
    headers = signer()
    assert headers == {"Api-Key": "canary-key", "Timestamp": "1600", "Sign": sign(CREDENTIALS, 1_600)}
    assert (signer.signed_at, signer.version) == (1_000.0, 1)
    assert signer()["Timestamp"] == "1610"
    assert signer.signed_at == 1_010.0
