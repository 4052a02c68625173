"""A PostgreSQL server for the tests: started when the first one needs it, on a socket in a folder of its own."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tests.system_parts import find_program

__all__ = ["SERVER", "PostgresServer"]

# Ends with the process that starts it, however that ends: the pipe is closed then.
_RUN = 'exec 3<&0 0</dev/null; "$@" & read -r _ <&3; kill -INT $!; wait'
_SECONDS = 60


class PostgresServer:
    """The server; `stop` ends it and removes its data.

    Each test has a schema of its own, chosen by the folder of its files.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def url(self, folder: Path) -> str:
        """Return the URL of the schema of a folder, as of a user whose search path has no other."""
        self._start()
        schema = f"t{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
        self.run(self.address, f"CREATE SCHEMA IF NOT EXISTS {schema}")
        return f"{self.address}&options={quote(f'-csearch_path={schema} -cclient_min_messages=error')}"

    @property
    def address(self) -> str:
        """The URL of the database."""
        return f"postgresql://postgres@/postgres?host={self._folder}"

    @property
    def process_id(self) -> int | None:
        """The server's process; `None` if it does not run."""
        return int((self._folder / "data/postmaster.pid").read_text().split()[0]) if self._process else None

    @staticmethod
    def run(url: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End the server, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            with process:  # closes the pipe, and waits
                pass
            shutil.rmtree(self._folder)

    def _start(self) -> None:
        if self._process is not None:
            return
        # PostgreSQL refuses to run as root, and other users cannot enter the folders of pytest.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            import pwd  # not on Windows

            entry = next(one for one in pwd.getpwall() if one.pw_name in ("postgres", "nobody"))
            user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        data = self._folder / "data"
        initdb, postgres = (str(find_program(name)) for name in ("initdb", "postgres"))
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", str(data)]
        subprocess.run([initdb, *options], check=True, stdout=subprocess.DEVNULL, cwd=self._folder, **user)  # noqa: S603 - the server itself
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "autovacuum": "off",
            "shared_buffers": "16MB",
            "max_connections": "20",
            "logging_collector": "off",
        }
        command = [postgres, "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", _RUN, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **user,
            )
        self.wait()

    def wait(self) -> None:
        """Wait until the server accepts connections."""
        end = time.monotonic() + _SECONDS
        while True:
            try:
                self.run(self.address, "SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    raise AssertionError((self._folder / "log").read_text(errors="replace")) from error
                time.sleep(0.05)
            else:
                return


SERVER = PostgresServer()
"""The server of this process."""
