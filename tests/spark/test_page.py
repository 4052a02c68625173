"""The page on Spark, executed: its Python in one namespace, in the order of the page."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "spark.md"


def test_the_page_works(
    spark: Any,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert spark
    text = PAGE.read_text(encoding="utf-8")
    # The page is about October; the calls of this sandbox are of other days.
    end = sandbox.end + timedelta(seconds=1)
    days = {"2026-10-01": sandbox.start, "2026-10-02": sandbox.start + timedelta(days=1), "2026-11-01": end}
    for day, time in days.items():
        assert f'"{day}T00:00:00+08:00"' in text
        text = text.replace(f"{day}T00:00:00+08:00", time.isoformat())
    text = text.replace("2_000", "20_000")
    namespace: dict[str, Any] = {}
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE, "exec"), namespace)  # noqa: S102 - our own page

    shown = capsys.readouterr().out
    assert "sum(cost)" in shown
    assert shown.splitlines()[-2:] == ["['voice_id', 'cost', 'currency']", "True"]
