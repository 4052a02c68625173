"""Address and credentials from the environment, a file or stdin.

Key and secret are never read from an argument, and appear in no message and no repr.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from aiosipcdr.cli.argument_errors import HOW_TO_AUTHENTICATE
from aiosipcdr.cli.output import print_notice
from aiosipcdr.settings import (
    OPTION_NAMES,
    Settings,
    UsageError,
    build_settings,
    parse_settings,
    read_environment,
    read_private,
)
from aiosipcdr.wire.signing import Credentials

__all__ = ["OPTION_NAMES", "Account", "Settings", "find_credentials", "read_private", "resolve_settings"]

_MAX_BYTES = 64 * 1024


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


def resolve_settings(account: Account, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that `account` selects.

    Key and secret come from one source: the file or stdin if selected, else the environment. The address comes from the
    argument, that source or the environment, in this order.

    Raises:
        UsageError: Something is missing, or the file must not be used.
    """
    source, found = _read_source(account, environ)
    return build_settings(
        source,
        found,
        environ,
        base_url=account.base_url,
        folder=None if account.credentials_file is None else account.credentials_file.parent,
        how_to_authenticate=HOW_TO_AUTHENTICATE,
        how_to_address="add --base-url or set AIOSIPCDR_BASE_URL",
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
        found = parse_settings(read_private(account.credentials_file, alternative), source)
    elif account.credentials_stdin:
        source = "stdin"
        found = parse_settings(_read_stdin(), source)
    else:
        source = "the environment"
        found = read_environment(environ)
    return source, found


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        print_notice("Enter api_key=..., api_secret=... (and base_url=...), one per line; end with Ctrl-D:")
    return sys.stdin.buffer.read(_MAX_BYTES)
