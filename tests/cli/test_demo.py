"""`demo`: everything at once, in processes as a person starts them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import SandboxProcess

Starter = Callable[..., "subprocess.Popen[str]"]


def test_the_demo_writes_its_file_and_reports_its_findings(cli: Starter, tmp_path: Path) -> None:
    path = tmp_path / "aiosipcdr-demo.ndjson"
    path.write_text("the demo before")
    with cli("demo", "--records", "3000", "--json") as process:
        out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    reported = json.loads(out)
    assert (reported["records"], reported["certified"], reported["output"]) == (3000, True, str(path))
    assert 0 < reported["answered"] < 3000
    assert {row["field"] for row in reported["money"]} == {"cost", "settle_pay"}
    calls = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({call["voice_id"] for call in calls}) == len(calls) == 3000
    assert sum(call["answer_time"] is not None for call in calls) == reported["answered"]


def test_ctrl_c_ends_the_demo_and_its_sandbox(cli: Starter, tmp_path: Path) -> None:
    def take_ctrl_c() -> None:  # a shell's background job would ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with cli("demo", "--records", "2000000", preexec_fn=take_ctrl_c) as process:
        sandbox = wait_for_child(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    assert (process.returncode, out, err) == (130, "", "aiosipcdr: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(sandbox, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(work: Coroutine[Any, Any, Any]) -> None:
        work.close()
        (tmp_path / "aiosipcdr-demo.ndjson.journal").touch()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aiosipcdr.cli.demo.run_to_end", interrupt)
    assert run(["demo"]) == 130
    kept = "interrupted; progress saved in aiosipcdr-demo.ndjson.journal; to resume, run the same command\n"
    assert capsys.readouterr().err == f"aiosipcdr: {kept}"


def wait_for_child(parent: int) -> int:
    """Return the process that `parent` starts, once its command line is there."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    while True:
        for child in children.read_text().split():
            if b"sandbox" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        sleep(0.005)


def test_a_file_of_somebody_else_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.ndjson"
    path.write_text("mine")
    assert run(["demo", "--output", str(path)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert path.read_text() == "mine"


def children() -> set[int]:
    """Return the processes that this one, whichever of its threads, has started."""
    lists = [task / "children" for task in Path("/proc/self/task").iterdir()]
    return {int(pid) for one in lists for pid in one.read_text(encoding="ascii").split()}


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_sandbox_of_its_own_inherits_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "API_SECRET", "BASE_URL", "CREDENTIALS"):
        monkeypatch.setenv(f"AIOSIPCDR_{name}", "canary")
    monkeypatch.setenv("INHERITED", "yes")
    before = children()
    with SandboxProcess(records=1):
        async with SandboxProcess(records=1):
            started = children() - before
            assert len(started) == 2
            for environment in map(environment_of, started):
                assert b"canary" not in environment
                assert b"INHERITED=yes" in environment
