"""What callers pass in, checked before any I/O: each text says what to do instead.

Raises `ValueError`, and its subclass `ArgumentError` for what a query asks for. No text quotes what may hold a secret.
"""

import ipaddress
import math
import re
import ssl
import warnings
from datetime import timedelta, tzinfo
from types import UnionType
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from aiosipcdr.model.errors import InsecureTlsWarning
from aiosipcdr.model.windows import ArgumentError
from aiosipcdr.wire.codec import PATH, FilterMatch, Filters
from aiosipcdr.wire.signing import SecretText

# A bracketed IPv6 address or a name, then perhaps a port. Python before 3.11.8 reads "[::1]evil" as "::1".
_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::[0-9]*)?")

_QUOTED = re.compile(r"""(?P<quote>['"])(?P<value>.*?)(?P=quote)(?:\s*#.*)?""")
_COMMENT = re.compile(r"\s+#.*")

NO_ZONES = "this system has no time zone data, so no zone can be found by name: pip install tzdata"

__all__ = [
    "NO_ZONES",
    "check_base_url",
    "check_between",
    "check_filter_match",
    "check_filters",
    "check_kind",
    "check_seconds",
    "check_span",
    "check_ssl_context",
    "check_user_agent",
    "check_zone",
    "choose_proxy",
    "unquote",
]


def check_filters(sip_group_name: object, phone_name: object, match: FilterMatch = "exact") -> Filters | ValueError:
    """Return the filters, each a text or `None`; what is wrong is returned, for a phone's name may be a number."""
    for name, value in (("sip_group_name", sip_group_name), ("phone_name", phone_name)):
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            return ArgumentError(f"{name} must be a text that is not empty, or None for all")
        if any("\ud800" <= character <= "\udfff" for character in value):
            return ArgumentError(f"{name} holds half a character (a lone surrogate) and cannot be sent")
    return msgspec.convert({"sip_group_name": sip_group_name, "phone_name": phone_name, "match": match}, Filters)


def check_filter_match(value: object) -> FilterMatch:
    """Return how records are compared with the filters, or refuse it."""
    if value == "exact" or value == "loose":  # noqa: PLR1714 - so that type checkers see a literal
        return value
    raise ValueError(f'filter_match must be "exact" or "loose", not {value!r}')


def check_between(name: str, value: object, least: int, most: int, error: type[ValueError] = ValueError) -> None:
    """Raise `error` for all but whole numbers from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise error(f"{name} must be a whole number from {least} to {most}, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Refuse all but positive, finite numbers."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


def check_kind(name: str, value: object, kind: type | UnionType, wanted: str) -> None:
    """Refuse all but `None` and instances of `kind`."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be {wanted}, not a {type(value).__name__}")


def check_user_agent(user_agent: object) -> None:
    """Refuse what cannot stand in a header."""
    if not isinstance(user_agent, str) or not user_agent.isascii() or not user_agent.isprintable():
        raise ValueError("user_agent must be a text of printable ASCII characters, as in 'billing/2.1'")


def choose_proxy(proxy: object, address: str, *, trust_env: bool) -> SecretText | None:
    """Return the proxy to use for `address`: the one given, or with `trust_env` that of HTTPS_PROXY or HTTP_PROXY.

    Those of the environment are not used where NO_PROXY excludes the host, nor for loopback: a proxy cannot reach it.
    """
    if proxy is not None:
        return _check_proxy(proxy, "proxy", address)
    parts = urlsplit(address)
    found = getproxies_environment().get(parts.scheme) if trust_env else None
    if found is None or _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    return _check_proxy(found if "://" in found else f"http://{found}", f"{parts.scheme.upper()}_PROXY", address)


def check_ssl_context(context: object) -> None:
    """Refuse what is no `ssl.SSLContext`, and warn of one that lets anybody pose as the vendor."""
    check_kind("ssl_context", context, ssl.SSLContext, "an ssl.SSLContext")
    if isinstance(context, ssl.SSLContext) and (missing := _find_missing(context)):
        warnings.warn(
            f"ssl_context {missing}: whoever is on the way can read and change every call, and use the account; for a"
            " private authority use ssl.create_default_context(cafile=...)",
            InsecureTlsWarning,
            stacklevel=3,
        )


def _find_missing(context: ssl.SSLContext) -> str:
    if context.verify_mode is not ssl.CERT_REQUIRED:
        return "does not verify certificates"
    if not context.check_hostname:
        return "does not verify the host name"
    if any(cipher.get("auth") == "auth-null" or not cipher["strength_bits"] for cipher in context.get_ciphers()):
        return "admits ciphers without a certificate or without encryption"
    return ""


def _check_proxy(proxy: object, name: str, address: str) -> SecretText:
    # Refuses one that would carry plain http off this machine; a resolver may send "localhost" there. It may hold a
    # password, so it is never quoted.
    problem = f"{name} must be an address like http://proxy.example.com:8080, with scheme and host"
    try:
        parts = urlsplit(proxy if isinstance(proxy, str) else "")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(problem) from None
    user, at, place = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not host or port == 0 or not parts.netloc.isprintable():
        raise ValueError(problem)
    if not _is_host(place, host):
        raise ValueError(problem)
    if address.startswith("http:") and not _is_loopback(host):
        raise ValueError(
            f"{name} is on another machine and base_url is plain http: the signature would leave this machine in"
            " clear; use https, or a proxy on loopback"
        )
    if parts.scheme == "http" and host == "localhost":
        parts = parts._replace(netloc=f"{user}{at}127.0.0.1{place[len(host) :]}")
    return SecretText(parts.geturl())


def check_span(name: str, value: object) -> None:
    """Refuse all but spans of time that are not negative."""
    if not isinstance(value, timedelta) or value < timedelta():
        raise ValueError(f"{name} must be a timedelta that is not negative, not {value!r}")


def unquote(text: str) -> str:
    """Return a value as it is meant in lines of NAME=VALUE: without quotes around it and a comment behind it.

    `docker run --env-file` hands over both as they are.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):
        return quoted["value"]
    return _COMMENT.sub("", text)


def check_zone(name: str, zone: object) -> tzinfo | None:
    """Return the time zone, a tzinfo or the IANA name of one; `None` for none.

    A zone of pytz is replaced by that of its name: as a plain tzinfo it has the local mean time of before 1900.
    """
    if hasattr(zone, "localize"):
        zone = getattr(zone, "zone", None) or zone  # one of a fixed offset has no name
    if zone is None or isinstance(zone, tzinfo):
        return zone
    try:
        return ZoneInfo(zone if isinstance(zone, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            NO_ZONES
            if not available_timezones()
            else f'{name} must be a tzinfo or the name of a time zone, as in "Asia/Shanghai"'
        ) from None


def check_base_url(base_url: object) -> str:
    """Return the address without what is appended to it later: https, or http to loopback."""
    address = base_url.strip() if isinstance(base_url, str) else ""
    if not address.isprintable() or " " in address:
        raise ValueError("base_url holds a blank or a control character")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("base_url is no address: its host or port cannot be read") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url must hold no user, password, query or fragment")
    if parts.scheme not in ("http", "https") or not host or port == 0 or not _is_host(parts.netloc, host):
        raise ValueError("base_url must be an address like https://api.example.com/v3/voice, with scheme and host")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            "base_url is plain http: anybody on the way could read and replay the signature; use https (http is for"
            " loopback alone)"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}"


def _is_host(netloc: str, host: str) -> bool:
    if not _NETLOC.fullmatch(netloc):
        return False
    try:
        host.encode("idna")  # refuses empty and overlong labels, as in https://a..b
    except UnicodeError:
        return ":" in host
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
