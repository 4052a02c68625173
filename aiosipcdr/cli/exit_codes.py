"""Exit codes, and the message of a command that fails.

Messages hold only values that the error itself put there.
"""

from collections.abc import Iterable
from enum import IntEnum, unique

from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.errors import IncompleteRangeError, OutageError, SipCdrError
from aiosipcdr.model.report import FetchReport

__all__ = ["CommandError", "Exit", "Terminated", "exit_code_for", "explain"]


@unique
class Exit(IntEnum):
    """The meaning of an exit code."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    UNREADABLE = 4
    INTERRUPTED = 130
    TERMINATED = 143


class CommandError(Exception):
    """A command cannot continue; the message says why and what to do."""


class Terminated(BaseException):
    """SIGTERM arrived, and everything was cleaned up."""


def exit_code_for(reports: Iterable[FetchReport]) -> Exit:
    """Return the exit code for the reports of a command: incomplete takes precedence over unreadable."""
    code = Exit.DONE
    for report in reports:
        if not report.is_complete:
            return Exit.INCOMPLETE
        if report.quarantined or report.faulty_fields:
            code = Exit.UNREADABLE
    return code


def explain(error: BaseException) -> tuple[Exit, str]:
    """Return the exit code and the message of `error`, including its notes.

    A note says how to resume: an error that may not recur then counts as incomplete, not as failed.
    """
    code, sentence = Exit.FAILED, str(error) or type(error).__name__
    match error:
        case KeyboardInterrupt():
            code, sentence = Exit.INTERRUPTED, "interrupted"
        case Terminated():
            code, sentence = Exit.TERMINATED, "terminated"
        case IncompleteRangeError():
            code, sentence = Exit.INCOMPLETE, _in_options(sentence)
        case SipCdrError():
            sentence = _in_options(sentence)
        case CommandError() | MissingExtraError():
            pass
        case ValueError():
            code, sentence = Exit.USAGE, _in_options(sentence)
        case BrokenPipeError():
            sentence = "stdout was closed early (broken pipe)"
        case OSError():
            sentence = error.strerror or type(error).__name__
        case _:
            # Other exceptions may quote data: their text is shown with --debug only.
            sentence = (
                f"unexpected {type(error).__name__}, which is a bug in aiosipcdr;"
                " run the command again with --debug and report the traceback"
            )
    notes = getattr(error, "__notes__", [])
    if notes and isinstance(error, SipCdrError) and (error.retryable or isinstance(error, OutageError)):
        code = Exit.INCOMPLETE
    return code, "; ".join([sentence, *notes])


def _in_options(sentence: str) -> str:
    # The library's advice names Python arguments.
    for argument, option in _OPTIONS.items():
        sentence = sentence.replace(argument, option)
    return sentence


_OPTIONS = {
    "allow_incomplete=True": "--allow-incomplete",
    "strict=True": "--strict",
    "allow_mass_vanish=True": "--allow-mass-vanish",
    "name with table=": "name with --table",
    "since is missing": "--since is missing",
    "a later since": "a later --since",
    "the URL of the database must": "--to must",
    "set assume_tz": "add --assume-tz",
    'filter_match="loose"': "--filter-match loose",
    "(page_size)": "(--page-size)",
    "; if its records are that large, raise max_response_bytes": "; the library's max_response_bytes raises the limit",
    "overwrite=True": "--overwrite",
    "restart=True": "--restart",
    "pass lock=False": "add --no-lock",
    'on_out_of_range="skip"': "--on-out-of-range skip",
    "months_back=None": "--set months_back=null",
    "pass format=,": "pass --format,",
    "leave out spreadsheet": "leave out --spreadsheet",
    "`proxy`": "--proxy, or HTTPS_PROXY",
    "sip_group_name must": "--group must",
    "phone_name must": "--phone must",
    ", or None for all": "; leave it out for all",
}
