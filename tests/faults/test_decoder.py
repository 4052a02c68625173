"""Responses damaged at random: the decoder returns a result and raises nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.decoded import TRUE, look
from tests.selection import ALL

damage = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 40)),
    st.tuples(st.just("double"), st.floats(0, 1), st.integers(1, 60)),
    st.tuples(st.just("enlarge"), st.floats(0, 1), st.integers(1, 5_000)),
    st.tuples(st.just("nest"), st.floats(0, 1), st.integers(1, 3_000)),
    st.tuples(st.just("put"), st.floats(0, 1), st.binary(max_size=12)),
)


def damaged(body: bytes, kind: str, where: float, what: int | bytes) -> bytes:
    at = int(where * max(0, len(body) - 1))
    head, tail = body[:at], body[at:]
    if isinstance(what, bytes):
        return head + what + tail
    match kind:
        case "flip":
            return head + bytes([tail[0] ^ what]) + tail[1:] if tail else body
        case "cut":
            return head
        case "drop":
            return head + tail[what:]
        case "double":
            return head + tail[:what] + tail
        case "enlarge":
            digits = [n for n in range(at, len(body)) if body[n : n + 1].isdigit()]
            return body[: digits[0]] + b"9" * what + body[digits[0] :] if digits else body
        case _:
            return head + b"[" * what + tail + b"]" * what


@given(st.sampled_from(TRUE), st.lists(damage, min_size=1, max_size=6))
@settings(max_examples=settings().max_examples * (40 if ALL else 15))
def test_a_damaged_response_raises_only_our_errors(body: bytes, done: list[tuple[str, float, int | bytes]]) -> None:
    for kind, where, what in done:
        body = damaged(body, kind, where, what)
    look(body)


@given(st.binary(max_size=300))
@settings(max_examples=settings().max_examples * 10)
def test_any_bytes_at_all_are_answered_with_ours(body: bytes) -> None:
    look(body)
