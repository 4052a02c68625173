"""Fixtures and settings of all tests: a sandbox and a client on it, the event loop, hypothesis profiles, Ctrl-C."""

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from aiosipcdr import CdrClient
from aiosipcdr.export import keys
from aiosipcdr.sandbox import Sandbox
from tests.caches import assemble_arguments_once, generate_calls_once
from tests.clients import client_of
from tests.selection import ALL
from tests.system_parts import require

# The default run uses the same few examples on every machine and has no deadline, so that a slow machine fails no
# test. The session `all_tests` uses more of them, and `many_seeds` many, with fresh randomness each time.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _UNHURRIED, max_examples=30 if ALL else 10, derandomize=True)
settings.register_profile("few", _UNHURRIED, max_examples=5, derandomize=True)
settings.register_profile("many", _UNHURRIED, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Every sandbox generates the calls of one fixed day, in subprocesses too: a test that passes today passes tomorrow.
# Set but empty, the calls are those of the current day: the session `many_days` does that, and moves the clock.
os.environ.setdefault("AIOSIPCDR_SANDBOX_TODAY", "2026-06-17")

# Some environments forbid to write bytecode. A process that a test starts would then compile all that it imports, which
# takes longer than what it is started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Keys of pseudonyms are derived with little work in this process: no test attacks one.
_USUAL_COST = keys.N
keys.N = 16

# A shell that runs the tests in the background ignores SIGINT for them and for every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; run the tests at another instant, where the session `many_days` says so."""
    config.addinivalue_line("markers", "needs(*parts): programs and packages that the test needs, see system_parts.py")
    if "AIOSIPCDR_TESTS_AT" in os.environ:
        from tests.travel import Traveller

        config.pluginmanager.register(Traveller())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a part that is not installed, or fail it with CI=true."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_at_the_end() -> Iterator[None]:
    """Collect garbage while a warning about it still fails a test."""
    yield
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _calls_are_generated_once() -> Iterator[None]:
    """Generate the calls of equal sandboxes once; tests/sandbox generates them each time."""
    with generate_calls_once():
        yield


@pytest.fixture(scope="session")
def arguments_are_assembled_once() -> Iterator[None]:
    """Assemble the arguments of each command once, for modules that run many commands in this process."""
    with assemble_arguments_once():
        yield


@pytest.fixture
def costly_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive keys with as much work as users do."""
    monkeypatch.setattr(keys, "N", _USUAL_COST)


@pytest.fixture
def calls_until_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sandboxes generate calls of the last days, for tests of ranges relative to the current time."""
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")


@pytest.fixture(scope="module")
def shared_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The sandbox that all tests of a module share; the module may set its options: `SANDBOX = {"records": 300}`."""
    with Sandbox(**getattr(request.module, "SANDBOX", {"records": 500})) as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """The sandbox of the module, in the state after its start."""
    shared_sandbox.reset()
    return shared_sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[CdrClient]:
    """An open client on `sandbox`; for one with settings of its own, see `tests.clients.client_of`."""
    async with client_of(sandbox) as opened:
        yield opened


ASYNCIO, UVLOOP = ("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})
# Modules that the gate runs on uvloop as well; the session `uvloop` runs all that use a loop on it.
ON_BOTH_LOOPS = {"test_loops", "test_context", "test_connecting"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run every test on asyncio, the only backend of aiohttp."""
    return UVLOOP if os.environ.get("AIOSIPCDR_TESTS_LOOP") == "uvloop" else ASYNCIO


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of some modules on both event loops."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "anyio_backend" in metafunc.fixturenames and module in ON_BOTH_LOOPS and sys.platform != "win32":
        on_uvloop = pytest.param(UVLOOP, marks=pytest.mark.needs("package:uvloop"), id="uvloop")
        metafunc.parametrize("anyio_backend", [pytest.param(ASYNCIO, id="asyncio"), on_uvloop])
