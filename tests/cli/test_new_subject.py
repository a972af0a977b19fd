"""`taskchaos new-subject`: names that are refused, and what the template says of itself, compared with a run of it."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict
from repository import ROOT

from taskchaos.harness.case.subject_names import controls, shipped_names

TUTORIAL = ROOT / "docs" / "tutorial" / "judge-your-retry-code.md"
#: What a kind of name is, and some of it.
TAKEN = {
    "a keyword of Python": ("class", "None", *keyword.kwlist[::8]),
    "a module of Python's own": ("json", "sys", "asyncio", *sorted(sys.stdlib_module_names)[::60]),
    "the name of an installed package": ("celery", "redis", "click", "kombu", "pytest", "taskchaos"),
    "a subject that ships with taskchaos": (*shipped_names()[:2], controls()[0].name, controls()[0].twin.name),
    "has to be a Python name": ("1a", "a-b", "a.b", "../a", "", "a b"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in TAKEN.items() for name in names])
def test_a_name_that_is_taken_or_is_none_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    import kombu  # noqa: F401 (loaded, it does not tell where it is from)

    from taskchaos.harness.errors import UsageError
    from taskchaos.harness.scaffold import write_template

    with pytest.raises(UsageError) as refused:
        write_template(name, tmp_path, force=True)
    said = str(refused.value)
    assert kind in said and "\n" not in said and list(tmp_path.iterdir()) == []
    (better,) = re.findall(r"such as (\w+)$", said)
    assert len(write_template(better, tmp_path, force=False)) == 2, "what is suggested can be used"


@pytest.mark.parametrize("name", ["json", "class", "celery"])
def test_it_is_one_line_and_exit_code_4(tmp_path: Path, name: str) -> None:
    done = taskchaos("new-subject", name, cwd=tmp_path)
    assert done.code == 4
    assert f"new-subject {name}: " in done.error_line and done.error_line.endswith(f"such as my_{name}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_already_is_no_other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the folder is on the path."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert taskchaos("new-subject", "my_retry", cwd=tmp_path).code == 0
    assert taskchaos("new-subject", "my_retry", "--force", cwd=tmp_path).code == 0
    assert "exists; use --force" in taskchaos("new-subject", "my_retry", cwd=tmp_path).error_line


def _said_by_the_template() -> dict[str, tuple[str, bool]]:
    """suite -> the rule that it fails, and whether each time."""
    text = (ROOT / "harness" / "templates" / "subject.py.txt").read_text()
    rows = re.findall(r"^ {4}(\w+) +(\w+) +(each time|by chance):", text, re.MULTILINE)
    return {suite: (rule, how == "each time") for suite, rule, how in rows}


def test_the_tutorial_says_the_same_as_the_template() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", TUTORIAL.read_text(), re.MULTILINE)
    told = {
        suite: (rule[0], "each time" in how)
        for suite, how in rows
        if (rule := re.findall(r"`(\w+)`", how)) or not rule
        if rule
    }
    assert told == _said_by_the_template()
    assert {suite for suite, how in rows if how == "pass"} == {"transient_error", "throughput"}


@pytest.mark.usefixtures("linux")
def test_the_template_fails_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    said = _said_by_the_template()
    assert taskchaos("new-subject", "my_retry", cwd=tmp_path).code == 0
    out = tmp_path / "run"
    done = taskchaos("run", "-s", "my_retry.py:Subject", "--out", str(out), cwd=tmp_path)
    assert done.code == 1, done.out + done.err
    found = {case["suite"]: case for case in verdict(out)["cases"]}
    assert found.keys() == said.keys() | {"transient_error", "throughput"}, "every suite of the quick profile is told"
    for suite, case in found.items():
        rule, each_time = said.get(suite, ("", False))
        if each_time or (rule and case["outcome"] == "fail"):
            assert rule in case["failed_rules"], case["id"]  # a worker that has lost a reply may be slow besides
        else:
            assert case["outcome"] == "pass", case["id"]
