"""Tests that need a program or package: skipped without it, failed with CI=true."""

import pytest

from tests.system_parts import require

MISSING = "no-such-program-anywhere"


def test_an_installed_part_lets_a_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    require("package:pytest", "package:aiosipcdr")


@pytest.mark.parametrize("part", [MISSING, "package:no_such_package"])
def test_a_missing_part_skips_a_test_and_fails_it_in_ci(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"not installed: {part}"):
        require("package:pytest", part)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"not installed: {part}"):
        require("package:pytest", part)
