"""Every control has its file, its symptom and its twin, and the two differ in just the bug."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from repository import ROOT

from taskchaos.harness.case.subject_loading import dry_run, place_of, resolve
from taskchaos.harness.case.subject_names import ControlInfo, controls, registered
from taskchaos.harness.catalogue import TOLD, control_rows
from taskchaos.harness.suite_paths import suites_folder

#: What a twin says of itself, besides what it mends: its name, and that it passes. Whose bug is in a step that goes by
#: another command than its mended form has that command as well.
OF_A_TWIN = {"name", "symptom", "expectations", "commands"}
#: The interview's question answered: a lease with an owner has two parts.
MOST_MENDED = {"fixed_expiry": 2}

EACH = pytest.mark.parametrize("pair", controls(), ids=lambda pair: pair.name)


def test_there_are_at_least_two_dozen() -> None:
    assert len(controls()) >= 24
    names = [info.name for pair in controls() for info in (pair.control, pair.twin)]
    assert len({*names, *(info.name for info in registered())}) == len(names) + len(registered())


def test_every_file_of_a_control_is_in_the_table() -> None:
    folder = suites_folder() / "subjects" / "controls"
    files = {path.stem for path in folder.glob("*.py") if "Exposed by: " in path.read_text(encoding="utf-8")}
    assert files == {pair.name for pair in controls()}


@EACH
def test_it_says_what_is_wrong_and_how_that_shows(pair: ControlInfo) -> None:
    (row,) = control_rows([pair])
    assert all(row[key] for key in TOLD), row
    assert row["symptom"]
    source = inspect.getsourcefile(type(resolve(pair.name))) or ""
    assert Path(source).stem == pair.name
    assert len(Path(source).read_text(encoding="utf-8").splitlines()) <= 80


@EACH
def test_both_can_be_used(pair: ControlInfo) -> None:
    for info in (pair.control, pair.twin):
        subject = resolve(info.name)
        assert subject.name == info.name
        assert dry_run(subject) == ()


@EACH
def test_its_twin_is_the_same_with_just_the_bug_mended(pair: ControlInfo) -> None:
    bad, good = resolve(pair.name), resolve(pair.twin.name)
    place = place_of(pair.name)
    assert place_of(pair.twin.name) == place
    assert bad.expectation(*place.split(".", 1)).must
    assert not good.expectation(*place.split(".", 1)).must | good.expectation(*place.split(".", 1)).may
    assert good.contract == bad.contract
    assert type(good).__bases__ == (type(bad),)
    changed = {
        name
        for name, value in vars(type(good)).items()
        if not name.startswith("__") and inspect.getattr_static(bad, name) is not value
    }
    mended = changed - OF_A_TWIN
    assert 1 <= len(mended) <= MOST_MENDED.get(pair.name, 1), mended


@EACH
def test_its_scenario_is_a_test_of_a_suite(pair: ControlInfo) -> None:
    suite, scenario = place_of(pair.name).split(".", 1)
    tree = ast.parse((suites_folder() / f"test_{suite}.py").read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert f"test_{scenario.partition('-')[0]}" in tests


@EACH
def test_the_reference_has_its_row(pair: ControlInfo) -> None:
    (row,) = control_rows([pair])
    cells = (f"`{pair.name}`", f"`{row['in']}`", row["symptom"], *(row[key] for key in ("bug", "exposed_by", "met_by")))
    told = " | ".join(str(cell).removesuffix(".") for cell in cells)
    assert f"| {told} |\n" in (ROOT / "docs/reference/controls.md").read_text(encoding="utf-8"), told


def test_those_of_the_interview_are_among_them() -> None:
    asked = {"setnx_forever", "fixed_expiry", "state_table", "counter_key", "sleep_backoff", "success_first"}
    assert asked <= {pair.name for pair in controls()}
    assert 1 <= sum(pair.quick for pair in controls()) <= 4
