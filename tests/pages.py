"""Runner of pages: executes their Python against a sandbox, and their commands in a shell or in this process.

Python blocks of a page share one namespace and one event loop, in the order of
the page, and may `await` at the top level. A block that begins with a comment
such as `# job.py` is also saved under that name, for later commands.
Commands that install something are checked, not run. Blocks that hold tests
are also run by a pytest of their own.

With `keeps_its_word`, the output that a page shows is compared with the real
one: below a command, or in a block of text after Python. Seconds may differ,
and `...` matches anything. A command must fail exactly if the output below it
begins with an error.
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

# Tools of others, which a page may use and which are not run here.
NAMED_ONLY = {"cd", "crontab", "curl", "duckdb", "git", "jq", "nox", "psql", "systemctl", "journalctl", "uvicorn"}

# Subcommands that run until they are stopped: their arguments are checked, and nothing is started.
SERVERS = {"sandbox"}

SHELL_LANGUAGES = ("console", "bash", "sh", "shell")

_SHELL_SIGNS = set("|&;<>$`*")
# Seconds, and requests, because one of them may have been retried.
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
        return  # not an output: there is no Python before it
    compare(str(example.parsed), printed)


def compare(shown: str, came: str) -> None:
    """Fail if the output on a page is not the real one."""
    shown, came = (_VARYING.sub("0", text.rstrip()) + "\n" for text in (shown, came))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert _CHECKER.check_output(shown, came, flags), f"the page shows\n{shown}\nbut the output is\n{came}"


def parse(path: Path, *, keeps_its_word: bool = False, languages: Sequence[str] = ("python",)) -> Document:
    """Return a page whose Python blocks have one of `languages`; with `keeps_its_word`, outputs are compared."""
    run_block = compare_commands if keeps_its_word else run_commands
    parsers = [CodeBlockParser(language=name, evaluator=run_python) for name in languages]
    parsers += [CodeBlockParser(language=name, evaluator=run_block) for name in SHELL_LANGUAGES]
    if keeps_its_word:
        parsers.append(CodeBlockParser(language="text", evaluator=check_printed))
    return Sybil(parsers=parsers, path=str(path.parent)).parse(path)


def commands(text: str) -> list[str]:
    """Return the commands of a block: the lines after `$`, or all lines if none has one; a backslash joins lines."""
    return [command for command, _ in commands_and_outputs(text)]


def commands_and_outputs(text: str) -> list[tuple[str, str]]:
    """Return each command of a block with the output below it."""
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
    """Return the commands of a page, in order."""
    evaluators = (run_commands, compare_commands)
    examples = [example for example in document.examples() if example.region.evaluator in evaluators]
    return [command for example in examples for command in commands(example.parsed)]


def run_commands(example: Example) -> None:
    """Run the commands of a block in a shell, with dates moved into the range of the page's sandbox."""
    for command in commands(example.parsed):
        start = example.namespace.get("start")
        run_command(move_dates(command, start.date()) if start else command, run_in_shell)


def compare_commands(example: Example) -> None:
    """Run the commands of a block unchanged, and compare their output with the one on the page."""
    for command, shown in commands_and_outputs(example.parsed):
        # A process for each command would take longer than everything else.
        here = partial(run_here, fails=shown.startswith("aiosipcdr: "))
        came = run_command(command, run_in_shell if set(command) & _SHELL_SIGNS else here)
        if shown.strip() and came is not None:
            compare(shown, came)


def move_dates(command: str, start: date) -> str:
    """Move the page's dates into the sandbox's range and keep their distances: the sandbox's calls are recent."""
    pattern = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
    first = min(map(date.fromisoformat, pattern.findall(command)), default=start)
    return pattern.sub(
        lambda found: str(start + timedelta(days=1) + (date.fromisoformat(found[0]) - first)),
        command,
    )


def run_command(command: str, execute: Callable[[str], str]) -> str | None:
    """Run a command if it can run here; return its output, or `None` if it was not run."""
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
        assert words[0] == "aiosipcdr", f"unknown command on the page: {command}"
        arguments = words[1:]
    if arguments and arguments[0] in SERVERS:
        check_arguments(arguments)
        return None
    return execute(command)


def run_in_shell(command: str) -> str:
    """Run `command` as pasted, with this interpreter as python3, and return its output."""
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
    """Run our own command in this process, and return its output on both streams."""
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
    """Check that a subcommand exists: for an unknown one, some parsers print the general help."""
    assert run_in_shell(f"aiosipcdr {shlex.quote(name)} --help") != run_in_shell("aiosipcdr --help")


def check_arguments(arguments: Sequence[str]) -> None:
    """Check that a command accepts these arguments, without running it."""
    try:
        app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise AssertionError(f"{shlex.join(arguments)}: {error}") from error


def check_installation(command: str) -> None:
    """Check that the installed extras exist, and so does the subcommand that is run afterwards."""
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
    path: Path,
    names: dict[str, Any],
    subtests: pytest.Subtests,
    *,
    keeps_its_word: bool = False,
    languages: Sequence[str] = ("python",),
) -> list[str]:
    """Execute a page from top to bottom, each block as a subtest, and return the Python that ran."""
    document = parse(path, keeps_its_word=keeps_its_word, languages=languages)
    ran = []
    with asyncio.Runner() as runner:
        document.namespace.update(names, __name__="__main__", __runner__=runner)
        for example in document.examples():
            with subtests.test(f"{path.name}, line {example.line}"):
                example.evaluate()
            if example.region.evaluator is run_python:
                ran.append(str(example.parsed))
    return ran
