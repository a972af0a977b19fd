"""A run made here is judged, replayed and rendered elsewhere: in another folder, by another user, without its files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_support import COMMAND, taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

NOBODY = 65534
SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import LoadModel, Workload

def test_few(chaos):
    chaos(Workload(model=LoadModel.PREFILL, prefill=10), slo=Slo(target_tps=None))
"""
SUBJECT = "from taskchaos.harness.subject import CelerySubject\nclass Mine(CelerySubject):\n    name = 'mine'\n"
CASE = "own.few.mine"


@dataclass(frozen=True)
class Made:
    """A run, in a .zip, and where it was made; nothing of that is left."""

    archive: Path
    home: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a run was made, by a subject and a suite of the user's own."""
    home = tmp_path_factory.mktemp("home")
    (home / "test_own.py").write_text(SUITE)
    (home / "mine.py").write_text(SUBJECT)
    done = taskchaos("run", "test_own.py", "-s", "mine.py:Mine", "-n", "1", "--out", "out", cwd=home)
    assert done.code == 0, done.out + done.err
    return home


@pytest.fixture
def made(run: Path, tmp_path: Path) -> Made:
    home = tmp_path / "home"
    shutil.copytree(run, home)
    plan = json.loads((home / "out" / "plan.json").read_text())
    assert plan["out"] == str(run / "out"), "the run says where it was made"
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    return Made(Path(shutil.make_archive(str(elsewhere / "rün 1"), "zip", home, "out")), run)


def as_nobody(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as another user, who has nothing but that folder."""
    (cwd / "tmp").mkdir(exist_ok=True)
    for path in (cwd, *cwd.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return subprocess.run(
        [COMMAND, *words],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), "TMPDIR": str(cwd / "tmp"), "NO_COLOR": "1", "COLUMNS": "400"},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def _nobody_can_run_it() -> bool:
    try:
        words = [COMMAND, "--version"]
        done = subprocess.run(words, user=NOBODY, group=NOBODY, extra_groups=[], check=False, capture_output=True)
        return not done.returncode
    except (OSError, ValueError):
        return False


def test_another_user_judges_and_replays_a_copy_without_the_subjects_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid():
        pytest.skip("only root can be another user")
    if not _nobody_can_run_it():
        pytest.skip("no other user may run what is installed here")
    copy = Path("/tmp") / f"taskchaos-travel-{os.getpid()}"  # tmp_path itself is for its owner alone
    copy.mkdir()
    try:
        shutil.copy(made.archive, copy / "run.zip")
        mine = made.home / "mine.py"
        mine.rename(mine.with_suffix(".away"))
        try:
            judged = as_nobody("judge", "run.zip", cwd=copy)
            assert judged.returncode == 0, judged.stdout + judged.stderr
            assert {p.name for p in (copy / "run").iterdir()} >= {"report.html", "verdict.json", "junit.xml"}
            (copy / "run" / "events.jsonl").chmod(0o444)
            refused = as_nobody("judge", "run", cwd=copy)
            assert refused.returncode == 4 and "events.jsonl cannot be written: Permission denied" in refused.stderr
            again = as_nobody("replay", "run.zip", "--out", "again", cwd=copy)
            assert again.returncode == 0, again.stdout + again.stderr
        finally:
            mine.with_suffix(".away").rename(mine)
        assert f"{mine} is not here: the stored source " in again.stdout
        assert [case["id"] for case in verdict(copy / "again")["cases"]] == [CASE]
        assert list((copy / "tmp").iterdir()) == [], "what was unpacked is gone"
    finally:
        shutil.rmtree(copy)


def _away(home: Path, *names: str) -> None:
    for name in names:
        (home / name).unlink()


def test_the_stored_source_is_used_and_said_and_kept_in_the_new_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "test_own.py").write_text(SUITE)
    (home / "mine.py").write_text(SUBJECT)
    assert taskchaos("run", "test_own.py", "-s", "mine.py:Mine", "-n", "1", "--out", "out", cwd=home).code == 0

    changed = SUBJECT.replace("'mine'", "'mine'  # changed")
    (home / "mine.py").write_text(changed)
    here = taskchaos("replay", "out", "--out", "here", cwd=home)
    assert here.code == 0 and f"{home / 'mine.py'} was changed since the run: used as it is now" in here.out
    assert [p.read_text() for p in (home / "here" / "sources").glob("*/mine.py")] == [changed]

    copy = tmp_path / "copy"
    shutil.copytree(home / "out", copy / "out")
    there = taskchaos("replay", "out", "--out", "there", cwd=copy)
    said = f"{home / 'mine.py'} is not what it was in the run: the stored source {copy / 'out' / 'sources'}"
    assert there.code == 0 and said in there.out.replace("\n  ", " "), there.out
    assert [p.read_text() for p in (copy / "there" / "sources").glob("*/mine.py")] == [SUBJECT]

    _away(home, "mine.py", "test_own.py")
    shutil.rmtree(copy / "out")
    third = taskchaos("replay", "there", "--out", "third", cwd=copy)
    assert third.code == 0 and "sources" in third.out, "a replay of a replay has what it needs"

    for source in (copy / "third" / "sources").glob("*/mine.py"):
        source.write_text("changed")
    for source in (copy / "there" / "sources").glob("*/mine.py"):
        source.unlink()
    (copy / "other.py").write_text(SUBJECT)
    refused = taskchaos("replay", "third", cwd=copy)
    assert refused.code == 4 and "is not what was stored: give it with --subject" in refused.error_line
    given = taskchaos("replay", "third", "-s", "other.py:Mine", cwd=copy)
    assert given.code == 0, given.out + given.err


def test_a_case_is_named_in_many_ways(made: Made, tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    runs = cwd / ".taskchaos" / "runs"
    runs.mkdir(parents=True)
    with_name = runs / "my run"
    shutil.unpack_archive(made.archive, tmp_path / "x")
    (tmp_path / "x" / "out").rename(with_name)
    (runs / "latest").symlink_to("my run")
    names = (f"my run/{CASE}", "my run", CASE, "latest", f"latest/{CASE}", str(with_name), f"{with_name}/{CASE}",
             f"{with_name}/cases/{CASE}", str(made.archive), f"{made.archive}/{CASE}")  # fmt: skip
    for name in names:
        done = taskchaos("replay", name, "--times", "0", cwd=cwd)
        assert done.error_line.startswith("taskchaos: --times 0"), name
        done = taskchaos("replay", name, "-s", "nosuch", cwd=cwd)
        assert "no subject 'nosuch'" in done.error_line, name
    wrong = taskchaos("replay", f"{made.archive}/a.b.c", cwd=cwd)
    assert wrong.code == 4 and "no stored case" in wrong.error_line


def test_a_read_only_run_is_one_line(made: Made, tmp_path: Path) -> None:
    if not os.geteuid():
        pytest.skip("root may write everywhere")
    shutil.unpack_archive(made.archive, tmp_path / "x")
    (tmp_path / "x" / "out" / "events.jsonl").chmod(0o444)
    done = taskchaos("judge", str(tmp_path / "x" / "out"))
    assert done.code == 4 and "cannot be written" in done.error_line


def test_it_is_repeated_as_often_as_asked_and_all_runs_are_there(made: Made, tmp_path: Path) -> None:
    done = taskchaos("replay", str(made.archive), "--times", "3", "-n", "2", "--out", "out", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert f"{CASE}: failed 0 of 3: 0 % [0 %, 56 %]" in done.out
    found = json.loads((tmp_path / "out" / "times.json").read_text())
    assert (found["failed"], found["decided"], len(found["runs"])) == (0, 3, 3)
    plans = set()
    for one in found["runs"]:
        assert verdict(tmp_path / "out" / one["place"])["outcome"] == "pass"
        plan = json.loads((tmp_path / "out" / one["place"] / "cases" / CASE / "plan.json").read_text())
        plans.add(json.dumps({k: v for k, v in plan.items() if k not in ("subject", "nodeid", "sources")}))
    assert len(plans) == 1, "all of them have the same plan"
    table = json.loads(taskchaos("evidence", str(tmp_path / "out"), "--json").out)
    assert table["cases"] == 3
