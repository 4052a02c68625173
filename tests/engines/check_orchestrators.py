"""The page on Airflow, Dagster and Prefect: its files, run by the real ones. Run by the session `engines`.

A day is exported, exported again without a request, tried again after an error that may pass, and fails at once after a
refused login.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiosipcdr import AuthenticationError
from aiosipcdr.sandbox import Sandbox
from tests.engines.conftest import START
from tests.pages import ROOT, VARIABLES

PAGE = ROOT / "docs" / "howto" / "orchestrators.md"
DAYS = [date(2026, 10, number) for number in (5, 6, 7)]
CALLS: dict[str, Any] = {"path": "lake/dt=2026-10-05/calls.parquet", "calls": 123, "certified": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the files of the page; the state of the three schedulers is in it, too."""
    folder = tmp_path_factory.mktemp("orchestrators")
    text = PAGE.read_text(encoding="utf-8")
    # The tests do not wait for a quarter of an hour.
    for pause in ("pendulum.duration(minutes=15)", "delay=15 * 60", "retry_delay_seconds=15 * 60"):
        assert pause in text
    text = text.replace("minutes=15", "seconds=1").replace("15 * 60", "1")
    for block in re.findall(r"^```py(?:thon)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if named := re.match(r"# (\w+\.py)\n", block):
            (folder / named[1]).write_text(block, encoding="utf-8")
    settings = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.syspath_prepend(folder)
        yield folder


class Attempts:
    """Counts the exports that a module of the page starts, and mends the sandbox before the second one."""

    def __init__(self, module: ModuleType, sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
        self.days: list[date] = []
        export_day: Callable[[date], Any] = module.export_day

        def export(day: date) -> Any:  # noqa: ANN401 - that of the page
            self.days.append(day)
            if len(self.days) == 2:
                sandbox.change(wrong_total=0)
            return export_day(day)

        patch.setattr(module, "export_day", export)


@pytest.fixture
def sandbox(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    assert folder.is_dir()
    monkeypatch.chdir(tmp_path)
    with Sandbox(account="tutorial", records=3_000, start=START, months_back=None) as sandbox:
        for name in VARIABLES:
            monkeypatch.setenv(name, getattr(sandbox, name.removeprefix("AIOSIPCDR_").lower()))
        yield sandbox


@pytest.fixture
def attempts(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], Attempts]:
    return lambda module: Attempts(module, sandbox, monkeypatch)


def test_airflow(
    sandbox: Sandbox,
    attempts: Callable[[ModuleType], Attempts],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    module = importlib.import_module("calls_dag")
    started = attempts(module)

    def run(day: date) -> tuple[str, dict[str, Any]]:
        """Run the interval of a day, which ends on the next one."""
        found = module.dag.test(logical_date=module.pendulum.datetime(day.year, day.month, day.day + 1))
        assert found.data_interval_start == datetime(day.year, day.month, day.day, tzinfo=START.tzinfo)
        assert found.data_interval_end - found.data_interval_start == timedelta(days=1)
        tasks = {one.task_id: one for one in found.get_task_instances()}
        assert tasks["settled"].state == "success"
        return str(found.state), tasks

    state, tasks = run(DAYS[0])
    assert (state, started.days) == ("success", DAYS[:1])
    assert Path(CALLS["path"]).exists()
    sandbox.reset_stats()
    assert run(DAYS[0])[0] == "success"
    assert sandbox.stats.requests == 0

    started.days.clear()
    sandbox.change(wrong_total=1)
    state, tasks = run(DAYS[1])
    assert (state, tasks["export"].try_number, started.days) == ("success", 2, [DAYS[1]] * 2)

    started.days.clear()
    sandbox.change(wrong_total=0)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", "wrong-0815")
    state, tasks = run(DAYS[2])
    assert (state, str(tasks["export"].state), started.days) == ("failed", "failed", [DAYS[2]])
    assert "wrong-0815" not in "".join(capsys.readouterr())


@pytest.mark.usefixtures("folder")
def test_the_command_line_in_airflow() -> None:
    import pendulum

    (block,) = re.findall(
        r"^```py\n(from airflow\.providers\.standard\.operators.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    found: dict[str, Any] = {"pendulum": pendulum}
    exec(compile(block, PAGE, "exec"), found)  # noqa: S102 - our own page

    assert found["export"].retries == 1
    assert found["export"].bash_command.startswith("/opt/calls/bin/aiosipcdr export ")


def test_dagster(sandbox: Sandbox, attempts: Callable[[ModuleType], Attempts], monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    module = importlib.import_module("calls_assets")
    started = attempts(module)

    def run(day: date) -> Any:  # noqa: ANN401 - of Dagster
        return dg.materialize([module.calls], partition_key=str(day), raise_on_error=False)

    for outcome in range(2):
        sandbox.reset_stats()
        (materialized,) = run(DAYS[0]).asset_materializations_for_node("calls")
        shown = {name: one.value for name, one in materialized.metadata.items()}
        assert shown.items() >= (CALLS | {"provisional": False, "requests": 5}).items()
        assert shown["proof"].startswith("123 of 123 calls, certified complete")
        assert sandbox.stats.requests == (0 if outcome else 5)

    started.days.clear()
    sandbox.change(wrong_total=1)
    assert run(DAYS[1]).success
    assert started.days == [DAYS[1]] * 2

    started.days.clear()
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", "wrong-0815")
    failed = run(DAYS[2])
    assert started.days == [DAYS[2]]
    text = repr(failed.failure_data_for_node("calls"))
    assert "Failure: AuthenticationError: status -1" in text
    assert "wrong-0815" not in text

    (schedule,) = module.defs.schedules
    planned = datetime(2026, 10, 6, 6, tzinfo=START.tzinfo)
    with dg.instance_for_test() as instance:
        tick = dg.build_schedule_context(instance, scheduled_execution_time=planned)
        resolved = module.defs.resolve_schedule_def(schedule.name)
        (request,) = resolved.evaluate_tick(tick).run_requests
    assert (resolved.cron_schedule, resolved.execution_timezone) == ("0 6 * * *", module.ZONE)
    assert request.partition_key == "2026-10-05"


def test_prefect(sandbox: Sandbox, attempts: Callable[[ModuleType], Attempts], monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Scheduled

    module = importlib.import_module("calls_flow")
    started = attempts(module)

    # A run that was planned for this time, and starts now.
    planned = Scheduled(scheduled_time=datetime(2026, 10, 6, 6, tzinfo=START.tzinfo))
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(module.calls, state=planned)
    assert run_flow(module.calls, flow_run=flow_run) == CALLS
    assert started.days == DAYS[:1]
    sandbox.reset_stats()
    assert module.calls(DAYS[0]) == CALLS
    assert sandbox.stats.requests == 0

    started.days.clear()
    sandbox.change(wrong_total=1)
    assert module.calls(DAYS[1])["certified"]
    assert started.days == [DAYS[1]] * 2

    started.days.clear()
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", "wrong-0815")
    with pytest.raises(AuthenticationError) as caught:
        module.calls(DAYS[2])
    assert "wrong-0815" not in str(caught.value)
    assert started.days == [DAYS[2]]

    deployment = module.calls.to_deployment("daily", schedule=module.Cron("0 6 * * *", timezone=module.ZONE))
    (shown,) = deployment.schedules
    assert (shown.schedule.cron, shown.schedule.timezone) == ("0 6 * * *", "Asia/Shanghai")
