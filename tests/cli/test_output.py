"""Where words and data go: tables fit for a terminal and for a pipe."""

import io
import re
import sys

import pytest

from aiosipcdr.cli.output import print_table

ROWS = [("File", "a long path " * 20 + "end"), ("Calls", "[green]12[/]")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_into_a_pipe_a_line_is_as_long_as_it_is_and_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("path end")
    assert second.split() == ["Calls", "12"]
    assert not second.endswith(" ")


def test_on_a_terminal_a_long_text_is_folded_under_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(ROWS)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert len(lines) > 4
    assert all(len(line) <= 60 for line in lines)
    assert lines[1].startswith("       ")


def test_nothing_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([])
    assert capsys.readouterr().out.strip() == ""
