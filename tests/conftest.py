"""What every test shares: the event loop's backend, how hard hypothesis looks, and that Ctrl-C is heard."""

import gc
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# The default run repeats itself: the same examples on every machine, and none is
# failed for being slow on a busy one, nor for being slowly made up there.  The session
# `many_seeds` looks further, with fresh randomness each time.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _UNHURRIED, max_examples=30, derandomize=True)
settings.register_profile("few", _UNHURRIED, max_examples=5, derandomize=True)
settings.register_profile("many", _UNHURRIED, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Every sandbox makes up the calls of one fixed day, in subprocesses too: a test that passes today passes tomorrow.
# Set but empty, the calls are those of the current day: the session `many_days` does that, and moves the clock.
os.environ.setdefault("AIOSIPCDR_SANDBOX_TODAY", "2026-06-17")

# A shell that runs the tests in the background makes them deaf to Ctrl-C, and with them every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Run the tests at another instant, where the session `many_days` says so."""
    if "AIOSIPCDR_TESTS_AT" in os.environ:
        from tests.travel import Traveller

        config.pluginmanager.register(Traveller())


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_at_the_end() -> Iterator[None]:
    """Collect while a test can still fail for it: what complains after a worker's last one goes unheard."""
    yield
    gc.collect()


@pytest.fixture
def calls_until_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sandboxes make up calls of the last days, for tests of what is asked relative to the current time."""
    monkeypatch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")


ASYNCIO, UVLOOP = ("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})
# What a run of the gate plays on uvloop as well; AIOSIPCDR_TESTS_LOOP=uvloop plays every test on it.
ON_BOTH_LOOPS = {"test_loops", "test_context", "test_engine", "test_connecting", "test_sessions"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run every test on asyncio: aiohttp knows nothing else, and so do we."""
    return UVLOOP if os.environ.get("AIOSIPCDR_TESTS_LOOP") == "uvloop" else ASYNCIO


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play the tests of some modules on both event loops."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "anyio_backend" in metafunc.fixturenames and module in ON_BOTH_LOOPS and find_spec("uvloop"):
        metafunc.parametrize("anyio_backend", [ASYNCIO, UVLOOP], ids=["asyncio", "uvloop"])
