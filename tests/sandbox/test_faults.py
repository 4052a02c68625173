import inspect
from typing import Any

import msgspec
import pytest

from aiosipcdr.sandbox import Fault
from aiosipcdr.sandbox.faults import KINDS


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kind": "explode"}, "unknown kind of fault 'explode'; use one of http, code, .*, endless"),
        ({"kind": "reset", "status": 503}, "kind reset takes no parameters; not status"),
        ({"kind": "cut", "size": 3, "code": -1}, "takes after, reset; not code, size"),
        ({"kind": "code"}, "needs code"),
        ({"kind": "late"}, "needs seconds"),
        ({"kind": "edit"}, "needs data or headers"),
        ({"kind": "edit", "prefix": "x", "new": "y"}, "need old"),
        ({"kind": "edit", "old": ""}, "length >= 1"),
        ({"kind": "edit", "old": "x", "new": "y", "new_hex": "00"}, "new and new_hex exclude"),
        ({"kind": "http", "body": "", "body_hex": ""}, "body and body_hex exclude"),
        ({"kind": "http", "body_hex": "f"}, "fromhex"),
        ({"kind": "http", "body": "\ud800"}, "surrogates"),
        ({"kind": "edit", "data": {"total": object()}}, "unsupported"),
        ({"kind": "http", "status": 100}, r"\$.status"),
        ({"kind": "http", "status": "503"}, r"got `str` - at `\$.status`"),
        ({"kind": "http", "headers": {"Retry-After": 3}}, "got `int`"),
        ({"kind": "http", "headers": {"content-Length": "3"}}, "long, large or two-lengths"),
        ({"kind": "http", "headers": {"Location": "x\r\nEvil: 1"}}, "line break"),
        ({"kind": "http", "headers": {"": "x"}}, "a name is invalid"),
        ({"kind": "reset", "page": 0}, ">= 1"),
        ({"kind": "reset", "attempt": True}, "got `bool`"),
        ({"kind": "reset", "times": -1}, ">= 0"),
        ({"kind": "drip", "seconds": float("inf")}, "86400"),
    ],
)
def test_invalid_faults_are_refused_and_named(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fault(**parameters)
    if set(map(type, parameters.values())) <= {str, int}:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(parameters, Fault)


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `pages`"):
        msgspec.convert({"kind": "reset", "pages": 2}, Fault)


def test_faults_round_trip_through_json() -> None:
    fault = Fault("http", page=2, times=3, status=503, headers={"Retry-After": "1"}, body_hex="ff00")
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault


def test_faults_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Fault("reset").page = 3  # type: ignore[misc]


def test_a_fault_has_a_short_description() -> None:
    assert Fault("reset").describe() == "reset (any page, attempt any)"
    assert Fault("cut", page=2, attempt=1, times=3).describe() == "cut (page 2, attempt 1, 3 times)"
    assert Fault("cut", control=True).describe() == "cut (any page, attempt any, control counts)"
    assert Fault("cut", control=False).describe() == "cut (any page, attempt any, no control counts)"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_explained(kind: str) -> None:
    assert f"| {kind} |" in str(Fault.__doc__)


def test_every_parameter_is_explained() -> None:
    for name in Fault.__struct_fields__:
        assert f"\n    {name}: " in str(inspect.getdoc(Fault))
