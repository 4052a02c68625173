"""The vendor's endpoint on loopback, for tests, demonstrations and measurements.

It keeps wire tables of its own and must never import anything from the rest of the
package: a wrong name in the client would otherwise cancel out.
"""

from aiosipcdr.sandbox.calls_file import read_calls
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.process import SandboxProcess, curl_line, serve
from aiosipcdr.sandbox.script import UnusedFaultsError
from aiosipcdr.sandbox.stats import Stats
from aiosipcdr.sandbox.switches import Switches
from aiosipcdr.sandbox.threaded import Sandbox

__all__ = [
    "Fault",
    "Sandbox",
    "SandboxProcess",
    "Stats",
    "Switches",
    "UnusedFaultsError",
    "curl_line",
    "read_calls",
    "serve",
]
