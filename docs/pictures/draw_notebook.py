"""Draws notebook.png: cells run by a real Jupyter kernel, their outputs shown by headless Chromium.

    python3 docs/pictures/draw_notebook.py

Needs: pip install ipykernel nbclient, and the program chromium.
"""

import html
import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from aiosipcdr.sandbox import Sandbox

CELLS = (
    """\
from datetime import UTC, datetime
from aiosipcdr import CdrClient
from aiosipcdr.progress import ProgressDisplay

async with CdrClient.from_env(hook=ProgressDisplay()) as client:
    october = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    records = await client.fetch_all(*october, sip_group_name="sales-us")

records.report""",
    "records.preview(3)",
    """\
from aiosipcdr.analytics import summarize

summarize(records, by="code")""",
)
STYLE = """
body { font: 14px "Liberation Sans", sans-serif; margin: 16px; width: 968px }
pre { background: #f5f5f5; border: 1px solid #e0e0e0; padding: 8px; margin: 12px 0 6px }
table { border-collapse: collapse; font-size: 12px } td, th { padding: 3px 8px; }
tbody tr:nth-child(odd) { background: #f5f5f5 } p { margin: 8px 0 4px }
"""


def run_cells() -> list[list[str]]:
    """Return the HTML outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    start = datetime(2026, 10, 1, tzinfo=UTC)
    with Sandbox(records=3_000, start=start, days=31, months_back=None) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            os.environ[f"AIOSIPCDR_{name.upper()}"] = getattr(sandbox, name)
        NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return [[output["data"]["text/html"] for output in cell.outputs if "data" in output] for cell in notebook.cells]


def main() -> None:
    """Run the cells and take the picture."""
    parts = [f"<meta charset=utf-8><style>{STYLE}</style>"]
    for source, outputs in zip(CELLS, run_cells(), strict=True):
        parts += [f"<pre>{html.escape(source)}</pre>", *(f"<div>{output}</div>" for output in outputs)]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text("".join(parts), encoding="utf-8")
        picture = Path(__file__).with_name("notebook.png")
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,1120"]
        subprocess.run(  # noqa: S603 - our own arguments
            ["chromium", *flags, f"--screenshot={picture}", page.as_uri()],  # noqa: S607 - the system's
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    main()
