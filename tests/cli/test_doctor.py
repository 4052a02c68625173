"""`doctor`: a line for each check, exit code 0 when all is well, and nothing private in any of it."""

import io
import json
import shlex
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.doctor.advice import CHECKS
from aiosipcdr.sandbox import Sandbox
from tests.http.test_transport import CERTIFICATE

FAST = ["--rate", "1000"]


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"AIOSIPCDR_{name}", raising=False)


@contextmanager
def account_of(**config: Any) -> Iterator[Sandbox]:  # noqa: ANN401 - the sandbox's own
    with Sandbox(**({"records": 300} | config)) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
        patch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        patch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        yield sandbox


def span_of(sandbox: Sandbox) -> list[str]:
    """Return a range that holds calls, whatever the time of day: a count of 0 would be asked for twice."""
    return ["--start", (sandbox.end - timedelta(days=3)).isoformat(), "--end", sandbox.end.isoformat()]


def states(reported: str) -> dict[str, str]:
    result = json.loads(reported)
    assert result["ok"] == ("wrong" not in {check["state"] for check in result["checks"]})
    assert [check["name"] for check in result["checks"]][: len(CHECKS)] == list(CHECKS)
    return {check["name"]: check["state"] for check in result["checks"]}


def wrong(reported: str) -> list[str]:
    return [name for name, state in states(reported).items() if state == "wrong"]


def test_an_account_that_is_well_gets_a_line_for_each_check(
    account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *account, *FAST]) == 0
    reported = capsys.readouterr()
    assert reported.err == ""
    lines = reported.out.splitlines()
    assert [line.split()[1] for line in lines] == list(CHECKS)
    assert {line[0] for line in lines} == {"✓", "–"}
    assert "500 calls" in lines[-1]
    assert sandbox.api_key not in reported.out
    assert sandbox.api_secret not in reported.out
    assert run(["doctor", *FAST, "--json"]) == 0
    assert states(capsys.readouterr().out) == dict.fromkeys(CHECKS, "good") | {"dns": "skipped", "tls": "skipped"}


@pytest.mark.usefixtures("calls_until_today")
def test_the_probe_shows_findings_and_the_settings_that_follow(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with account_of(max_size=50, time_field="hangupTime") as sandbox:
        assert run(["doctor", "--probe", *FAST]) == 0
        reported = capsys.readouterr().out
        assert "pages are silently reduced to 50 calls" in reported
        assert 'CdrClient(..., page_size=50)\n  client.fetch_all(..., time_field="hangup_time")' in reported
        command = "aiosipcdr export --last 24h --output calls.csv --page-size 50 --time-field hangup_time"
        assert reported.endswith(f"  {command}\n")
        monkeypatch.chdir(tmp_path)
        assert run(shlex.split(command)[1:]) == 0  # as pasted
        assert "calls.csv" in capsys.readouterr().err
        row = sandbox.rows()[0]
        for private in (sandbox.api_key, sandbox.api_secret, row["callee"], row["voiceId"], row["sipGroupName"]):
            assert private not in reported
        sandbox.reset_stats()
        assert run(["doctor", "--probe", *FAST, "--json", *span_of(sandbox)]) == 0
        probe = json.loads(capsys.readouterr().out)["probe"]
        assert probe["requests"] == sandbox.stats.requests - 2 <= 15
    assert probe["settings"] == {"page_size": 50, "time_field": "hangup_time"}
    assert {"topic": "time_field", "value": "hangup_time"}.items() <= probe["findings"][2].items()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"callee":"447700900123"}', "3 records of one response without a readable id"),
        ('{"voiceId":"%d","rate":"?"}', "unreadable values of rate (3)"),
    ],
)
def test_a_probe_with_unreadable_records_has_exit_code_4(
    capsys: pytest.CaptureFixture[str], record: str, words: str, *, as_json: bool
) -> None:
    with account_of(records=0) as sandbox:
        for number in range(3):
            row = record.replace("%d", str(number)).encode()
            sandbox.add_rows([row], at=datetime.now(UTC).replace(microsecond=0) - timedelta(days=2, seconds=number))
        assert run(["doctor", "--probe", *FAST, *(["--json"] if as_json else [])]) == 4
        assert run(["doctor", *FAST]) == 0
    reported = capsys.readouterr().out
    assert words in reported
    assert "no calls were found" not in reported
    assert "none that the probe can tell; see fields above" in reported
    assert "447700900123" not in reported


def test_a_wrong_secret_is_tried_once_even_with_the_probe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with account_of() as sandbox:
        monkeypatch.setenv("AIOSIPCDR_API_SECRET", "hunter2-hunter2")
        assert run(["doctor", "--probe", *FAST, "--json"]) == 1
        reported = capsys.readouterr().out
        assert sandbox.stats.requests == 1
    assert wrong(reported) == ["credentials"]
    assert states(reported)["address"] == states(reported)["range"] == "skipped"
    assert json.loads(reported)["probe"] is None
    assert "hunter2" not in reported


@pytest.mark.parametrize(
    ("code", "requests", "expected"), [(-13, 1, "credentials"), (-2, 1, "address"), (-18, 2, "endpoint")]
)
def test_a_refusal_of_the_vendor_fails_its_own_check(
    capsys: pytest.CaptureFixture[str], code: int, requests: int, expected: str
) -> None:
    with account_of() as sandbox:
        sandbox.answer_next(code, code)
        assert run(["doctor", *FAST, "--json"]) == 1
        assert sandbox.stats.requests == requests
    assert wrong(capsys.readouterr().out) == [expected]


@pytest.mark.parametrize(
    ("config", "state", "words"),
    [
        ({"clock_offset": 3000.0}, "wrong", "s behind the vendor's; set it by NTP"),
        ({"clock_offset": -3000.0}, "wrong", "s ahead of the vendor's"),
        ({"clock_offset": 20.0}, "good", "s behind the vendor's"),
        ({"clock_offset": 3000.0, "send_date": False}, "wrong", "does not report its own (no Date)"),
        ({"send_date": False}, "skipped", "no Date"),
    ],
    ids=str,
)
def test_the_clock_offset_is_measured_by_the_vendors_date(
    capsys: pytest.CaptureFixture[str], config: dict[str, Any], state: str, words: str
) -> None:
    with account_of(**config):
        code = run(["doctor", *FAST, "--json"])
    reported = capsys.readouterr().out
    assert states(reported)["clock"] == state
    assert (code, wrong(reported)) == ((1, ["clock"]) if state == "wrong" else (0, []))
    (text,) = [check["text"] for check in json.loads(reported)["checks"] if check["name"] == "clock"]
    assert words in text


@pytest.mark.usefixtures("calls_until_today")
def test_a_range_before_the_retention_boundary_names_the_boundary(capsys: pytest.CaptureFixture[str]) -> None:
    with account_of(months_back=1, days=20):
        assert run(["doctor", "--last", "7w", *FAST, "--json"]) == 1
    reported = capsys.readouterr().out
    assert wrong(reported) == ["range"]
    assert "is kept from" in json.loads(reported)["checks"][-1]["text"]


def test_a_filter_that_finds_nothing_is_explained_and_not_quoted(
    account: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *account, "--phone", "+44 7700 900123", *FAST]) == 0
    reported = capsys.readouterr().out
    assert "0 calls" in reported
    assert "matched exactly" in reported
    assert "900123" not in reported


def test_settings_that_are_missing_skip_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 1
    reported = capsys.readouterr().out
    assert states(reported) == dict.fromkeys(CHECKS, "skipped") | {"settings": "wrong"}
    assert "AIOSIPCDR_API_KEY" in json.loads(reported)["checks"][0]["text"]


def test_an_address_that_cannot_be_used_is_a_wrong_setting(
    account: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *account, "--base-url", "http://example.com/v3/voice", "--json"]) == 1
    assert wrong(capsys.readouterr().out) == ["settings"]


def test_a_range_that_cannot_be_read_is_a_usage_error(account: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", *account, "--last", "1h"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_an_address_without_a_server_is_a_refused_connection(
    account: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening
        address = f"http://127.0.0.1:{held.getsockname()[1]}/v3/voice"
        assert run(["doctor", *account, "--base-url", address, "--json"]) == 1
    assert wrong(capsys.readouterr().out) == ["connection"]


def test_a_wrong_path_is_reported_as_such(
    account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *account, "--base-url", f"{sandbox.base_url}/v4", "--json"]) == 1
    reported = capsys.readouterr().out
    assert wrong(reported) == ["endpoint"]
    assert "check the path of base_url, which ends in /v3/voice" in reported


def test_an_unknown_host_is_reported_with_the_systems_message(
    account: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: Any, **__: Any) -> None:  # noqa: ANN401 - the system's own
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", find)
    assert run(["doctor", *account, "--base-url", "https://cdr.invalid/v3/voice", "--json"]) == 1
    reported = capsys.readouterr().out
    assert wrong(reported) == ["dns"]
    assert "cdr.invalid cannot be resolved (Temporary failure in name resolution)" in reported


def test_an_untrusted_certificate_is_reported_with_the_reason(
    account: list[str], tls_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"https://127.0.0.1:{tls_port}/v3/voice"
    assert run(["doctor", *account, "--base-url", address, "--json"]) == 1
    reported = capsys.readouterr().out
    assert wrong(reported) == ["tls"]
    assert "signed certificate" in reported


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A server that ends every TLS handshake that it begins, in a thread of its own."""
    pem = tmp_path / "server.pem"
    pem.write_text(CERTIFICATE, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    try:
                        context.wrap_socket(line, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_probe_that_ends_early_is_reported_beside_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    with account_of() as sandbox:
        sandbox.answer_next(0, 0, -18, -18)
        assert run(["doctor", "--probe", *FAST, "--json", *span_of(sandbox)]) == 1
    reported = capsys.readouterr().out
    assert wrong(reported) == ["probe"]
    assert json.loads(reported)["probe"] is None


def test_a_terminal_that_cannot_show_ticks_gets_letters(account: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert run(["doctor", *account, *FAST]) == 0
    out.seek(0)
    assert {line.split()[0] for line in out.read().splitlines()} == {"ok", "--"}
