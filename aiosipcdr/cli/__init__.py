"""The command line's front step: hands over to the app, or says what to install.

Runs without any extra installed, so it must import nothing but the standard
library before it knows that the extra is there.
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
    signal.signal(signal.SIGTERM, _terminate)  # a container's first process would ignore it while all this is imported
    try:
        import rich  # noqa: F401 - cyclopts would miss it much later

        from aiosipcdr.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            f"aiosipcdr: the command line needs a package that is not installed ({error.name}):"
            " python3 -m pip install 'aiosipcdr[cli]'\n"
        )
        sys.exit(_USAGE)
    except KeyboardInterrupt:  # while all this is being imported
        sys.exit(_INTERRUPTED)
    sys.exit(run(sys.argv[1:]))
