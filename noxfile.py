"""The project's checks as nox sessions. `nox` alone runs the gate: lint, types and tests.

The gate uses the running interpreter and downloads no other. Longer checks have sessions of their own; `nox --list`
lists them.
"""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.4.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
# Only tests_matrix names interpreters; it uses those that are installed, in CI too.
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

# One worker for each core. Each runs neighbouring tests, so that few create a module's fixtures again, and an idle one
# steals from the others. A later `-n 0` among the arguments takes precedence.
WORKERS = ("--numprocesses=auto", "--dist=worksteal")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group, for installers without groups."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *requirements: str) -> None:
    """Install a copy of the package with every extra, as users do."""
    session.install(".[all]", *requirements)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, layers and declared dependencies."""
    install(session, *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("lint-imports", "--no-cache", "--no-logo")
    session.run("deptry", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, the tests and this file, and that all public names are typed."""
    install(session, *group("types"))
    session.run("mypy")
    # Named, as basedpyright otherwise takes a `.venv` that lies in the checkout, whatever is installed there.
    python = f"--pythonpath={shutil.which('python', path=session.bin)}"
    session.run("basedpyright", python)
    # From elsewhere, so that it is the installed package which is looked at; anything below 100 % fails.
    with session.chdir(session.create_tmp()):
        session.run("basedpyright", python, "--verifytypes", "aiosipcdr", "--ignoreexternal")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of the gate against the installed package."""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(default=False)
def all_tests(session: nox.Session) -> None:
    """Run the tests with every combination of parameters, full sizes and more examples (tests/selection.py)."""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs, env={"AIOSIPCDR_ALL_TESTS": "1"})


@nox.session(python=PYTHONS, default=False)
def tests_matrix(session: nox.Session) -> None:
    """Run the gate's tests on every supported interpreter that is installed."""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(default=False, venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the gate's tests with the oldest dependencies that pyproject.toml allows."""
    install(session, "--resolution", "lowest-direct")
    # The plugin of an older anyio warns under pytest 9.2, and tests of our plugin turn warnings into errors.
    tools = [tool for tool in group("test") if not tool.startswith("anyio")]
    session.install(*tools, "pytest<9.2")
    session.run("uv", "pip", "list", external=True)
    session.run("pytest", *WORKERS, "-W", "default", *session.posargs)


@nox.session(default=False)
def many_seeds(session: nox.Session) -> None:
    """Run the tests in five orders, with 2,000 fresh random examples of each property."""
    install(session, *group("test"))
    for seed in range(5):
        session.run(
            "pytest",
            *WORKERS,
            f"--randomly-seed={seed}",
            "--timeout=1800",
            *session.posargs,
            env={"HYPOTHESIS_PROFILE": "many"},
        )


# Each round sets the clock with time-machine: freezegun replaces Python names only, and libfaketime breaks the timed
# waits of CPython's threads. Every test of a round begins at its instant, just before a change, and passes it.
# No instant is before the dates in tests, which are past.
ROUNDS = (
    # the year's end, in UTC and at the sandbox (+08:00)
    ("2026-12-31T23:59:59.7+00:00", "UTC", "C"),
    ("2029-12-31T15:59:59.7+00:00", "America/New_York", "de_DE.UTF-8"),
    ("2027-01-01T00:00:00+00:00", "Pacific/Kiritimati", "C.UTF-8"),
    # 29 February, and the years without
    ("2028-02-28T23:59:59.7+00:00", "Europe/Berlin", "tr_TR.UTF-8"),
    ("2028-02-29T12:00:00+00:00", "Asia/Kathmandu", "C"),
    ("2032-02-29T15:59:59.7+00:00", "Australia/Lord_Howe", "C.UTF-8"),
    ("2096-02-29T23:59:59.7+00:00", "America/New_York", "C"),
    ("2036-02-29T09:30:00+00:00", "UTC", "fr_FR.UTF-8"),
    ("2027-02-28T23:59:59.7+00:00", "Asia/Kathmandu", "C"),
    # both changes of daylight saving time, and the hour that comes twice
    ("2027-03-28T00:59:59.7+00:00", "Europe/Berlin", "C"),
    ("2027-10-31T00:59:59.7+00:00", "Europe/Berlin", "de_DE.UTF-8"),
    ("2028-10-29T01:30:00+00:00", "Europe/Berlin", "C"),
    ("2027-03-14T06:59:59.7+00:00", "America/New_York", "C"),
    ("2027-11-07T05:59:59.7+00:00", "America/New_York", "C.UTF-8"),
    ("2027-04-03T14:59:59.7+00:00", "Australia/Lord_Howe", "C"),  # half an hour
    # midnight where the tests run, at the sandbox, and when its calls of the day before are six hours old
    ("2027-09-29T18:14:59.7+00:00", "Asia/Kathmandu", "C"),
    ("2027-06-18T15:59:59.7+00:00", "Pacific/Kiritimati", "C"),
    ("2026-11-28T21:59:59.7+00:00", "UTC", "C"),
    # month ends
    ("2026-11-30T23:59:59.7+00:00", "Europe/Berlin", "C"),
    ("2027-01-31T12:00:00+00:00", "America/New_York", "C"),
    ("2027-03-31T15:59:59.7+00:00", "UTC", "C"),
    ("2027-04-30T09:59:59.7+00:00", "Pacific/Kiritimati", "C"),
    ("2027-08-31T03:00:00+00:00", "Asia/Kathmandu", "C"),
    # a day on which a test failed, an ordinary one, and two that are far away
    ("2026-11-29T10:00:00+00:00", "UTC", "C"),
    ("2027-07-14T21:30:00+00:00", "Australia/Lord_Howe", "C"),
    ("2038-01-19T03:14:07.7+00:00", "UTC", "C"),
    ("2099-12-31T22:59:59.7+00:00", "Europe/Berlin", "C"),
)

CLOCKLESS = ("tests/wire", "tests/proof", "tests/policy", "tests/client/test_proof.py")


@nox.session(default=False)
def many_days(session: nox.Session) -> None:
    """Run the tests that start no process on 27 other days, in other time zones and locales."""
    install(session, *group("test"), *group("days"))
    failed: list[str] = []
    zones: set[str] = set()
    for instant, zone, locale in ROUNDS:
        # Tests without a clock take half of the time: they run once in each zone.
        ignored = [] if zone not in zones else [f"--ignore={path}" for path in CLOCKLESS]
        zones.add(zone)
        env = {"TZ": zone, "LC_ALL": locale, "AIOSIPCDR_TESTS_AT": instant, "HYPOTHESIS_PROFILE": "few"}
        env["AIOSIPCDR_SANDBOX_TODAY"] = ""  # the calls are those of the round's day
        try:
            session.run("pytest", *WORKERS, *ignored, *session.posargs, env=env)
        except CommandFailed:
            failed.append(f"{instant} {zone} {locale}")  # run the other rounds all the same
    if failed:
        session.error(f"failed in these rounds: {'; '.join(failed)}")


@nox.session(default=False)
def dlt(session: nox.Session) -> None:
    """Load calls into DuckDB with dlt, which is too large for the gate."""
    session.install(".[all,dlt]", *group("test"), "dlt[duckdb]>=1.31")
    session.run("pytest", "tests/engines/check_dlt.py", *session.posargs, env={"CI": "true"})


@nox.session(default=False)
@nox.parametrize("page", [nox.param("parts", id="parts"), nox.param("orchestrators", id="orchestrators")])
def engines(session: nox.Session, page: str) -> None:
    """Run the page of parts with Dask, Daft, Ray and Beam, and the page of orchestrators with all three of them."""
    if page == "parts":
        install(session, *group("test"), "dask[dataframe]", "daft", "ray[data]", "apache-beam")
    else:
        # Not all extras: Airflow admits only few versions of FastAPI.
        session.install(".[arrow,cli]", *group("orchestrators"))
    env = {"CI": "true", "RAY_USAGE_STATS_ENABLED": "0"}
    session.run("pytest", "-W", "default", f"tests/engines/check_{page}.py", *session.posargs, env=env)  # they warn


@nox.session(default=False)
def kills(session: nox.Session) -> None:
    """Kill exports 250 times, 50 in each of five formats, and compare their files."""
    install(session, *group("test"))
    session.run(
        "pytest",
        *WORKERS,
        "tests/cli/test_kills.py",
        *session.posargs,
        env={"AIOSIPCDR_KILLS": "50", "AIOSIPCDR_ALL_TESTS": "1"},
    )


@nox.session(default=False)
def sync_kills(session: nox.Session) -> None:
    """Kill syncs 20 times for each database, also between write and commit, and compare their tables."""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, "tests/sync/test_kills.py", *session.posargs, env={"AIOSIPCDR_KILLS": "20"})


@nox.session(default=False)
def percentages(session: nox.Session) -> None:
    """Fetch from an endpoint that fails 20 to 50 % of all requests, with 8 seeds for each fault."""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, "tests/faults/test_percentages.py", *session.posargs, env={"AIOSIPCDR_SEEDS": "8"})


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Fuzz the decoder with atheris: only errors of the package may leave it."""
    install(session, *group("fuzz"))
    corpus = session.create_tmp()
    session.run("python", "-m", "tests.faults.fuzz_decoder", *(session.posargs or ["-runs=200000"]), corpus)


@nox.session(default=False)
def pure_python(session: nox.Session) -> None:
    """Run the tests of faults with aiohttp's parser in Python."""
    install(session, *group("test"))
    places = session.posargs or ["tests/faults", "tests/http/test_transport.py", "tests/client/test_errors.py"]
    session.run("pytest", *WORKERS, *places, env={"AIOHTTP_NO_EXTENSIONS": "1"})


@nox.session(default=False)
def uvloop(session: nox.Session) -> None:
    """Run the tests that use an event loop on uvloop."""
    install(session, *group("test"))
    places = session.posargs or [
        *("tests/client", "tests/engine", "tests/export", "tests/faults", "tests/integrations", "tests/test_loops.py"),
        *("tests/http/test_transport.py", "tests/test_cancellation.py", "tests/test_events.py"),
    ]
    session.run("pytest", *WORKERS, *places, env={"AIOSIPCDR_TESTS_LOOP": "uvloop"})


@nox.session(default=False)
def servers(session: nox.Session) -> None:
    """Check that every server cuts the connection of a CSV response that ends early.

    Needs curl.
    """
    install(session, *group("test"))
    session.run(
        "pytest", "tests/integrations/test_servers.py", *session.posargs, env={"AIOSIPCDR_SERVERS": "all", "CI": "true"}
    )


@nox.session(default=False)
def spark(session: nox.Session) -> None:
    """Read with Spark, on this machine's cores and on a cluster of processes on loopback.

    Needs Java 17.
    """
    session.install(".[spark]", *group("spark"))
    session.run("pytest", *(session.posargs or ["tests/spark"]), env={"AIOSIPCDR_SPARK": "1", "CI": "true"})


@nox.session(default=False)
def old_pytest(session: nox.Session) -> None:
    """Run the pytest plugin with the oldest pytest and pluggy that it supports."""
    session.install(".", "pytest==7.0.0", "pluggy==1.0.0")
    check = Path("tests/old_pytest/check_fixture.py").read_text(encoding="utf-8")
    with session.chdir(session.create_tmp()):
        Path("check_fixture.py").write_text(check, encoding="utf-8")
        session.run("pytest", "--strict-markers", "-W", "error", "check_fixture.py", *session.posargs)


@nox.session(default=False, venv_backend="uv")
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in the newest and the oldest dependencies that pyproject.toml allows.

    Queries PyPI.
    """
    session.install(*group("audit"))
    for resolution in ("highest", "lowest-direct"):
        listed = str(Path(session.create_tmp()) / f"{resolution}.txt")
        compiling = ["uv", "pip", "compile", "-q", "--universal", "--all-extras", "--no-header", "--no-annotate"]
        session.run(*compiling, f"--resolution={resolution}", "-o", listed, "pyproject.toml", external=True)
        # Strict: what could not be looked up is no clean result.
        session.run("pip-audit", "--strict", "--disable-pip", "--no-deps", "-r", listed, *session.posargs)


@nox.session(default=False)
def workflows(session: nox.Session) -> None:
    """Look for weaknesses in CI's own files.

    Queries GitHub, too, where GH_TOKEN is set.
    """
    session.install(*group("workflows"))
    asking = [] if os.environ.get("GH_TOKEN") else ["--offline"]
    session.run("zizmor", *asking, *(session.posargs or [".github"]))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Report lines and branches that no test reaches."""
    install(session, *group("test"), *group("coverage"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "--parallel-mode", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks; print tables and draw charts into build/."""
    install(session, *group("test"), *group("bench"))
    scripts = sorted(Path("benchmarks").glob("*.py"))
    chosen = [path for path in scripts if not session.posargs or path.stem in session.posargs]
    if not chosen:
        session.error(f"no such benchmark; there are {', '.join(path.stem for path in scripts)}")
    Path("build").mkdir(exist_ok=True)
    for path in chosen:
        options = ["--chart", f"build/{path.stem}.svg"] if path.with_suffix(".svg").exists() else []
        session.run("python", str(path), *options)


@nox.session(default=False)
def guard(session: nox.Session) -> None:
    """Compare the cost of the client with its limits: counts and memory, no times.

    Counts instructions, too, where valgrind is installed.
    """
    install(session)
    session.chdir("benchmarks")
    session.run("python", "-m", "course.guard")
    session.run("python", "memory.py")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation without a warning and without a network."""
    install(session, *group("docs"))
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-n", "-q", "docs", *(session.posargs or ["docs/_build"]))


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """Build sdist and wheel, check their contents, and install the wheel alone."""
    session.install(*group("package"))
    built = Path(session.posargs[0] if session.posargs else f"{session.create_tmp()}/dist").resolve()
    for old in built.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(built))
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    session.run("check-wheel-contents", str(wheel))

    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    package_files = {
        path.as_posix() for path in Path("aiosipcdr").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    strangers = {name for name in in_wheel if ".dist-info/" not in name} ^ package_files
    if strangers:
        session.error(f"wheel and checkout differ in {sorted(strangers)}")
    if missing := {"LICENSE", "README.md", "pyproject.toml", *package_files} - in_sdist:
        session.error(f"the sdist lacks {sorted(missing)}")

    alone = Path(session.create_tmp()).resolve() / "alone"
    session.run("python", "-m", "venv", "--clear", str(alone))
    python = str(next(path for path in (alone / "bin", alone / "Scripts") if path.is_dir()) / "python")
    session.run(python, "-m", "pip", "install", "-q", str(wheel), external=True)
    # -I: the checkout is not on the path. Core only: no extra is installed.
    session.run(python, "-I", "-c", "from aiosipcdr import CdrClient; print(CdrClient)", external=True)


@nox.session(default=False)
def sbom(session: nox.Session) -> None:
    """What does the wheel of `package -- DIR` bring along, with every extra?

    Writes a list in CycloneDX to DIR/../sbom.
    """
    session.install(*group("sbom"))
    built = Path(session.posargs[0] if session.posargs else "dist").resolve()
    (wheel,) = built.glob("*.whl")
    whole = Path(session.create_tmp()).resolve() / "whole"
    session.run("python", "-m", "venv", "--clear", str(whole))
    python = str(next(path for path in (whole / "bin", whole / "Scripts") if path.is_dir()) / "python")
    session.run(python, "-m", "pip", "install", "-q", f"{wheel}[all]", external=True)
    session.run(python, "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools", external=True)
    listed = built.parent / "sbom" / f"{wheel.stem}.cdx.json"
    listed.parent.mkdir(exist_ok=True)
    session.run("cyclonedx-py", "environment", "--output-reproducible", "-o", str(listed), python)
