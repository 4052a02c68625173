"""What aiohttp raises, as errors of ours.

Its texts quote headers and answers; a type and an errno do not.  Must never
take over more than those.
"""

import os
import re
import ssl
from typing import Final

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

# What OpenSSL calls an answer that is not TLS; which of them depends on its version.
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
# Alerts of a server that will refuse the next handshake as well.
_REFUSALS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "SECURITY")
_SYMBOL: Final = re.compile(r"[A-Z0-9_]{1,80}").fullmatch


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
        return _unconnected(f"cannot connect to the proxy {proxy} ({_why(error)}): check `proxy`")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _translate_connecting(error, host)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no complete answer from {host} in time ({name})")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TransportError(f"the proxy refused the connection: HTTP {error.status}", retryable=False)
    if isinstance(error, aiohttp.ClientResponseError):
        improper = ProtocolError("the answer is not proper HTTP", retryable=True)
        improper.is_foreign = True
        return improper
    broken = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(broken, ssl.SSLError) and _refuses_us(broken):
        # From TLS 1.3 on a server may refuse what it was shown after the handshake.
        return TlsError(f"{host} ended the TLS connection: does it ask for a certificate (see ssl_context)?")
    if isinstance(error, OSError | aiohttp.ClientError):
        return TransportError(f"the connection to {host} broke before the answer was complete ({name})")
    if isinstance(error, RuntimeError):
        return ClientStateError("the HTTP session cannot be used: it is closed or belongs to another event loop")
    return TransportError(f"the request failed ({name})", retryable=False)


def _translate_connecting(error: aiohttp.ClientConnectorError, host: str) -> SipCdrError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = _why_untrusted(error.certificate_error)
        return TlsError(
            f"the certificate of {host} is not trusted{why}: check base_url, the system's authorities, or ssl_context"
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _translate_handshake(error.os_error, host)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        unknown = _unconnected(f"{host} cannot be resolved: check base_url and DNS")
        unknown.resolved = False
        return unknown
    return _unconnected(f"cannot connect to {host} ({_why(error)}): check base_url and the network")


def _unconnected(message: str) -> TransportError:
    error = TransportError(message)
    error.connected = False
    return error


def _translate_handshake(error: OSError, host: str) -> TransportError:
    if _reason(error) in _NO_TLS:
        return TlsError(f"{host} does not speak TLS here: is the scheme of base_url right?", retryable=True)
    if _refuses_us(error):
        return TlsError(f"{host} refused the TLS handshake: does it ask for a certificate (see ssl_context)?")
    return TransportError(f"the TLS handshake with {host} broke off ({_reason(error) or type(error).__name__})")


def _refuses_us(error: OSError) -> bool:
    reason = _reason(error)
    return "ALERT" in reason and any(word in reason for word in _REFUSALS)


def _reason(error: OSError) -> str:
    # OpenSSL's own name of the error, as in WRONG_VERSION_NUMBER; Python sets it only where there is one.
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) and _SYMBOL(reason) else ""


def _why_untrusted(error: Exception) -> str:
    message = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else None
    return f" ({message})" if message else ""


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
