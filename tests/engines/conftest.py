"""The sandbox of the tutorial, for pages whose blocks need an engine: they are marked `py`, and run in sessions."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from aiosipcdr.sandbox import Sandbox
from tests.pages import ROOT, VARIABLES, run_page

START = datetime(2026, 10, 1, tzinfo=timezone(timedelta(hours=8)))


@pytest.fixture(scope="session")
def tutorial() -> Iterator[Sandbox]:
    with Sandbox(account="tutorial", records=3_000, start=START, months_back=None) as sandbox:
        yield sandbox


@pytest.fixture
def run_howto(
    tutorial: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> Callable[[str], list[str]]:
    """Return a function that executes a page, its blocks for engines included."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, getattr(tutorial, name.removeprefix("AIOSIPCDR_").lower()))

    def run(name: str) -> list[str]:
        path = ROOT / "docs" / "howto" / name
        return run_page(path, {}, subtests, keeps_its_word=True, languages=("python", "py"))

    return run
