"""Files: complete windows in, one whole file out, or none.

Knows neither the engine nor the network, and must never show a half-written
file under its final name, nor truncate one that is there.
"""

from collections.abc import AsyncIterator
from os import PathLike

from aiosipcdr.export.ndjson import encode_lines
from aiosipcdr.export.target import FileTarget, check_target
from aiosipcdr.report import CompleteWindow

__all__ = ["FileTarget", "check_target", "choose_format", "encode_lines", "export_windows"]

_BY_ENDING = {".ndjson": "ndjson", ".jsonl": "ndjson"}


def choose_format(path: str | PathLike[str], format: str | None = None) -> str:  # noqa: A002 - the public name
    """Return the name of the format to write: `format` where given, else by the ending of `path`.

    Raises:
        ValueError: the format or the ending is not one that can be written.
    """
    if format is not None:
        if format not in _BY_ENDING.values():
            msg = f'unknown format {format!r}: "ndjson" can be written'
            raise ValueError(msg)
        return format
    name = str(path).lower()
    for ending, chosen in _BY_ENDING.items():
        if name.endswith(ending):
            return chosen
    msg = (
        "the name of the file does not tell a format that can be written: let it end in"
        f" {' or '.join(_BY_ENDING)}, or name the format: ndjson"
    )
    raise ValueError(msg)


async def export_windows(
    windows: AsyncIterator[CompleteWindow],
    path: str | PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the public name
    overwrite: bool = False,
) -> None:
    """Write the records of `windows`, in their order, to a file that appears when it is whole.

    The file is readable by its owner alone: it holds phone numbers.  Memory is
    that of one window.  Whatever ends this early (an error of `windows`, of
    the disk, a cancellation) leaves the folder as it was.

    Raises:
        ValueError: the format is not one that can be written.
        ExportConflictError: `path` exists and `overwrite` is not given, or is no plain file.
        StorageError: the folder or the disk does not take the file.
    """
    choose_format(path, format)
    async with FileTarget(path, overwrite=overwrite) as target:
        async for window in windows:
            await target.write(window.records)
