"""Recorder of `demo.svg`: the terminal at the end of the demo.

Needs tmux, and the package with its extra `cli`. Run: python3 docs/pictures/record_demo.py
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COMMAND = "python3 -m aiosipcdr demo"
WIDTH, HEIGHT = 100, 40
PATIENCE = 120.0
SOCKET = "aiosipcdr-demo"


def tmux(*words: str) -> str:
    """Run a tmux command on a separate server and return its output."""
    return subprocess.run(["tmux", "-L", SOCKET, *words], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607


def watch(folder: str) -> str:
    """Run the demo in a terminal in `folder` and return the final screen, with its colours."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", folder, "env", f"PATH={path}", "sh")
    try:
        tmux("send-keys", f"cd {folder}; PS1='$ '; clear", "Enter")
        time.sleep(0.5)
        tmux("send-keys", COMMAND, "Enter")
        deadline = time.monotonic() + PATIENCE
        while not re.search(r"^File ", tmux("capture-pane", "-p"), re.MULTILINE):
            if time.monotonic() > deadline:
                sys.exit("the demo did not end")
            time.sleep(0.2)
        return tmux("capture-pane", "-p", "-e")
    finally:
        tmux("kill-server")


def main() -> None:
    """Record, and draw."""
    with tempfile.TemporaryDirectory() as folder:
        screen = watch(folder).replace(f"{Path(folder).resolve()}/", "")
    lines = screen.rstrip().splitlines()
    while lines and not Text.from_ansi(lines[-1]).plain.strip(" $"):
        lines.pop()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)))
    picture = console.export_svg(title="aiosipcdr demo", unique_id="demo")
    # No font from elsewhere: a page that shows the picture sends no request for one.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL).replace("Fira Code", "ui-monospace")
    (HERE / "demo.svg").write_text(re.sub(r"\n\s*\n", "\n", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
