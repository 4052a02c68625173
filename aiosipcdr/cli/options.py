"""Options of the client that the arguments or the credentials file may set; arguments take precedence.

To add one: a field of `Network` or `Proof`, a line in `plan_client`, and its name and reader in `aiosipcdr.settings`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.model.query import FilterMatch
from aiosipcdr.model.records import TimeField
from aiosipcdr.settings import Settings, load_authorities, parse_length, read_option, read_time_field

__all__ = ["Network", "Proof", "load_authorities", "plan_client", "time_field_of"]


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
    return proof.time_field or read_time_field(settings)


def plan_client(network: Network, proof: Proof, settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of `CdrClient` for the options that are set.

    Raises:
        UsageError: One of them is invalid.
    """
    given = {
        "proxy": network.proxy,
        "ca_file": None if network.ca_file is None else load_authorities(network.ca_file),
        "timeout": network.timeout,
        "lateness": None if proof.lateness is None else parse_length("--lateness", proof.lateness),
        "assume_tz": proof.assume_tz,
        "strict": proof.strict or None,
        "filter_match": proof.filter_match,
    }
    # A value of the file that an argument replaces is not read.
    options = {name: value or read_option(settings, name) for name, value in given.items()}
    options["ssl_context"] = options.pop("ca_file")
    return {name: value for name, value in options.items() if value is not None}
