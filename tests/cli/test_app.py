"""The command line as a whole: imports, messages and exit codes."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from aiosipcdr import __version__
from aiosipcdr.cli import app as app_module
from aiosipcdr.cli.app import run

LIGHT = """
import sys
from aiosipcdr.cli import main
for arguments in (["--help"], ["--version"], ["demo", "--help"], ["export", "--help"], ["count", "--help"],
                  ["sandbox", "--help"], ["doctor", "--help"], ["export", "--start"], []):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        print(*arguments, end.code, "aiohttp" in sys.modules, file=sys.stderr)
"""

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from aiosipcdr.cli import main
main()
"""


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def test_help_version_and_usage_errors_import_no_http_library() -> None:
    done = python(LIGHT)
    reported = [line for line in done.stderr.splitlines() if not line.startswith("aiosipcdr: ")]
    assert reported == [
        "--help 0 False",
        "--version 0 False",
        "demo --help 0 False",
        "export --help 0 False",
        "count --help 0 False",
        "sandbox --help 0 False",
        "doctor --help 0 False",
        "export --start 2 False",
        "0 False",
    ]
    assert "Start a sandbox" in done.stdout


@pytest.mark.parametrize(
    ("command", "is_asking"), [("demo", False), ("sandbox", False), ("export", True), ("doctor", True)]
)
def test_help_explains_credentials_where_a_command_uses_them(
    command: str, *, is_asking: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert ("Credentials: AIOSIPCDR_BASE_URL" in shown) is is_asking
    assert "2 invalid arguments or settings" in " ".join(shown.split())


@pytest.mark.parametrize("package", ["cyclopts", "rich"])
def test_without_the_extra_the_package_is_named(package: str) -> None:
    done = python(WITHOUT, package, "count", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert "python3 -m pip install 'aiosipcdr[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    done = python(WITHOUT, "msgspec", "--help")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_version_names_ours_and_those_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    reported = capsys.readouterr().out
    python_version = sys.version.split()[0]
    expected = f"({'Python'} {python_version}, aiohttp {version('aiohttp')}, msgspec {version('msgspec')})"
    assert " ".join(reported.split()) == f"aiosipcdr {__version__} {expected}"


def test_help_lists_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    reported = capsys.readouterr()
    assert reported.err == ""
    for word in ("demo", "export", "count", "doctor", "sandbox", "AIOSIPCDR_API_SECRET", "3 incomplete", "143"):
        assert word in reported.out


def test_an_unexpected_error_keeps_its_text_to_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("+8613800000000")

    monkeypatch.setattr(app_module, "app", fail)
    assert run(["count"]) == 1
    reported = capsys.readouterr().err
    assert "unexpected KeyError" in reported
    assert "--debug" in reported
    assert "138000" not in reported
    assert "Traceback" not in reported


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError

    monkeypatch.setattr(app_module, "app", fail)
    assert run(["count", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
