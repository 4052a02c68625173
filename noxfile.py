"""Each session answers one question; `nox` alone runs the gate.

The gate (lint, types, tests) needs the running interpreter only and downloads
none.  Longer work has sessions of its own: `nox --list` names them.
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
# Only tests_matrix names interpreters, and it takes those that are there, on CI too.
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

# A worker for each core.  Each takes runs of neighbours, so that few build a module's fixtures
# anew, and whoever is done first takes from the others.  A later `-n 0` among the arguments wins.
WORKERS = ("--numprocesses=auto", "--dist=worksteal")


def group(name: str) -> list[str]:
    """Read the requirements of a dependency group, so that the installer need not know groups."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *requirements: str) -> None:
    """Install the package with every extra, as users do: a copy, not a link to the checkout."""
    session.install(".[all]", *requirements)


@nox.session
def lint(session: nox.Session) -> None:
    """Are style, spelling, floors and declared dependencies in order?"""
    install(session, *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("lint-imports", "--no-cache", "--no-logo")
    session.run("deptry", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Do the package, the tests and this file agree with their types, and are the public ones complete?"""
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
    """Does the installed package do what the tests say?"""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(default=False)
def all_tests(session: nox.Session) -> None:
    """Does it in every combination of parameters, of which the gate plays some (tests/selection.py)?"""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs, env={"AIOSIPCDR_ALL_TESTS": "1"})


@nox.session(python=PYTHONS, default=False)
def tests_matrix(session: nox.Session) -> None:
    """Does it on every supported interpreter that is found here?"""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(default=False, venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Does it with the oldest dependencies that pyproject.toml admits?"""
    install(session, "--resolution", "lowest-direct")
    # The plugin of an older anyio warns under pytest 9.2, and tests of our plugin turn warnings into errors.
    tools = [tool for tool in group("test") if not tool.startswith("anyio")]
    session.install(*tools, "pytest<9.2")
    session.run("uv", "pip", "list", external=True)
    session.run("pytest", *WORKERS, "-W", "default", *session.posargs)


@nox.session(default=False)
def many_seeds(session: nox.Session) -> None:
    """Do the properties hold for many more examples, in other orders, with fresh randomness?"""
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


# Each round moves the clock with time-machine: freezegun replaces Python names only, and libfaketime breaks the timed
# waits of CPython's threads. Every test of a round begins at its instant: just before a change, each passes it.
# None lies before the dates that tests name, which are past.
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
    """Do the tests that start no process pass on other days, at other hours and in other zones?"""
    install(session, *group("test"), *group("days"))
    failed: list[str] = []
    zones: set[str] = set()
    for instant, zone, locale in ROUNDS:
        # What decides without a clock takes half of the time: it is played once in each zone.
        ignored = [] if zone not in zones else [f"--ignore={path}" for path in CLOCKLESS]
        zones.add(zone)
        env = {"TZ": zone, "LC_ALL": locale, "AIOSIPCDR_TESTS_AT": instant, "HYPOTHESIS_PROFILE": "few"}
        env["AIOSIPCDR_SANDBOX_TODAY"] = ""  # made-up calls are those of the round's day
        try:
            session.run("pytest", *WORKERS, *ignored, *session.posargs, env=env)
        except CommandFailed:
            failed.append(f"{instant} {zone} {locale}")  # the other rounds are worth having
    if failed:
        session.error(f"failed in these rounds: {'; '.join(failed)}")


@nox.session(default=False)
def kills(session: nox.Session) -> None:
    """Is a file the same after 250 more kills of its export, 50 in each of five formats?"""
    install(session, *group("test"))
    session.run(
        "pytest",
        *WORKERS,
        "tests/cli/test_kills.py",
        *session.posargs,
        env={"AIOSIPCDR_KILLS": "50", "AIOSIPCDR_ALL_TESTS": "1"},
    )


@nox.session(default=False)
def percentages(session: nox.Session) -> None:
    """Is a range read to its end from an endpoint that fails 20 to 50 % of all requests (8 seeds for each fault)?"""
    install(session, *group("test"))
    session.run("pytest", *WORKERS, "tests/faults/test_percentages.py", *session.posargs, env={"AIOSIPCDR_SEEDS": "8"})


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Does anything but our errors leave the decoder, whatever atheris makes of its input?"""
    install(session, *group("fuzz"))
    corpus = session.create_tmp()
    session.run("python", "-m", "tests.faults.fuzz_decoder", *(session.posargs or ["-runs=200000"]), corpus)


@nox.session(default=False)
def pure_python(session: nox.Session) -> None:
    """Do faults come to the same with aiohttp's parser in Python?"""
    install(session, *group("test"))
    places = session.posargs or ["tests/faults", "tests/http/test_transport.py", "tests/client/test_errors.py"]
    session.run("pytest", *WORKERS, *places, env={"AIOHTTP_NO_EXTENSIONS": "1"})


@nox.session(default=False)
def uvloop(session: nox.Session) -> None:
    """Does everything that uses an event loop do the same on uvloop?"""
    install(session, *group("test"))
    places = session.posargs or [
        *("tests/client", "tests/engine", "tests/export", "tests/faults", "tests/integrations", "tests/test_loops.py"),
        *("tests/http/test_transport.py", "tests/test_cancellation.py", "tests/test_events.py"),
    ]
    session.run("pytest", *WORKERS, *places, env={"AIOSIPCDR_TESTS_LOOP": "uvloop"})


@nox.session(default=False)
def servers(session: nox.Session) -> None:
    """Does every server cut the connection of a CSV answer that ends short?

    Needs curl.
    """
    install(session, *group("test"))
    session.run(
        "pytest", "tests/integrations/test_servers.py", *session.posargs, env={"AIOSIPCDR_SERVERS": "all", "CI": "true"}
    )


@nox.session(default=False)
def old_pytest(session: nox.Session) -> None:
    """Does the pytest plugin work with the oldest pytest and pluggy that it supports?"""
    session.install(".", "pytest==7.0.0", "pluggy==1.0.0")
    check = Path("tests/old_pytest/check_fixture.py").read_text(encoding="utf-8")
    with session.chdir(session.create_tmp()):
        Path("check_fixture.py").write_text(check, encoding="utf-8")
        session.run("pytest", "--strict-markers", "-W", "error", "check_fixture.py", *session.posargs)


@nox.session(default=False, venv_backend="uv")
def audit(session: nox.Session) -> None:
    """Are there known vulnerabilities in the newest or the lowest dependencies that pyproject.toml admits?

    Asks PyPI.
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
    """Do CI's own files have weaknesses?

    Asks GitHub, too, where GH_TOKEN is set.
    """
    session.install(*group("workflows"))
    asking = [] if os.environ.get("GH_TOKEN") else ["--offline"]
    session.run("zizmor", *asking, *(session.posargs or [".github"]))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Which lines and branches does no test reach?"""
    install(session, *group("test"), *group("coverage"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "--parallel-mode", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """How fast is it, and how much memory does it take?  Tables are printed, charts are drawn into build/."""
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
    """Has the client become more expensive?

    Counts and no times; instructions too, where valgrind is installed.
    """
    install(session)
    session.chdir("benchmarks")
    session.run("python", "-m", "course.guard")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Do the pages become a site, without a warning and without a network?"""
    install(session, *group("docs"))
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-n", "-q", "docs", *(session.posargs or ["docs/_build"]))


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """Do sdist and wheel hold what they should, and does the wheel work on its own?"""
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
    # -I: the checkout is not on the path.  The core alone: no extra is installed.
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
