"""The sandbox's credentials in the environment, the command line as a process, and one assembly of its arguments."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, ArgumentCollection, Parameter

from aiosipcdr.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _arguments_are_assembled_once() -> Iterator[None]:
    """Assemble the arguments of each command once: cyclopts does so at every run, which takes longer than most runs."""
    assemble = App.assemble_argument_collection
    known: dict[tuple[int, bool], tuple[App, ArgumentCollection]] = {}

    def assemble_once(
        self: App, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        if default_parameter is not None:
            return assemble(self, default_parameter=default_parameter, parse_docstring=parse_docstring)
        key = id(self), parse_docstring
        if key not in known:
            # The app is kept, so that no other gets its number.
            known[key] = self, assemble(self, parse_docstring=parse_docstring)
        # Parsing changes arguments and reaches them through their parents, and nothing else of what they refer to.
        copies = {id(argument): copy(argument) for argument in known[key][1]}
        for argument in copies.values():
            argument.tokens = []
            argument.children = argument.children.copy()
            argument.children[:] = [copies[id(child)] for child in argument.children]
        collection = known[key][1].copy()
        collection[:] = copies.values()
        return collection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "assemble_argument_collection", assemble_once)
        yield


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
