"""Where credentials come from, and that they go nowhere else."""

import io
import os
import sys
from pathlib import Path

import pytest

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.settings import Account, Settings, find_credentials, resolve_settings
from aiosipcdr.wire.signing import Credentials

URL = "https://api.example.com/v3/voice"
ENVIRONMENT = {
    "AIOSIPCDR_BASE_URL": URL,
    "AIOSIPCDR_API_KEY": "env-key",
    "AIOSIPCDR_API_SECRET": "env-secret",
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(mode=0o600)
    return path


def parts(settings: Settings) -> tuple[str, str, str]:
    return settings.base_url, settings.api_key, settings.api_secret


def test_the_environment_is_the_default() -> None:
    assert parts(resolve_settings(Account(), ENVIRONMENT)) == (URL, "env-key", "env-secret")


def test_the_address_may_be_an_argument() -> None:
    settings = resolve_settings(Account(base_url="https://other.example.com"), ENVIRONMENT)
    assert parts(settings) == ("https://other.example.com", "env-key", "env-secret")


@pytest.mark.parametrize(
    "text",
    [
        'api_key = "file-key"\napi_secret = "0123"\n',
        '[aiosipcdr]\napi_key = "file-key"\napi_secret = "0123"\n',
        "# mine\nAIOSIPCDR_API_KEY=file-key\nexport AIOSIPCDR_API_SECRET='0123'\nOTHER=1\n",
        "API_KEY = file-key\nAPI_SECRET = 0123",
        "\ufeffapi_key=file-key\r\napi_secret=0123\r\n",
        'AIOSIPCDR_API_KEY="file-key" # of the sandbox\nAIOSIPCDR_API_SECRET=0123   # keep it\n',
        '{"api_key": "file-key", "api_secret": "0123"}',
        ' {"aiosipcdr": {"API_KEY": "file-key", "AIOSIPCDR_API_SECRET": "0123", "other": 1}}',
    ],
)
def test_a_file_is_toml_or_lines_of_name_and_value(written: Path, text: str) -> None:
    written.write_text(text, newline="")
    settings = resolve_settings(Account(credentials_file=written), ENVIRONMENT)
    assert parts(settings) == (URL, "file-key", "0123")


@pytest.mark.parametrize("value", ["1e5", "0x10", "1_000", "12.50", "true", "2026-10-01", "a=b==", "a#b"])
def test_a_value_without_quotes_is_taken_literally(written: Path, value: str) -> None:
    written.write_text(f"api_key={value}\napi_secret=s\n")
    assert resolve_settings(Account(credentials_file=written), ENVIRONMENT).api_key == value


def test_a_file_with_an_address_is_enough(written: Path) -> None:
    written.write_text(f'base_url = "{URL}"\napi_key = "k"\napi_secret = "s"\n')
    assert parts(resolve_settings(Account(credentials_file=written), {})) == (URL, "k", "s")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused(written: Path, mode: int) -> None:
    written.write_text("api_key=key-0815\napi_secret=secret-0815\n")
    written.chmod(mode)
    with pytest.raises(UsageError) as refused:
        resolve_settings(Account(credentials_file=written), ENVIRONMENT)
    assert "chmod 600" in str(refused.value)
    assert "0815" not in str(refused.value)


def test_key_and_secret_come_from_one_source(written: Path) -> None:
    written.write_text("api_key=key-0815\n")
    with pytest.raises(UsageError, match=r"api_secret is missing in .*credentials;"):
        resolve_settings(Account(credentials_file=written), ENVIRONMENT)


def test_stdin_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"API_KEY=k\nAPI_SECRET=s\n")))
    assert parts(resolve_settings(Account(credentials_stdin=True), ENVIRONMENT)) == (URL, "k", "s")


@pytest.mark.parametrize(
    ("account", "environment", "expected"),
    [
        (Account(), {}, "api_key is missing in the environment"),
        (Account(), {**ENVIRONMENT, "AIOSIPCDR_API_SECRET": ""}, "api_secret is missing in the environment"),
        (Account(), {**ENVIRONMENT, "AIOSIPCDR_BASE_URL": ""}, "the address is missing; add --base-url"),
        (Account(credentials_file=Path("/nowhere/at/all")), ENVIRONMENT, "cannot be read: No such file"),
        (Account(credentials_file=Path("a"), credentials_stdin=True), ENVIRONMENT, "exclude each other"),
    ],
)
def test_missing_settings_are_named(account: Account, environment: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_settings(account, environment)
    assert expected in str(refused.value)


def test_bytes_that_are_no_text_are_refused_without_showing_them(written: Path) -> None:
    written.write_bytes(b"\xff\xfeapi_key")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        resolve_settings(Account(credentials_file=written), {})


def test_settings_show_no_credentials() -> None:
    shown = repr(resolve_settings(Account(), ENVIRONMENT))
    assert URL in shown
    assert "env-" not in shown


def test_credentials_without_an_address_are_found_where_there_are_some(tmp_path: Path) -> None:
    environ = {"AIOSIPCDR_API_KEY": "sandbox-key", "AIOSIPCDR_API_SECRET": "sandbox-secret"}
    assert find_credentials(Account(), environ) == Credentials("sandbox-key", "sandbox-secret")
    for missing in environ:
        assert find_credentials(Account(), {name: value for name, value in environ.items() if name != missing}) is None
    file = tmp_path / "credentials"
    file.write_text("api_key = 'sandbox-other'\napi_secret = 'sandbox-secret'\n")
    file.chmod(0o600)
    found = find_credentials(Account(credentials_file=file), environ)
    assert found == Credentials("sandbox-other", "sandbox-secret")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="is readable by others"):
        find_credentials(Account(credentials_file=file), environ)


@pytest.mark.parametrize("text", ['{"api_key": "key-0815", ', '{"api_key": "key-0815", "api_secret": 815}', "{}"])
def test_json_that_is_of_no_use_is_refused_and_not_repeated(written: Path, text: str) -> None:
    written.write_text(text)
    with pytest.raises(UsageError) as caught:
        resolve_settings(Account(credentials_file=written), ENVIRONMENT)
    assert "0815" not in str(caught.value)


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "{} # notes", '"{}"  # notes', " {} "])
def test_quotes_comments_and_blanks_around_a_value_are_removed(form: str) -> None:
    environ = {name: form.format(value) for name, value in ENVIRONMENT.items()}
    assert parts(resolve_settings(Account(), environ)) == (URL, "env-key", "env-secret")


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_credential_of_systemd_is_read_though_its_group_may_read_it(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.write_text("api_key=k\napi_secret=s\n")
    written.chmod(0o440)
    with pytest.raises(UsageError, match="chmod 600"):
        resolve_settings(Account(credentials_file=written), ENVIRONMENT)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(written.parent))
    assert resolve_settings(Account(credentials_file=written), ENVIRONMENT).api_key == "k"
    for mode in (0o444, 0o460, 0o450):
        written.chmod(mode)
        with pytest.raises(UsageError, match="chmod 600"):
            resolve_settings(Account(credentials_file=written), ENVIRONMENT)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(written.parent / "elsewhere"))
    written.chmod(0o440)
    with pytest.raises(UsageError, match="chmod 600"):
        resolve_settings(Account(credentials_file=written), ENVIRONMENT)
