"""The README is executed: its Python against a sandbox, its commands in a shell.

Python blocks share one namespace and one event loop, in the order of the
page, and may `await` at the top level.  `start` and `end` are the sandbox's
range.  Commands that install something are compared, not run.  Blocks that hold
tests are run by a pytest of their own, too.
"""

import ast
import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from packaging.requirements import Requirement
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

import aiosipcdr
from aiosipcdr.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CI_RUN = ROOT / ".ci" / "run"

DEMO_COMMAND = 'python3 -m pip install -q ".[cli]" && python3 -m aiosipcdr demo'
TEST_COMMAND = 'python3 -m pip install -q "nox[uv]" && python3 -m nox'

VARIABLES = {"AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET"}

# Commands that the page may name without being run here: the tools of others.
NAMED_ONLY = {"cd", "curl", "duckdb", "git", "jq", "nox"}

# Subcommands that serve until they are stopped: asked for their help instead.
SERVERS = {"sandbox"}

SHELL_LANGUAGES = ("console", "bash", "sh", "shell")


def run_python(example: Example) -> None:
    """Execute a block, with `await` at its top level, in the loop of the page."""
    if re.search(r"^(async )?def test_", example.parsed, re.MULTILINE):
        run_tests(example)
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, example.namespace)  # noqa: S307 - our own page
    if inspect.iscoroutine(result):
        runner: asyncio.Runner = example.namespace["__runner__"]
        runner.run(result)


def run_tests(example: Example) -> None:
    """Run a block as a file of tests, as pytest does."""
    path = Path("test_page.py").resolve()
    path.write_text(example.parsed, encoding="utf-8")
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", "-q", "-Werror", "--strict-markers", str(path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p aiosipcdr"},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^\d+ passed in", result.stdout, re.MULTILINE), result.stdout


def parse(path: Path) -> Document:
    languages = [CodeBlockParser(language="python", evaluator=run_python)]
    languages += [CodeBlockParser(language=name, evaluator=run_commands) for name in SHELL_LANGUAGES]
    return Sybil(parsers=languages, path=str(path.parent)).parse(path)


def commands(text: str) -> list[str]:
    """The commands of a block: the lines behind `$`, or all where no line has one; a backslash joins lines."""
    lines = text.replace("\\\n", "").splitlines()
    if any(line.startswith("$ ") for line in lines):
        return [line[2:].strip() for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def all_commands(document: Document) -> list[str]:
    examples = [example for example in document.examples() if example.region.evaluator is run_commands]
    return [command for example in examples for command in commands(example.parsed)]


def run_commands(example: Example) -> None:
    for command in commands(example.parsed):
        start = example.namespace.get("start")
        run_command(move_dates(command, start.date()) if start else command)


def move_dates(command: str, start: date) -> str:
    """Move the page's dates into the sandbox's range, as far apart as they were: ranges age, pages do not."""
    pattern = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
    first = min(map(date.fromisoformat, pattern.findall(command)), default=start)
    return pattern.sub(
        lambda found: str(start + timedelta(days=1) + (date.fromisoformat(found[0]) - first)),
        command,
    )


def run_command(command: str) -> None:
    if "pip install" in command:
        check_installation(command)
        return
    words = shlex.split(command, comments=True)
    if words[0] == "export":
        assert {word.partition("=")[0] for word in words[1:]} <= VARIABLES
        return
    if words[:3] == ["python3", "-m", "nox"] or words[0] in NAMED_ONLY:
        return
    if words[:3] == ["python3", "-m", "aiosipcdr"]:
        arguments = words[3:]
    else:
        assert words[0] == "aiosipcdr", f"the README names a command that this test does not know: {command}"
        arguments = words[1:]
    if arguments and arguments[0] in SERVERS:
        check_subcommand(arguments[0])
    else:
        run_in_shell(command)


def run_in_shell(command: str) -> str:
    """Run `command` as pasted, with this interpreter as python3, and return what it printed."""
    script = (
        f'python3() {{ {shlex.quote(sys.executable)} "$@"; }}\n'
        'aiosipcdr() { python3 -m aiosipcdr "$@"; }\n'
        f"set -euo pipefail\n{command}\n"
    )
    result = subprocess.run(  # noqa: S603
        ["bash", "-c", script],  # noqa: S607
        env={**os.environ, "PYTHONPATH": str(Path(aiosipcdr.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def check_subcommand(name: str) -> None:
    """It answers for itself: asked for the help of what does not exist, some parsers give everyone's."""
    assert run_in_shell(f"aiosipcdr {shlex.quote(name)} --help") != run_in_shell("aiosipcdr --help")


def check_installation(command: str) -> None:
    """What is installed exists, and what is run after it answers."""
    install, _, then = command.partition("&&")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = [word for word in shlex.split(install.partition("pip install")[2]) if not word.startswith("-")]
    assert asked, command
    for word in asked:
        requirement = Requirement(f"aiosipcdr{word[1:]}" if word.startswith(".") else word)
        if requirement.name == "aiosipcdr":
            assert requirement.extras <= set(extras), command
    if "aiosipcdr" in then:
        check_subcommand(shlex.split(then)[-1])


@pytest.fixture
def sandbox_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A sandbox in a thread of its own, told to the page by the environment, and an empty directory."""
    monkeypatch.chdir(tmp_path)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Sandbox(records=2_000)) as sandbox,
    ):
        monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        yield {"start": sandbox.start, "end": sandbox.end}


def run_page(path: Path, names: dict[str, Any], subtests: pytest.Subtests) -> list[str]:
    """Execute a page from top to bottom; each block is a subtest.  Returns the Python it ran."""
    document = parse(path)
    ran = []
    with asyncio.Runner() as runner:
        document.namespace.update(names, __name__="__main__", __runner__=runner)
        for example in document.examples():
            with subtests.test(f"{path.name}, line {example.line}"):
                example.evaluate()
            if example.region.evaluator is run_python:
                ran.append(str(example.parsed))
    return ran


@pytest.mark.timeout(240)
def test_every_block_of_the_readme_works(sandbox_range: dict[str, Any], subtests: pytest.Subtests) -> None:
    ran = run_page(README, sandbox_range, subtests)

    assert ran, "the README shows no Python"
    assert any("CdrClient" in block for block in ran)


def test_the_two_commands_stand_at_the_top() -> None:
    top = "\n".join(README.read_text(encoding="utf-8").splitlines()[:60])

    assert 0 < top.find(DEMO_COMMAND) < top.find(TEST_COMMAND)
    assert {DEMO_COMMAND, TEST_COMMAND} <= set(all_commands(parse(README)))


def test_ci_runs_the_command_of_the_readme() -> None:
    lines = [line for line in CI_RUN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == TEST_COMMAND
    assert os.access(CI_RUN, os.X_OK)


def test_what_the_readme_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", README.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]

    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


# The runner itself: a page that lies must be caught.


def page(directory: Path, text: str) -> Document:
    path = directory / "page.md"
    path.write_text(text, encoding="utf-8")
    document = parse(path)
    document.namespace["__name__"] = "__main__"
    return document


def test_a_block_may_await_and_later_blocks_see_its_names(tmp_path: Path) -> None:
    document = page(
        tmp_path,
        "```python\nimport asyncio\nloop = asyncio.get_running_loop()\nx = await asyncio.sleep(0, 41)\n```\n"
        "\n```python\nx += 1\nassert loop is asyncio.get_running_loop() or await asyncio.sleep(0)\n```\n",
    )
    with asyncio.Runner() as runner:
        document.namespace["__runner__"] = runner
        for example in document.examples():
            example.evaluate()

    assert document.namespace["x"] == 42


def test_a_block_that_fails_is_noticed_with_its_line(tmp_path: Path) -> None:
    (example,) = page(tmp_path, "one\n\n```python\nx = 1\nassert x == 2\n```\n").examples()

    with pytest.raises(AssertionError) as caught:
        example.evaluate()

    assert caught.traceback[-1].lineno + 1 == 5


def test_a_test_on_the_page_that_fails_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = page(
        tmp_path, "```python\ndef test_it(cdr_sandbox):\n    assert cdr_sandbox is None\n```\n"
    ).examples()

    with pytest.raises(AssertionError, match="test_it"):
        example.evaluate()


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ aiosipcdr nonsense\noutput\n```\n",
        "```bash\nrm -rf nothing\n```\n",
        "```sh\nexport AIOSIPCDR_NONSENSE=1\n```\n",
        '```sh\npython3 -m pip install "aiosipcdr[nonsense]"\n```\n',
        "```console\n$ python3 -m pip install -q aiosipcdr && python3 -m aiosipcdr nonsense\n```\n",
    ],
)
def test_a_command_that_does_not_work_is_noticed(tmp_path: Path, text: str) -> None:
    (example,) = page(tmp_path, text).examples()

    with pytest.raises(AssertionError):
        example.evaluate()


def test_the_output_below_a_prompt_is_no_command() -> None:
    assert commands("$ aiosipcdr count \\\n    --json\n3\n") == ["aiosipcdr count     --json"]
    assert commands("# first\naiosipcdr count\n") == ["aiosipcdr count"]


def test_dates_move_into_the_range_and_keep_their_distance() -> None:
    command = "aiosipcdr count --start 2026-11-01 --end 2026-11-03T10:00:00"

    assert move_dates(command, date(2031, 2, 27)) == "aiosipcdr count --start 2031-02-28 --end 2031-03-02T10:00:00"
    assert move_dates("aiosipcdr --version", date(2031, 2, 27)) == "aiosipcdr --version"
