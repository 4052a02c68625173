"""The layers: which package may import which."""

import ast
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from importlinter.application.output import console
from importlinter.cli import lint_imports

from tests.selection import some

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aiosipcdr"
PYPROJECT = ROOT / "pyproject.toml"

# The lowest folders: `aiosipcdr/__init__.py` exports their names, their own `__init__` holds only a docstring.
EMPTY_PACKAGES = ["aiosipcdr.model", "aiosipcdr.wire", "aiosipcdr.policy", "aiosipcdr.proof"]


def contracts() -> dict[str, dict[str, Any]]:
    linter = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    return {contract["id"]: contract for contract in linter["contracts"]}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute here"
            assert node.module is not None
            # The version is in the package itself, which is no layer.
            if [alias.name for alias in node.names] != ["__version__"]:
                found.add(node.module)
    return found


def lint(directory: Path, *contracts: str) -> tuple[int, str]:
    """Run the linter with contracts of the project, by default all, over the package in `directory`."""
    with pytest.MonkeyPatch.context() as patch, console.capture() as printed:
        patch.setattr(sys, "path", [*sys.path])
        # The linter puts the current folder at the top of the path, and looks where a package is imported from.
        patch.chdir(directory)
        patch.delitem(sys.modules, "aiosipcdr", raising=False)
        patch.setattr("importlinter.cli.logging_config.dictConfig", lambda _: None)  # it would disable our loggers
        code = lint_imports(str(PYPROJECT), limit_to_contracts=contracts, no_cache=True, no_logo=True)
    return code, printed.get()


@pytest.fixture(scope="module")
def copy_of_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, directory / "aiosipcdr", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def test_every_contract_is_kept() -> None:
    code, printed = lint(ROOT)

    assert code == 0, printed
    assert f"Contracts: {len(contracts())} kept, 0 broken" in printed


@pytest.mark.parametrize("package", EMPTY_PACKAGES)
def test_the_package_of_a_low_layer_imports_nothing_itself(package: str) -> None:
    path = ROOT.joinpath(*package.split("."), "__init__.py")

    assert imports_of(path) == set()
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_module_inside_imports_the_package_itself() -> None:
    """`import aiosipcdr` is for users; inside, each name is imported from its own module."""
    outer = {PACKAGE / "__init__.py", PACKAGE / "__main__.py", *(PACKAGE / "cli").rglob("*.py")}
    guilty = [
        module_name(path) for path in PACKAGE.rglob("*.py") if path not in outer and "aiosipcdr" in imports_of(path)
    ]

    assert guilty == []


def test_the_sandbox_imports_nothing_of_the_package_but_itself() -> None:
    modules = sorted((PACKAGE / "sandbox").rglob("*.py"))
    assert modules
    foreign = {
        module_name(path): sorted(strangers)
        for path in modules
        if (
            strangers := {
                name
                for name in imports_of(path)
                if name.split(".")[0] == "aiosipcdr" and name.split(".")[:2] != ["aiosipcdr", "sandbox"]
            }
        )
    }

    assert foreign == {}


SMUGGLED = [
    ("wire/signing.py", "import aiosipcdr.client", "layers"),
    ("model/errors.py", "import aiosipcdr.cli", "layers"),
    ("model/report.py", "import aiosipcdr.sandbox", "layers"),
    ("model/windows.py", "import aiosipcdr.model.report", "acyclic"),
    ("model/arrow.py", "import aiosipcdr.model.report", "acyclic"),
    ("wire/codec.py", "import asyncio", "sans-io"),
    ("policy/retry.py", "def now():\n    import time", "sans-io"),
    ("client.py", "import aiohttp", "http"),
    ("engine/__init__.py", "from aiohttp import ClientSession", "http"),
    ("sandbox/__init__.py", "import aiosipcdr.model.records", "sandbox"),
    ("sandbox/__init__.py", "import aiosipcdr.model.errors", "sandbox"),
    ("analytics/summary.py", "import aiosipcdr.cli", "layers"),
    ("export/formats/ndjson.py", "def table():\n    import pyarrow", "arrow"),
    ("integrations/streaming.py", "from aiohttp import web", "http"),
    ("integrations/streaming.py", "from fastapi import Response", "fastapi"),
    ("integrations/fastapi.py", "import starlette", "fastapi"),
    ("integrations/problems.py", "import aiosipcdr.cli", "layers"),
    ("client.py", "import aiosipcdr.integrations.aiohttp", "layers"),
    ("client.py", "def bar():\n    import rich", "light-core"),
    ("analytics/summary.py", "import aiosipcdr.client", "layers"),
    ("analytics/report/page.py", "def draw():\n    import vl_convert", "drawing"),
    ("analytics/summary.py", "import rich", "light-core"),
    ("utilities.py", "", "layers"),
]


@pytest.mark.parametrize(("module", "smuggled", "contract"), some(SMUGGLED, every=2))
def test_a_smuggled_import_breaks_its_contract(
    copy_of_package: Path, module: str, smuggled: str, contract: str
) -> None:
    path = copy_of_package / "aiosipcdr" / module
    honest = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{honest or ''}\n{smuggled}\n", encoding="utf-8")
    try:
        code, printed = lint(copy_of_package, contract)
    finally:
        if honest is None:
            path.unlink()
        else:
            path.write_text(honest, encoding="utf-8")

    assert code == 1, printed
    assert "Contracts: 0 kept, 1 broken" in printed
