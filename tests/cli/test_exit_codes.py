"""Every way to fail has its exit code and its sentence."""

import pytest

from aiosipcdr.cli.exit_codes import CommandError, Terminated, explain
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.errors import (
    AuthenticationError,
    ExportConflictError,
    FilterIgnoredError,
    IncompleteRangeError,
    OutageError,
    ProtocolError,
    RequestTimeoutError,
)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (AuthenticationError("check the API key"), 1, "check the API key"),
        (RequestTimeoutError("no answer"), 1, "no answer"),
        (ProtocolError("not an answer"), 1, "not an answer"),
        (ExportConflictError("replace it with overwrite=True"), 1, "replace it with --overwrite"),
        (CommandError("did not start"), 1, "did not start"),
        (IncompleteRangeError("take it with allow_incomplete=True"), 3, "take it with --allow-incomplete"),
        (FilterIgnoredError('accept them with filter_match="loose"'), 1, "accept them with --filter-match loose"),
        (ValueError("concurrency must be"), 2, "concurrency must be"),
        (ValueError("no format; pass format=, or use .csv"), 2, "pass --format, or use"),
        (
            ValueError("sip_group_name must be a text that is not empty, or None for all"),
            2,
            "--group must be a text that is not empty; leave it out for all",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (BrokenPipeError(), 1, "stdout was closed early (broken pipe)"),
        (PermissionError(13, "Permission denied", "+8613800000000"), 1, "Permission denied"),
        (OSError("+8613800000000"), 1, "OSError"),
        (ValueError(), 2, "ValueError"),
        (MissingExtraError("Parquet needs pyarrow", "parquet"), 1, 'pip install "aiosipcdr[parquet]"'),
        (RuntimeError("+8613800000000"), 1, "unexpected RuntimeError"),
    ],
)
def test_code_and_sentence(error: BaseException, code: int, text: str) -> None:
    reported = explain(error)
    assert reported[0] == code
    assert text in reported[1]
    assert "138" not in reported[1]


def test_errors_that_can_be_resumed_are_incomplete() -> None:
    for error, code in (
        (RequestTimeoutError("no answer"), 3),
        (OutageError("the vendor is down"), 3),
        (AuthenticationError("check the API key"), 1),
        (KeyboardInterrupt(), 130),
    ):
        error.add_note("to go on: aiosipcdr export")
        reported = explain(error)
        assert reported[0] == code
        assert reported[1].endswith("; to go on: aiosipcdr export")
