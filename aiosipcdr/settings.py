"""Settings of a client from a credentials file or the environment: address, credentials, options.

Key and secret are never read from an argument, and appear in no message and no repr.
"""

import os
import re
import ssl
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiosipcdr.http.options import FileAuthorities, unquote
from aiosipcdr.model.query import FilterMatch
from aiosipcdr.model.records import TIME_FIELDS, TimeField

__all__ = [
    "OPTION_NAMES",
    "Settings",
    "UsageError",
    "build_settings",
    "load_authorities",
    "load_settings",
    "parse_length",
    "parse_settings",
    "read_environment",
    "read_option",
    "read_options",
    "read_private",
    "read_time_field",
]

T = TypeVar("T")

_PREFIX = "AIOSIPCDR_"
_NAMES = ("base_url", "api_key", "api_secret")
OPTION_NAMES = ("proxy", "ca_file", "timeout", "time_field", "lateness", "strict", "assume_tz", "filter_match")
"""Other options that a file may set: see `read_options`."""

_MAX_BYTES = 64 * 1024
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
_SPAN = re.compile(r"(?P<number>[0-9]{1,5}) ?(?P<unit>[mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

_HOW_TO_AUTHENTICATE = (
    "set AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET in the environment, or name a credentials file that has both"
)
_HOW_TO_ADDRESS = "set base_url in the credentials file or AIOSIPCDR_BASE_URL in the environment"


class UsageError(ValueError):
    """Invalid arguments or settings; the message says what to do."""


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


def load_settings(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in a credentials file, or without one those of the environment.

    Raises:
        UsageError: Something is missing, or the file must not be used.
    """
    if path is None:
        return build_settings("the environment", read_environment(environ), environ)
    found = parse_settings(read_private(Path(path)), str(path))
    return build_settings(str(path), found, environ, folder=Path(path).parent)


def build_settings(
    source: str,
    found: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    base_url: str | None = None,
    folder: Path | None = None,
    how_to_authenticate: str = _HOW_TO_AUTHENTICATE,
    how_to_address: str = _HOW_TO_ADDRESS,
) -> Settings:
    """Return the settings that were found in `source`.

    Args:
        source: What was read, for messages.
        found: The values in it, by name.
        environ: The environment; has the address where neither `base_url` nor `source` does.
        base_url: The vendor's address; takes precedence.
        folder: The folder of the file that was read; a relative `ca_file` is looked for there.
        how_to_authenticate: What to do if key or secret are missing.
        how_to_address: What to do if the address is missing.

    Raises:
        UsageError: Something is missing.
    """
    for name in ("api_key", "api_secret"):
        if not found.get(name):
            raise UsageError(f"{name} is missing in {source}; {how_to_authenticate}")
    address = base_url or found.get("base_url") or unquote(environ.get(_PREFIX + "BASE_URL", ""))
    if not address:
        raise UsageError(f"the address is missing; {how_to_address}, for example https://api.laaffic.com/v3/voice")
    options = {name: found[name] for name in OPTION_NAMES if found.get(name)}
    if zone := unquote(environ.get(_PREFIX + "ASSUME_TZ", "")):
        options.setdefault("assume_tz", zone)
    if folder is not None and "ca_file" in options:
        options["ca_file"] = str(folder / options["ca_file"])
    return Settings(
        base_url=address, api_key=found["api_key"], api_secret=found["api_secret"], options=options, source=source
    )


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return address, key and secret in the environment, as far as they are there."""
    return {name: value for name in _NAMES if (value := unquote(environ.get(_PREFIX + name.upper(), "")))}


def read_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of `CdrClient` for the options that are set in `settings`.

    Raises:
        UsageError: One of them is invalid.
    """
    values = {name: read_option(settings, name) for name in OPTION_NAMES if name != "time_field"}
    values["ssl_context"] = values.pop("ca_file")
    return {name: value for name, value in values.items() if value is not None}


def read_time_field(settings: Settings) -> TimeField | None:
    """Return the time field that the vendor filters on, if `settings` name it.

    Raises:
        UsageError: The name is invalid.
    """
    return _read(settings, "time_field", _read_time_field)


def read_option(settings: Settings, name: str) -> Any:  # noqa: ANN401 - each option has a type of its own
    """Return the value of an option in `settings`, or `None` if it is not set.

    Raises:
        UsageError: It is invalid.
    """
    return _read(settings, name, _READERS[name])


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


def parse_settings(raw: bytes, source: str) -> dict[str, str]:
    """Return the values in the text of a credentials file: TOML, JSON or lines of NAME=VALUE.

    Raises:
        UsageError: It is none of them.
    """
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


def load_authorities(path: Path) -> ssl.SSLContext:
    """Return an SSL context that trusts the certificate authorities in a file.

    Raises:
        UsageError: The file cannot be read or holds no certificate.
    """
    try:
        return FileAuthorities.load(path)
    except ssl.SSLError:
        msg = f"{path} holds no certificate; use a file of PEM blocks for --ca-file"
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or type(error).__name__}"
    raise UsageError(msg)


def parse_length(option: str, text: str) -> timedelta:
    """Return the duration that `text` names, for example "24h".

    Raises:
        UsageError: It names none.
    """
    found = _SPAN.fullmatch(text)
    if found is None or not int(found["number"]):
        msg = f"{option} is not a duration; use a number of minutes, hours, days or weeks: 90m, 24h, 7d, 2w"
        raise UsageError(msg)
    return int(found["number"]) * _UNITS[found["unit"]]


def _read(settings: Settings, name: str, read: Callable[[str], T]) -> T | None:
    text = settings.options.get(name)
    if not text:
        return None
    try:
        return read(text)
    except UsageError as error:
        msg = f"{settings.source}: {error}"
    except ValueError as error:
        msg = f"{settings.source}: {name} {error}"
    raise UsageError(msg)


def _read_seconds(text: str) -> float:
    try:
        return float(text)  # the client checks the value
    except ValueError:
        raise ValueError("must be a number of seconds") from None


def _read_switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def _read_match(text: str) -> FilterMatch:
    if text == "exact":
        return "exact"
    if text == "loose":
        return "loose"
    raise ValueError("must be exact or loose")


def _read_time_field(text: str) -> TimeField:
    for name in TIME_FIELDS:
        if text == name:
            return name
    raise ValueError(f"must be one of {', '.join(TIME_FIELDS)}")


_READERS: dict[str, Callable[[str], Any]] = {
    "proxy": str,
    "ca_file": lambda text: load_authorities(Path(text)),
    "timeout": _read_seconds,
    "time_field": _read_time_field,
    "lateness": lambda text: parse_length("lateness", text),
    "strict": _read_switch,
    "assume_tz": str,
    "filter_match": _read_match,
}
