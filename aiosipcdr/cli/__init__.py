"""The entry point of the command line: runs the app, or says which extra to install.

Works without any extra, so it imports only the standard library until the extra is known to be installed.
"""

import signal
import sys

__all__ = ["main"]

_EXTRA = frozenset({"cyclopts", "rich"})
_USAGE = 2
_INTERRUPTED = 130
_TERMINATED = 143


def _terminate(*_: object) -> None:
    sys.exit(_TERMINATED)


def main() -> None:
    """Run the command line on this process's arguments and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)  # PID 1 of a container would ignore the signal during the imports below
    try:
        import rich  # noqa: F401 - cyclopts would fail without it only much later

        from aiosipcdr.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            f"aiosipcdr: the command line needs the package {error.name}, which is not installed; run:"
            " python3 -m pip install 'aiosipcdr[cli]'\n"
        )
        sys.exit(_USAGE)
    except KeyboardInterrupt:  # during the imports
        sys.exit(_INTERRUPTED)
    sys.exit(run(sys.argv[1:]))
