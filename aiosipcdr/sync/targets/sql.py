"""SQL that the targets share: columns, statements that create the tables, and the comparison with an existing table."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from aiosipcdr.model.errors import ExportConflictError
from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS
from aiosipcdr.sync.rows import FIELDS
from aiosipcdr.sync.targets.location import Location

__all__ = [
    "CHECKPOINT_COLUMNS",
    "COLUMNS",
    "KEY",
    "LAYOUT",
    "STATE_COLUMNS",
    "Column",
    "Kind",
    "check_columns",
    "check_replaceable",
    "compare_columns",
    "create_table",
    "describe_layout",
    "describe_newer",
    "describe_orphan",
    "describe_other_run",
    "join_names",
    "quote",
]

Kind = Literal["text", "integer", "time", "money"]

LAYOUT = 1
"""The version of the layout of the tables; raised when an older version would misread them."""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind
    required: bool = False


_KINDS: dict[str, Kind] = {
    **dict.fromkeys(FIELDS, "text"),
    **dict.fromkeys(TIME_FIELDS, "time"),
    **dict.fromkeys(DURATION_FIELDS, "integer"),
    **dict.fromkeys(MONEY_FIELDS, "money"),
}

COLUMNS: tuple[Column, ...] = (
    *(Column(name, kind, required=name == "voice_id") for name, kind in _KINDS.items()),
    Column("leg", "integer", required=True),
    Column("synced_at", "time", required=True),
    Column("vanished_at", "time"),
    Column("span_start", "time", required=True),
)
"""The columns of the table of calls: those of Parquet files, then those of the sync."""

KEY = ("voice_id", "leg")
"""The primary key of the table of calls."""

CHECKPOINT_COLUMNS = (
    Column("span_start", "time", required=True),
    Column("span_end", "time", required=True),
    Column("call_count", "integer"),
    Column("read_at", "time"),
)
"""The columns of the table of checkpoints; `span_start` is its primary key."""

STATE_COLUMNS = (
    Column("layout", "integer", required=True),
    Column("version", "integer", required=True),
    Column("owner", "text"),
    Column("certified_until", "time"),
    Column("checked_at", "time"),
)
"""The columns of the table with the one row that states owner and version."""


def quote(name: str, *more: str) -> str:
    """Return names as one quoted SQL identifier."""
    return ".".join(f'"{part}"' for part in (name, *more))


def join_names(columns: Sequence[Column | str], prefix: str = "") -> str:
    """Return the quoted names of columns with commas between them, each after `prefix`."""
    names = (column if isinstance(column, str) else column.name for column in columns)
    return ", ".join(prefix + quote(name) for name in names)


def create_table(name: str, columns: Sequence[Column], key: Sequence[str], types: Mapping[Kind, str]) -> str:
    """Return the statement that creates a table.

    Args:
        name: Its name, quoted.
        columns: Its columns.
        key: Its primary key; may be empty.
        types: The database's type of each kind.
    """
    parts = [f"{quote(column.name)} {types[column.kind]}{' NOT NULL' if column.required else ''}" for column in columns]
    if key:
        parts.append(f"PRIMARY KEY ({join_names(key)})")
    return f"CREATE TABLE {name} ({', '.join(parts)})"


def compare_columns(
    existing: Mapping[str, str], columns: Sequence[Column], types: Mapping[Kind, str]
) -> tuple[list[str], list[Column]]:
    """Compare columns with the expected ones; return the differences, and the missing columns that can be added.

    Args:
        existing: The type of each existing column, as the database prints it.
        columns: The columns there should be; others are left alone.
        types: The database's type of each kind, as it prints it.
    """
    wrong = [
        f"{column.name} is {existing[column.name] or 'without a type'} instead of {types[column.kind]}"
        for column in columns
        if column.name in existing and existing[column.name].upper() != types[column.kind].upper()
    ]
    missing = [column for column in columns if column.name not in existing]
    wrong += [f"{column.name} is missing" for column in missing if column.required]
    return wrong, missing


def check_columns(
    name: str,
    existing: Mapping[str, str],
    columns: Sequence[Column],
    types: Mapping[Kind, str],
    *,
    key: Sequence[str] | None = None,
    expected_key: Sequence[str] = KEY,
) -> list[str]:
    """Compare a table with what it should be; return the statements that add missing columns.

    Args:
        name: Its name, quoted.
        existing: The type of each existing column, as the database prints it.
        columns: The columns it should have; others are left alone.
        types: The database's type of each kind, as it prints it.
        key: Its primary key; `None` if it is not compared.
        expected_key: What that should be.

    Raises:
        ExportConflictError: A type or the key differs, or a column is missing that cannot be added; the text has the
            SQL to run.
    """
    wrong, missing = compare_columns(existing, columns, types)
    if key is not None and set(key) != set(expected_key):
        wrong.append(f"its primary key is ({', '.join(key)}) instead of ({', '.join(expected_key)})")
    if wrong:
        last = name.rsplit('"', 2)[1]
        raise ExportConflictError(
            f"the table {last} is not the one that a sync writes: {'; '.join(wrong)}. Choose another name with table=,"
            f" or move it away and have it filled anew, with: ALTER TABLE {name} RENAME TO {quote(f'{last}_before')};"
        )
    return [f"ALTER TABLE {name} ADD COLUMN {quote(column.name)} {types[column.kind]}" for column in missing]


def check_replaceable(name: str, existing: Collection[str], columns: Sequence[Column]) -> None:
    """Check a table that is about to be dropped: it must be the one that a sync writes beside a table of calls.

    Args:
        name: Its name, quoted.
        existing: The names of its columns; empty if there is no such table.
        columns: The columns that a sync gives it.

    Raises:
        ExportConflictError: It has other columns.
    """
    if existing and set(existing) != {column.name for column in columns}:
        last = name.rsplit('"', 2)[1]
        raise ExportConflictError(
            f"a sync keeps its checkpoints in a table named {last}, and there is another table with this name: choose"
            " another name with table=, or rename that table"
        )


def describe_orphan(name: str) -> str:
    """Return the message about a table of calls with rows, whose checkpoints are missing."""
    last = name.rsplit('"', 2)[1]
    return (
        f"the table {last} holds rows, but its checkpoints are missing, so it is unknown whose calls they are and which"
        " of them were read. Choose another name with table=, or move it away and have it filled anew, with:"
        f" ALTER TABLE {name} RENAME TO {quote(f'{last}_before')};"
    )


def describe_layout(name: str, layout: object) -> str:
    """Return the message about tables that another version of this package wrote."""
    return (
        f"the table {name} was written by another version of aiosipcdr (layout {layout}, this is {LAYOUT}): use that"
        " version"
    )


def describe_other_run(location: Location) -> str:
    """Return the message about a table that another run is writing."""
    return f"another sync of {location} is running: wait until it has ended"


def describe_newer(location: Location) -> str:
    """Return the message about a table that another run has changed since this one began."""
    return f"another sync has changed {location} meanwhile, and nothing more was written: run one at a time"
