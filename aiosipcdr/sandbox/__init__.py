"""The vendor's endpoint on loopback, for tests, demonstrations and measurements.

It has wire tables of its own and imports nothing from the rest of the package: shared tables would hide a wrong name in
the client.
"""

from aiosipcdr.sandbox.call_events import CallEvent
from aiosipcdr.sandbox.calls_file import read_calls
from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fault_queue import UnusedFaultsError
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.process import SandboxProcess, curl_line, serve
from aiosipcdr.sandbox.sandbox import Sandbox
from aiosipcdr.sandbox.stats import Stats

__all__ = [
    "CallEvent",
    "Fault",
    "Sandbox",
    "SandboxConfig",
    "SandboxProcess",
    "Stats",
    "UnusedFaultsError",
    "curl_line",
    "read_calls",
    "serve",
]
