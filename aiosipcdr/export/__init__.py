"""Files: complete windows in, one whole file out, or none.

Knows neither the engine nor the network, and must never show a half-written
file under its final name, nor truncate one that is there.
"""

from aiosipcdr.export.atomic import check_target
from aiosipcdr.export.existing import ExistingFile, find_exports, judge_existing
from aiosipcdr.export.formats import FORMATS, choose_format, open_encoder
from aiosipcdr.export.formats.encoders import Encoder
from aiosipcdr.export.job import ExportJob, FileWouldShrinkError
from aiosipcdr.export.journal import read_span
from aiosipcdr.export.manifest import Manifest, read_manifest, read_stored, was_asked_by
from aiosipcdr.export.masking import choose_mask, numbers_of
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
    "encode_rows",
    "find_contradictions",
    "find_differences",
    "find_exports",
    "find_paths",
    "judge_existing",
    "numbers_of",
    "open_encoder",
    "read_facts",
    "read_manifest",
    "read_span",
    "read_stored",
    "shape_quarantined",
    "shape_records",
    "verify_file",
    "was_asked_by",
]
