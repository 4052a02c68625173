"""The app: its commands, and the conversion of errors to messages and exit codes.

A command's module is imported when the command runs: `--help` and `--version` import no aiohttp.
"""

import errno
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App, Group, Parameter
from cyclopts.exceptions import CycloptsError

from aiosipcdr.cli.argument_errors import DEBUG, refuse_secrets, usage_sentence
from aiosipcdr.cli.event_log import LOG_JSON, log_line
from aiosipcdr.cli.exit_codes import Exit, Terminated, explain
from aiosipcdr.cli.output import flush_stdout, print_notice, show_traceback, silence_stdout, tolerate_encoding
from aiosipcdr.cli.resume_hint import invocation
from aiosipcdr.cli.runner import terminable

__all__ = ["app", "run"]

_CREDENTIALS = """\
Credentials: AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET in the environment, \
or --credentials-file, or --credentials-stdin; never an argument."""

_EXIT_CODES = """\
Exit codes: 0 done, 1 failed, 2 invalid arguments or settings, 3 incomplete, 4 done but something could not be read, \
130 interrupted, 143 terminated. \
With --debug, an error shows its traceback."""

_EPILOGUE = f"{_CREDENTIALS}\n\n{_EXIT_CODES}"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}

_WITHOUT_CREDENTIALS = {"demo", "sandbox"}

# Written here, so that the list of commands is shown without importing them.
_COMMANDS = {
    "demo": """\
Start a sandbox, fetch all its calls over HTTP, write a file and show the result.

The sandbox is a separate process on a free loopback port and ends with the demo.""",
    "export": """\
Write every call of a range to a file: all of them, or no file.

The file appears when it is complete, readable only by you. After an interruption, the same command resumes. \
"--output -" writes NDJSON to stdout as the calls arrive.""",
    "count": "Print how many calls the vendor counts in a range.",
    "verify": "Compare files with their manifests (name, size, hash, rows, sums) and report differences.",
    "sync": """\
Make a table of a database equal to the vendor's list: new, late, changed and vanished calls.

Run it every morning with the same arguments. After an interruption at any moment, the same command goes on.""",
    "report": """\
Write costs and traffic of exported files, or of a range, as one HTML page.

The page needs no network, no script and no other file, and says whether its calls are certified complete.""",
    "totals": """\
Print calls, seconds and sums of money by group, day, currency, ...: of exported files, or of a range.

"totals calls.parquet --by group,currency,day --tz Asia/Shanghai" prints a table; --csv and --json are for programs.""",
    "doctor": """\
Check settings, network, clock, login and range; report each problem and its solution.

With "--probe", also test undocumented properties of the account.""",
    "sandbox": """\
Serve the vendor's endpoint on loopback, with generated calls, until Ctrl-C.

Prints its address, its key and secret, the shell lines that export them, and a ready-to-run curl command.""",
}


def _versions() -> str:
    from aiosipcdr import __version__

    parts = [f"Python {platform.python_version()}"]
    for package in ("aiohttp", "msgspec"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} not installed")
    return f"aiosipcdr {__version__} ({', '.join(parts)})"


app: App = App(
    name="aiosipcdr",
    help="Every call record of a time range, exactly once, with a proof that says so.",
    help_epilogue=_EPILOGUE,
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    version=_versions,
    version_format="plaintext",
    group_commands=Group("Commands", sort_key=0),
    suppress_keyboard_interrupt=False,
)
for _position, (_name, _help) in enumerate(_COMMANDS.items()):
    app.command(
        f"aiosipcdr.cli.{_name}:{_name}",
        name=_name,
        help=_help,
        help_epilogue=_EXIT_CODES if _name in _WITHOUT_CREDENTIALS else _EPILOGUE,
        sort_key=_position,
    )
app.command(
    "aiosipcdr.cli.completion:install_completion",
    name="--install-completion",
    help="Install completion of commands and options for bash, zsh, fish or PowerShell.",
    sort_key=len(_COMMANDS),
)


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments` and print any error; return the exit code."""
    tolerate_encoding()
    with terminable():
        code = _run(arguments)
    if (problem := flush_stdout()) is not None and code in (Exit.DONE, Exit.UNREADABLE):
        return _fail(Exit.FAILED, problem, arguments)
    return code


def _run(arguments: Sequence[str]) -> int:
    debug = DEBUG in arguments
    tokens = [argument for argument in arguments if argument != DEBUG]
    invocation.set(tokens)
    try:
        refuse_secrets(tokens)
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(Exit.USAGE, usage_sentence(error), tokens)
    except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001 - every error gets a message
        if debug:
            show_traceback(error)
        if isinstance(error, BrokenPipeError):
            silence_stdout()
        elif isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            # Raised by cyclopts or rich while printing help: errors of the package name their file.
            flush_stdout()
            return _fail(Exit.FAILED, f"cannot write to stdout: {error.strerror}; redirect it elsewhere", tokens)
        return _fail(*explain(error), tokens)
    return result if isinstance(result, int) else Exit.DONE


def _fail(code: Exit, sentence: str, tokens: Sequence[str]) -> Exit:
    if LOG_JSON in tokens:
        log_line("failed", code=int(code), error=sentence)
    else:
        print_notice(f"aiosipcdr: {sentence}")
    return code
