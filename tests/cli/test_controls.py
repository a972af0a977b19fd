"""Controls: listed, run with their twins, and run nowhere else than where they are made for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict

from taskchaos.harness.case.subject_loading import place_of
from taskchaos.harness.case.subject_names import controls, shipped_names
from taskchaos.harness.suite_paths import suites_folder


def test_controls_are_listed_with_scenario_symptom_and_twin() -> None:
    done = taskchaos("controls")
    assert done.code == 0, done.err
    head, *rows = [line.split("  ") for line in done.out.splitlines()]
    assert [word.strip() for word in head if word] == ["control", "scenario", "symptom", "twin"]
    cells = [[word.strip() for word in row if word.strip()] for row in rows]
    assert [row[0] for row in cells] == [pair.name for pair in controls()]
    assert [row[3] for row in cells] == [pair.twin.name for pair in controls()]
    assert ["ack_early", "worker_kill.tree", "lost", "ack_early_mended"] in cells


def test_as_json_they_say_what_is_wrong_with_them() -> None:
    done = taskchaos("controls", "ack_early", "crash_loop_mended", "--json")
    assert done.code == 0, done.err
    early, loop = json.loads(done.out)
    assert (early["control"], early["in"], early["symptom"]) == ("ack_early", "worker_kill.tree", "lost")
    assert (loop["control"], loop["twin"]) == ("crash_loop", "crash_loop_mended")
    assert early["bug"] and early["exposed_by"] == "SIGKILL."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["controls", "nosuch"], "no control nosuch; `taskchaos controls` lists them"),
        (["controls", "--run", "--json"], "--json lists controls; of a run there is a verdict.json"),
        (["controls", "--run", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["run", "latency", "-s", "ack_early"], "ack_early runs only in worker_kill.tree"),
        (["run", "nosuch", "-s", "ack_early"], "no suite 'nosuch'"),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = taskchaos(*arguments, cwd=tmp_path)
    assert done.code == 4, done.out + done.err
    assert message in done.error_line


def test_a_scenario_that_there_is_not_is_named(tmp_path: Path) -> None:
    source = "from taskchaos.harness.subject import CelerySubject\nclass Mine(CelerySubject):\n    name = 'mine'\n"
    (tmp_path / "mine.py").write_text(source + "    only_in = 'latency.200ms'\n")
    done = taskchaos("run", "latency", "-s", "mine.py:Mine", cwd=tmp_path)
    assert done.code == 4, done.out + done.err
    assert "'latency.200ms', which is no scenario of latency; did you mean latency.20ms?" in done.error_line


@pytest.mark.usefixtures("linux")
def test_a_control_is_caught_and_its_twin_passes(tmp_path: Path) -> None:
    done = taskchaos("controls", "swallows_errors", "--run", "--out", "runs", "-n", "2", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[-1].split() == [
        *("swallows_errors", "transient_error.once", "1", "of", "1", "1", "of", "1")
    ]
    cases = {case["subject"]: case for case in verdict(tmp_path / "runs" / "seed-1-quick")["cases"]}
    assert cases["swallows_errors"]["control"] and "lost" in cases["swallows_errors"]["failed_rules"]
    assert cases["swallows_errors_mended"]["outcome"] == "pass"


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [("quick", {p.name for p in controls() if p.quick}), ("default", {p.name for p in controls()})],
)
def test_a_run_that_names_no_subject_runs_each_in_its_scenario_only(profile: str, wanted: set[str]) -> None:
    collected = _collected("--chaos-profile", profile)
    of_controls = [line for line in collected if not any(f"[{name}" in line for name in shipped_names())]
    found = {name: line for line in of_controls for name in wanted if f"[{name}" in line}
    assert found.keys() == wanted
    assert len(of_controls) == len(wanted), "each once"
    for name, line in found.items():
        suite, scenario = place_of(name).split(".", 1)
        assert f"test_{suite}.py::test_{scenario.partition('-')[0]}[" in line
        assert line.endswith(f"[{name}{''.join('-' + part for part in scenario.split('-')[1:])}]")


def test_one_that_is_named_runs_whatever_the_depth_of_its_scenario() -> None:
    (line,) = _collected("--chaos-subject", "lease_too_short")
    assert line.endswith("test_slow_task.py::test_undisturbed[lease_too_short]")


def _collected(*options: str) -> list[str]:
    suites = suites_folder()
    words = ["--collect-only", "-q", "-c", str(suites / "pytest.ini"), f"--rootdir={suites.parent}", str(suites)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]
