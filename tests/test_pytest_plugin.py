"""The fixture with our users' plugins: each inner run is a pytest of its own, with the plugins that it names."""

import importlib.metadata
import json
from typing import NamedTuple

import pytest

from aiosipcdr.sandbox import Sandbox
from tests.selection import some

FETCHING = """
import asyncio
import pytest
from aiosipcdr import CdrClient
from aiosipcdr.sandbox import Fault

async def fetch(sandbox):
    async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        return await client.fetch_all(sandbox.start, sandbox.end)

def fetch_now(sandbox):
    return asyncio.run(fetch(sandbox))
"""

# The same for each kind of tests; three pass and the last fails.
TESTS = """
@pytest.mark.cdr_sandbox(records=250, order="oldest", faults=[Fault("reset", page=2)])
async def test_a_fault_of_the_mark_strikes(cdr_sandbox):
    records = await fetch(cdr_sandbox)
    assert len(records) == 250
    assert records.report.retries == 1
    assert cdr_sandbox.config.order == "oldest"

async def test_a_fault_of_a_method_strikes(cdr_sandbox):
    cdr_sandbox.add_faults(Fault("http", status=503, headers={"Retry-After": "0"}))
    cdr_sandbox.insert(count=3)
    records = await fetch(cdr_sandbox)
    assert len(records) == 1_003
    assert records.report.retries == 1

async def test_nothing_is_left_of_other_tests(cdr_sandbox):
    assert cdr_sandbox.stats.requests == 0
    records = await fetch(cdr_sandbox)
    assert len(records) == 1_000
    assert cdr_sandbox.stats.requests == records.report.requests
    assert records.report.retries == 0

@pytest.mark.cdr_sandbox(records=10, faults=[Fault("reset", page=9)])
async def test_a_fault_that_never_strikes(cdr_sandbox):
    assert len(await fetch(cdr_sandbox)) == 10
"""

ANYIO_BACKEND = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

APPLICATION = """
from aiohttp import web

@pytest.fixture
async def application(aiohttp_client, cdr_sandbox):
    async def count(request):
        return web.json_response(len(await fetch(cdr_sandbox)))

    app = web.Application()
    app.router.add_get("/", count)
    return await aiohttp_client(app)

@pytest.mark.cdr_sandbox(records=120, faults=[Fault("reset", page=2)])
async def test_an_application_outlives_a_fault(application):
    async with application.get("/") as answer:
        assert await answer.json() == 120
"""

THE_OTHERS_ARE_OFF = """
def test_the_other_worlds_are_off(pytestconfig):
    worlds = ("anyio", "asyncio", "aiohttp")
    assert [name for name in worlds if pytestconfig.pluginmanager.hasplugin(name)] == {worlds}
"""


class World(NamedTuple):
    plugins: list[str]
    tests: str
    options: tuple[str, ...] = ()


AUTO = ("-oasyncio_mode=auto", "-oasyncio_default_fixture_loop_scope=function")
WORLDS = {
    "pytest-aiohttp": World(["asyncio", "aiohttp"], APPLICATION + TESTS, AUTO),
    "plain tests": World([], TESTS.replace("async def", "def").replace("await fetch", "fetch_now")),
    "anyio": World(["anyio"], ANYIO_BACKEND + TESTS, ("-oanyio_mode=auto",)),
    "pytest-asyncio": World(["asyncio"], TESTS, AUTO),
}

ODD = """
class TestMarked:
    pytestmark = pytest.mark.cdr_sandbox(records=7, order="oldest", faults=[Fault("reset")])

    @pytest.mark.cdr_sandbox(records=3)
    def test_the_nearer_mark_goes_first_keyword_by_keyword(self, cdr_sandbox):
        assert len(cdr_sandbox.voice_ids()) == 3
        assert cdr_sandbox.config.order == "oldest"
        assert fetch_now(cdr_sandbox).report.retries == 1

    @pytest.mark.parametrize("records", [pytest.param(4, marks=pytest.mark.cdr_sandbox(records=4, faults=())), 7])
    def test_a_parameter_may_be_marked(self, request, records):
        sandbox = request.getfixturevalue("cdr_sandbox")
        assert len(fetch_now(sandbox)) == records

    def test_fails_for_its_own_reason(self, cdr_sandbox):
        assert len(cdr_sandbox.voice_ids()) == 8

    def test_is_skipped_midway(self, cdr_sandbox):
        pytest.skip("no reason to look for faults")

    def test_never_asks_for_the_fixture(self):
        pass

@pytest.mark.cdr_sandbox(500)
def test_with_a_bare_number(cdr_sandbox):
    pass

@pytest.mark.cdr_sandbox(recrods=500)
def test_with_a_misspelt_switch(cdr_sandbox):
    pass
"""

LISTING = """
import json
import pathlib
import sys

def pytest_sessionfinish():
    pathlib.Path("loaded.json").write_text(json.dumps(list(sys.modules)))
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An inner run loads the plugins that it names, and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(inner: pytest.Pytester, plugins: list[str], *options: str) -> pytest.RunResult:
    chosen = [word for name in plugins for word in ("-p", name)]
    strict = ("-Werror", "--strict-markers", "--strict-config")
    return inner.runpytest_subprocess(*strict, *chosen, *options, timeout=240)


def test_installing_the_package_brings_the_fixture(cdr_sandbox: Sandbox) -> None:
    # Nothing in this repository loads the plugin: this run has found it by itself.
    (found,) = importlib.metadata.entry_points(group="pytest11", name="aiosipcdr")

    assert found.value == "aiosipcdr.pytest_plugin"
    assert len(cdr_sandbox.voice_ids()) == 1_000


@pytest.mark.parametrize("name", some(WORLDS, every=4))
def test_the_fixture_serves(inner: pytest.Pytester, name: str) -> None:
    world = WORLDS[name]
    inner.makepyfile(FETCHING + world.tests + THE_OTHERS_ARE_OFF.format(worlds=world.plugins))

    result = run(inner, ["aiosipcdr", *world.plugins], *world.options)

    result.assert_outcomes(passed=4 + (APPLICATION in world.tests), failed=1)
    result.stdout.fnmatch_lines(
        "*UnusedFaultsError: queued faults were never triggered; *: reset (page 9, attempt any)"
    )


def test_marks_configure_the_sandbox_and_unused_faults_fail_passed_tests_only(inner: pytest.Pytester) -> None:
    inner.makepyfile(FETCHING + ODD)

    result = run(inner, ["aiosipcdr"])

    result.assert_outcomes(passed=4, failed=1, skipped=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.cdr_sandbox: only keyword arguments are accepted, as in cdr_sandbox(records=500)",
            "@pytest.mark.cdr_sandbox: *recrods*",
            "FAILED *test_fails_for_its_own_reason*",
        ]
    )
    result.stdout.no_fnmatch_line("*UnusedFaultsError*")


def test_runs_that_never_use_the_fixture_load_nothing_for_it(inner: pytest.Pytester) -> None:
    inner.makeconftest(LISTING)
    inner.makepyfile("def test_nothing(): pass")
    loaded = []
    for plugins in ([], ["aiosipcdr"]):
        run(inner, plugins).assert_outcomes(passed=1)
        loaded.append(set(json.loads((inner.path / "loaded.json").read_text(encoding="utf-8"))))

    assert loaded[1] - loaded[0] == {"aiosipcdr", "aiosipcdr.pytest_plugin"}


def test_the_marker_is_registered_with_an_explanation(pytestconfig: pytest.Config) -> None:
    (reported,) = [line for line in pytestconfig.getini("markers") if line.startswith("cdr_sandbox(")]

    assert "faults" in reported.partition(":")[0]
    assert "aiosipcdr.sandbox.Sandbox" in reported.partition(":")[2]
