# ruff: noqa: ANN401 - JSON is anything
import asyncio
import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.sandbox import Fault, Sandbox, SandboxProcess, UnusedFaultsError, curl_line, serve


@pytest.mark.needs("curl", "sh")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_curl_line_works_as_pasted(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Sandbox(records=30) as sandbox:
        base_url = sandbox.base_url.replace("127.0.0.1", host)
        line = curl_line(base_url, sandbox.api_key, sandbox.api_secret, sandbox.start, sandbox.end)
        assert "\n" not in line
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=240)  # noqa: S603, S607
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["data"]["total"]) == ("0", 30)
        assert done.stderr == b""


def test_a_curl_line_needs_aware_times() -> None:
    now = datetime.now()  # noqa: DTZ005 - naive on purpose
    with pytest.raises(ValueError, match="aware"):
        curl_line("http://127.0.0.1:1/v3/voice", "key", "it's", now, now)


async def test_serve_runs_until_cancelled(ask: Any) -> None:
    ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(on_ready=ready.set_result, records=12))
    sandbox = await ready
    assert ask(sandbox).data["total"] == 12
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.voice_ids()


def test_the_sandbox_runs_in_its_own_process(ask: Any, tmp_path: Path) -> None:
    offset, given = timedelta(hours=-5), [{"voiceId": "1"}, {"voiceId": "2"}]
    with SandboxProcess(calls=given, utc_offset=offset, latency=(0.0, 0.01), path=tmp_path / "calls") as sandbox:
        assert sandbox.start.utcoffset() == offset
        assert ask(sandbox).ids == ["2", "1"]
        assert sandbox.stats.answers == {0: 1}
        assert sandbox.stats.requests == 1
        sandbox.reset_stats()
        assert sandbox.stats.requests == 0
        process = sandbox._process
        assert process is not None
        assert sandbox.api_secret not in repr(process.args)
    assert process.returncode == 0
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.reset_stats()


def test_a_mistake_is_reported_before_a_process_is_started() -> None:
    with pytest.raises(ValueError, match="must be a loopback address"):
        SandboxProcess(host="0.0.0.0")  # noqa: S104 - refused
    with pytest.raises(TypeError, match="cannot receive"), SandboxProcess(calls=[b"{}"]):
        pass


def test_a_process_of_its_own_breaks_answers_too(ask: Any) -> None:
    with SandboxProcess(records=1, faults=[Fault("http", status=503, times=2)]) as sandbox:
        assert ask(sandbox).code == 503
        sandbox.add_faults(Fault("code", code=-18))
        assert sandbox.faults_left == [Fault("http", status=503), Fault("code", code=-18)]
        assert [ask(sandbox).code, ask(sandbox).status] == [503, "-18"]
        assert sandbox.stats.requests == 3
    with (
        pytest.raises(UnusedFaultsError, match="reset"),
        SandboxProcess(records=1, faults=[Fault("reset")]) as sandbox,
    ):
        process = sandbox._process
    assert process is not None
    assert process.returncode == 0
    with pytest.raises(KeyError, match="mine"), SandboxProcess(records=1, faults=[Fault("reset")]):
        raise KeyError("mine")
    with pytest.raises(TypeError, match="not str"):
        SandboxProcess(faults=["reset"])  # type: ignore[list-item]
