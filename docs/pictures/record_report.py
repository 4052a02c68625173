"""Recorder of `report.png`: the top of a report in a browser, of generated calls of October 2026.

Needs chromium, and the package with its extras `cli` and `report`. Run: python3 docs/pictures/record_report.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from aiosipcdr.sandbox import Sandbox

HERE = Path(__file__).parent
SIZE = 1_120, 1_500
CALLS = 100_000


def run(*words: str) -> None:
    """Run a program, and fail if it fails."""
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - programs of ours, and the browser


def main() -> None:
    """Write the report of a month, and take a picture of its top."""
    os.environ["AIOSIPCDR_SANDBOX_TODAY"] = "2026-11-01"
    with tempfile.TemporaryDirectory() as folder, Sandbox(records=CALLS, days=31) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            os.environ[f"AIOSIPCDR_{name.upper()}"] = getattr(sandbox, name)
        page, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat(), "--tz", "Asia/Shanghai"]
        run(sys.executable, "-m", "aiosipcdr", "report", *span, "--output", str(page))
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size)
        run("chromium", *options, f"--screenshot={picture}", page.as_uri())
        (HERE / "report.png").write_bytes(picture.read_bytes())
        print(f"{page.stat().st_size:,} bytes of HTML, {picture.stat().st_size:,} of PNG")  # noqa: T201


if __name__ == "__main__":
    main()
