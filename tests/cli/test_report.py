"""`aiosipcdr report`: a page of files or of a range, and exit codes that say what it is worth."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox

RECORDS = 60
SANDBOX = {"records": RECORDS, "retention": timedelta(days=100)}
"""The month before the calls is not deleted yet, however long the months are."""


ONE_GROUP = ["--group", "sales-us"]
"""Calls in one currency: a page with fewer charts is drawn sooner."""


@pytest.fixture
def exported(account: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "calls.ndjson"
    assert run(["export", *account, *ONE_GROUP, "--output", str(path)]) == 0
    return path


def calls_in(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def test_a_file_becomes_a_page(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    capsys.readouterr()
    arguments = ["report", str(exported), "--output", str(page), "--title", "October", "--mode", "0640"]
    assert run([*arguments, "--compare-with", str(exported)]) == 0
    reported = capsys.readouterr()

    assert reported.out == ""
    calls = calls_in(exported)
    assert 0 < calls < RECORDS
    assert reported.err == f"{calls} calls of 1 file, certified complete; written to {page}\n"
    text = page.read_text(encoding="utf-8")
    assert "<title>October</title>" in text
    assert "Certified complete" in text
    assert "The signatures of the manifests are valid" in text
    assert "(UTC+08:00)" in text  # the zone of the export
    assert f"{calls} calls. It is certified complete." in text
    assert "+0.0%" in text
    assert page.stat().st_mode & 0o777 == 0o640


def test_a_folder_without_manifest_is_of_unknown_worth(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIOSIPCDR_API_KEY")  # no account is needed
    (exported.parent / "calls.ndjson.manifest.json").unlink()
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert run(["report", str(tmp_path), "--output", str(page), "--tz", "Asia/Tokyo", "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)

    assert (reported["calls"], reported["verdict"], reported["certified"]) == (calls_in(exported), "unknown", False)
    assert reported["files"] == [str(exported)]
    text = page.read_text(encoding="utf-8")
    assert "Certificate unknown" in text
    assert "(Asia/Tokyo)" in text


def test_files_that_overlap_are_incomplete(
    exported: Path, account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *account, *ONE_GROUP, "--output", str(tmp_path / "again.csv")]) == 0
    page = tmp_path / "page.html"
    assert run(["report", str(exported), str(tmp_path / "again.csv"), "--output", str(page)]) == 3

    assert "NOT certified; calls.ndjson and again.csv overlap" in capsys.readouterr().err
    assert "<title>NOT certified: " in page.read_text(encoding="utf-8")


def test_a_range_becomes_a_page(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], sandbox: Sandbox
) -> None:
    page = tmp_path / "page.html"
    assert run(["report", *account, "--output", str(page), "--compare", "--json", *ONE_GROUP]) == 0
    reported = capsys.readouterr()
    facts = json.loads(reported.out)

    assert facts["certified"]
    assert 0 < facts["unique"] < 60
    assert facts["output"] == str(page)
    assert f"; written to {page}\n" in reported.err
    text = page.read_text(encoding="utf-8")
    assert "Only calls of the group sales-us." in text
    assert "0 calls. It is certified complete." in text  # the sandbox has none before
    assert f"{facts['unique']} calls are on this page" in text
    assert sandbox.api_key not in text


def test_a_range_that_cannot_be_proven_becomes_a_page_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    with Sandbox(records=20, days=1, wrong_total=3) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
        arguments = ["report", *span, *ONE_GROUP, "--output", str(page)]
        assert run(arguments) == 3
        assert not page.exists()
        assert run([*arguments, "--allow-incomplete"]) == 3
    assert "<title>NOT certified: " in page.read_text(encoding="utf-8")
    assert "NOT certified" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "page.html"], "FILES are missing"),
        (["calls.ndjson", "--last", "24h", "--output", "page.html"], "files and a range exclude each other"),
        (["calls.ndjson", "--group", "sales", "--output", "page.html"], "select calls of a range"),
        (["calls.ndjson", "--compare", "--output", "page.html"], "name those of the period before with --compare-with"),
        (["--last", "24h", "--compare-with", "a.csv", "--output", "page.html"], "with a range use --compare"),
        (["calls.ndjson"], "--output is missing"),
        (["calls.ndjson", "--mode", "0777", "--output", "page.html"], "--mode must be one of"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_report_stays(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = exported.read_bytes()
    assert run(["report", str(exported), "--output", str(exported)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert run(["report", str(exported), "--output", str(exported), "--overwrite"]) == 2
    assert "is one of the files to read" in capsys.readouterr().err
    assert exported.read_bytes() == before


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "calls.csv"), "--output", str(tmp_path / "page.html")]) == 1
    assert "calls.csv does not exist" in capsys.readouterr().err
    page = tmp_path / "page.html"
    page.touch()
    assert run(["report", str(page), "--output", str(tmp_path / "other.html")]) == 1
    assert "page.html is no exported file; use .ndjson, .csv" in capsys.readouterr().err


def test_a_file_that_was_changed_becomes_no_page(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported.write_bytes(exported.read_bytes().replace(b'"cost":"', b'"cost":"9', 1))
    page = tmp_path / "page.html"
    assert run(["report", str(exported), "--output", str(page)]) == 1
    assert "differs from its manifest" in capsys.readouterr().err
    assert not page.exists()
