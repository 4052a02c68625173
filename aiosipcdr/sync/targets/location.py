"""Location of a synced table: the URL of a database and the names of the tables in it.

No text shows the URL, which may hold a password.
"""

import json
import re
import shlex
from pathlib import PurePath
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from aiosipcdr.model.privacy import Secret, hide_arguments

__all__ = ["SCHEMES", "Location"]

# PostgreSQL cuts names off after 63 bytes, and "_checkpoints" follows.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
SCHEMES = ("delta", "duckdb", "postgresql", "sqlite")
"""The schemes of the databases that can be written."""

# An "@" after the host has begun.
_AT_SIGN = re.compile(r"://[^@]*[@/?].*@", re.DOTALL)

_FILES = {"delta", "duckdb", "sqlite"}
_WITHOUT_SCHEMAS = {"delta": "a folder of Delta Lake", "sqlite": "SQLite"}


class Location(NamedTuple):
    """Where a table is.

    Attributes:
        scheme: The scheme of the URL, without a driver ("postgresql" for "postgresql+psycopg").
        url: The URL.
        path: The path of the file or folder, relative or absolute; empty for a server.
        table: The name of the table of calls.
        schema: The schema of the table, if one was given.
    """

    scheme: str
    url: Secret
    path: str
    table: str
    schema: str | None

    @classmethod
    @hide_arguments
    def of(cls, url: str, *, table: str = "calls", schema: str | None = None) -> Self:
        """Return the location that a caller's arguments describe.

        Raises:
            ValueError: The URL is invalid, its scheme is not one of `SCHEMES`, or a name is invalid.
        """
        examples = "sqlite:///calls.db for a relative path, sqlite:////var/lib/calls.db for an absolute one"
        if not isinstance(url, str) or "://" not in url:
            raise ValueError(f"the URL of the database must have a scheme: write {examples}")
        scheme = url.partition("://")[0].partition("+")[0].lower()
        scheme = "postgresql" if scheme == "postgres" else scheme
        if scheme not in SCHEMES:
            raise ValueError(
                f"the URL of the database must begin with one of {', '.join(f'{one}://' for one in SCHEMES)}"
            )
        for name, value in (("table", table), ("schema", schema)):
            if value is not None and (not isinstance(value, str) or not _NAME.fullmatch(value)):
                raise ValueError(
                    f"{name} must be a plain name: at most 48 letters, digits and underscores, no digit first"
                )
        if schema is not None and scheme in _WITHOUT_SCHEMAS:
            raise ValueError(f"{_WITHOUT_SCHEMAS[scheme]} has no schemas: leave schema out, and use table")
        path = ""
        if scheme in _FILES:
            path = url.partition("://")[2]
            if not path.startswith("/") or not PurePath(path[1:]).name.strip("."):
                raise ValueError(f"the URL of the database must name a file after three slashes: write {examples}")
            if "?" in path:
                raise ValueError("the URL of the database must have no options after a question mark: leave them out")
            path = path[1:]
        elif _AT_SIGN.search(url):
            # Where the user's name would end, and what else would be part of the password, is a guess.
            raise ValueError(
                "the URL of the database has an @ outside its user: write @ / ? and # in a name or password as %40 %2F"
                " %3F and %23"
            )
        return cls(scheme, Secret(url), path, table, schema)

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a password."""
        try:
            parts = urlsplit(self.url.reveal())
        except ValueError:  # the password has brackets
            return True
        return parts.password is not None or "password=" in unquote(parts.query).lower()

    @property
    def checkpoints(self) -> str:
        """The name of the table of checkpoints."""
        return f"{self.table}_checkpoints"

    @property
    def state(self) -> str:
        """The name of the table with owner and version."""
        return f"{self.table}_sync"

    @property
    def forget_owner(self) -> str:
        """The command that makes the table one without an owner: SQL, or a command of the shell."""
        if self.scheme == "delta":
            path = json.dumps(f"{self.path}/{self.state}", ensure_ascii=False)
            program = f'from deltalake import DeltaTable; DeltaTable({path}).update({{"owner": "null"}})'
            return f"python3 -c {shlex.quote(program)}"
        name = ".".join(f'"{part}"' for part in (self.schema, self.state) if part)
        return f"UPDATE {name} SET owner = NULL;"

    def __str__(self) -> str:
        """Name scheme, file and table, as in messages: never user, password and host."""
        place = f"{self.scheme}:///{self.path}" if self.path else self.scheme
        return f"{place}, table {self.table if self.schema is None else f'{self.schema}.{self.table}'}"
