import gzip
import zlib
from itertools import islice

import pytest

from aiosipcdr.sandbox import Fault
from aiosipcdr.sandbox.faults import KINDS
from aiosipcdr.sandbox.wire_faults import (
    WITH_ANSWER,
    WITHOUT_ANSWER,
    After,
    HarmlessError,
    WireResponse,
    in_gzip,
    plan_damage,
)

ANSWER = WireResponse(200, "OK", [("Content-Type", "application/json")], b'{"status":"0"}')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LAST = b"Connection: close\r\n"
END, RESET, SILENCE = After.END, After.RESET, After.SILENCE


@pytest.mark.parametrize(
    ("fault", "expected", "after"),
    [
        (Fault("reset"), b"", RESET),
        (Fault("close"), b"", END),
        (Fault("hang"), b"", SILENCE),
        (Fault("garbage"), b"220 files.example FTP server ready.\r\n", END),
        (Fault("garbage", body_hex="00ff"), b"\x00\xff", END),
        (Fault("cut-head"), HEAD[:35], END),
        (Fault("cut-head", after=4, reset=True), b"HTTP", RESET),
        (Fault("cut"), HEAD + b'Content-Length: 14\r\n\r\n{"statu', END),
        (Fault("cut", after=0, reset=True), HEAD + b"Content-Length: 14\r\n\r\n", RESET),
        (Fault("cut-chunked", after=3), HEAD + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"s\r\n', END),
        (Fault("cut-chunked", after=0, reset=True), HEAD + b"Transfer-Encoding: chunked\r\n\r\n", RESET),
        (Fault("cut-unframed", after=13), HEAD + LAST + b'\r\n{"status":"0"', END),
        (Fault("stall", after=1), HEAD + b"Content-Length: 14\r\n\r\n{", SILENCE),
        (Fault("drip"), HEAD + LAST + b'Content-Length: 14\r\n\r\n{"status":"0"}', END),
        (Fault("long", after=2), HEAD + b'Content-Length: 2\r\n\r\n{"status":"0"}', END),
        (Fault("large"), HEAD + b'Content-Length: 1073741824\r\n\r\n{"status":"0"}', SILENCE),
        (Fault("large", size=99), HEAD + b'Content-Length: 99\r\n\r\n{"status":"0"}', SILENCE),
        (
            Fault("two-lengths"),
            HEAD + b'Content-Length: 14\r\nContent-Length: 15\r\n\r\n{"status":"0"}',
            END,
        ),
        (
            Fault("huge-head", size=3),
            HEAD + b"X-Padding: xxx\r\n" + LAST + b'Content-Length: 14\r\n\r\n{"status":"0"}',
            END,
        ),
        (
            Fault("many-heads", size=2),
            HEAD + b"X-Padding-0: x\r\nX-Padding-1: x\r\n" + LAST + b'Content-Length: 14\r\n\r\n{"status":"0"}',
            END,
        ),
    ],
)
def test_the_bytes_of_a_fault_and_the_following_responses(fault: Fault, expected: bytes, after: After) -> None:
    broken = plan_damage(fault, ANSWER)
    assert b"".join(broken.pieces) == expected
    assert broken.after is after


def test_heads_are_larger_than_clients_take() -> None:
    assert len(next(plan_damage(Fault("huge-head"), ANSWER).pieces)) > 16_384
    assert next(plan_damage(Fault("many-heads"), ANSWER).pieces).count(b"\r\nX-Padding") == 200


def test_drops_fall_one_by_one() -> None:
    broken = plan_damage(Fault("drip", seconds=0.25), ANSWER)
    assert broken.pause == 0.25
    assert [len(piece) for piece in broken.pieces][1:] == [1] * 14
    assert plan_damage(Fault("drip"), ANSWER).pause == 0.05


@pytest.mark.parametrize("kind", ["cut-head", "cut", "cut-chunked", "cut-unframed", "stall", "long"])
def test_cutting_nothing_off_is_not_done(kind: str) -> None:
    with pytest.raises(HarmlessError):
        plan_damage(Fault(kind, after=10_000), ANSWER)
    if kind != "cut-head":
        with pytest.raises(HarmlessError):
            plan_damage(Fault(kind, after=14), ANSWER)


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_a_bomb_is_small_on_the_wire_and_never_held(size: int) -> None:
    pieces = list(plan_damage(Fault("bomb", size=size), ANSWER).pieces)
    assert b"Content-Encoding: gzip" in pieces[0]
    assert pieces[-1] == b"0\r\n\r\n"
    texts = [piece.partition(b"\r\n")[2][:-2] for piece in pieces[1:-1]]
    assert all(
        int(piece.partition(b"\r\n")[0], 16) == len(text)
        for piece, text in zip(pieces[1:], texts, strict=False)
        if piece
    )
    assert gzip.decompress(b"".join(texts)) == bytes(size)
    assert max(map(len, pieces)) < 8_192


def test_endless_is_without_end() -> None:
    pieces = list(islice(plan_damage(Fault("endless"), ANSWER).pieces, 50))
    assert pieces[1:] == [b"40000\r\n" + b" " * 0x40000 + b"\r\n"] * 49


def test_gzip_is_cut_or_corrupt() -> None:
    body = b'{"status":"0"}' * 99
    cut = zlib.decompressobj(31)
    assert body.startswith(cut.decompress(in_gzip(Fault("cut-gzip", after=30), body)))
    assert not cut.eof
    assert len(in_gzip(Fault("cut-gzip", after=30), body)) == 30
    corrupt = in_gzip(Fault("corrupt-gzip"), body)
    with pytest.raises(zlib.error, match="data check"):
        zlib.decompressobj(31).decompress(corrupt)
    assert zlib.decompressobj(31).decompress(corrupt[:-8]) == body


def test_every_kind_has_its_place() -> None:
    assert set(KINDS) - WITH_ANSWER - WITHOUT_ANSWER == {"http", "code", "edit", "late", "cut-gzip", "corrupt-gzip"}
    assert not WITH_ANSWER & WITHOUT_ANSWER
