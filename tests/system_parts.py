"""Programs and packages that a test needs: one that is missing skips the test, and fails it with CI=true."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["find_program", "require"]

# Debian and Red Hat keep the programs of PostgreSQL's server out of PATH.
_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")


def require(*parts: str) -> None:
    """Skip the running test unless all of `parts` are there; fail it where the environment has CI=true.

    Args:
        parts: names of programs, as in "curl", and of Python packages, as in "package:uvloop".
    """
    missing = [part for part in parts if not _is_there(part)]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _is_there(part: str) -> bool:
    kind, _, name = part.rpartition(":")
    return (find_spec(name) if kind else find_program(name)) is not None


def find_program(name: str) -> str | None:
    """Return the path of a program, also of one of PostgreSQL's server; `None` if it is not installed."""
    found = [path for folder in _FOLDERS for path in sorted(Path("/").glob(f"{folder}/{name}"))]
    return shutil.which(name) or (str(found[-1]) if found else None)
