"""What the system and the server tell where the client's own errors are short: names and certificates.

Sends nothing but a TLS handshake, and judges nothing.
"""

import asyncio
import ssl
from datetime import UTC, datetime

from aiosipcdr.cli.diagnosis import Handshake

__all__ = ["fetch_handshake", "fetch_lookup_problem"]

_PATIENCE = 10.0


async def fetch_lookup_problem(host: str, port: int) -> str | None:
    """Return why `host` is not found, in the system's words; `None` where it is found by now."""
    try:
        await asyncio.get_running_loop().getaddrinfo(host, port)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


async def fetch_handshake(host: str, port: int, context: ssl.SSLContext | None = None) -> Handshake:
    """Shake hands as the client does, by default with the system's authorities, and hang up."""
    context = context or ssl.create_default_context()
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return Handshake(problem=error.verify_message)
    except (OSError, TimeoutError) as error:
        return Handshake(problem=getattr(error, "reason", None) or type(error).__name__)
    try:
        told: ssl.SSLObject = writer.get_extra_info("ssl_object")
        end = (told.getpeercert() or {}).get("notAfter")
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None
        return Handshake(version=told.version() or "", expires=expires)
    finally:
        writer.transport.abort()
