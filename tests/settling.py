"""A sandbox that several tests ask, one after the other, as if each had it to itself."""

import http.client
import time
from urllib.parse import urlsplit

from aiosipcdr.sandbox import Sandbox


def settle(sandbox: Sandbox) -> None:
    """Let a sandbox take in what earlier tests left on the way, forget what is scripted, and count from zero.

    A request that a client gave up may lie in a connection that the sandbox has not looked at yet:
    taken in later, it would be counted for the next test, and take the answer that was scripted there.
    """
    address = urlsplit(sandbox.base_url)
    line = http.client.HTTPConnection(str(address.hostname), address.port or 0, timeout=120)
    try:
        # Connections are accepted in their order and looked at in turn: whoever is
        # answered twice knows that all that came before has been taken in.
        for _ in range(2):
            line.request("GET", "/")
            line.getresponse().read()
    finally:
        line.close()
    while True:
        sandbox.reset_stats()
        if not sandbox.stats.peak_in_flight:  # else one is being answered still
            break
        time.sleep(0.001)
    sandbox._runner.running().endpoint.queued_codes.clear()
