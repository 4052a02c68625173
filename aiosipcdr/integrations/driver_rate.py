"""The rate server of a Spark driver: a process of its own, which ends with the driver.

Spark plans each query in a short-lived process beside the driver. The first one that needs a rate starts this server,
later ones find it: all queries of the application on one account and with one rate share it. Both sides derive its key
from the account's credentials, which they have, so that no key is sent, written or logged.
"""

import hashlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiosipcdr.model.errors import TransportError
from aiosipcdr.model.windows import ArgumentError
from aiosipcdr.rates import RateServer
from aiosipcdr.wire.signing import Credentials, stretch

if sys.platform != "win32":
    import fcntl

__all__ = ["rate_key", "shared_rate"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ELSEWHERE = ("192.0.2.1", 9)  # documentation (RFC 5737); nothing is sent there
_START_SECONDS = 60.0
_CONNECT_SECONDS = 2.0
_POLL_SECONDS = 1.0


def rate_key(credentials: Credentials) -> bytes:
    """Return the key of the rate server for an account."""
    return stretch(credentials, b"aiosipcdr rate", n=2**12, r=8, p=1)


def shared_rate(rate: float, key: bytes, *, host: str | None, base_url: str) -> str:
    """Return the address of the application's server for this rate and account; start it if it does not run.

    Args:
        rate: Requests a second.
        key: See `rate_key`.
        host: The address to listen on, which the executors reach; by default SPARK_LOCAL_IP, or the address that this
            machine has on its network; loopback for a vendor on loopback.
        base_url: The vendor's address.

    Raises:
        ArgumentError: This is Windows.
        TransportError: The server does not start.
    """
    if sys.platform == "win32":
        raise ArgumentError('option "rate" needs a driver on Linux or macOS')
    host = host or os.environ.get("SPARK_LOCAL_IP") or _own_address(base_url)
    driver = _driver_pid()
    name = hashlib.sha256(key + f"{rate} {host}".encode()).hexdigest()[:16]
    with _locked(_private_folder() / f"{driver}-{name}") as file:
        address = file.read_text(encoding="ascii")
        if not _answers(address):
            address = _start({"rate": rate, "key": key.hex(), "host": host, "driver": driver, "file": str(file)})
            file.write_text(address, encoding="ascii")
    return address


def _own_address(base_url: str) -> str:
    if urlsplit(base_url).hostname in _LOOPBACK:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return "127.0.0.1"  # no network
        return str(probe.getsockname()[0])


def _driver_pid() -> int:
    # This process was forked by a daemon of Spark's, or started by the driver itself.
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    parent = os.getppid()
    return _parent_of(parent) if getattr(spec, "name", "") == "pyspark.daemon" else parent


def _parent_of(pid: int) -> int:
    command = ["ps", "-o", "ppid=", "-p", str(pid)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - a number


def _private_folder() -> Path:
    folder = Path(tempfile.gettempdir(), f"aiosipcdr-spark-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise ArgumentError(f"{folder} is not a private folder of this user, so it is not used; remove it")
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not host:
        return False
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _start(order: dict[str, object]) -> str:
    server = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the driver's terminal ends a query, not the server
    )
    assert server.stdin is not None  # noqa: S101 - a pipe
    assert server.stdout is not None  # noqa: S101 - a pipe
    with server.stdin, server.stdout:
        server.stdin.write(json.dumps(order).encode())
        server.stdin.close()
        address = server.stdout.read().decode()
    if not address:
        host = order["host"]
        raise TransportError(
            f'no rate server could be started on {host}: set option "rateHost" to an address of the driver that the'
            " executors reach",
            retryable=False,
        )
    server.returncode = 0  # it keeps running and is not waited for
    return address


def _serve() -> None:
    order = json.load(sys.stdin)
    with RateServer(order["rate"], host=order["host"], key=bytes.fromhex(order["key"])) as server:
        sys.stdout.write(server.address)
        sys.stdout.flush()
        os.close(1)
        _wait_for_end(order["driver"])
    Path(order["file"]).unlink(missing_ok=True)


def _wait_for_end(pid: int) -> None:
    with suppress(OSError, AttributeError):
        ended = os.pidfd_open(pid)  # also becomes readable for a zombie
        select.select([ended], [], [])
        return
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    _serve()
