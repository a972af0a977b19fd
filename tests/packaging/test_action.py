"""The GitHub Action and the examples for CI systems, their steps run in a repository that is not this one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from foreign_project import commit_all, foreign_project
from repository import ROOT
from workflow_support import ActionRun, filled, handed_on

pytestmark = pytest.mark.usefixtures("linux")

LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
GITHUB: dict[Any, Any] = yaml.safe_load((ROOT / "docs" / "how-to" / "ci" / "github.yml").read_text())
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "how-to" / "ci" / "gitlab.yml").read_text())
#: What is nobody's business in a script: were it a part of one, it would end the script, or make a file.
HOSTILE = "x\"; touch injected; $(touch injected) `touch injected` ' ${{ github.token }}"
STEPS = {step.get("name", step.get("uses", "")): step for step in ACTION["runs"]["steps"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The action's own checkout: what is tracked here, as a git repository."""
    folder = tmp_path_factory.mktemp("action") / "source"
    tracked = subprocess.run(LISTED, cwd=ROOT, capture_output=True, check=True).stdout
    for path in filter(None, tracked.decode().split("\0")):
        if (ROOT / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    commit_all(folder)
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUNNER_TEMP after the step that installs, run in a foreign repository."""
    folder = tmp_path_factory.mktemp("installed")
    action = {**ACTION, "runs": {"steps": [step for name, step in STEPS.items() if name.startswith("Install")]}}
    inputs = {"subject": "x", "install": "-r requirements.txt"}
    project = foreign_project(folder / "project")
    done = ActionRun(action, source, project, folder / "temp", inputs, handed_on(Path(sys.executable).parent)).run()
    assert not done.failed, done.log
    return folder / "temp"


def _used(tmp_path: Path, source: Path, installed: Path, **inputs: str) -> ActionRun:
    """The whole action in a foreign repository, with what was installed there."""
    action = {**ACTION, "runs": {"steps": [step for name, step in STEPS.items() if not name.startswith("Install")]}}
    (tmp_path / "temp").mkdir()
    (tmp_path / "temp" / "taskchaos").symlink_to(installed / "taskchaos")
    project = foreign_project(tmp_path / "project")
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    return ActionRun(action, source, project, tmp_path / "temp", given, handed_on()).run()


def test_a_subject_of_a_foreign_repository_passes(tmp_path: Path, source: Path, installed: Path) -> None:
    done = _used(tmp_path, source, installed, subject="shop.retry:Subject", suites="transient_error", target_tps="40")
    assert not done.failed, done.log
    out = tmp_path / "project" / "taskchaos-run"
    assert done.outputs == {
        "outcome": "pass",
        "exit-code": "0",
        "report": str(out / "report.html"),
        "folder": str(out),
    }
    assert (out / "report.html").is_file()
    assert done.summary == (out / "summary.md").read_text() and "shop" in done.summary
    assert "seed 71" in done.log or "71" in (out / "plan.json").read_text(), "the number of the workflow run"
    assert done.used["actions/setup-python"] == {"python-version": "3.11"}
    upload = done.used["actions/upload-artifact"]
    assert (upload["path"], upload["name"]) == (str(out), "taskchaos")
    asked = "import harness, taskchaos.harness as ours; print(harness.here, ours.__file__)"
    said = subprocess.run(
        [installed / "taskchaos" / "bin" / "python", "-c", asked],
        cwd=tmp_path / "project",
        capture_output=True,
        text=True,
    ).stdout
    assert said.startswith("True ") and str(installed) in said, "installed, not imported from a checkout"


def test_a_subject_that_fails_is_a_failed_step_with_summary_and_report(
    tmp_path: Path, source: Path, installed: Path
) -> None:
    subjects = "shop.retry:Forgets\nmy shop.py:Subject\n"
    done = _used(tmp_path, source, installed, subject=subjects, suites="transient_error", args="-k once", seed="5")
    assert done.failed == "Run", done.log
    assert (done.outputs["outcome"], done.outputs["exit-code"]) == ("fail", "1")
    out = tmp_path / "project" / "taskchaos-run"
    assert "forgets" in done.summary and "my_shop" in done.summary and (out / "report.html").is_file()
    assert done.used["actions/upload-artifact"]["path"] == str(out), "uploaded although the step before it failed"


@pytest.mark.parametrize(
    ("inputs", "code", "said"),
    [
        ({"subject": "shop.retry:Nobody"}, "4", "Nobody"),
        ({"subject": "shop.retry:Subject", "profile": "thorough"}, "4", "--profile thorough: choose from"),
        ({"subject": "shop.retry:Subject", "out": "shop", "suites": "nosuch"}, "4", "no suite 'nosuch'"),
        ({"subject": "  \n"}, "", "input subject is empty"),
        ({"subject": "shop.retry:Subject", "args": "--help"}, "2", "nothing was judged"),
    ],
)
def test_an_input_that_cannot_be_used_is_a_failed_step_that_says_so(
    tmp_path: Path, source: Path, installed: Path, inputs: dict[str, str], code: str, said: str
) -> None:
    done = _used(tmp_path, source, installed, **inputs)
    assert done.failed == "Run" and said in done.log, done.log
    assert (done.outputs["outcome"], done.outputs["exit-code"]) == ("unknown", code)
    assert "no summary" in done.summary


@pytest.mark.parametrize("out", ["old", "two\nlines=1"])
def test_a_folder_that_cannot_be_this_runs_is_refused(tmp_path: Path, source: Path, installed: Path, out: str) -> None:
    """What an earlier run has left there would be taken for what this one has come to."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "verdict.json").write_text('{"outcome": "pass"}')
    done = _used(tmp_path, source, installed, subject="shop.retry:Subject", suites="nosuch", out=str(tmp_path / out))
    assert done.failed == "Run" and "input out" in done.log and not any(done.outputs.values()), done.outputs
    assert "lines" not in done.outputs


@pytest.mark.parametrize(
    "name", ["subject", "suites", "profile", "target-tps", "seed", "stack", "shard", "args", "out"]
)
def test_no_input_becomes_a_part_of_a_script(tmp_path: Path, source: Path, installed: Path, name: str) -> None:
    """Each of them is hostile in turn: the run is refused, or has that name, and nothing else happens."""
    inputs = {"subject": "shop.retry:Subject", "suites": "nosuch", name: HOSTILE}
    done = _used(tmp_path, source, installed, **inputs)
    assert done.failed == "Run", done.log
    assert not list(tmp_path.rglob("injected"))


def test_what_is_hostile_to_the_install_step_is_an_error_of_pip(tmp_path: Path, source: Path) -> None:
    action = {**ACTION, "runs": {"steps": [step for name, step in STEPS.items() if name.startswith("Install")]}}
    project = foreign_project(tmp_path / "project")
    env = handed_on(Path(sys.executable).parent)
    inputs = {"subject": "x", "install": f"--no-such-option {HOSTILE}"}
    done = ActionRun(action, source, project, tmp_path / "temp", inputs, env).run()
    assert done.failed.startswith("Install") and "no such option" in done.log
    assert not list(tmp_path.rglob("injected"))


def test_scripts_hold_no_expression_and_every_input_is_used() -> None:
    text = (ROOT / "action.yml").read_text()
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    scripts += [step["run"] for job in GITHUB["jobs"].values() for step in job["steps"] if "run" in step]
    assert len(scripts) >= 4 and not [script for script in scripts if "${{" in script]
    used = set(re.findall(r"inputs\.([a-z-]+)", text))
    assert used == set(ACTION["inputs"])
    assert all(one["description"] for one in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


def test_the_example_workflow_uses_the_action_as_it_is() -> None:
    steps = [step for job in GITHUB["jobs"].values() for step in job["steps"] if "uses" in step]
    ours = [step["with"] for step in steps if step["uses"] == "OWNER/taskchaos@REF"]
    assert len(ours) == 2 and all(given.keys() <= ACTION["inputs"].keys() for given in ours)
    assert all(re.fullmatch(r"OWNER/taskchaos@REF|actions/[a-z-]+@v\d+", step["uses"]) for step in steps)
    assert GITHUB["permissions"] == {"contents": "read"}
    matrix = GITHUB["jobs"]["nightly"]["strategy"]["matrix"]["shard"]
    shards = [filled(ours[1]["shard"], matrix={"shard": n}) for n in matrix]
    assert shards == [f"{n}/{len(matrix)}" for n in range(1, len(matrix) + 1)]
    assert len({filled(ours[1]["artifact"], matrix={"shard": n}) for n in matrix}) == len(matrix)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (("success", "skipped"), 0),
        (("skipped", "success"), 0),
        (("failure", "skipped"), 1),
        (("skipped", "cancelled"), 1),
        (("skipped", "skipped"), 1),
    ],
)
def test_the_gate_of_the_example_is_red_unless_what_had_to_run_passed(results: tuple[str, str], code: int) -> None:
    gate = GITHUB["jobs"]["gate"]
    assert gate["if"] == "always()" and gate["needs"] == ["quick", "nightly"]
    (step,) = gate["steps"]
    needs = {name: {"result": result} for name, result in zip(gate["needs"], results, strict=True)}
    env = {name: filled(value, needs=needs) for name, value in step["env"].items()}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env={**handed_on(), **env}, capture_output=True)
    assert done.returncode == code


def _gitlab(job: dict[str, Any], part: str, project: Path, **variables: str) -> tuple[int, str]:
    """Run the lines of a job's part as a GitLab runner does: one script, with the variables in the environment."""
    lines = "\n".join(job.get(part) or GITLAB[".taskchaos"][part])
    mine = {name: value for name, value in GITLAB["variables"].items() if name != "PIP_CACHE_DIR"}
    env = {**handed_on(Path(sys.executable).parent), **mine, "CI_PIPELINE_IID": "12", **variables}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", lines],
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def test_the_gitlab_example_works_in_a_foreign_repository(tmp_path: Path, source: Path) -> None:
    """Its lines, with a subject that passes: three shards, and the job that joins them; and without one of these."""
    project, (chaos, gate) = foreign_project(tmp_path / "project"), (GITLAB["chaos"], GITLAB["chaos-gate"])
    code, said = _gitlab(chaos, "before_script", project, TASKCHAOS=f"file://localhost{source}")
    assert code == 0, said
    total = chaos["parallel"]
    for index in range(1, total + 1):
        numbers = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(total), "PROFILE": "quick"}
        code, said = _gitlab(chaos, "script", project, **numbers)
        assert code == 0, said
    junit = list(project.glob(chaos["artifacts"]["reports"]["junit"]))
    assert len(junit) == total and all(ET.parse(path).getroot().get("failures") == "0" for path in junit)
    assert all(job["artifacts"]["when"] == "always" for job in (chaos, gate))
    code, said = _gitlab(gate, "script", project)
    assert code == 0, said
    assert (project / gate["artifacts"]["paths"][0] / "report.html").is_file()
    shutil.rmtree(project / "shards" / "2")
    shutil.rmtree(project / "merged")
    assert gate["when"] == "always" and _gitlab(gate, "script", project)[0] == 2, "a part is missing"


def test_the_lines_of_the_gitlab_example_quote_what_they_are_given() -> None:
    lines = [line for job in ("chaos", "chaos-gate", ".taskchaos") for line in GITLAB[job].get("script", ())]
    lines += GITLAB[".taskchaos"]["before_script"]
    for line in lines:
        assert "$" not in re.sub(r'"[^"]*"', "", line), line
