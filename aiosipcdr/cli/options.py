"""Options of the client that the arguments or the credentials file may set; arguments take precedence.

To add one: a field of `Network` or `Proof`, its name in `OPTION_NAMES`, and a line in `plan_client`.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.settings import Settings
from aiosipcdr.cli.timerange import parse_length
from aiosipcdr.http.options import FileAuthorities
from aiosipcdr.model.query import FilterMatch
from aiosipcdr.model.records import TIME_FIELDS, TimeField

__all__ = ["Network", "Proof", "load_authorities", "plan_client", "time_field_of"]

T = TypeVar("T")


@Parameter(name="*", group="Network")
@dataclass(frozen=True, kw_only=True)
class Network:
    """Connection to the vendor; each option may also be set in the credentials file.

    Attributes:
        proxy: Address of an HTTP proxy. By default HTTPS_PROXY (HTTP_PROXY) is used, unless NO_PROXY excludes the
            vendor's host. A proxy with a password belongs in the credentials file.
        ca_file: Trust the certificate authorities in this file (PEM) instead of the system's.
        timeout: Seconds for one request including its response; 60 by default.
    """

    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout: Annotated[float | None, Parameter(validator=Number(gt=0))] = None


@Parameter(name="*", group="Proof")
@dataclass(frozen=True, kw_only=True)
class Proof:
    """Known properties of the account; each option may also be set in the credentials file.

    Attributes:
        time_field: The time that the vendor filters on ("doctor --probe" finds it): the range is then exactly
            start <= time < end.
        lateness: Windows that end less than this before now are provisional: 90m, 4h (the default) or 1d; longer than
            your longest call.
        strict: Fail at the first record or value that cannot be read, instead of keeping it apart.
        assume_tz: The time zone of times that the vendor sends without an offset, for example Asia/Shanghai; may also
            be set in AIOSIPCDR_ASSUME_TZ.
        filter_match: How records are compared with --group and --phone: exact (the default), or loose, which ignores
            case and surrounding blanks.
    """

    time_field: TimeField | None = None
    lateness: str | None = None
    strict: bool = False
    assume_tz: str | None = None
    filter_match: FilterMatch | None = None


def time_field_of(proof: Proof, settings: Settings) -> TimeField | None:
    """Return the time field that the vendor filters on, if it is known.

    Raises:
        UsageError: The name in the credentials file is invalid.
    """
    return proof.time_field or _from_file(settings, "time_field", _read_time_field)


def plan_client(network: Network, proof: Proof, settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of `CdrClient` for the options that are set.

    Raises:
        UsageError: One of them is invalid.
    """
    ca_file = network.ca_file or _from_file(settings, "ca_file", Path)
    lateness = (
        _from_file(settings, "lateness", lambda text: parse_length("lateness", text))
        if proof.lateness is None
        else parse_length("--lateness", proof.lateness)
    )
    options = {
        "proxy": network.proxy or _from_file(settings, "proxy", str),
        "ssl_context": None if ca_file is None else load_authorities(ca_file),
        "timeout": network.timeout or _from_file(settings, "timeout", _read_seconds),
        "lateness": lateness,
        "assume_tz": proof.assume_tz or _from_file(settings, "assume_tz", str),
        "strict": proof.strict or _from_file(settings, "strict", _read_switch),
        "filter_match": proof.filter_match or _from_file(settings, "filter_match", _read_match),
    }
    return {name: value for name, value in options.items() if value is not None}


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


def _from_file(settings: Settings, name: str, read: Callable[[str], T]) -> T | None:
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
