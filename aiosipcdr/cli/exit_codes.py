"""Exit codes, and the one sentence that a person reads when a command fails.

Must never put a value of the caller's into a sentence that its error did not
put there by itself.
"""

from collections.abc import Iterable
from enum import IntEnum, unique

from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.errors import IncompleteRangeError, OutageError, SipCdrError
from aiosipcdr.model.report import FetchReport

__all__ = ["CommandError", "Exit", "Terminated", "explain", "judge_reports"]


@unique
class Exit(IntEnum):
    """What a command's exit code means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    UNREADABLE = 4
    INTERRUPTED = 130
    TERMINATED = 143


class CommandError(Exception):
    """A command cannot go on; the text says why and what to do."""


class Terminated(BaseException):
    """SIGTERM arrived, and everything was cleaned up."""


def judge_reports(reports: Iterable[FetchReport]) -> Exit:
    """Return the exit code for what was done: incomplete comes before unreadable."""
    code = Exit.DONE
    for report in reports:
        if not report.is_complete:
            return Exit.INCOMPLETE
        if report.quarantined or report.faulty_fields:
            code = Exit.UNREADABLE
    return code


def explain(error: BaseException) -> tuple[Exit, str]:
    """Return the exit code of `error`, and what to tell about it, its notes included.

    A note says how to go on: then what may succeed later is no failure, only incomplete.
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
            sentence = "whatever read stdout closed it before the end"
        case OSError():
            sentence = error.strerror or type(error).__name__
        case _:
            # Foreign errors may quote data: their text is for --debug alone.
            sentence = (
                f"an unexpected {type(error).__name__}: this is a fault of aiosipcdr;"
                " run it again with --debug and report the traceback"
            )
    notes = getattr(error, "__notes__", [])
    if notes and isinstance(error, SipCdrError) and (error.retryable or isinstance(error, OutageError)):
        code = Exit.INCOMPLETE
    return code, "; ".join([sentence, *notes])


def _in_options(sentence: str) -> str:
    # The library's advice names its own arguments.
    for argument, option in _OPTIONS.items():
        sentence = sentence.replace(argument, option)
    return sentence


_OPTIONS = {
    "allow_incomplete=True": "--allow-incomplete",
    "strict=True": "--strict",
    "set assume_tz": "add --assume-tz",
    "; if its records are that large, raise max_response_bytes": "; the library's max_response_bytes raises the limit",
    "overwrite=True": "--overwrite",
    "restart=True": "--restart",
    "pass lock=False": "add --no-lock",
    'on_out_of_range="skip"': "--on-out-of-range skip",
    "months_back=None": "--switch months_back=null",
    "with format=": "with --format",
    "`proxy`": "--proxy, or HTTPS_PROXY",
    "sip_group_name must": "--group must",
    "phone_name must": "--phone must",
    ", or None for all": "; leave it out for all",
}
