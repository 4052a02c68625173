"""The pages in docs/, executed, and their tables compared with the code.

All use one sandbox: the one that the tutorial starts, with the command that it shows.
"""

import ast
import importlib.util
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import aiosipcdr
from aiosipcdr import CallDetailRecord
from aiosipcdr.cli.app import app
from aiosipcdr.doctor.advice import CHECKS
from aiosipcdr.doctor.diagnosis import judge_probe
from aiosipcdr.doctor.probe import ProbeFacts
from aiosipcdr.model import errors as classification
from tests.pages import ROOT, VARIABLES, all_commands, check_arguments, parse, run_page

pytestmark = pytest.mark.usefixtures("arguments_are_assembled_once")

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "decisions" not in path.parts)
TUTORIAL = DOCS / "tutorial.md"
TROUBLESHOOTING = DOCS / "howto" / "troubleshooting.md"
ORCHESTRATORS = DOCS / "howto" / "orchestrators.md"
LAKE = DOCS / "howto" / "lake.md"


def name_of(path: Path) -> str:
    return path.relative_to(DOCS).with_suffix("").as_posix()


ELSEWHERE = {"howto/spark"}  # needs Spark: tests/spark/test_page.py executes it
EXECUTED = [
    path
    for path in PAGES
    if re.search("^```(python|console)", path.read_text(encoding="utf-8"), re.MULTILINE)
    and name_of(path) not in ELSEWHERE
]


def table_rows(path: Path, *head: str) -> list[list[str]]:
    """Return the rows of a page's table whose head begins with these words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    place = next(number for number, line in enumerate(lines) if cells(line)[: len(head)] == list(head))
    rows = []
    for line in lines[place + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def in_code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.fixture(scope="module")
def tutorial() -> Iterator[dict[str, str]]:
    """Start the tutorial's sandbox with the tutorial's own command, on a free port, and return its account."""
    (command,) = (line for line in all_commands(parse(TUTORIAL)) if line.startswith("aiosipcdr sandbox"))
    words = shlex.split(command)
    words[words.index("--port") + 1] = "0"
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", *words, "--json", "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(aiosipcdr.__file__).parent.parent)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(240) == 0


@pytest.fixture(autouse=True)
def _log_is_restored() -> Iterator[None]:
    """Undo what a page does to the log of the package."""
    log = logging.getLogger("aiosipcdr")
    handlers, level = [*log.handlers], log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", EXECUTED, ids=name_of)
def test_every_block_of_a_page_works(
    path: Path,
    tutorial: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, tutorial[name.removeprefix("AIOSIPCDR_").lower()])
    monkeypatch.setenv("COLUMNS", "200")

    run_page(path, {}, subtests, keeps_its_word=True)


def test_pages_are_executed_at_all() -> None:
    assert {"tutorial", "guarantees", "howto/daily", "howto/upserting", "howto/testing"} <= set(map(name_of, EXECUTED))


def test_the_tutorial_shows_the_account_of_its_sandbox(tutorial: dict[str, str]) -> None:
    shown = dict(
        word.split("=", 1)
        for command in all_commands(parse(TUTORIAL))
        if command.startswith("export AIOSIPCDR")
        for word in shlex.split(command)[1:]
    )

    assert shown.keys() == VARIABLES
    assert shown["AIOSIPCDR_API_KEY"] == tutorial["api_key"]
    assert shown["AIOSIPCDR_API_SECRET"] == tutorial["api_secret"]
    assert re.sub(r":\d+/", "/", shown["AIOSIPCDR_BASE_URL"]) == re.sub(r":\d+/", "/", tutorial["base_url"])


def options_of(command: str) -> set[str]:
    names = app[command].assemble_argument_collection()
    return {name for argument in names for name in argument.names} | {"--help", "--version", "--debug"}


def test_every_option_that_a_page_names_exists() -> None:
    known = set(app).union(*(options_of(name) for name in app if not name.startswith("-")))
    # Of systemctl, journalctl, the examples, gunicorn and psql.
    others = {"--now", "--since", "--sandbox", "--preload", "--single-transaction"}
    named = {
        f"{name_of(path)}: {option}"
        for path in PAGES
        if path.stem not in {"changelog", "security"}
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text(encoding="utf-8"))
        if option not in known | others
    }

    assert named == set()


def blocks_of(path: Path, language: str) -> list[str]:
    """Return the contents of a page's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def scheduled_commands() -> list[str]:
    """Return the commands that pages give to systemd, cron and Airflow."""
    pages = {path: path.read_text(encoding="utf-8") for path in PAGES}
    units = re.findall(r"^ExecStart=(.+)$", "\n".join(pages.values()), re.MULTILINE)
    line = r"^[\d*/,-]+(?: [\d*/,-]+){4} +(?:cd \S+ && )?(\S*aiosipcdr .+)$"
    crontab = re.findall(line, "\n".join(pages.values()), re.MULTILINE)
    dags = re.findall(r"bash_command='(.+)',$", pages[ORCHESTRATORS], re.MULTILINE)
    assert units
    assert crontab
    assert dags
    rendered = "2026-09-30T16:00:00+00:00"
    return units + crontab + [re.sub(r"\{\{ data_interval_\w+\.isoformat\(\) \}\}", rendered, dag) for dag in dags]


@pytest.mark.parametrize("command", scheduled_commands())
def test_a_scheduled_command_is_one_of_ours(command: str) -> None:
    program, *arguments = shlex.split(command)

    assert Path(program).is_absolute()
    assert Path(program).name == "aiosipcdr"
    assert "%" not in command  # systemd and cron would replace it
    assert "{{" not in command  # Airflow has replaced it
    check_arguments(arguments)


def test_what_orchestrators_run_is_python() -> None:
    # `nox -s engines` runs it.
    blocks = blocks_of(ORCHESTRATORS, "py")

    assert [name for block in blocks for name in re.findall(r"^# (\w+)\.py\n", block)] == [
        "calls_dag",
        "calls_assets",
        "calls_flow",
    ]
    for block in blocks:
        ast.parse(block)


def test_the_table_in_postgres_has_the_columns_of_an_export() -> None:
    table, *_ = blocks_of(LAKE, "sql")
    columns = [part.split()[0] for part in table[table.index("(") + 1 : table.index(");")].split(",")]

    assert columns == [*(field.name for field in msgspec.structs.fields(CallDetailRecord)), "day"]


def layers_contract() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["id"] == "layers")
    return dict(contract)


def test_the_architecture_is_that_of_the_contract() -> None:
    contract = layers_contract()
    layers = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    rows = table_rows(DOCS / "architecture.md", "folder or module", "contents")

    assert contract["containers"] == ["aiosipcdr"]
    assert sorted(name for names, _ in rows for name in in_code(names)) == sorted(layers)


def test_the_page_includes_the_layers_of_the_contract() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (included,) = re.findall(r"{literalinclude} \.\./pyproject\.toml\n((?::.+\n)+)```", page)
    start, end = (re.findall(rf':{option}: "(.+)"', included)[0] for option in ("start-at", "end-at"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    shown = text[text.index(start) :]
    shown = shown[: shown.index(end, len(start)) + len(end)]

    assert tomllib.loads(shown) == {"layers": layers_contract()["layers"]}


@pytest.mark.parametrize(
    ("head", "table"),
    [("status", classification._BY_STATUS), ("HTTP", classification._BY_HTTP_STATUS)],
    ids=["vendor", "http"],
)
def test_troubleshooting_knows_every_status_and_its_error(head: str, table: dict[int, tuple[type, str]]) -> None:
    shown = {status: in_code(errors)[0] for status, errors, *_ in table_rows(TROUBLESHOOTING, head, "error")}

    assert shown.pop("another")
    assert head == "status" or shown.pop("3xx") == "RedirectError"
    assert shown == {str(int(status)): kind.__name__ for status, (kind, _) in table.items()}


def test_troubleshooting_knows_which_status_is_retried() -> None:
    for head, build in (
        ("status", lambda code: classification.vendor_error(code, None)),
        ("HTTP", classification.http_error),
    ):
        for status, _, again, *_ in table_rows(TROUBLESHOOTING, head, "error"):
            code = {"another": -99 if head == "status" else 418, "3xx": 302}.get(status) or int(status)
            assert again.startswith("never") is not build(code).retryable, status


def test_troubleshooting_knows_every_error() -> None:
    shown = {in_code(name)[0] for name, *_ in table_rows(TROUBLESHOOTING, "error", "meaning")}

    assert sorted(shown) == sorted(name for name in aiosipcdr.__all__ if name.endswith("Error"))


def test_the_page_on_doctor_knows_every_check_and_every_finding() -> None:
    page = DOCS / "howto" / "doctor.md"

    assert [in_code(name)[0] for name, *_ in table_rows(page, "check")] == list(CHECKS)
    topics = [finding.topic for finding in judge_probe(ProbeFacts())]
    assert [in_code(name)[0] for name, *_ in table_rows(page, "finding")] == topics


def test_the_reference_has_every_public_name() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"auto(?:class|data|exception|function):: (\S+)", text))

    assert {f"aiosipcdr.{name}" for name in aiosipcdr.__all__ if name != "__version__"} - shown == set()


def test_every_link_and_path_on_a_page_has_a_target() -> None:
    lost = []
    for path in PAGES:
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
        lost += [f"{path.name}: {link}" for link in links if not (path.parent / link).exists()]
        named = [one for one in in_code(text) if re.fullmatch(r"(tests|benchmarks|examples|docs)/[\w./-]+", one)]
        lost += [f"{path.name}: {one}" for one in named if not (ROOT / one).exists()]

    assert lost == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^[\w/-]+$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))

    assert {name_of(path) for path in PAGES} - {"index"} <= listed


# Docstrings as pages.


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docstrings", DOCS / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rst(docstrings: ModuleType, text: str) -> str:
    lines: Any = docstrings.to_rst(text.splitlines())
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def test_indented_text_after_a_sentence_is_code(docstrings: ModuleType) -> None:
    assert rst(docstrings, "Open it:\n\n    async with it:\n        pass\n\nThen go.") == (
        "Open it:\n\n.. code-block:: python\n\n        async with it:\n            pass\n\nThen go."
    )


def test_a_section_is_not_code(docstrings: ModuleType) -> None:
    text = "Do it.\n\nArgs:\n    one: the first,\n        told in two lines.\n\n    two: the second."

    assert rst(docstrings, text) == text


def test_a_table_keeps_its_cells_and_joins_continued_rows(docstrings: ModuleType) -> None:
    assert rst(docstrings, "Kinds:\n\n| kind | what |\n|---|---|\n| a | one |\n| | and more |\n| b | two |") == (
        "Kinds:\n\n.. list-table::\n    :header-rows: 1\n\n"
        "    * - kind\n      - what\n    * - a\n      - one and more\n    * - b\n      - two"
    )


def test_no_page_contains_a_number_that_may_be_real() -> None:
    numbers = [
        number
        for path in PAGES
        for number in re.findall(r"\+\d[\d -]{7,}\d", path.read_text(encoding="utf-8"))
        if not re.fullmatch(r"\+1\d{3}55501\d\d|\+447700900(\d{3})?", re.sub(r"[ -]", "", number))
    ]

    assert numbers == []
