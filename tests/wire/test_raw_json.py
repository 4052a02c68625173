"""Splitting raw JSON: values stay bytes, and a broken text or number stays one value."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.wire.raw_json import RawValue, is_nested_deeply, split_array, split_object

BROKEN = ["NaN", "-Infinity", "undefined", "01", '"a\tb"', r'"\'"', r'"\ud800"', '"\x00"', r'"\x"', "tru", "[NaN]"]
values = st.recursive(
    st.sampled_from(BROKEN) | st.none().map(json.dumps) | st.integers().map(str) | st.text(max_size=4).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: f"[ {' , '.join(some)} ]")
        | st.dictionaries(st.text(max_size=3).map(json.dumps), inner, max_size=3).map(
            lambda some: "{" + ", ".join(f"{name} :{value}" for name, value in some.items()) + "}"
        )
    ),
    max_leaves=8,
)


def reported(raws: list[RawValue]) -> list[str]:
    return [bytes(raw).decode() for raw in raws]


@given(st.lists(values, max_size=5))
def test_the_elements_of_an_array_are_those_that_were_put_into_it(elements: list[str]) -> None:
    raw = f" [ {' , '.join(elements)} ]\n".encode()
    assert reported(split_array(raw)) == elements


@given(st.dictionaries(st.text(max_size=4), values, max_size=5))
def test_the_members_of_an_object_are_those_that_were_put_into_it(members: dict[str, str]) -> None:
    raw = ("{" + ",".join(f"{json.dumps(name)} : {value}" for name, value in members.items()) + " }").encode()
    split = split_object(raw)
    assert dict(zip(split, reported(list(split.values())), strict=True)) == members


@pytest.mark.parametrize("broken", ["", ',"x":NaN'])
def test_of_a_name_that_is_there_twice_the_last_counts(broken: str) -> None:
    split = split_object(f'{{"a":1,"\\u0061":2{broken}}}'.encode())
    assert bytes(split["a"]) == b"2"


@pytest.mark.parametrize("name", [b"\xff", b"a\tb", rb"\'", rb"\ud800"])
def test_a_broken_name_is_a_name(name: bytes) -> None:
    (found,) = split_object(b'{"' + name + b'":1}')
    assert found == (name.decode("latin-1") if name == b"\xff" else name.decode())


def test_a_backslash_that_is_half_of_a_character_escapes_no_quote() -> None:
    text = '"\u8aa0"'.encode("gbk")
    assert text == b'"\xd5\\"'
    raw = b'[{"a":%b,"b":{"c":[%b , 1]},%b:"x\\"\xd5\\\\","d":1}, "e"]' % (text, text, text)
    whole, last = split_array(raw)
    members = split_object(whole)
    assert [bytes(value) for value in members.values()] == [text, b'{"c":[%b , 1]}' % text, b'"x\\"\xd5\\\\"', b"1"]
    assert (list(members)[3], bytes(last)) == ("d", b'"e"')


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"",
            b" ",
            b"5",
            b"null",
            b'"x"',
            b"[1",
            b"[1,",
            b"[,]",
            b"[1,]",
            b"[1 2]",
            b"[1]x",
            b"[]]",
            b"[NaN,",
            b'["x',
        ),
        *(
            b"{",
            b'{"a"',
            b'{"a"}',
            b'{"a":}',
            b'{"a":1,}',
            b"{,}",
            b'{"a":1}{',
            b'{"a":"x}',
            b"{a:1}",
            b'{"a":[1}',
            b"[}",
        ),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'["\\"]', b'[NaN,"\\"]'),
    ],
    ids=lambda raw: repr(raw[:12]),
)
@pytest.mark.parametrize("split", [split_array, split_object])
def test_truncated_json_is_refused(raw: bytes, split: object) -> None:
    assert callable(split)
    with pytest.raises(msgspec.DecodeError):
        split(raw)


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"[" * 100 + b"]" * 100, False),
        (b"[" * 101 + b"]" * 101, True),
        (b'{"a":' * 101 + b"1" + b"}" * 101, True),
        (b"[" + b"[]," * 200 + b"[]]", False),
        (b'["' + b"[" * 200 + b'"]', False),
    ],
    ids=range(5),
)
def test_depth_is_distinguished_from_width(raw: bytes, deep: bool) -> None:  # noqa: FBT001 - a parameter
    assert is_nested_deeply(raw) is deep
