"""Translation of aiohttp's exceptions to `aiosipcdr.model.errors`.

Uses only their types and error numbers: their texts quote headers and responses.
"""

import errno
import os
import re
import socket
import ssl
import time
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from aiosipcdr.model.errors import (
    ClientStateError,
    ProtocolError,
    RequestTimeoutError,
    SipCdrError,
    TlsError,
    TransportError,
)
from aiosipcdr.policy.retry import decode_retry_after

__all__ = ["ended_before_response", "translate_error"]

# OpenSSL's reasons for a response that is not TLS; they depend on its version.
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
# TLS alerts of a server that will refuse the next handshake, too.
_REFUSALS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "SECURITY")
# Statuses of a proxy for a CONNECT that may succeed later.
_TEMPORARY_STATUSES: Final = {408, 425, 429, 500, 502, 503, 504}
# Permanent refusals of proxies: "not allowed by ruleset" (SOCKS5), and HTTP statuses of the same meaning.
_FINAL_CODES: Final = {2, 401, 403, 407}
# Texts of RuntimeErrors of asyncio, aiohttp and concurrent.futures.
_STATE: Final = re.compile(
    r"is closed|is not running|different (event )?loop|no running event loop|used inside a task|shutdown"
).search
_NO_THREAD: Final = re.compile(r"can't start new thread|can't allocate lock").search
_SHORTAGES: Final = {
    errno.EMFILE: "this process has no free file descriptors: raise its limit (ulimit -n), or lower `concurrency`",
    errno.ENFILE: "this machine has no free file descriptors: raise fs.file-max, or lower `concurrency`",
    errno.ENOMEM: "this process has no free memory: raise its limit, or lower `concurrency`",
    errno.ENOBUFS: "this machine has no free memory for sockets: lower `concurrency`",
}
_SYMBOL: Final = re.compile(r"[A-Z0-9_]{1,80}").fullmatch


def ended_before_response(error: Exception) -> bool:
    """Return whether a connection ended before a byte of the response was received."""
    lost = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return lost and not isinstance(error, aiohttp.ClientConnectorError)


def translate_error(error: Exception, host: str, proxy: str, *, was_sent: bool = True) -> SipCdrError:
    """Return the error that explains `error` to the caller.

    Args:
        error: The exception of aiohttp or of a lower layer.
        host: Host and port of the request's URL, for messages.
        proxy: Host and port of the proxy, empty if there is none.
        was_sent: Whether the request was sent; if not, the error is attributed to the proxy, if there is one.
    """
    known = _find_shortage(error) or _find_connecting(error, host, proxy) or _find_tls(error, host)
    if known is not None:
        return known
    peer = f"the proxy {proxy}" if proxy and not was_sent else host
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no complete response from {peer} in time ({name})")
    if isinstance(error, aiohttp.ClientResponseError):
        improper = ProtocolError(f"the response of {peer} is not proper HTTP", retryable=True)
        improper.is_foreign = True
        return improper
    if isinstance(error, RuntimeError) and _STATE(str(error)):
        return ClientStateError("the HTTP session cannot be used: it is closed or belongs to another event loop")
    if not was_sent and not isinstance(error, aiohttp.ClientError):
        # A borrowed connector, for SOCKS for example, has its own exceptions.
        final = getattr(error, "error_code", None) in _FINAL_CODES
        return _unconnected(f"no connection to {peer} ({name}): check the network and any proxy", retryable=not final)
    if isinstance(error, OSError | aiohttp.ClientError):
        broken = TransportError(f"the connection to {peer} broke before the response was complete ({name})")
        broken.connected = was_sent
        return broken
    return TransportError(f"the request failed ({name})", retryable=False)


def _find_shortage(error: BaseException) -> TransportError | None:
    """Return the error for a resource that this machine lacks, `None` for another cause."""
    cause: BaseException = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    message = None
    if isinstance(cause, MemoryError) or (isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_MEMORY):
        message = _SHORTAGES[errno.ENOMEM]
    elif isinstance(cause, RuntimeError) and _NO_THREAD(str(cause)):
        message = "this machine starts no more threads for this process: raise its limit (ulimit -u, pids.max)"
    elif isinstance(cause, OSError) and not isinstance(cause, socket.gaierror):
        message = _SHORTAGES.get(cause.errno or 0)
    if message is None:
        return None
    shortage = TransportError(message)
    shortage.local = True
    return shortage


def _find_connecting(error: Exception, host: str, proxy: str) -> SipCdrError | None:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return _unconnected(f"cannot connect to the proxy {proxy} ({_why(error)}): check `proxy`")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _translate_connecting(error, f"the proxy {proxy}" if _is_at(error, proxy) else host)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _translate_tunnel(error, host, proxy)
    return None


def _find_tls(error: Exception, host: str) -> TlsError | None:
    broken = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(broken, ssl.SSLCertVerificationError):  # a borrowed connector may not wrap it
        return _untrusted(broken, host)
    if isinstance(broken, ssl.SSLError) and _refuses_us(broken):
        # Since TLS 1.3 a server may refuse the client certificate after the handshake.
        return TlsError(f"{host} ended the TLS connection: does it ask for a certificate (see ssl_context)?")
    return None


def _is_at(error: aiohttp.ClientConnectorError, proxy: str) -> bool:
    where = urlsplit(f"//{proxy}")
    return bool(proxy) and error.host == where.hostname and where.port in (None, error.port)


def _translate_tunnel(error: aiohttp.ClientHttpProxyError, host: str, proxy: str) -> TransportError:
    status = error.status
    if status in _TEMPORARY_STATUSES:
        wait = None if error.headers is None else error.headers.get(hdrs.RETRY_AFTER)
        return _unconnected(
            f"the proxy {proxy} cannot connect to {host} at the moment (HTTP {status})",
            status=status,
            retry_after=None if wait is None else decode_retry_after(wait, None, time.time()),
        )
    hint = f"allow {host} there"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        hint = "put its user and password into `proxy`"
    text = f"the proxy {proxy} refuses to connect to {host} (HTTP {status}): {hint}"
    return _unconnected(text, status=status, retryable=False)


def _translate_connecting(error: aiohttp.ClientConnectorError, host: str) -> SipCdrError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _untrusted(error.certificate_error, host)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _translate_handshake(error.os_error, host)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if error.os_error.errno == socket.EAI_AGAIN:
            unknown = _unconnected(f"DNS gave no answer for {host}: check this machine's DNS and network")
        else:
            unknown = _unconnected(f"{host} cannot be resolved: check the address and DNS")
            unknown.exists = False
        unknown.resolved = False
        return unknown
    return _unconnected(f"cannot connect to {host} ({_why(error)}): check the address and the network")


def _unconnected(
    message: str, *, status: int | None = None, retryable: bool = True, retry_after: float | None = None
) -> TransportError:
    error = TransportError(message, status=status, retryable=retryable, retry_after=retry_after)
    error.connected = False
    return error


def _untrusted(error: Exception, host: str) -> TlsError:
    return TlsError(
        f"the certificate of {host} is not trusted{_why_untrusted(error)}: check the address, the system's authorities,"
        " or ssl_context"
    )


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
    # OpenSSL's name of the error, such as WRONG_VERSION_NUMBER, if there is one.
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) and _SYMBOL(reason) else ""


def _why_untrusted(error: Exception) -> str:
    message = getattr(error, "verify_message", None) if isinstance(error, ssl.SSLCertVerificationError) else None
    return f" ({message})" if message else ""


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
