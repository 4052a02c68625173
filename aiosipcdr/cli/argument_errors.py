"""Messages about invalid arguments.

Values are not repeated: a misplaced one may be a secret or a phone number.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from cyclopts import UNSET
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    ValidationError,
)

from aiosipcdr.settings import UsageError

__all__ = ["DEBUG", "HOW_TO_AUTHENTICATE", "UsageError", "refuse_secrets", "usage_sentence"]

DEBUG = "--debug"

HOW_TO_AUTHENTICATE = (
    "set AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET in the environment,"
    " or use --credentials-file FILE or --credentials-stdin"
)
_SECRET_OPTION = re.compile(
    r"--?(api[-_]?)?(key|secret|secret[-_]?key|pwd|pass|passwd|password|token|sign)", re.IGNORECASE
)

# The parser's messages, in the style of the others.
_REWORDED = (
    (re.compile(r"Invalid value for (\S+)\. Choose from: (.+)").fullmatch, r"\1 must be one of \2"),
    (re.compile(r"Invalid value for (\S+)\. Must be (.+)").fullmatch, r"\1 must be \2"),
    (re.compile(r"Invalid value for (\S+): unable to convert it into int").fullmatch, r"\1 must be a whole number"),
    (re.compile(r"Invalid value for (\S+): unable to convert it into float").fullmatch, r"\1 must be a number"),
)


def refuse_secrets(tokens: Sequence[str]) -> None:
    """Refuse options that would carry a key or a secret, without repeating the value.

    Raises:
        UsageError: There is such an option.
    """
    for token in tokens:
        name = token.partition("=")[0]
        if _SECRET_OPTION.fullmatch(name):
            msg = (
                f"{name} is not accepted: arguments are visible to every user of this machine and are kept"
                f" in the shell's history. Instead, {HOW_TO_AUTHENTICATE}; if the value was real,"
                " treat it as compromised and change it"
            )
            raise UsageError(msg)


def usage_sentence(error: CycloptsError) -> str:
    """Return the message about invalid arguments."""
    command = " ".join(("aiosipcdr", *(error.command_chain or ())))
    return f"{_describe(error)} (see {command} --help)"


def _describe(error: CycloptsError) -> str:
    error.verbose = False
    if isinstance(error, UnknownOptionError):
        names = [name for argument in error.argument_collection for name in argument.names]
        return _unknown_option(error.token.keyword or error.token.value, names)
    if isinstance(error, UnknownCommandError):
        return _unknown_command(error)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if error.keyword:
            return f"{error.keyword} needs a value"
        return f"{error.argument.name} is missing"
    if isinstance(error, CoercionError | ValidationError | RepeatArgumentError):
        return _reword(_without_value(str(error), _value_of(error)).rstrip("."))
    return "unexpected argument (hidden in case it is a secret)"


def _value_of(error: CoercionError | ValidationError | RepeatArgumentError) -> str:
    if isinstance(error, ValidationError):
        return "" if error.argument is None else str(error.argument.value if error.value is UNSET else error.value)
    return "" if error.token is None else error.token.value


def _without_value(text: str, value: str) -> str:
    return text.replace(f'Invalid value "{value}" for', "Invalid value for").replace(f'"{value}"', "it")


def _reword(sentence: str) -> str:
    for pattern, replacement in _REWORDED:
        if (found := pattern(sentence)) is not None:
            return found.expand(replacement).replace('"', "")
    return sentence


def _unknown_option(keyword: str, known: list[str]) -> str:
    if not keyword.startswith("--"):
        return f"unknown option {keyword[:2]}" if keyword.startswith("-") else "unknown option"
    name = keyword.partition("=")[0]
    # Without the dashes, which all names have in common.
    close = get_close_matches(name.removeprefix("--"), [one[2:] for one in known if one.startswith("--")], n=1)
    if not close:
        return "unknown option (hidden in case it is a secret)"
    return f"unknown option {name}: did you mean --{close[0]}?"


def _unknown_command(error: UnknownCommandError) -> str:
    known = [name for name in (error.app or ()) if not name.startswith("-")]
    token = (error.unused_tokens or [""])[0]
    close = get_close_matches(token, known, n=1)
    name = f' "{token}"' if close else ""
    hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
    return f"unknown command{name}; {hint}"
