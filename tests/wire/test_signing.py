"""Signatures as the vendor publishes them, and credentials that no repr shows."""

import copy
import io
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiosipcdr.wire.signing import Credentials, credentials_source, mask_secrets, open_seal, seal, sign

# The vendor's published example.
KEY, SECRET, TIMESTAMP = "bDqJFiq9", "7bz1lzh9", 1630468800
SIGNATURE = "05d7a50893e22a5c4bb3216ae3396c7c"

# Neither quotes nor blanks: those of an env file would be sent as parts of the value.
parts = st.text(st.characters(min_codepoint=40, max_codepoint=126), min_size=1, max_size=40)


def test_the_published_example() -> None:
    assert sign(Credentials(KEY, SECRET), TIMESTAMP) == SIGNATURE


@pytest.mark.parametrize(
    ("key", "secret", "timestamp"),
    [(KEY + "x", SECRET, TIMESTAMP), (KEY, SECRET + "x", TIMESTAMP), (KEY, SECRET, TIMESTAMP + 1)],
)
def test_every_part_is_signed(key: str, secret: str, timestamp: int) -> None:
    assert sign(Credentials(key, secret), timestamp) != SIGNATURE


@given(st.lists(st.integers(0, 3), min_size=1))
def test_credentials_sign_each_second_anew(seconds: list[int]) -> None:
    shared = Credentials(KEY, SECRET)
    signatures = [sign(shared, TIMESTAMP + second) for second in seconds]
    assert signatures == [sign(Credentials(KEY, SECRET), TIMESTAMP + second) for second in seconds]


@given(parts, parts, st.integers(0, 2**33))
def test_a_signature_is_lower_case_hex(key: str, secret: str, timestamp: int) -> None:
    signature = sign(Credentials(key, secret), timestamp)
    assert len(signature) == 32
    assert set(signature) <= set("0123456789abcdef")


def test_no_text_shows_a_part() -> None:
    from rich.console import Console
    from rich.pretty import pretty_repr

    credentials = Credentials(KEY, SECRET)
    out = io.StringIO()
    Console(file=out).print(credentials, {"credentials": credentials})
    texts = [
        repr(credentials),
        str(credentials),
        f"{credentials}",
        f"{credentials!r:>40}",
        format(credentials, ""),
        "%s %r" % (credentials, credentials),  # noqa: UP031 - one more way to print
        repr([credentials]),
        pretty_repr(credentials),
        out.getvalue(),
    ]
    for text in texts:
        assert KEY not in text
        assert SECRET not in text


def test_nothing_but_the_slots_holds_a_part() -> None:
    assert not hasattr(Credentials(KEY, SECRET), "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_do_not_pickle(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Credentials(KEY, SECRET), protocol)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_credentials_do_not_copy(copier: object) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        copier(Credentials(KEY, SECRET))  # type: ignore[operator]


def test_equality_compares_both_parts_and_nothing_else() -> None:
    credentials = Credentials(KEY, SECRET)
    assert credentials == Credentials(KEY, SECRET)
    assert credentials != Credentials(KEY, SECRET + "x")
    assert credentials != Credentials(KEY + "x", SECRET)
    assert credentials != Credentials(SECRET, KEY)
    assert credentials != (KEY, SECRET)
    assert credentials.__eq__(SECRET) is NotImplemented
    with pytest.raises(TypeError, match="unhashable"):
        hash(credentials)


def test_surrounding_blanks_are_no_part() -> None:
    credentials = Credentials(f" {KEY}\n", f"\t{SECRET} ")
    assert credentials.key == KEY
    assert sign(credentials, TIMESTAMP) == SIGNATURE


@pytest.mark.parametrize("bad", ["", "   ", "\n", None, 5, b"bytes", ["list"]])
def test_an_empty_part_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="api_key is empty"):
        Credentials(bad, SECRET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="api_secret is empty"):
        Credentials(KEY, bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["canary\r\nSign: x", "canary\x00", "canary\x7f", "canaryü", "canary\u2028x", "\ud800"])
def test_a_value_unfit_for_a_header_is_refused_and_not_quoted(bad: str) -> None:
    for pair in ((bad, SECRET), (KEY, bad)):
        with pytest.raises(ValueError, match="an HTTP header cannot hold") as caught:
            Credentials(*pair)
        assert "canary" not in str(caught.value)


def test_quoted_parts_are_masked() -> None:
    credentials = Credentials(KEY, SECRET)
    masked = mask_secrets(credentials, f"unknown key {KEY} (secret {SECRET}, {SECRET}{KEY})")
    assert masked == "unknown key *** (secret ***, ******)"


def test_two_texts_are_one_pair() -> None:
    assert credentials_source(KEY, SECRET)() == Credentials(KEY, SECRET)


def test_credentials_are_their_own_source() -> None:
    pair = Credentials(KEY, SECRET)
    assert credentials_source(pair)() is pair


def test_a_callable_is_asked_every_time() -> None:
    pairs = iter([Credentials("a", "x"), Credentials("b", "y")])
    ask = credentials_source(lambda: next(pairs))
    assert ask() == Credentials("a", "x")
    assert ask() == Credentials("b", "y")


def test_credentials_returned_by_a_callable_are_checked() -> None:
    ask = credentials_source(lambda: KEY)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="must return Credentials"):
        ask()
    with pytest.raises(ValueError, match="api_key is empty"):
        credentials_source(lambda: Credentials("", SECRET))()


@pytest.mark.parametrize("key", [Credentials(KEY, SECRET), lambda: Credentials(KEY, SECRET), 5])
def test_a_secret_beside_credentials_is_refused(key: object) -> None:
    with pytest.raises(ValueError, match="api_secret is given beside credentials") as caught:
        credentials_source(key, SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "secret"),
    [("", SECRET), (KEY, ""), (KEY, None), (None, None), (None, SECRET), (KEY, lambda: SECRET), (5, None)],
)
def test_a_text_that_is_no_part_is_refused_before_anything_is_asked(key: object, secret: object) -> None:
    with pytest.raises(ValueError, match=r"api_key|api_secret") as caught:
        credentials_source(key, secret)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_a_coroutine_function_is_refused_with_the_reason() -> None:
    async def look_up() -> Credentials:
        raise AssertionError

    with pytest.raises(ValueError, match="must not be a coroutine function"):
        credentials_source(look_up)()  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ['"quoted"', "'quoted'", "value # notes", "two words"])
def test_quotes_of_env_files_around_a_value_are_refused_without_showing_it(text: str) -> None:
    for key, secret in ((text, "secret"), ("key", text)):
        with pytest.raises(ValueError, match="without quotes and comments") as caught:
            Credentials(key, secret)
        assert text not in str(caught.value)


SEALED_FOR = Credentials("key", "secret")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@example("+12125550123")
@example("ends in\0")
@example("\0\x80")
@settings(max_examples=3, deadline=None)
def test_a_seal_is_opened_by_the_same_account(text: str) -> None:
    sealed = seal(SEALED_FOR, text)
    assert open_seal(Credentials("key", "secret"), sealed) == text
    assert len(text) < 4 or text.encode() not in sealed


def test_a_seal_is_the_same_each_time_and_another_for_each_account() -> None:
    sealed = seal(SEALED_FOR, "+12125550123")
    assert seal(Credentials("key", "secret"), "+12125550123") == sealed
    for other in (Credentials("key", "another"), Credentials("another", "secret")):
        assert open_seal(other, sealed) is None
        assert seal(other, "+12125550123") != sealed


def test_a_seal_that_was_changed_is_not_opened() -> None:
    sealed = seal(SEALED_FOR, "+12125550123")
    for position in (0, 15, 16, 30, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert open_seal(SEALED_FOR, bytes(changed)) is None
    assert [open_seal(SEALED_FOR, part) for part in (b"", sealed[:16], sealed[:-1], sealed + b"\0")] == [None] * 4


def test_numbers_of_one_length_and_others_have_seals_of_one_length() -> None:
    assert len({len(seal(SEALED_FOR, text)) for text in ("1", "+12125550123", "+447700900123")}) == 1
    assert seal(SEALED_FOR, "+12125550123")[16:] != seal(SEALED_FOR, "+12125550124")[16:]
