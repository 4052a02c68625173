"""The runner of pages: a page whose examples do not work must fail."""

import asyncio
from datetime import date
from pathlib import Path

import pytest
from sybil import Document

from tests.pages import commands, commands_and_outputs, move_dates, parse


def page(directory: Path, text: str) -> Document:
    path = directory / "page.md"
    path.write_text(text, encoding="utf-8")
    document = parse(path)
    document.namespace["__name__"] = "__main__"
    return document


def test_a_block_may_await_and_later_blocks_see_its_names(tmp_path: Path) -> None:
    document = page(
        tmp_path,
        "```python\nimport asyncio\nloop = asyncio.get_running_loop()\nx = await asyncio.sleep(0, 41)\n```\n"
        "\n```python\nx += 1\nassert loop is asyncio.get_running_loop() or await asyncio.sleep(0)\n```\n",
    )
    with asyncio.Runner() as runner:
        document.namespace["__runner__"] = runner
        for example in document.examples():
            example.evaluate()

    assert document.namespace["x"] == 42


def test_a_block_that_fails_is_noticed_with_its_line(tmp_path: Path) -> None:
    (example,) = page(tmp_path, "one\n\n```python\nx = 1\nassert x == 2\n```\n").examples()

    with pytest.raises(AssertionError) as caught:
        example.evaluate()

    assert caught.traceback[-1].lineno + 1 == 5


def test_a_test_on_the_page_that_fails_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = page(
        tmp_path, "```python\ndef test_it(cdr_sandbox):\n    assert cdr_sandbox is None\n```\n"
    ).examples()

    with pytest.raises(AssertionError, match="test_it"):
        example.evaluate()


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ aiosipcdr nonsense\noutput\n```\n",
        "```bash\nrm -rf nothing\n```\n",
        "```sh\nexport AIOSIPCDR_NONSENSE=1\n```\n",
        '```sh\npython3 -m pip install "aiosipcdr[nonsense]"\n```\n',
        "```console\n$ python3 -m pip install -q aiosipcdr && python3 -m aiosipcdr nonsense\n```\n",
    ],
)
def test_a_command_that_does_not_work_is_noticed(tmp_path: Path, text: str) -> None:
    (example,) = page(tmp_path, text).examples()

    with pytest.raises(AssertionError):
        example.evaluate()


def test_the_output_below_a_prompt_is_not_a_command() -> None:
    assert commands("$ aiosipcdr count \\\n    --json\n3\n") == ["aiosipcdr count     --json"]
    assert commands("# first\naiosipcdr count\n") == ["aiosipcdr count"]


def test_dates_move_into_the_range_and_keep_their_distance() -> None:
    command = "aiosipcdr count --start 2026-11-01 --end 2026-11-03T10:00:00"

    assert move_dates(command, date(2031, 2, 27)) == "aiosipcdr count --start 2031-02-28 --end 2031-03-02T10:00:00"
    assert move_dates("aiosipcdr --version", date(2031, 2, 27)) == "aiosipcdr --version"


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        '```python\nprint("3 calls in 0.2 s")\n```\n\n```text\n3 calls in 0.9 s\n```\n'
        '\n```python\nprint("3 calls")\n```\n\n```text\n4 calls\n```\n'
        "\n```console\n$ aiosipcdr --version\naiosipcdr ...\n$ aiosipcdr --version\naiosipcdr 0.0.0\n```\n",
        encoding="utf-8",
    )
    first, right, second, wrong, versions = parse(path, keeps_its_word=True).examples()

    for example in (first, right, second):
        example.evaluate()
    for example in (wrong, versions):
        with pytest.raises(AssertionError, match="the page shows"):
            example.evaluate()


def test_a_block_with_a_name_is_saved_for_later_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = page(tmp_path, "```python\n# job.py\nimport sys\n```\n\n```console\n$ python3 job.py\n```\n")

    for example in document.examples():
        example.evaluate()

    assert (tmp_path / "job.py").read_text(encoding="utf-8") == "# job.py\nimport sys\n"


def test_a_command_of_several_lines_is_separated_from_its_output() -> None:
    assert commands_and_outputs("$ one \\\n  --more\na\n\nb\n$ two\n") == [("one   --more", "a\n\nb\n"), ("two", "")]
