"""The README, executed: its Python against a sandbox, its commands in a shell (see tests/pages.py)."""

import ast
import os
import re
from codeop import CommandCompiler
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from aiosipcdr.sandbox import Sandbox
from tests.pages import ROOT, all_commands, parse, run_page, run_python

pytestmark = pytest.mark.usefixtures("arguments_are_assembled_once")

README = ROOT / "README.md"
CI_RUN = ROOT / ".ci" / "run"

DEMO_COMMAND = 'python3 -m pip install -q ".[cli]" && python3 -m aiosipcdr demo'
TEST_COMMAND = 'python3 -m pip install -q "nox[uv]" && python3 -m nox'


@pytest.fixture
def sandbox_range(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls_until_today: None,  # noqa: ARG001 - the example fetches the last days
) -> Iterator[dict[str, Any]]:
    """Start a sandbox in a thread, with its account in the environment, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Sandbox(records=2_000)) as sandbox,
    ):
        monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        yield {"start": sandbox.start, "end": sandbox.end}


@pytest.mark.timeout(600)
def test_every_block_of_the_readme_works(sandbox_range: dict[str, Any], subtests: pytest.Subtests) -> None:
    ran = run_page(README, sandbox_range, subtests)

    assert ran, "the README shows no Python"
    assert any("CdrClient" in block for block in ran)


def test_the_two_commands_are_at_the_top() -> None:
    top = "\n".join(README.read_text(encoding="utf-8").splitlines()[:60])

    assert 0 < top.find(DEMO_COMMAND) < top.find(TEST_COMMAND)
    assert {DEMO_COMMAND, TEST_COMMAND} <= set(all_commands(parse(README)))


def test_the_readme_is_read_in_three_minutes() -> None:
    text = README.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 125
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) <= 1_000


def test_ci_runs_the_command_of_the_readme() -> None:
    lines = [line for line in CI_RUN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert lines[0] == "set -euo pipefail"
    assert lines[-2:] == [TEST_COMMAND, "python3 -m nox -s spark"]
    assert os.access(CI_RUN, os.X_OK)


def test_a_block_can_be_pasted_into_a_prompt_that_reads_line_by_line() -> None:
    blocks = [str(one.parsed) for one in parse(README).examples() if one.region.evaluator is run_python]
    compiles = CommandCompiler()
    compiles.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    assert blocks
    for block in blocks:
        waiting: list[str] = []
        for line in [*block.splitlines(), ""]:  # an empty line ends what is indented
            waiting.append(line)
            if compiles("\n".join(waiting)) is not None:
                waiting = []
        assert waiting == []


def test_the_figures_in_the_text_of_the_race_are_those_of_its_picture() -> None:
    words, picture = re.findall(r"!\[([^\]]+)\]\((benchmarks/\S+\.svg)\)", README.read_text(encoding="utf-8"))[0]
    reported = re.findall(r"\d+\.\d+", words)
    drawn = re.findall(r">(\d+\.\d+) ms<", (ROOT / picture).read_text(encoding="utf-8"))

    assert len(reported) > 5
    assert [figure for figure in drawn if figure in reported] == reported


def test_every_link_of_the_readme_has_a_target() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", README.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]

    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []
