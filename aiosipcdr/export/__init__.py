"""Files: complete windows in, one whole file out, or none.

Knows neither the engine nor the network, and must never show a half-written
file under its final name, nor truncate one that is there.
"""

from collections.abc import AsyncIterator
from os import PathLike

from aiosipcdr.export.encoders import Encoder
from aiosipcdr.export.formats import FORMATS, choose_format, describe_query, open_encoder
from aiosipcdr.export.masking import choose_mask, mask_records
from aiosipcdr.export.ndjson import encode_lines
from aiosipcdr.export.target import FileTarget, check_target
from aiosipcdr.report import CompleteWindow

__all__ = [
    "FORMATS",
    "Encoder",
    "FileTarget",
    "check_target",
    "choose_format",
    "choose_mask",
    "describe_query",
    "encode_lines",
    "export_windows",
    "mask_records",
    "open_encoder",
]


async def export_windows(
    windows: AsyncIterator[CompleteWindow],
    path: str | PathLike[str],
    encoder: Encoder,
    *,
    overwrite: bool = False,
) -> None:
    """Write the records of `windows`, in their order, to a file that appears when it is whole.

    The file is readable by its owner alone: it holds phone numbers.  Memory is
    that of one window and of what `encoder` keeps.  Whatever ends this early
    (an error of `windows`, of the disk, a cancellation) leaves the folder as
    it was.

    Raises:
        ExportConflictError: `path` exists and `overwrite` is not given, or is no plain file.
        StorageError: the folder or the disk does not take the file.
    """
    async with FileTarget(path, encoder, overwrite=overwrite) as target:
        async for window in windows:
            await target.write(window.records)
