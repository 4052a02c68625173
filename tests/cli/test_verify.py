"""`verify`: what differs between a file, its manifest and the vendor, and nothing else."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp.typedefs import Handler
from aiohttp.web import Request, Response, StreamResponse, middleware

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials, older_fingerprint

FORMATS = ("ndjson", "csv", "parquet", "csv.gz")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(records=300) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        yield sandbox


def exported(sandbox: Sandbox, path: Path, *more: str) -> Path:
    span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
    assert run(["export", *span, "--output", str(path), *more]) in (0, 3)
    return path


@pytest.mark.parametrize("ending", FORMATS)
def test_an_unchanged_file_is_reported_as_unchanged(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = exported(place, tmp_path / f"calls.{ending}")
    capsys.readouterr()
    assert run(["verify", str(path)]) == 0
    reported = capsys.readouterr()
    assert (
        reported.out
        == f"calls.{ending}: 300 calls, certified complete; the file matches its manifest; signature valid\n"
    )
    assert run(["verify", str(path), "--online", "--json"]) == 0
    reported = capsys.readouterr()
    assert json.loads(reported.out) == {
        "file": str(path),
        "rows": 300,
        "certified": True,
        "provisional": 0,
        "signature": "valid",
        "quarantined": 0,
        "recounted": 1,
        "faulty_fields": {},
        "differences": [],
    }


def test_a_changed_file_is_reported(place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(place, tmp_path / "calls.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    capsys.readouterr()
    assert run(["verify", str(path)]) == 1
    reported = capsys.readouterr()
    assert reported.out == ""
    assert "calls.ndjson: the file has 299 rows, the manifest says 300\n" in reported.err
    assert "SHA-256" in reported.err


def test_a_vendors_new_count_is_reported(place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(place, tmp_path / "calls.csv")
    place.insert(at=place.start + timedelta(days=3))
    capsys.readouterr()
    assert run(["verify", str(path)]) == 0
    assert run(["verify", str(path), "--online"]) == 1
    assert "the vendor now counts 301 calls, and counted 300 when it was read" in capsys.readouterr().err


def test_a_cache_of_identical_bodies_cannot_answer_for_the_vendor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: dict[bytes, bytes] = {}

    @middleware
    async def cached(request: Request, handler: Handler) -> StreamResponse:
        asked = await request.read()
        if asked not in kept:
            answer = await handler(request)
            assert isinstance(answer, Response)
            assert isinstance(answer.body, bytes)
            kept[asked] = answer.body
        return Response(body=kept[asked], content_type="application/json")

    with Sandbox(records=300, middlewares=[cached]) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        path = exported(sandbox, tmp_path / "calls.csv")
        assert run(["verify", str(path), "--online"]) == 0
        sandbox.insert(at=sandbox.start + timedelta(days=3))
        assert run(["verify", str(path), "--online"]) == 1
    assert "the vendor now counts 301 calls" in capsys.readouterr().err


def test_calls_that_the_vendor_has_deleted_are_reported(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv")
    place.change(retention=timedelta(days=1))
    capsys.readouterr()
    assert run(["verify", str(path), "--online"]) == 1
    reported = capsys.readouterr().err
    assert "calls.csv: the vendor no longer keeps all of its calls" in reported
    assert "skip" not in reported


def test_an_uncertified_file_is_exit_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(records=20, wrong_total=1) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        path = exported(sandbox, tmp_path / "calls.csv", "--allow-incomplete")
    assert run(["verify", str(path)]) == 3


def test_another_account_and_a_phone_that_is_not_given_are_refused(
    place: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv", "--phone", "+12125550123")
    assert "2125550123" not in (tmp_path / "calls.csv.manifest.json").read_text()
    assert run(["verify", str(path), "--online"]) == 2
    assert "add --phone" in capsys.readouterr().err
    assert run(["verify", str(path), "--online", "--phone", "+12125550124"]) == 2
    assert run(["verify", str(path), "--online", "--phone", "+12125550123"]) == 0
    monkeypatch.setenv("AIOSIPCDR_API_KEY", "sandbox-another")
    assert run(["verify", str(path), "--online", "--phone", "+12125550123"]) == 2
    assert "another account" in capsys.readouterr().err


def test_two_days_swapped_with_their_manifests_are_reported(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(place, tmp_path / "calls.csv", "--daily", "--tz", "UTC")
    one, other = sorted(tmp_path.glob("*.csv"))[:2]
    for ending in ("", ".manifest.json"):
        names = [path.with_name(path.name + ending) for path in (one, other)]
        names[0].rename(tmp_path / "aside")
        names[1].rename(names[0])
        (tmp_path / "aside").rename(names[1])
    capsys.readouterr()
    for path, reported in ((one, other), (other, one)):
        assert run(["verify", str(path)]) == 1
        assert f"{path.name}: the manifest belongs to a file named {reported.name}" in capsys.readouterr().err


def test_a_manifest_with_one_changed_bit_is_reported(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv")
    manifest = tmp_path / "calls.csv.manifest.json"
    whole = manifest.read_bytes()
    for place_of_bit in range(0, len(whole), len(whole) // 50):
        changed = bytearray(whole)
        changed[place_of_bit] ^= 1 << place_of_bit % 8
        manifest.write_bytes(changed)
        assert run(["verify", str(path)]) == 1
        assert "manifest.json" in capsys.readouterr().err


def changed_together(path: Path) -> None:
    """Change the file, and all of its manifest that can be changed without the account's secret."""
    before = path.read_bytes()
    path.write_bytes(before.replace("客服".encode(), "客户".encode(), 1))
    assert path.read_bytes() != before
    manifest = path.with_name(f"{path.name}.manifest.json")
    lines = manifest.read_bytes().splitlines(keepends=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest().encode()
    lines = [b'  "sha256": "%b",\n' % digest if line.startswith(b'  "sha256"') else line for line in lines]
    content = b"".join(lines[:-2]).removesuffix(b",\n")
    end = b',\n  "content_sha256": "%b"\n}\n' % hashlib.sha256(content).hexdigest().encode()
    manifest.write_bytes(content + end)


def test_a_signature_is_checked_with_the_credentials_that_made_it_and_with_no_others(
    place: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv")
    for change, code, reported in (
        (lambda _: None, 0, "signature valid"),
        (changed_together, 1, "were changed together"),
    ):
        change(path)
        for secret, expected, sentence in (
            (place.api_secret, code, reported),
            ("sandbox-new", 0, "signature not checked"),
            (None, 0, "signature not checked"),
        ):
            if secret is None:
                monkeypatch.delenv("AIOSIPCDR_API_SECRET")
            else:
                monkeypatch.setenv("AIOSIPCDR_API_SECRET", secret)
            capsys.readouterr()
            assert run(["verify", str(path)]) == expected
            shown = capsys.readouterr()
            assert sentence in shown.out + shown.err
            assert "damaged" not in shown.out + shown.err


def test_an_older_manifest_is_called_unsigned(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv", "--phone", "12125550123")
    manifest = tmp_path / "calls.csv.manifest.json"
    reported = json.loads(manifest.read_bytes())
    for name in ("key", "signature", "content_sha256", "quarantine_sha256"):
        del reported[name]
    credentials = Credentials(place.api_key, place.api_secret)
    reported["account"], reported["phone"] = (
        older_fingerprint(credentials),
        older_fingerprint(credentials, "12125550123"),
    )
    manifest.write_text(json.dumps(reported | {"manifest": 1}))
    capsys.readouterr()
    assert run(["verify", str(path), "--online", "--phone", "12125550123"]) == 0
    assert "; unsigned, written by an older version; the vendor counts the same now" in capsys.readouterr().out
    assert run(["verify", str(path), "--online", "--phone", "12125550124"]) == 2


def test_online_says_that_the_vendor_was_asked(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(place, tmp_path / "calls.csv")
    before = place.stats.requests
    capsys.readouterr()
    assert run(["verify", str(path)]) == 0
    assert "asked" not in capsys.readouterr().out
    assert place.stats.requests == before
    assert run(["verify", str(path), "--online"]) == 0
    assert "; the vendor counts the same now (1 window)\n" in capsys.readouterr().out
    assert place.stats.requests > before


def test_provisional_windows_are_mentioned(place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(place, tmp_path / "calls.csv", "--lateness", "3650d")
    assert "1 provisional window (calls may still be added)" in capsys.readouterr().err
    assert run(["verify", str(path)]) == 0
    reported = capsys.readouterr().out
    assert "1 window was provisional, calls may have been added since: check with --online, or export again" in reported
    place.insert(at=place.start + timedelta(days=3))
    assert run(["verify", str(path), "--online", "--json"]) == 1
    reported = capsys.readouterr().out
    assert json.loads(reported)["provisional"] == 1
    assert "when it was read, provisionally" in reported


def test_many_files_and_folders_are_verified_at_once(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    for day in ("a", "b"):
        (lake / day).mkdir(parents=True)
        exported(place, lake / day / "calls.parquet")
    alone = exported(place, tmp_path / "calls.ndjson")
    (lake / "notes.txt").write_text("no export")
    capsys.readouterr()
    assert run(["verify", str(alone), str(lake), "--online"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    files = [alone, lake / "a" / "calls.parquet", lake / "b" / "calls.parquet"]
    assert [line.partition(": ")[0] for line in lines] == list(map(str, files))
    assert all("the vendor counts the same now" in line for line in lines)
    assert last == "3 files, 0 with differences"

    files[1].write_bytes(files[1].read_bytes()[:-1])
    (lake / "b" / "calls.parquet.manifest.json").unlink()
    assert run(["verify", str(lake), str(alone), "--json"]) == 1
    reported = capsys.readouterr()
    found = json.loads(reported.out)["files"]
    assert [(one["file"], bool(one["differences"]), one["rows"]) for one in found] == [
        (str(files[1]), True, 300),
        (str(files[2]), True, None),
        (str(alone), False, 300),
    ]
    assert f"{files[2]}: {files[2]}.manifest.json is missing" in reported.err


def test_a_file_of_a_folder_that_is_gone_is_missed(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(place, tmp_path / "calls.csv").unlink()
    assert run(["verify", str(tmp_path)]) == 1
    assert "calls.csv: the file does not exist" in capsys.readouterr().err


def test_the_worst_of_many_files_is_the_exit_code(
    place: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(place, tmp_path / "whole.csv")
    with Sandbox(records=20, wrong_total=1) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        exported(sandbox, tmp_path / "short.csv", "--allow-incomplete")
    assert run(["verify", str(tmp_path)]) == 3
    (tmp_path / "whole.csv").write_text("")
    assert run(["verify", str(tmp_path)]) == 1


def test_nothing_to_verify_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify"]) == 2
    assert "PATHS is missing; add exported files" in capsys.readouterr().err
    assert run(["verify", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no exported file" in capsys.readouterr().err


def test_a_file_without_a_manifest_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "calls.csv").write_text("voice_id")
    assert run(["verify", str(tmp_path / "calls.csv")]) == 1
    assert "calls.csv.manifest.json is missing" in capsys.readouterr().err


def test_a_missing_file_is_reported_before_its_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(tmp_path / "calls.csv")]) == 1
    reported = capsys.readouterr().err
    assert "calls.csv: the file does not exist" in reported
    assert "manifest" not in reported


@pytest.mark.parametrize("sidecars", [None, "proofs", "lake/_proofs"])
def test_a_folder_of_days_is_verified_wherever_the_sidecars_are(
    place: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], sidecars: str | None
) -> None:
    more = [] if sidecars is None else ["--sidecars", str(tmp_path / sidecars)]
    day = place.start.date()
    span = ["--start", str(day), "--end", str(day + timedelta(days=2)), "--tz", "+08:00"]
    lake = tmp_path / "lake"
    assert run(["export", *span, "--daily", "--output", f"{lake}/dt={{date}}/calls.csv", *more]) == 0
    capsys.readouterr()
    first = lake / f"dt={day}" / "calls.csv"
    assert run(["verify", str(first), str(tmp_path), *more]) == 0
    assert capsys.readouterr().out.endswith("\n2 files, 0 with differences\n"), "each file once"
    first.write_bytes(first.read_bytes() + b"\n")
    assert run(["verify", str(lake), *more]) == 1
    assert "2 files, 1 with differences" in capsys.readouterr().out
