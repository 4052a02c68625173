"""Address and credentials from the environment, a file or stdin.

Key and secret are never read from an argument, and appear in no message and no repr.
"""

import os
import re
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import Parameter

from aiosipcdr.cli.argument_errors import HOW_TO_AUTHENTICATE, UsageError
from aiosipcdr.cli.output import print_notice
from aiosipcdr.http.options import unquote
from aiosipcdr.wire.signing import Credentials

__all__ = ["OPTION_NAMES", "Account", "Settings", "find_credentials", "read_private", "resolve_settings"]

_PREFIX = "AIOSIPCDR_"
_NAMES = ("base_url", "api_key", "api_secret")
OPTION_NAMES = ("proxy", "ca_file", "timeout", "time_field", "lateness", "strict", "assume_tz", "filter_match")
"""Other options that a file may set: see `aiosipcdr.cli.options`."""

_MAX_BYTES = 64 * 1024
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")


@Parameter(name="*", group="Account")
@dataclass(frozen=True, kw_only=True)
class Account:
    """The vendor's address and the source of the credentials.

    Attributes:
        base_url: The vendor's address, for example https://api.laaffic.com/v3/voice; by default
            that of the credentials or AIOSIPCDR_BASE_URL.
        credentials_file: A file with api_key, api_secret and optionally base_url and options of the network and the
            proof (proxy, ca_file, timeout, time_field, lateness, strict, assume_tz, filter_match): TOML, JSON or lines
            of NAME=VALUE. The file must be readable only by its owner (chmod 600).
        credentials_stdin: Read the same from stdin.
    """

    base_url: str | None = None
    credentials_file: Path | None = None
    credentials_stdin: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Address, credentials and options of a client; the repr hides the credentials.

    Attributes:
        base_url: The vendor's address.
        api_key: The API key.
        api_secret: The API secret.
        options: Other options from the file or stdin, by name, as text; a proxy may hold a password.
        source: The source of the credentials, for messages.
    """

    base_url: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    source: str = ""


def resolve_settings(account: Account, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that `account` selects.

    Key and secret come from one source: the file or stdin if selected, else the environment. The address comes from the
    argument, that source or the environment, in this order.

    Raises:
        UsageError: Something is missing, or the file must not be used.
    """
    source, found = _read_source(account, environ)
    for name in ("api_key", "api_secret"):
        if not found.get(name):
            msg = f"{name} is missing in {source}; {HOW_TO_AUTHENTICATE}"
            raise UsageError(msg)
    base_url = account.base_url or found.get("base_url") or unquote(environ.get(_PREFIX + "BASE_URL", ""))
    if not base_url:
        msg = (
            "the address is missing; add --base-url or set AIOSIPCDR_BASE_URL,"
            " for example https://api.laaffic.com/v3/voice"
        )
        raise UsageError(msg)
    options = {name: found[name] for name in OPTION_NAMES if found.get(name)}
    if zone := unquote(environ.get(_PREFIX + "ASSUME_TZ", "")):
        options.setdefault("assume_tz", zone)
    if account.credentials_file is not None and "ca_file" in options:
        options["ca_file"] = str(account.credentials_file.parent / options["ca_file"])
    return Settings(
        base_url=base_url, api_key=found["api_key"], api_secret=found["api_secret"], options=options, source=source
    )


def find_credentials(account: Account, environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """Return the credentials that `account` selects, or `None` if there are none; no address is needed.

    Raises:
        UsageError: The file must not be used.
    """
    _, found = _read_source(account, environ)
    if not (found.get("api_key") and found.get("api_secret")):
        return None
    return Credentials(found["api_key"], found["api_secret"])


def _read_source(account: Account, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    # Returns the source and the values in it.
    if account.credentials_file is not None and account.credentials_stdin:
        msg = "--credentials-file and --credentials-stdin exclude each other; use one of them"
        raise UsageError(msg)
    if account.credentials_file is not None:
        source = str(account.credentials_file)
        alternative = f"; if that is not possible, use --credentials-stdin < {source}"
        found = _parse(read_private(account.credentials_file, alternative), source)
    elif account.credentials_stdin:
        source = "stdin"
        found = _parse(_read_stdin(), source)
    else:
        source = "the environment"
        found = {name: value for name in _NAMES if (value := unquote(environ.get(_PREFIX + name.upper(), "")))}
    return source, found


def read_private(path: Path, alternative: str = "") -> bytes:
    """Return the content of a file that only its owner may read.

    Raises:
        UsageError: It cannot be read, or others can read it; the message then ends with `alternative`.
    """
    # The mode of the open file is checked, so that the file cannot be replaced in between.
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name != "nt" and stat.S_ISREG(mode) and mode & _forbidden(path):
                msg = f"{path} is readable by others, so it is not used; run chmod 600 {path}{alternative}"
                raise UsageError(msg)
            return file.read(_MAX_BYTES)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or type(error).__name__}"
        raise UsageError(msg) from None


def _forbidden(path: Path) -> int:
    # systemd gives a unit's credentials mode 0440 and grants access to the unit's user by an ACL.
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and path.parent.resolve() == Path(folder).resolve():
        return stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    return stat.S_IRWXG | stat.S_IRWXO


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        print_notice("Enter api_key=..., api_secret=... (and base_url=...), one per line; end with Ctrl-D:")
    return sys.stdin.buffer.read(_MAX_BYTES)


def _parse(raw: bytes, source: str) -> dict[str, str]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{source} is not UTF-8 text; write lines of NAME=VALUE, or TOML"
        raise UsageError(msg) from None
    if text.lstrip().startswith("{"):
        return _parse_json(text, source)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return _parse_lines(text)
    values = _select(table, source)
    if all(isinstance(value, str) for value in values.values()):
        return values
    # A line like API_KEY=0123 is valid TOML, but as a number it would lose its zero.
    return _parse_lines(text)


def _parse_json(text: str, source: str) -> dict[str, str]:
    try:
        table = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise UsageError(f"{source} begins like JSON but is not a JSON object; correct it") from None
    values = _select(table, source)
    if not all(isinstance(value, str) for value in values.values()):
        raise UsageError(f"{source}: names and values must be JSON strings")
    return values


def _select(table: dict[str, Any], source: str) -> dict[str, Any]:
    table = table.get("aiosipcdr", table)
    if not isinstance(table, dict):
        msg = f"{source}: [aiosipcdr] must be a table of names and values"
        raise UsageError(msg)
    values = {name: value for key, value in table.items() if (name := _name(key))}
    for name in OPTION_NAMES:
        if isinstance(values.get(name), bool | int | float):
            values[name] = str(values[name]).lower()
    return values


def _parse_lines(text: str) -> dict[str, str]:
    values = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is not None and (name := _name(match["name"])):
            values[name] = unquote(match["value"])
    return values


def _name(key: str) -> str | None:
    name = key.upper().removeprefix(_PREFIX).lower()
    return name if name in _NAMES or name in OPTION_NAMES else None
