"""`latest` is the last run with cases, and a run that goes on is known to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from waiting import until

from taskchaos.harness.run import folder as run
from taskchaos.harness.run import ongoing


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".taskchaos" / "runs"


def made(folder: Path, *, cases: bool = True) -> Path:
    (folder / "cases").mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    if cases:
        (folder / "cases" / "a.b.c").mkdir()
        (folder / "cases" / "a.b.c" / "plan.json").write_text("{}")
    return folder


def test_a_run_without_a_case_is_not_the_latest(runs: Path) -> None:
    run.link_latest(made(runs / "1"))
    run.link_latest(made(runs / "2", cases=False))
    assert (runs / "latest").resolve() == runs / "1"
    assert run.latest().resolve() == runs / "1"


@pytest.mark.parametrize("link", ["none", "nowhere", "no cases"])
def test_without_a_sound_link_it_is_the_newest_with_cases(runs: Path, link: str) -> None:
    for number, name in enumerate(("old", "new", "empty")):
        made(runs / name, cases=name != "empty")
        os.utime(runs / name / "plan.json", (number, number))
    if link != "none":
        (runs / "latest").symlink_to("gone" if link == "nowhere" else "empty")
    assert run.latest().name == "new"


def test_a_run_goes_on_as_long_as_a_process_holds_it(runs: Path) -> None:
    folder = made(runs / "1")
    assert not ongoing.going_on(folder)
    child = os.fork()
    if child == 0:
        ongoing.hold(folder)
        signal.pause()
    try:
        until(lambda: ongoing.going_on(folder), "the child holds it")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not ongoing.going_on(folder)


def test_a_run_that_was_let_go_can_be_held_again(runs: Path) -> None:
    folder = made(runs / "1")
    for _ in range(2):
        ongoing.hold(folder)
        ongoing.hold(folder)
        assert ongoing.going_on(folder)
        ongoing.release(folder)
        assert not ongoing.going_on(folder)
