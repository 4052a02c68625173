"""CI workflows: actions are pinned, and permissions are minimal."""

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parent.parent / ".github" / "workflows").glob("*.yml"))
USES = re.compile(r"^\s*- (?:id: .*\n\s*)?uses: (?P<action>\S+?)@(?P<commit>\S+)(?P<comment>.*)$", re.MULTILINE)


def test_there_are_workflows_that_use_actions() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "release", "security"}
    assert all(USES.search(path.read_text(encoding="utf-8")) for path in WORKFLOWS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_and_names_its_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = list(USES.finditer(text))
    assert len(found) == text.count("uses:")
    for use in found:
        assert re.fullmatch(r"[0-9a-f]{40}", use["commit"]), use[0]
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", use["comment"]), use[0]


def test_an_action_is_pinned_to_one_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for use in USES.finditer(path.read_text(encoding="utf-8")):
            pins.setdefault("/".join(use["action"].split("/")[:2]), set()).add(use["commit"])
    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_permission_is_given_to_all_jobs(path: Path) -> None:
    assert "\npermissions: {}\n" in path.read_text(encoding="utf-8")


def test_the_job_that_builds_may_not_publish_and_the_one_that_publishes_builds_nothing() -> None:
    text = (WORKFLOWS[0].parent / "release.yml").read_text(encoding="utf-8")
    jobs = dict(zip(*[iter(re.split(r"(?m)^  (\w+):\n", text.partition("\njobs:\n")[2])[1:])] * 2, strict=True))
    assert set(jobs) == {"build", "attest", "publish"}
    assert "id-token" not in jobs["build"]
    assert "run:" not in jobs["publish"]
    assert "checkout" not in jobs["publish"]
