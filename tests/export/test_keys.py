"""Fingerprints that reveal nothing, signatures that only the account can make, and one derivation for a folder."""
# ruff: noqa: ASYNC240 - small local files

import hashlib
import hmac
import pickle
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from aiosipcdr.export import MANIFEST, compare_owner, keys, read_manifest, read_stored, verify_file
from aiosipcdr.export.keys import DerivedKey, derive_key
from aiosipcdr.export.manifest import encode_manifest, find_derivation
from aiosipcdr.model.errors import ExportConflictError, ExportError
from aiosipcdr.wire.signing import Credentials, older_fingerprint, stretch
from tests.made_up_exports import CREDENTIALS, DERIVATION, export, names, sealed, sidecar_path

pytestmark = pytest.mark.usefixtures("unflushed")

PHONE = "+12125550123"
OTHER = Credentials("sandbox-key", "sandbox-new")


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which keys were derived, one for each time."""
    threads: list[threading.Thread] = []
    scrypt = hashlib.scrypt

    def counted(*reported: Any, **costs: Any) -> bytes:  # noqa: ANN401
        threads.append(threading.current_thread())
        return scrypt(*reported, **costs)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    monkeypatch.setattr(keys, "_key_cache", deque(maxlen=8))
    return threads


def test_a_key_is_made_of_key_and_secret_and_salt() -> None:
    password = b"sandbox-key\0sandbox-secret"
    expected = hashlib.scrypt(password, salt=bytes.fromhex("5" * 32), n=16, r=8, p=1, dklen=32)
    assert stretch(CREDENTIALS, bytes.fromhex("5" * 32), n=16, r=8, p=1) == expected
    reported = {
        derive_key(credentials, derivation).fingerprint("#account")
        for credentials in (CREDENTIALS, OTHER, Credentials("sandbox-other", "sandbox-secret"))
        for derivation in (DERIVATION, msgspec.structs.replace(DERIVATION, salt="6" * 32))
    }
    assert len(reported) == 6


def test_fingerprints_of_two_names_or_values_and_signatures_are_all_different() -> None:
    key = derive_key(CREDENTIALS, DERIVATION)
    reported = [key.fingerprint("a", "b"), key.fingerprint("a", "c"), key.fingerprint("b", "b"), key.sign(b"a\0b")[:16]]
    assert len({*reported}) == 4
    assert all(len(one) == 16 for one in reported)
    assert key.fingerprint("a", "b") == reported[0]


def test_a_key_shows_itself_in_no_text() -> None:
    key = DerivedKey(b"sandbox-bytes")
    assert "sandbox" not in repr(key) + str(key) + pretty_repr(key)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(key)


def test_a_key_is_derived_once_by_concurrent_callers(derived: list[threading.Thread]) -> None:
    with ThreadPoolExecutor(4) as pool:
        reported = {id(key) for key in pool.map(lambda _: derive_key(CREDENTIALS, DERIVATION), range(20))}
    assert len(reported) == len(derived) == 1
    derive_key(Credentials("sandbox-key", "sandbox-secret"), msgspec.structs.replace(DERIVATION))
    assert len(derived) == 1
    derive_key(OTHER, DERIVATION)
    assert len(derived) == 2


@pytest.mark.parametrize(
    "costs",
    [
        {"n": 2**18},
        {"n": 2**64},
        {"n": 1},
        {"n": 0},
        {"n": -16},
        {"n": 48},
        {"r": 9},
        {"r": 0},
        {"p": 5},
        {"p": 0},
        {"salt": "5" * 31},
        {"salt": "5" * 32 + "\n"},
        {"salt": "X" * 32},
    ],
    ids=str,
)
async def test_costs_of_a_manifest_are_capped_before_anything_is_derived(
    tmp_path: Path, costs: dict[str, Any], derived: list[threading.Thread]
) -> None:
    path = tmp_path / "calls.csv"
    await export(path)
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    reported = msgspec.to_builtins(manifest)
    reported["key"] |= costs
    content = msgspec.json.format(msgspec.json.encode(reported), indent=2).removesuffix(b"\n}")
    signed = content + b',\n  "signature": "%b"' % (b"0" * 64)
    whole = signed + b',\n  "content_sha256": "%b"\n}\n' % hashlib.sha256(signed).hexdigest().encode()
    sidecar_path(path, MANIFEST).write_bytes(whole)
    derived.clear()
    with pytest.raises(ExportError, match="is not a manifest"):
        read_stored(sidecar_path(path, MANIFEST))
    assert find_derivation(tmp_path / "new.manifest.json", CREDENTIALS) is None
    assert not derived


async def test_no_file_has_a_key_derived_from_the_api_key_or_the_secret_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path, until=2, phone_name=PHONE)
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    await export(path, phone_name=PHONE)
    held += b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for text in ("", PHONE):
        assert older_fingerprint(CREDENTIALS, text).encode() not in held
    for secret in (b"sandbox-key", b"sandbox-secret"):
        assert secret not in held
        for text in ("", PHONE, PHONE.removeprefix("+"), f"#phone_name{PHONE}", f"aiosipcdr {PHONE}"):
            assert hmac.digest(secret, text.encode(), "sha256").hex()[:16].encode() not in held
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    assert compare_owner(manifest, CREDENTIALS, PHONE) == (True, True)
    assert compare_owner(manifest, CREDENTIALS, None) == (True, False)
    assert compare_owner(manifest, OTHER, PHONE) == (False, False)


async def test_keys_are_derived_in_a_worker_thread(tmp_path: Path, derived: list[threading.Thread]) -> None:
    await export(tmp_path / "calls.csv")
    assert [thread is threading.main_thread() for thread in derived] == [False]


async def test_the_exports_of_a_folder_share_a_salt_and_take_one_derivation(
    tmp_path: Path, derived: list[threading.Thread]
) -> None:
    for number in range(20):
        await export(tmp_path / f"calls-{number}.ndjson")
    assert len(derived) == 1
    assert len({read_manifest(place).key for place in tmp_path.glob("*.manifest.json")}) == 1


async def test_one_more_day_beside_a_year_of_them_takes_one_derivation(
    tmp_path: Path, derived: list[threading.Thread]
) -> None:
    await export(tmp_path / "calls.ndjson")
    manifest = read_manifest(tmp_path / "calls.ndjson.manifest.json")
    for number in range(365):
        reported = msgspec.structs.replace(manifest, file=f"calls-{number}.ndjson")
        (tmp_path / f"calls-{number}.ndjson.manifest.json").write_bytes(sealed(reported))
    keys._key_cache.clear()
    derived.clear()
    await export(tmp_path / "another.ndjson")
    assert len(derived) == 1
    assert read_manifest(tmp_path / "another.ndjson.manifest.json").key == manifest.key


async def test_a_salt_is_reused_only_from_a_valid_manifest_of_the_same_credentials(
    tmp_path: Path, derived: list[threading.Thread]
) -> None:
    await export(tmp_path / "calls.ndjson", credentials=OTHER)
    place = tmp_path / "calls.ndjson.manifest.json"
    assert find_derivation(tmp_path / "new.manifest.json", CREDENTIALS) is None
    assert find_derivation(tmp_path / "new.manifest.json", OTHER) == read_manifest(place).key
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b'"rows": 5', b'"rows": 6'))
    assert find_derivation(tmp_path / "new.manifest.json", OTHER) is None
    # Costs that somebody chose are not taken over.
    cheap = msgspec.structs.replace(DERIVATION, n=2)
    reported = msgspec.structs.replace(read_manifest_of(whole, place), key=cheap)
    signed_by_us = derive_key(OTHER, cheap)
    reported = msgspec.structs.replace(reported, account=signed_by_us.fingerprint("#account"))
    place.write_bytes(encode_manifest(reported, signed_by_us))
    assert read_stored(place).check_signature(OTHER) == "valid"
    assert find_derivation(tmp_path / "new.manifest.json", OTHER) is None
    place.write_bytes(whole)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert find_derivation(tmp_path / "new.manifest.json", OTHER) is None
    derived.clear()
    for number in range(9):
        key = derive_key(OTHER, msgspec.structs.replace(DERIVATION, salt=f"{number}" * 32))
        reported = msgspec.structs.replace(reported, key=msgspec.structs.replace(DERIVATION, salt=f"{number}" * 32))
        (tmp_path / f"{number}.manifest.json").write_bytes(encode_manifest(reported, key))
    keys._key_cache.clear()
    derived.clear()
    assert find_derivation(tmp_path / "new.manifest.json", CREDENTIALS) is None
    assert len(derived) == 3  # and no more, however many there are


def read_manifest_of(data: bytes, place: Path) -> Any:  # noqa: ANN401
    before = place.read_bytes()
    place.write_bytes(data)
    try:
        return read_manifest(place)
    finally:
        place.write_bytes(before)


# Signatures.


def change_together(path: Path) -> None:
    """Change the file, and all of its manifest that can be changed without the account's secret."""
    data = path.read_bytes().replace(b"call", b"cell", 1)
    assert data != path.read_bytes()
    path.write_bytes(data)
    place = sidecar_path(path, MANIFEST)
    manifest = read_manifest(place)
    changed = msgspec.structs.replace(manifest, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    place.write_bytes(encode_manifest(changed, DerivedKey(b"a guess")))


async def test_a_file_and_a_manifest_that_were_changed_together_are_found(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path)
    stored = read_stored(sidecar_path(path, MANIFEST))
    assert stored.check_signature(CREDENTIALS) == "valid"
    assert stored.check_signature(OTHER) == "not checked"
    change_together(path)
    stored = read_stored(sidecar_path(path, MANIFEST))
    assert verify_file(path, stored.manifest) == []
    assert stored.check_signature(CREDENTIALS) == "invalid"
    assert stored.check_signature(OTHER) == "not checked"


async def test_a_signature_is_over_every_byte_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path)
    place = sidecar_path(path, MANIFEST)
    stored = read_stored(place)
    key = derive_key(CREDENTIALS, stored.manifest.key or DERIVATION)
    assert stored.signature == key.sign(stored.content)
    assert place.read_bytes().startswith(stored.content + b',\n  "signature": "')
    for change in ({"rows": 6}, {"certified": False}, {"file": "other.csv"}, {"numbers": "masked"}):
        changed = msgspec.structs.replace(stored.manifest, **change)
        content = encode_manifest(changed, key)
        signature = stored.signature.encode()
        begin = content[: content.index(b',\n  "signature"')] + b',\n  "signature": "%b"' % signature
        place.write_bytes(begin + b',\n  "content_sha256": "%b"\n}\n' % hashlib.sha256(begin).hexdigest().encode())
        assert read_stored(place).check_signature(CREDENTIALS) == "invalid"


async def test_going_on_under_another_secret_needs_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    await export(path, until=3)
    with pytest.raises(ExportConflictError, match=r"account differs; .* start over with restart=True"):
        await export(path, credentials=OTHER)
    await export(path, credentials=OTHER, restart=True)
    assert read_stored(sidecar_path(path, MANIFEST)).check_signature(OTHER) == "valid"
    assert "calls.csv.journal" not in names(tmp_path)
