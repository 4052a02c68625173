"""Checks of connection options before any I/O: address, proxy, TLS and user agent.

Raises `ValueError`; no text quotes a value that may contain a secret.
"""

import ipaddress
import re
import ssl
import warnings
from os import PathLike
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from aiosipcdr.model.arguments import check_kind
from aiosipcdr.model.errors import InsecureTlsWarning
from aiosipcdr.model.privacy import Secret, hide_arguments
from aiosipcdr.wire.codec import PATH

# A bracketed IPv6 address or a name, then perhaps a port. Python before 3.11.8 reads "[::1]evil" as "::1".
_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::[0-9]*)?")

_QUOTED = re.compile(r"""(?P<quote>['"])(?P<value>.*?)(?P=quote)(?:\s*#.*)?""")
_COMMENT = re.compile(r"\s+#.*")

__all__ = ["FileAuthorities", "check_base_url", "check_ssl_context", "check_user_agent", "choose_proxy", "unquote"]


def check_user_agent(user_agent: object) -> None:
    """Raise `ValueError` unless `user_agent` can be sent in a header."""
    if not isinstance(user_agent, str) or not user_agent.isascii() or not user_agent.isprintable():
        raise ValueError("user_agent must be a text of printable ASCII characters, as in 'billing/2.1'")


@hide_arguments  # a proxy's address may hold a password
def choose_proxy(proxy: object, address: str, *, trust_env: bool) -> Secret | None:
    """Return the proxy to use for `address`: the one given, or with `trust_env` that of HTTPS_PROXY or HTTP_PROXY.

    The proxies of the environment are not used where NO_PROXY excludes the host, nor for loopback, which a proxy cannot
    reach.

    Args:
        proxy: The address that the caller gave, or `None`.
        address: The vendor's address.
        trust_env: Whether to look into the environment.

    Raises:
        ValueError: The address of the proxy cannot be used.
    """
    if proxy is not None:
        return _check_proxy(proxy, "proxy", address)
    parts = urlsplit(address)
    found = getproxies_environment().get(parts.scheme) if trust_env else None
    if found is None or _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    return _check_proxy(found if "://" in found else f"http://{found}", f"{parts.scheme.upper()}_PROXY", address)


def check_ssl_context(context: object) -> None:
    """Warn of a context that does not verify the vendor.

    Raises:
        ValueError: `context` is neither an `ssl.SSLContext` nor `None`.
    """
    check_kind("ssl_context", context, ssl.SSLContext, "an ssl.SSLContext")
    if isinstance(context, ssl.SSLContext) and (missing := _find_missing(context)):
        warnings.warn(
            f"ssl_context {missing}: others on the network can read and change every call and use the account; for a"
            " private authority use ssl.create_default_context(cafile=...)",
            InsecureTlsWarning,
            stacklevel=4,  # the line that builds the client
        )


class FileAuthorities(ssl.SSLContext):
    """A context that trusts the authorities in one PEM file, with Python's defaults; unlike others, it pickles."""

    path: str

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Return the context for a file.

        Raises:
            OSError: The file cannot be read, or, as `ssl.SSLError`, holds no certificate.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags = ssl.create_default_context(cafile=path).verify_flags  # more of them from Python 3.13 on
        context.load_verify_locations(path)
        context.path = str(Path(path).absolute())
        return context

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the name of the file."""
        return type(self).load, (self.path,)


def _find_missing(context: ssl.SSLContext) -> str:
    if context.verify_mode is not ssl.CERT_REQUIRED:
        return "does not verify certificates"
    if not context.check_hostname:
        return "does not verify the host name"
    if any(cipher.get("auth") == "auth-null" or not cipher["strength_bits"] for cipher in context.get_ciphers()):
        return "admits ciphers without a certificate or without encryption"
    return ""


def _check_proxy(proxy: object, name: str, address: str) -> Secret:
    # Plain http must stay on this machine; "localhost" is replaced, since a resolver may map it elsewhere.
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
    return Secret(parts.geturl())


def unquote(text: str) -> str:
    """Return the value of a line NAME=VALUE without surrounding quotes and without a comment after it.

    `docker run --env-file` removes neither.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):
        return quoted["value"]
    return _COMMENT.sub("", text)


@hide_arguments  # a refused address may hold a password
def check_base_url(base_url: object) -> str:
    """Return the brand's address without the path of the endpoint: https, or http to loopback.

    Raises:
        ValueError: The address cannot be used.
    """
    address = base_url.strip() if isinstance(base_url, str) else ""
    if not address.isprintable() or " " in address:
        raise ValueError("base_url holds a blank or a control character: remove it")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("base_url is not an address: its host or port cannot be read") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url must hold no user, password, query or fragment")
    if parts.scheme not in ("http", "https") or not host or port == 0 or not _is_host(parts.netloc, host):
        raise ValueError("base_url must be an address like https://api.example.com/v3/voice, with scheme and host")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            "base_url is plain http, so others on the network could read and replay the signature: use https (http is"
            " for loopback only)"
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
