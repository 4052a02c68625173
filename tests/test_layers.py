"""The floors of the house: who may import whom."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aiosipcdr"
PYPROJECT = ROOT / "pyproject.toml"

# Packages whose rooms stand on floors one by one: their own module holds a docstring and no import.
ROOMS_APART = {"aiosipcdr.protocol", "aiosipcdr.policy"}


def contracts() -> dict[str, dict[str, Any]]:
    linter = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    return {contract["id"]: contract for contract in linter["contracts"]}


def floors() -> list[list[str]]:
    return [[name.strip(" ()\n") for name in floor.split("|")] for floor in contracts()["floors"]["layers"]]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> list[str]:
    found = sorted(module_name(path) for path in PACKAGE.rglob("*.py"))
    assert "aiosipcdr.client" in found
    return found


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute here"
            assert node.module is not None
            # The version stands in the front door, and is no room.
            if [alias.name for alias in node.names] != ["__version__"]:
                found.add(node.module)
    return found


def lint(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the linter with the contracts of the project over the package in `directory`."""
    return subprocess.run(  # noqa: S603
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--config",
            str(PYPROJECT),
            "--no-cache",
            "--no-logo",
            *arguments,
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy_of_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, directory / "aiosipcdr", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def test_every_contract_is_kept() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken" in result.stdout


def test_every_module_stands_on_exactly_one_floor() -> None:
    rooms = [room for floor in floors() for room in floor]
    homeless = {}
    for module in modules():
        if module == "aiosipcdr" or module in ROOMS_APART:
            continue
        homes = [room for room in rooms if module == room or module.startswith(f"{room}.")]
        if len(homes) != 1:
            homeless[module] = homes

    assert homeless == {}


def test_the_lowest_floor_is_the_lowest_of_the_design() -> None:
    assert floors()[-1] == [
        "aiosipcdr.wire.signing",
        "aiosipcdr.model.records",
        "aiosipcdr.model.windows",
    ]


@pytest.mark.parametrize("package", sorted(ROOMS_APART))
def test_a_package_of_separate_rooms_imports_nothing_itself(package: str) -> None:
    path = ROOT.joinpath(*package.split("."), "__init__.py")

    assert imports_of(path) == set()
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_nobody_inside_imports_the_front_door() -> None:
    """`import aiosipcdr` names what users need; inside, each name comes from its own room."""
    doors = {PACKAGE / "__init__.py", PACKAGE / "__main__.py", *(PACKAGE / "cli").rglob("*.py")}
    guilty = [
        module_name(path) for path in PACKAGE.rglob("*.py") if path not in doors and "aiosipcdr" in imports_of(path)
    ]

    assert guilty == []


def test_the_sandbox_imports_nothing_of_the_package_but_itself() -> None:
    rooms = sorted((PACKAGE / "sandbox").rglob("*.py"))
    assert rooms
    foreign = {
        module_name(path): sorted(strangers)
        for path in rooms
        if (
            strangers := {
                name
                for name in imports_of(path)
                if name.split(".")[0] == "aiosipcdr" and name.split(".")[:2] != ["aiosipcdr", "sandbox"]
            }
        )
    }

    assert foreign == {}


@pytest.mark.parametrize(
    ("module", "smuggled", "contract"),
    [
        ("protocol/signing.py", "import aiosipcdr.client", "floors"),
        ("errors.py", "import aiosipcdr.cli", "floors"),
        ("report.py", "import aiosipcdr.sandbox", "floors"),
        ("protocol/records.py", "import aiosipcdr.model.windows", "floors"),
        ("protocol/codec.py", "import asyncio", "sans-io"),
        ("policy/retry.py", "def now():\n    import time", "sans-io"),
        ("client.py", "import aiohttp", "wire"),
        ("engine/__init__.py", "from aiohttp import ClientSession", "wire"),
        ("sandbox/__init__.py", "import aiosipcdr.model.records", "sandbox"),
        ("sandbox/__init__.py", "import aiosipcdr.model.errors", "sandbox"),
        ("client.py", "def bar():\n    import rich", "light-core"),
        ("arrow.py", "import aiosipcdr.model.report", "floors"),
        ("export/ndjson.py", "def table():\n    import pyarrow", "arrow"),
        ("integrations/streaming.py", "from aiohttp import web", "wire"),
        ("integrations/streaming.py", "from fastapi import Response", "fastapi"),
        ("integrations/fastapi.py", "import starlette", "fastapi"),
        ("integrations/answers.py", "import aiosipcdr.cli", "floors"),
        ("client.py", "import aiosipcdr.integrations.aiohttp", "floors"),
    ],
)
def test_a_smuggled_import_breaks_its_contract(
    copy_of_package: Path, module: str, smuggled: str, contract: str
) -> None:
    path = copy_of_package / "aiosipcdr" / module
    honest = path.read_text(encoding="utf-8")
    path.write_text(f"{honest}\n{smuggled}\n", encoding="utf-8")
    try:
        result = lint(copy_of_package, "--contract", contract)
    finally:
        path.write_text(honest, encoding="utf-8")

    assert result.returncode == 1, result.stdout + result.stderr
    assert "Contracts: 0 kept, 1 broken" in result.stdout
