"""Arguments that cannot be used: a sentence, exit code 2, and no value repeated."""

import pytest

from aiosipcdr.cli.app import run

RANGE = ["--start", "2026-10-01T00:00:00Z", "--end", "2026-10-02T00:00:00Z"]
EXPORT = ["export", *RANGE, "--output", "calls.ndjson"]


def sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert reported.err.count("\n") == 1
    return reported.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["count", "--api-secret", "hunter2"],
        ["count", "--api-key=hunter2"],
        ["export", "--SECRET", "hunter2"],
        ["demo", "--password=hunter2"],
        ["--api_key", "hunter2", "count"],
    ],
)
def test_a_secret_as_an_argument_is_refused_and_not_repeated(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    reported = sentence(arguments, capsys)
    assert "hunter2" not in reported
    assert "is not accepted" in reported
    assert "AIOSIPCDR_API_SECRET" in reported
    assert "--credentials-stdin" in reported


@pytest.mark.parametrize(
    "extra", [["--api-secrt=hunter2"], ["--api-secrt", "hunter2"], ["hunter2"], ["-hunter2"], ["--", "hunter2"]]
)
def test_a_value_of_no_option_is_not_repeated(extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "hunter2" not in sentence([*EXPORT, *extra], capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["exprt"], 'unknown command "exprt"; did you mean export?'),
        (["0123456789"], "unknown command; use one of demo, export, count, verify, "),
        ([*EXPORT, "--overwrit"], "unknown option --overwrit: did you mean --overwrite?"),
        (["export", *RANGE], "--output is missing (see aiosipcdr export --help)"),
        (["verify"], "PATHS is missing; add exported files, or folders that hold them (see aiosipcdr verify --help)"),
        (["count", "--start"], "--start needs a value"),
        ([*EXPORT, "--page-size", "101"], "--page-size must be <= 100 (see aiosipcdr export --help)"),
        ([*EXPORT, "--page-size", "many"], "--page-size must be a whole number (see"),
        ([*EXPORT, "--concurrency", "0"], "--concurrency"),
        ([*EXPORT, "--rate", "0"], "--rate"),
        ([*EXPORT, "--timeout", "soon"], "--timeout must be a number (see"),
        ([*EXPORT, "--filter-match", "foo"], "--filter-match must be one of exact, loose (see"),
        (["count", "--rate", "5"], "unknown option (hidden in case it is a secret)"),
        (["count", "--lst", "5h"], "unknown option --lst: did you mean --last?"),
        ([*EXPORT, "--format", "xls"], "--format must be one of ndjson, "),
        ([*EXPORT, "--page-size", "5", "--page-size", "6"], "--page-size specified multiple times"),
    ],
)
def test_an_argument_error_names_the_argument(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in sentence(arguments, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["hunterx"],
        ["--hunterx"],
        ["--hunterx=hunterx"],
        *([*EXPORT, option, "hunterx"] for option in ("--page-size", "--rate", "--format", "--on-out-of-range")),
        *([*EXPORT, option, "hunterx"] for option in ("--time-field", "--lateness", "--timeout")),
        [*EXPORT, "--daily=hunterx"],
        ["count", "--last", "hunterx"],
        ["count", "--yesterday", "--tz", "hunterx"],
        ["count", "--start", "hunterx", "--end", "2026-10-02", "--tz", "UTC"],
        ["sandbox", "--records", "hunterx"],
    ],
    ids=" ".join,
)
def test_a_misplaced_value_is_not_repeated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "hunterx" not in sentence(arguments, capsys)


def test_a_number_out_of_bounds_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "447700900123" not in sentence([*EXPORT, "--concurrency", "447700900123"], capsys)
