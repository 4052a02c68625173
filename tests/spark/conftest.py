"""A sandbox, and Spark in this process; collected only in the session `spark`, which sets AIOSIPCDR_SPARK.

The account is in the environment before the JVM starts, which passes it on to the processes that plan queries.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.selection import ALL

collect_ignore_glob = [] if os.environ.get("AIOSIPCDR_SPARK") else ["test_*.py"]

RECORDS = 200_000 if ALL else 20_000
ROWS = RECORDS // 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Accept what Spark warns about: sockets of py4j that are closed by garbage collection."""
    for item in items:
        if "tests/spark/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(1_200))  # for a machine that does much else
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def gate() -> Gate:
    """Let all requests through, until a test says that they shall be held back."""
    return Gate(10**9)


@pytest.fixture(scope="session")
def running(gate: Gate) -> Iterator[Sandbox]:
    with Sandbox(records=RECORDS, leg_every=50, middlewares=[gate.middleware]) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            os.environ[f"AIOSIPCDR_{name.upper()}"] = getattr(sandbox, name)
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox, gate: Gate) -> Sandbox:
    gate.free, gate.held, gate.applies = 10**9, 0, lambda _body: True
    gate.opened.clear()
    running.reset()
    return running


def write_account(sandbox: Sandbox, folder: Path) -> str:
    """Write a credentials file; return its path."""
    path = folder / "account.toml"
    path.touch(mode=0o600)
    names = ("base_url", "api_key", "api_secret")
    path.write_text("\n".join(f'{name} = "{getattr(sandbox, name)}"' for name in names), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def credentials_file(running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_account(running, tmp_path_factory.mktemp("account"))


@pytest.fixture(scope="session")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="session")
def settings(event_log: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of every Spark session of the tests."""
    return {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/New_York",  # times are instants in any zone
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",  # tests search in it
        "spark.eventLog.dir": str(event_log),
    }


@pytest.fixture(scope="module")
def spark(running: Sandbox, settings: dict[str, str]) -> Iterator[Any]:
    """Spark in this process, with two cores."""
    assert running.base_url
    session = start_session("local[2]", settings)
    yield session
    session.stop()


def start_session(master: str, settings: dict[str, str]) -> Any:
    from pyspark.sql import SparkSession

    from aiosipcdr.integrations.spark import SipCdrDataSource

    builder = SparkSession.builder.master(master).appName("aiosipcdr tests")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.dataSource.register(SipCdrDataSource)
    return session
