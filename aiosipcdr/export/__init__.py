"""Export of a time range to a file that appears complete under its name or not at all.

A partial file is never visible under the final name, and an existing file is never truncated.
"""

from aiosipcdr.export.atomic import check_target
from aiosipcdr.export.existing import ExistingFile, find_exports, inspect_existing
from aiosipcdr.export.formats import FORMATS, choose_format, open_encoder
from aiosipcdr.export.formats.encoders import Encoder
from aiosipcdr.export.job import ExportJob, FileWouldShrinkError
from aiosipcdr.export.journal import read_span
from aiosipcdr.export.manifest import Manifest, compare_owner, read_manifest, read_stored
from aiosipcdr.export.masking import choose_mask
from aiosipcdr.export.paths import JOURNAL, MANIFEST, ExportPaths, find_paths
from aiosipcdr.export.quarantine import StreamQuarantine
from aiosipcdr.export.render import encode_rows, shape_quarantined, shape_records
from aiosipcdr.export.spec import ExportSpec, check_file_mode
from aiosipcdr.export.verify import FileFacts, find_contradictions, find_differences, read_facts, verify_file

__all__ = [
    "FORMATS",
    "JOURNAL",
    "MANIFEST",
    "Encoder",
    "ExistingFile",
    "ExportJob",
    "ExportPaths",
    "ExportSpec",
    "FileFacts",
    "FileWouldShrinkError",
    "Manifest",
    "StreamQuarantine",
    "check_file_mode",
    "check_target",
    "choose_format",
    "choose_mask",
    "compare_owner",
    "encode_rows",
    "find_contradictions",
    "find_differences",
    "find_exports",
    "find_paths",
    "inspect_existing",
    "open_encoder",
    "read_facts",
    "read_manifest",
    "read_span",
    "read_stored",
    "shape_quarantined",
    "shape_records",
    "verify_file",
]
