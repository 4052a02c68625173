"""Checks of host names and certificates, with the system's resolver and a server on loopback."""

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.doctor.checks import fetch_handshake, fetch_lookup_problem
from tests.http.test_transport import authority, http, peer, serving

__all__ = ["authority"]


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/", maxsplit=1)[0])


async def test_a_trusted_certificate_shows_its_version_and_expiry(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with peer(http(b"{}"), context=serving(authority)) as here:
        shaken = await fetch_handshake("127.0.0.1", port_of(here.url))
        assert here.heads == []
    assert shaken.version == "TLSv1.3"
    assert shaken.expires == datetime(2126, 1, 1, tzinfo=UTC)
    assert shaken.problem is None


async def test_an_untrusted_certificate_is_reported_with_the_reason(authority: Path) -> None:
    async with peer(http(b"{}"), context=serving(authority)) as here:
        shaken = await fetch_handshake("127.0.0.1", port_of(here.url))
    assert "self-signed certificate" in (shaken.problem or "").replace("self signed", "self-signed")


async def test_a_port_without_tls_and_one_without_anybody_are_problems() -> None:
    def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        assert (await fetch_handshake("127.0.0.1", server.sockets[0].getsockname()[1])).problem
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening
        shaken = await fetch_handshake("127.0.0.1", held.getsockname()[1])
    assert shaken.problem == "ConnectionRefusedError"


async def test_a_name_that_the_system_does_not_find_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: Any, **__: Any) -> None:  # noqa: ANN401 - the system's own
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert await fetch_lookup_problem("127.0.0.1", 443) is None
    monkeypatch.setattr(socket, "getaddrinfo", find)
    assert await fetch_lookup_problem("cdr.invalid", 443) == "Name or service not known"
