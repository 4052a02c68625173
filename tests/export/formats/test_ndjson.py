"""NDJSON: the rows, and nothing else."""

from aiosipcdr.export.formats.ndjson import NdjsonEncoder
from aiosipcdr.export.render import encode_rows
from tests.made_up_calls import call


def test_the_file_is_the_rows_as_they_are() -> None:
    encoder, rows = NdjsonEncoder(), encode_rows([call(1), call(2)])
    assert encoder.begin() + encoder.encode(rows) + encoder.encode(b"") + encoder.finish() == rows


def test_rows_are_not_even_copied() -> None:
    rows = encode_rows([call(1)])
    assert NdjsonEncoder().encode(rows) is rows
