"""`--install-completion`: bash completes commands, options and choices, with what was put into a home directory."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run

BASH = shutil.which("bash")
COMPLETE = """
. ~/.bashrc
COMP_WORDS=({words}) COMP_CWORD={place}
_aiosipcdr
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(home: Path, *words: str) -> set[str]:
    """Return what bash offers for the last of `words`."""
    assert BASH is not None
    script = COMPLETE.format(words=" ".join(f"'{word}'" for word in words), place=len(words) - 1)
    result = subprocess.run(  # noqa: S603
        [BASH, "--norc", "-c", script],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stderr == ""
    return set(result.stdout.split())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.mark.needs("bash")
def test_bash_completes_commands_options_and_choices(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".bashrc").write_text("# mine\n")
    for _ in range(2):  # again after an update
        assert run(["--install-completion", "--shell", "bash"]) == 0
        assert "completion for bash is installed in" in capsys.readouterr().out

    lines = (home / ".bashrc").read_text().splitlines()
    assert lines[0] == "# mine"
    assert len(lines) == 3
    assert completed(home, "aiosipcdr", "") >= {"demo", "export", "count", "verify", "doctor", "sandbox"}
    assert completed(home, "aiosipcdr", "export", "--format", "") >= {"parquet", "csv", "ndjson"}
    assert completed(home, "aiosipcdr", "verify", "--on") == {"--online"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_their_own_script(home: Path, capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["--install-completion", "--shell", shell]) == 0
    reported = capsys.readouterr().out
    script = Path(reported.partition(" is installed in ")[2].partition("; ")[0])
    assert script.is_relative_to(home)
    assert "aiosipcdr" in script.read_text()


def test_an_undetected_shell_must_be_named(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cyclopts.completion.detect import ShellDetectionError

    def fail() -> None:
        raise ShellDetectionError

    monkeypatch.setattr("aiosipcdr.cli.completion.detect_shell", fail)
    assert run(["--install-completion"]) == 2
    assert "add --shell bash, zsh, fish or powershell" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".local").write_text("in the way")
    assert run(["--install-completion", "--shell", "bash"]) == 1
    assert "cannot be written" in capsys.readouterr().err
