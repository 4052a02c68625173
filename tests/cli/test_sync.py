"""`sync`: exit codes, JSON on stdout, and no password in an argument."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.sync import synchronizer


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        with Sandbox(records=120, days=1) as sandbox:
            yield sandbox


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    server.reset()
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", server.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", server.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", server.api_secret)
    monkeypatch.setattr(synchronizer, "RECHECK_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture
def command(sandbox: Sandbox) -> list[str]:
    since = ["--since", sandbox.start.isoformat(), "--lookback", "30d"]
    return ["sync", "--to", "sqlite:///calls.db", *since, "--count-delay", "0"]


def count_rows() -> int:
    with closing(sqlite3.connect("calls.db")) as connection:
        (number,) = connection.execute("SELECT count(*) FROM calls WHERE vanished_at IS NULL").fetchone()
    return int(number)


def test_the_result_is_a_sentence_or_json(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--dry-run"]) == 0
    assert not Path("calls.db").exists()
    assert "120 added" in capsys.readouterr().err
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "sqlite:///calls.db, table calls: 120 added, 0 changed, 0 vanished, complete until" in err
    assert count_rows() == 120
    sandbox.delete(sandbox.voice_ids()[0])
    assert run([*command, "--json", "--log-json", "--on-vanished", "delete"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["added"], facts["vanished"], facts["certified"]) == (0, 1, True)
    assert json.loads(err.splitlines()[-1])["kind"] == "synced"


def test_time_that_cannot_be_proven_is_exit_code_3(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.change(wrong_total=2)
    assert run([*command, "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert (facts["added"], facts["certified"], facts["certified_until"]) == (0, False, None)
    sandbox.change(wrong_total=0)
    assert run(command) == 0


def test_many_vanished_rows_are_exit_code_3_until_they_are_allowed(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    sandbox.delete(*sandbox.voice_ids()[:40])
    capsys.readouterr()
    assert run(command) == 3
    assert "40 of 120 rows would vanish" in (message := capsys.readouterr().err)
    assert "accept it with --allow-mass-vanish" in message
    assert count_rows() == 120
    assert run([*command, "--allow-mass-vanish"]) == 0
    assert count_rows() == 80


@pytest.mark.parametrize("bad", [{"cost": "a lot"}, None], ids=["a field", "a record"])
def test_something_that_cannot_be_read_is_exit_code_4(
    sandbox: Sandbox, command: list[str], bad: dict[str, str] | None
) -> None:
    if bad is None:
        sandbox.add_rows([{"cost": "1"}])
    else:
        sandbox.update(sandbox.voice_ids()[0], **bad)
    assert run(command) == 4
    assert count_rows() == 120


def test_a_table_of_other_filters_is_exit_code_1(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--group", "sales-us"]) == 0
    assert run(command) == 1
    assert "holds the calls of other filters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--to", "calls.db"], "--to must have a scheme"),
        (["--to", "sqlite:///."], "--to must name a file"),
        (["--to", "sqlite:///calls.db"], "--since is missing"),
        (["--to", "sqlite:///calls.db", "--since", "2026-10-01"], "--since 2026-10-01 has no time zone"),
        (["--to", "sqlite:///calls.db", "--since", "tomorrow"], "--since is neither a date"),
        (["--to", "sqlite:///calls.db", "--lookback", "3"], "--lookback is not a duration"),
        (["--to", "sqlite:///calls.db", "--table", "a b"], "table must be a plain name"),
        (["--to", "sqlite:///calls.db", "--on-vanished", "drop"], "--on-vanished must be one of"),
        ([], "--to is missing"),
    ],
)
@pytest.mark.usefixtures("sandbox")
def test_arguments_are_checked(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sync", *arguments]) == 2
    assert what in capsys.readouterr().err
    assert not Path("calls.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://calls:sesame@localhost/calls",
        "postgres://calls:se%5Bsame@localhost/calls",
        "postgresql://calls@localhost/calls?PASSWORD=sesame",
        "postgresql://localhost/calls?user=calls&pass%77ord=sesame",
        "postgresql://calls:sesame[@localhost/calls",
        "postgresql://calls:sesame@home@localhost/calls",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(
    command: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command[2] = url
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert "--to holds a password" in err or "has an @ outside its user" in err
    assert not any(form in out + err for form in ("sesame", "se%5Bsame", "se[same"))


def test_a_server_that_cannot_be_reached_is_exit_code_1(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "sesame")
    command[2] = "postgresql://calls@127.0.0.1:1/calls"
    assert run(command) == 1
    err = capsys.readouterr().err
    assert "127.0.0.1" in err
    assert "sesame" not in err


def test_a_database_that_cannot_be_written_is_exit_code_1(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command[2] = "sqlite:///missing/calls.db"
    assert run(command) == 1
    assert "missing/calls.db" in capsys.readouterr().err


def test_a_run_that_fails_halfway_keeps_its_commits(
    sandbox: Sandbox, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiosipcdr.sync.spans.SPAN_ROWS", 20)
    monkeypatch.setattr("aiosipcdr.sync.spans.CHUNK_ROWS", 40)
    sandbox.answer_next(*[0] * 9, -13)  # the account is locked
    assert run(command) == 1
    assert 0 < count_rows() < 120
    assert run(command) == 0
    assert count_rows() == 120
