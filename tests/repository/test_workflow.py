"""The nightly workflow: its steps are run here with a stand-in for `taskchaos` that writes down what it was given."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from repository import ROOT
from workflow_support import filled

from taskchaos.harness.cli import main
from taskchaos.harness.suite_paths import suite_names

NIGHTLY = ROOT / ".github" / "workflows" / "nightly.yml"
#: Writes its arguments down; ends with the code that the environment asks for when they hold the text that it names.
STAND_IN = """#!{python}
import json, os, pathlib, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "--out" in sys.argv:
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(parents=True)
    (out / "summary.md").write_text("summary of " + out.name + "\\n")
sys.exit(2 if os.environ.get("RED") and os.environ["RED"] in " ".join(sys.argv) else 0)
"""
Cell = dict[str, Any]


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """The parsed file. YAML 1.1 reads the key `on` as true."""
    loaded: dict[str, Any] = yaml.safe_load(NIGHTLY.read_text())
    return loaded


@pytest.fixture
def chaos(workflow: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workflow["jobs"]["chaos"]
    return found


@pytest.fixture
def gate(workflow: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workflow["jobs"]["gate"]
    return found


def cells(matrix: dict[str, Any]) -> list[Cell]:
    """The cells of a matrix, as GitHub makes them: an include is added to what it contradicts nowhere, or is new."""
    axes = {key: values for key, values in matrix.items() if key != "include"}
    whole: list[Cell] = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    new: list[Cell] = []
    for include in matrix.get("include", ()):
        fitting = [c for c in whole if all(c[key] == value for key, value in include.items() if key in axes)]
        for cell in fitting:
            cell.update(include)
        new += [] if fitting else [dict(include)]
    return whole + new


@dataclass
class Stage:
    """Where steps run: a working directory with a stand-in for the command."""

    folder: Path

    def run(self, step: dict[str, Any], *, red: str = "", **contexts: dict[str, Any]) -> int:
        """Run a step's script as GitHub does, and return how it ended."""
        env = {name: filled(value, **contexts) for name, value in step.get("env", {}).items()}
        env |= {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(self.calls_file), "RED": red}
        env |= {"GITHUB_STEP_SUMMARY": str(self.summary_file)}
        assert "${{" not in step["run"], "what somebody typed into an input must not become a part of a script"
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, timeout=30).returncode

    @property
    def calls_file(self) -> Path:
        return self.folder / "calls"

    @property
    def summary_file(self) -> Path:
        return self.folder / "job-summary.md"

    def calls(self) -> list[list[str]]:
        """The arguments of each `taskchaos` so far; forgets them."""
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    command = tmp_path / "bin" / "taskchaos"
    command.parent.mkdir()
    command.write_text(STAND_IN.format(python=sys.executable))
    command.chmod(0o755)
    return Stage(tmp_path)


def step(job: dict[str, Any], name: str) -> dict[str, Any]:
    """A step by its name."""
    [found] = [s for s in job["steps"] if s.get("name") == name]
    return dict(found)


def uses(job: dict[str, Any], action: str) -> dict[str, Any]:
    """The first step that uses an action."""
    return dict(next(s for s in job["steps"] if s.get("uses", "").startswith(f"{action}@")))


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of the arguments; fails on what it does not know."""
    command = main.get_command(click.Context(main), arguments[0])
    assert command is not None, arguments
    return dict(command.make_context(arguments[0], arguments[1:]).params)


def test_the_workflow_runs_each_night_and_on_demand(workflow: dict[str, Any]) -> None:
    on = workflow[True]
    assert set(on) == {"schedule", "workflow_dispatch"}, "a schedule that goes to sleep must not take others with it"
    assert [len(one["cron"].split()) for one in on["schedule"]] == [5]
    assert set(on["workflow_dispatch"]["inputs"]) == {"subject", "profile", "seed"}


def test_the_workflow_may_only_read_and_every_job_ends(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert "permissions" not in job


def test_every_action_is_pinned_to_a_major_version(workflow: dict[str, Any]) -> None:
    actions = [s["uses"] for job in workflow["jobs"].values() for s in job["steps"] if "uses" in s]
    assert actions
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in actions), actions


def contexts(workflow: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Inputs to start it with, and what the command has to get: by the clock, and by hand."""
    nightly = {"subjects": (), "profile": "nightly", "seed": 71}
    typed = {"subject": "mine.py:My Subject; $(false)", "profile": "quick", "seed": "5"}
    by_hand = {"subjects": (typed["subject"],), "profile": "quick", "seed": 5}
    yield {}, nightly
    yield dict.fromkeys(typed, "") | {"profile": "nightly"}, nightly
    yield typed, by_hand


def test_every_cell_runs_a_command_that_taskchaos_takes(
    workflow: dict[str, Any], chaos: dict[str, Any], stage: Stage
) -> None:
    run_step = step(chaos, "Run")
    assert run_step["timeout-minutes"] < chaos["timeout-minutes"], "or nothing of a run that hangs is uploaded"
    for inputs, expected in contexts(workflow):
        for cell in cells(chaos["strategy"]["matrix"]):
            code = stage.run(run_step, matrix=cell, inputs=inputs, github={"run_number": 71})
            assert code == 0
            [arguments] = stage.calls()
            got = parsed(arguments)
            assert got.items() >= {**expected, "stack": cell["stack"], "proxy": cell["proxy"], "out": "run"}.items()
            assert got["suites"] == ((cell["suite"],) if cell["suite"] else ())
            assert got["shard"] == f"{cell['shard']}/{cell['shards']}"
            (stage.folder / "run" / "summary.md").unlink()
            (stage.folder / "run").rmdir()


def test_the_matrix_is_whole(chaos: dict[str, Any]) -> None:
    assert chaos["strategy"]["fail-fast"] is False
    found = cells(chaos["strategy"]["matrix"])
    local = [(c["shard"], c["shards"], c["suite"]) for c in found if c["stack"] == "local"]
    assert local == [(i, len(local), "") for i in range(1, len(local) + 1)] and len(local) == 4
    compose = {(c["proxy"], c["suite"]) for c in found if c["stack"] == "compose"}
    assert compose == set(product(("toxiproxy", "embedded"), suite_names())), "every suite has a job"
    assert {c["redis"] for c in found if c["stack"] == "compose"} == {"redis:7", "redis:8"}


def test_a_red_run_is_a_red_job_with_a_summary_and_an_artefact(chaos: dict[str, Any], stage: Stage) -> None:
    cell = cells(chaos["strategy"]["matrix"])[0]
    assert stage.run(step(chaos, "Run"), red="run", matrix=cell, inputs={}, github={"run_number": 1}) == 2
    summary, upload = step(chaos, "Summary"), uses(chaos, "actions/upload-artifact")
    assert summary["if"] == upload["if"] == "always()"
    assert stage.run(summary) == 0
    assert stage.summary_file.read_text() == "summary of run\n"
    (stage.folder / "run" / "summary.md").unlink()
    assert stage.run(summary) == 0
    assert "did not get to its end" in stage.summary_file.read_text()
    assert upload["with"]["path"] == "run/" and upload["with"]["if-no-files-found"] == "error"


def artefacts(chaos: dict[str, Any]) -> dict[str, Cell]:
    """The artefact that each cell uploads."""
    name = uses(chaos, "actions/upload-artifact")["with"]["name"]
    found = cells(chaos["strategy"]["matrix"])
    named = {filled(name, matrix=cell): cell for cell in found}
    assert len(named) == len(found), "names have to differ"
    return named


def test_the_gate_waits_for_all_and_runs_whatever_happened(gate: dict[str, Any]) -> None:
    assert gate["needs"] == "chaos"
    assert gate["if"] == "always()"


def test_the_gate_merges_every_artefact_once(chaos: dict[str, Any], gate: dict[str, Any], stage: Stage) -> None:
    names = artefacts(chaos)
    download = uses(gate, "actions/download-artifact")["with"]
    assert "name" not in download and "merge-multiple" not in download, "each artefact gets a folder of its own"
    assert all(name.startswith(download["pattern"].rstrip("*")) for name in names)
    for name in names:
        (stage.folder / download["path"] / name).mkdir(parents=True)
    assert stage.run(step(gate, "Merge")) == 0
    merged = [parsed(arguments) for arguments in stage.calls()]
    assert sorted(f for m in merged for f in m["folders"]) == sorted(f"{download['path']}/{name}" for name in names)
    for m in merged:
        together = [names[Path(f).name] for f in m["folders"]]
        assert len({(c["stack"], c["proxy"], c["suite"], c["shards"]) for c in together}) == 1
        assert [c["shard"] for c in together] == list(range(1, together[0]["shards"] + 1))
        assert f"summary of {Path(m['out']).name}\n" in stage.summary_file.read_text()


def test_the_gate_is_red_when_a_run_is_and_merges_the_others(
    chaos: dict[str, Any], gate: dict[str, Any], stage: Stage
) -> None:
    for name in artefacts(chaos):
        (stage.folder / "shards" / name).mkdir(parents=True)
    assert stage.run(step(gate, "Merge"), red="compose-embedded-target") == 1
    assert len(stage.calls()) == 1 + 2 * len(suite_names())


def test_the_gate_passes_on_the_name_of_a_run_without_shards(gate: dict[str, Any], stage: Stage) -> None:
    """`taskchaos merge` says so and ends with 4 (tests/harness/run/test_merge.py): the loop must not skip the run."""
    assert stage.run(step(gate, "Merge")) == 0, "the stand-in takes anything"
    folders = [parsed(arguments)["folders"] for arguments in stage.calls()]
    assert ("shards/chaos-local-embedded-all-*",) in folders


@pytest.mark.parametrize(("result", "code"), [("success", 0), ("failure", 1), ("cancelled", 1), ("skipped", 1)])
def test_the_gate_is_red_unless_every_job_passed(gate: dict[str, Any], stage: Stage, result: str, code: int) -> None:
    last = step(gate, "Every job passed")
    assert last["if"] == "always()"
    assert stage.run(last, needs={"chaos": {"result": result}}) == code
