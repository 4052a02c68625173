"""Options of the network and the proof: on the command line or in the credentials file, the command line first."""

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.options import Network, Proof, plan_client, time_field_of
from aiosipcdr.cli.resume_hint import invocation, resume_command
from aiosipcdr.cli.settings import OPTION_NAMES, Account, Settings, resolve_settings
from aiosipcdr.sandbox import Sandbox
from tests.http.test_transport import authority, http, peer, serving
from tests.inside import transport_of

__all__ = ["authority"]

NOW = datetime(2024, 10, 1, tzinfo=UTC)
URL = "https://api.example.com/v3/voice"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Settings]:
    """Read settings from a credentials file with these lines besides the credentials."""

    def settings(lines: str) -> Settings:
        path = tmp_path / "credentials"
        path.touch(mode=0o600)
        path.write_text(f'base_url = "{URL}"\napi_key = "k"\napi_secret = "s"\n{lines}\n')
        return resolve_settings(Account(credentials_file=path), {})

    return settings


def test_nothing_given_is_the_clients_own_default(read: Callable[[str], Settings]) -> None:
    assert plan_client(Network(), Proof(), read("")) == {}
    assert time_field_of(Proof(), read("")) is None


@pytest.mark.parametrize(
    "lines",
    [
        'proxy = "http://p.example:8080"\ntimeout = 12.5\ntime_field = "call_time"\nlateness = "6h"\nstrict = true',
        "AIOSIPCDR_PROXY=http://p.example:8080\nTIMEOUT=12.5\ntime_field=call_time\nlateness='6h'\nstrict=true",
    ],
)
def test_each_option_may_be_in_the_file_and_the_command_line_takes_precedence(
    read: Callable[[str], Settings], lines: str
) -> None:
    settings = read(lines)
    reported = {"proxy": "http://p.example:8080", "timeout": 12.5, "lateness": timedelta(hours=6), "strict": True}
    assert plan_client(Network(), Proof(), settings) == reported
    assert time_field_of(Proof(), settings) == "call_time"
    network = Network(proxy="http://q.example:1", timeout=3)
    proof = Proof(time_field="submit_time", lateness="90m")
    reported |= {"proxy": "http://q.example:1", "timeout": 3, "lateness": timedelta(minutes=90)}
    assert plan_client(network, proof, settings) == reported
    assert time_field_of(proof, settings) == "submit_time"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("timeout = soon", "credentials: timeout must be a number of seconds"),
        ("strict = perhaps", "credentials: strict must be true or false"),
        ("time_field = submitTime", "credentials: time_field must be one of submit_time, call_time"),
        ("lateness = 4", "credentials: lateness is not a duration"),
        ("ca_file = missing.pem", "missing.pem cannot be read: No such file"),
        ("timeout = -1", "timeout must be a positive number of seconds"),
        ("proxy = nonsense", "proxy must be an address like"),
    ],
)
def test_an_unusable_option_is_a_usage_error_that_names_it(
    read: Callable[[str], Settings], lines: str, text: str
) -> None:
    settings = read(lines)
    with pytest.raises(UsageError) as refused:  # noqa: PT012 - whichever reads it
        time_field_of(Proof(), settings)
        build_client(settings, Pace())
    assert text in str(refused.value)


def test_a_file_of_authorities_is_looked_for_beside_the_credentials(
    read: Callable[[str], Settings], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")
    with pytest.raises(UsageError, match=r"ca\.pem holds no certificate"):
        plan_client(Network(), Proof(), read("ca_file = ca.pem"))


async def test_the_authorities_in_a_file_are_trusted_and_no_others(authority: Path) -> None:
    settings = Settings(base_url=URL, api_key="k", api_secret="s")
    context = plan_client(Network(ca_file=authority), Proof(), settings)["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1
    body = b'{"status":"0","data":{"total":7,"size":1,"current":1,"pages":7,"records":[{"voiceId":"1"}]}}'
    async with peer(http(body), keep=True, context=serving(authority)) as here:
        address = here.url.removesuffix("/recordSipQuery")
        settings = Settings(base_url=address, api_key="k", api_secret="s")
        async with build_client(settings, Pace(), network=Network(ca_file=authority)) as client:
            await client.ping()


def test_a_proxy_is_never_shown_for_it_may_hold_a_password(read: Callable[[str], Settings]) -> None:
    settings = read("proxy = http://u:canary@p.example:1")
    assert "canary" not in repr(settings)
    assert "canary" not in repr(Network(proxy="http://u:canary@p.example:1"))
    for words in (["--proxy", "http://u:canary@p.example:1"], ["--proxy=http://u:canary@p.example:1"]):
        invocation.set(["export", "--last", "7d", *words])
        assert "canary" not in resume_command(NOW, NOW, keep_range=True)
    with pytest.raises(UsageError) as refused:
        build_client(read("proxy = u:canary@p.example"), Pace())
    assert "canary" not in str(refused.value)


def test_every_option_of_the_file_is_one_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    run(["export", "--help"])
    reported = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in reported for name in OPTION_NAMES)


def test_the_options_reach_the_client_and_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = [{"voiceId": str(second), "submitTime": f"2024-10-01T00:00:0{second}Z"} for second in range(4)]
    with Sandbox(calls=calls, months_back=None) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        span = ["--start", "2024-10-01T00:00:01Z", "--end", "2024-10-01T00:00:03Z"]
        command = ["export", *span, "--output", str(tmp_path / "calls.ndjson"), "--json"]
        # A lateness of centuries: every window is provisional.
        assert run([*command, "--time-field", "submit_time", "--lateness", "9999w", "--timeout", "30"]) == 0
        reported = json.loads(capsys.readouterr().out)
        assert (reported["unique"], reported["provisional"]) == (2, 1)


def test_the_proxy_of_the_environment_is_used_unless_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "p.example:3128")
    settings = Settings(base_url=URL, api_key="k", api_secret="s")

    def proxy(given: str | None = None) -> str:
        return transport_of(build_client(settings, Pace(), network=Network(proxy=given))).proxy_host

    assert proxy() == "p.example:3128"
    assert proxy("http://q.example:1") == "q.example:1"
    for excluded in ("api.example.com", ".example.com", "other, example.com", "*"):
        monkeypatch.setenv("NO_PROXY", excluded)
        assert proxy() == "", excluded
    monkeypatch.setenv("NO_PROXY", "api.example.org")
    assert proxy() == "p.example:3128"
    monkeypatch.setenv("HTTPS_PROXY", "ftp://u:canary@p.example")
    with pytest.raises(UsageError, match="HTTPS_PROXY must be an address") as refused:
        proxy()
    assert "canary" not in str(refused.value)
