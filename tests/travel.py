"""The pytest plugin of the session `many_days`: runs tests at another instant.

Every test begins at the same instant and time goes on from there, so that a test which
begins just before midnight passes it each time. The wall clock is moved inside this
process (time-machine: Python's clocks, not those of C extensions), the monotonic one
is not. Tests that start a process are skipped, as its clock would not be moved.
"""

import os
import subprocess
from collections.abc import Generator
from datetime import datetime
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import pytest
from time_machine import travel

INSTANT = "AIOSIPCDR_TESTS_AT"


class Traveller:
    """Moves the clock for each test, including the setup of its fixtures."""

    def __init__(self) -> None:
        self._instant = datetime.fromisoformat(os.environ[INSTANT])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        with travel(self._instant, tick=True), pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess.Popen, "__init__", _skip)
            patch.setattr(BaseProcess, "start", _skip)
            return (yield)


def _skip(*_: Any, **__: Any) -> NoReturn:  # noqa: ANN401 - as Popen and BaseProcess
    pytest.skip("starts a process, whose clock is not moved")
