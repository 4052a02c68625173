"""Exceptions of aiohttp become our errors, which say what happened and quote nothing.

Most of these are met over real sockets in tests/http/test_transport.py and tests/faults; the rest is here.
"""

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from aiosipcdr.http.aiohttp_errors import ended_before_response, translate_error
from aiosipcdr.model.errors import (
    ClientStateError,
    ProtocolError,
    RequestTimeoutError,
    SipCdrError,
    TlsError,
    TransportError,
)

HOST = "api.example.com"
SECRET = "what-must-not-be-quoted"
KEY = ConnectionKey(HOST, 443, True, True, None, None, None)  # noqa: FBT003 - aiohttp's own
REQUEST = aiohttp.RequestInfo(URL(f"https://{HOST}"), "POST", {"Sign": SECRET}, URL(f"https://{HOST}"))  # type: ignore[arg-type]


def name_of(value: object) -> str:
    if not isinstance(value, Exception):
        return ""
    inner = getattr(value, "os_error", value)
    reason = getattr(inner, "reason", None) or getattr(inner, "errno", None) or str(inner)[:30]
    return f"{type(value).__name__}({type(inner).__name__} {reason})".replace(SECRET, "unnamed")


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, SECRET)
    error.reason = reason
    return error


def handshake(reason: str) -> aiohttp.ClientConnectorSSLError:
    return aiohttp.ClientConnectorSSLError(KEY, tls(reason))


@pytest.mark.parametrize(
    ("error", "kind", "reported"),
    [
        (aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, SECRET)), TransportError, "the proxy p"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EHOSTUNREACH, SECRET)), TransportError, "No route to host"),
        (
            aiohttp.ClientConnectorSSLError(KEY, OSError(SECRET)),
            TransportError,
            "handshake with api.example.com broke off",
        ),
        (handshake("WRONG_VERSION_NUMBER"), TlsError, "is the scheme of base_url right"),
        (handshake("RECORD_LAYER_FAILURE"), TlsError, "is the scheme of base_url right"),
        (handshake("TLSV13_ALERT_CERTIFICATE_REQUIRED"), TlsError, "does it ask for a certificate"),
        (handshake("TLSV1_ALERT_PROTOCOL_VERSION"), TlsError, "refused the TLS handshake"),
        (handshake("TLSV1_ALERT_INTERNAL_ERROR"), TransportError, "(TLSV1_ALERT_INTERNAL_ERROR)"),
        (handshake("UNEXPECTED_EOF_WHILE_READING"), TransportError, "(UNEXPECTED_EOF_WHILE_READING)"),
        (handshake(SECRET), TransportError, "broke off (SSLError)"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(SECRET)), TransportError, "cannot be resolved"),
        (aiohttp.ServerTimeoutError(SECRET), RequestTimeoutError, "no complete response"),
        (TimeoutError(SECRET), RequestTimeoutError, "no complete response"),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=407), TransportError, "HTTP 407"),
        (aiohttp.ClientResponseError(REQUEST, (), status=400, message=SECRET), ProtocolError, "not proper HTTP"),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), TlsError, "ended the TLS connection"),
        (tls("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), TransportError, "broke before the response was complete"),
        (ssl.SSLError(SECRET), TransportError, "broke before the response was complete"),
        (aiohttp.ClientPayloadError(SECRET), TransportError, "broke before the response was complete"),
        (ConnectionResetError(SECRET), TransportError, "broke before the response was complete"),
        (RuntimeError("Session is closed"), ClientStateError, "another event loop"),
        (RuntimeError("Event loop is closed"), ClientStateError, "another event loop"),
        (RuntimeError("Task attached to a different loop"), ClientStateError, "another event loop"),
        (RuntimeError("cannot schedule new futures after shutdown"), ClientStateError, "another event loop"),
        (RuntimeError(SECRET), TransportError, "the request failed (RuntimeError)"),
        (KeyError(SECRET), TransportError, "the request failed (KeyError)"),
        (RuntimeError("can't start new thread"), TransportError, "no more threads"),
        (MemoryError(SECRET), TransportError, "no free memory"),
        (socket.gaierror(socket.EAI_MEMORY, SECRET), TransportError, "no free memory"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(errno.EMFILE, SECRET)), TransportError, "ulimit -n"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ENFILE, SECRET)), TransportError, "fs.file-max"),
        (ConnectionError(errno.ENOBUFS, SECRET), TransportError, "memory for sockets"),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, SECRET)),
            TransportError,
            "DNS gave no answer",
        ),
        (ssl.SSLCertVerificationError(1, SECRET), TlsError, "is not trusted"),
    ],
    ids=name_of,
)
def test_each_becomes_one_of_ours(error: Exception, kind: type[SipCdrError], reported: str) -> None:
    ours = translate_error(error, HOST, "proxy.example.com")
    assert type(ours) is kind
    assert reported in str(ours)
    assert SECRET not in str(ours)
    assert SECRET not in repr(ours)


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientOSError(), True),
        (aiohttp.ClientConnectorError(KEY, OSError()), False),
        (aiohttp.ClientPayloadError(), False),
    ],
)
def test_a_connection_that_ends_before_a_response_is_recognised(error: Exception, is_so: bool) -> None:  # noqa: FBT001
    assert ended_before_response(error) is is_so


@pytest.mark.parametrize(
    ("error", "retryable", "exists"),
    [
        (aiohttp.ClientConnectorError(KEY, OSError()), True, True),
        (aiohttp.ClientConnectorDNSError(KEY, OSError()), True, False),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "")), True, False),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "")), True, True),
        (RuntimeError("can't start new thread"), True, True),
        (MemoryError(), True, True),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=502), True, True),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=407), False, True),
        (aiohttp.ClientPayloadError(), True, True),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=403), False, True),
        (KeyError(), False, True),
    ],
)
def test_errors_say_whether_they_are_retryable(error: Exception, retryable: bool, exists: bool) -> None:  # noqa: FBT001
    ours = translate_error(error, HOST, "")
    assert isinstance(ours, TransportError)
    assert (ours.retryable, ours.exists) == (retryable, exists)


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (aiohttp.ServerDisconnectedError(), "the proxy p:8080 broke"),
        (TimeoutError(), "from the proxy p:8080"),
        (aiohttp.ClientConnectorError(KEY._replace(host="p", port=8080), OSError()), "the proxy p:8080"),
        (aiohttp.ClientConnectorDNSError(KEY._replace(host="p", port=8080), OSError()), "the proxy p:8080 cannot be"),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=503), "the proxy p:8080 cannot connect to api.example.com"),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=407), "the proxy p:8080 refuses"),
    ],
)
def test_before_the_request_is_sent_trouble_is_the_proxys(error: Exception, reported: str) -> None:
    assert reported in str(translate_error(error, HOST, "p:8080", was_sent=False))


@pytest.mark.parametrize("error", [aiohttp.ServerDisconnectedError(), TimeoutError(), handshake("UNEXPECTED_EOF")])
def test_once_it_was_sent_trouble_is_the_servers(error: Exception) -> None:
    ours = translate_error(error, HOST, "p:8080", was_sent=True)
    assert HOST in str(ours)
    assert "proxy" not in str(ours)


def test_a_connection_ended_by_tls_is_recognised_in_any_wrapper() -> None:
    broken = aiohttp.ClientOSError()
    broken.__cause__ = tls("SSLV3_ALERT_BAD_CERTIFICATE")
    assert isinstance(translate_error(broken, HOST, ""), TlsError)
