"""The sandbox's credentials in the environment, and the command line as a process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _arguments_are_assembled_once(arguments_are_assembled_once: None) -> None:
    """Run commands in this process faster."""


@pytest.fixture(autouse=True)
def _commands_run_on_asyncios_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep uvloop out of commands in this process: tests replace what asyncio's loop uses. Processes may use it."""
    monkeypatch.setitem(sys.modules, "uvloop", None)


@pytest.fixture
def account(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the sandbox's credentials into the environment; return the arguments of its range."""
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
    return ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Return a starter of `python -m aiosipcdr`, in a folder of the test's own."""

    def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":  # noqa: ANN401
        usual = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": tmp_path,
            "env": {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        }
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "aiosipcdr", *arguments],
            **{**usual, **options},
        )

    return start
