"""The process that `SandboxProcess` starts. On the command line use `aiosipcdr sandbox`."""

import signal
import sys

from aiosipcdr.sandbox.process import run_as_child

if __name__ == "__main__":
    # Where Ctrl-C reaches the child, too (Windows), the parent decides when the child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_as_child(sys.stdin.fileno(), sys.stdout.buffer)
