"""Runs pages: their Python against a sandbox, their commands in a shell or in this process.

Python blocks of a page share one namespace and one event loop, in the order of
the page, and may `await` at the top level.  A block that begins with a comment
such as `# job.py` is also kept under that name, for commands behind it.
Commands that install something are compared, not run.  Blocks that hold tests
are run by a pytest of their own, too.

What a page shows as output is compared with what came, if the page is asked to
keep its word: below a command, or in a block of text behind Python.  Seconds
may differ, and `...` stands for anything.  A command fails if, and only if, what
is shown below it says so.
"""

import ast
import asyncio
import doctest
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cyclopts.exceptions import CycloptsError
from packaging.requirements import Requirement
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

import aiosipcdr
from aiosipcdr.cli.app import app, run

ROOT = Path(__file__).parent.parent

VARIABLES = {"AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET"}

# Commands that a page may name without being run here: the tools of others.
NAMED_ONLY = {"cd", "crontab", "curl", "duckdb", "git", "jq", "nox", "psql", "systemctl", "journalctl", "uvicorn"}

# Subcommands that serve until they are stopped: their arguments are read, and nothing is started.
SERVERS = {"sandbox"}

SHELL_LANGUAGES = ("console", "bash", "sh", "shell")

_SHELL_SIGNS = set("|&;<>$`*")
# Seconds; and requests, for one of them may have been repeated.
_VARYING = re.compile(r"\d+\.\d+(?= s\b)|\d+(?= requests\b)")
_CHECKER = doctest.OutputChecker()


def run_python(example: Example) -> None:
    """Execute a block, with `await` at its top level, in the loop of the page."""
    if re.search(r"^(async )?def test_", example.parsed, re.MULTILINE):
        run_tests(example)
    if named := re.match(r"# (\w+\.py)\n", example.parsed):
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with redirect_stdout(io.StringIO()) as printed:
        result = eval(code, example.namespace)  # noqa: S307 - our own page
        if inspect.iscoroutine(result):
            runner: asyncio.Runner = example.namespace["__runner__"]
            runner.run(result)
    example.namespace["__printed__"] = printed.getvalue()


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
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^\d+ passed in", result.stdout, re.MULTILINE), result.stdout


def check_printed(example: Example) -> None:
    """Compare a block of text with what the Python before it printed."""
    printed = example.namespace.pop("__printed__", None)
    if printed is None:
        return  # a text that is no output, as there is no Python before it
    compare(str(example.parsed), printed)


def compare(shown: str, came: str) -> None:
    """Fail where a page shows what did not come."""
    shown, came = (_VARYING.sub("0", text.rstrip()) + "\n" for text in (shown, came))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert _CHECKER.check_output(shown, came, flags), f"the page shows\n{shown}\nand this came\n{came}"


def parse(path: Path, *, keeps_its_word: bool = False) -> Document:
    """Return a page; with `keeps_its_word`, the outputs that it shows are compared."""
    run_block = compare_commands if keeps_its_word else run_commands
    parsers = [CodeBlockParser(language="python", evaluator=run_python)]
    parsers += [CodeBlockParser(language=name, evaluator=run_block) for name in SHELL_LANGUAGES]
    if keeps_its_word:
        parsers.append(CodeBlockParser(language="text", evaluator=check_printed))
    return Sybil(parsers=parsers, path=str(path.parent)).parse(path)


def commands(text: str) -> list[str]:
    """The commands of a block: the lines behind `$`, or all where no line has one; a backslash joins lines."""
    return [command for command, _ in commands_and_outputs(text)]


def commands_and_outputs(text: str) -> list[tuple[str, str]]:
    """Each command of a block, with the lines below it up to the next."""
    lines = text.replace("\\\n", "").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line.strip(), "") for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        elif found:
            command, output = found[-1]
            found[-1] = (command, f"{output}{line}\n")
    return found


def all_commands(document: Document) -> list[str]:
    """The commands of a page, in their order."""
    evaluators = (run_commands, compare_commands)
    examples = [example for example in document.examples() if example.region.evaluator in evaluators]
    return [command for example in examples for command in commands(example.parsed)]


def run_commands(example: Example) -> None:
    """Run the commands of a block in a shell, their dates moved into the range of the page's sandbox."""
    for command in commands(example.parsed):
        start = example.namespace.get("start")
        run_command(move_dates(command, start.date()) if start else command, run_in_shell)


def compare_commands(example: Example) -> None:
    """Run the commands of a block as they stand; what is shown below one must be what comes."""
    for command, shown in commands_and_outputs(example.parsed):
        # A process for each command of each page would take longer than all the rest.
        here = partial(run_here, fails=shown.startswith("aiosipcdr: "))
        came = run_command(command, run_in_shell if set(command) & _SHELL_SIGNS else here)
        if shown.strip() and came is not None:
            compare(shown, came)


def move_dates(command: str, start: date) -> str:
    """Move the page's dates into the sandbox's range, as far apart as they were: ranges age, pages do not."""
    pattern = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
    first = min(map(date.fromisoformat, pattern.findall(command)), default=start)
    return pattern.sub(
        lambda found: str(start + timedelta(days=1) + (date.fromisoformat(found[0]) - first)),
        command,
    )


def run_command(command: str, execute: Callable[[str], str]) -> str | None:
    """Do what a command can have done here; return what it printed, `None` where it was not run."""
    if "pip install" in command:
        check_installation(command)
        return None
    words = shlex.split(command, comments=True)
    if words[0] == "export":
        assert {word.partition("=")[0] for word in words[1:]} <= VARIABLES
        return None
    if words[:3] in (["python3", "-m", "nox"], ["python3", "-m", "venv"]) or words[0] in NAMED_ONLY:
        return None
    if words[0] == "ls" or (words[0] == "python3" and Path(words[1]).suffix == ".py"):
        return run_in_shell(command)
    if words[:3] == ["python3", "-m", "aiosipcdr"]:
        arguments = words[3:]
    else:
        assert words[0] == "aiosipcdr", f"the page names a command that this test does not know: {command}"
        arguments = words[1:]
    if arguments and arguments[0] in SERVERS:
        check_arguments(arguments)
        return None
    return execute(command)


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
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}"
    return result.stdout


def run_here(command: str, *, fails: bool) -> str:
    """Run a command of ours in this process, and return what it printed, on whichever stream."""
    words = shlex.split(command, comments=True)
    arguments = words[words.index("aiosipcdr") + 1 :]
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as printed:
        with redirect_stdout(printed), redirect_stderr(printed):
            code = run(arguments)
        came = raw.getvalue().decode()
    assert (code != 0) is fails, f"{command} ended with {code}\n{came}"
    return came


def check_subcommand(name: str) -> None:
    """It answers for itself: asked for the help of what does not exist, some parsers give everyone's."""
    assert run_in_shell(f"aiosipcdr {shlex.quote(name)} --help") != run_in_shell("aiosipcdr --help")


def check_arguments(arguments: Sequence[str]) -> None:
    """The command takes these arguments; it is not run."""
    try:
        app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise AssertionError(f"{shlex.join(arguments)}: {error}") from error


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


def run_page(
    path: Path, names: dict[str, Any], subtests: pytest.Subtests, *, keeps_its_word: bool = False
) -> list[str]:
    """Execute a page from top to bottom; each block is a subtest.  Returns the Python it ran."""
    document = parse(path, keeps_its_word=keeps_its_word)
    ran = []
    with asyncio.Runner() as runner:
        document.namespace.update(names, __name__="__main__", __runner__=runner)
        for example in document.examples():
            with subtests.test(f"{path.name}, line {example.line}"):
                example.evaluate()
            if example.region.evaluator is run_python:
                ran.append(str(example.parsed))
    return ran
