"""What aiohttp raises, as errors of ours.

Its texts quote headers and answers; a type and an errno do not.  Must never
take over more than those.
"""

import os
import ssl

import aiohttp

from aiosipcdr.errors import (
    ClientStateError,
    ProtocolError,
    RequestTimeoutError,
    SipCdrError,
    TlsError,
    TransportError,
)

__all__ = ["ended_unanswered", "translate_error"]


def ended_unanswered(error: Exception) -> bool:
    """Tell whether a connection ended before a byte of the answer came."""
    lost = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return lost and not isinstance(error, aiohttp.ClientConnectorError)


def translate_error(error: Exception, host: str, proxy: str) -> SipCdrError:
    """Return the error of ours that says what happened.

    Args:
        error: what aiohttp, or anything below it, has raised.
        host: who was asked, as it may be named.
        proxy: likewise the proxy, empty for none.
    """
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return TransportError(f"cannot connect to the proxy {proxy} ({_why(error)}): check `proxy`")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _translate_connecting(error, host)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no complete answer from {host} in time ({name})")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TransportError(f"the proxy refused the connection: HTTP {error.status}", retryable=False)
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError("the answer is not proper HTTP", retryable=True)
    if isinstance(error.__cause__, ssl.SSLError) or isinstance(error, ssl.SSLError):
        # From TLS 1.3 on a server may refuse what it was shown after the handshake.
        return TlsError(f"{host} ended the TLS connection: does it ask for a certificate, or is the scheme wrong?")
    if isinstance(error, OSError | aiohttp.ClientError):
        return TransportError(f"the connection to {host} broke before the answer was complete ({name})")
    if isinstance(error, RuntimeError):
        return ClientStateError("the HTTP session cannot be used: it is closed or belongs to another event loop")
    return TransportError(f"the request failed ({name})", retryable=False)


def _translate_connecting(error: aiohttp.ClientConnectorError, host: str) -> SipCdrError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return TlsError(
            f"the certificate of {host} is not trusted: check base_url, the system's authorities, or ssl_context"
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return TlsError(f"the TLS handshake with {host} failed: is the scheme of base_url right?", retryable=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        unknown = TransportError(f"{host} cannot be resolved: check base_url and DNS")
        unknown.resolved = False
        return unknown
    return TransportError(f"cannot connect to {host} ({_why(error)}): check base_url and the network")


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
