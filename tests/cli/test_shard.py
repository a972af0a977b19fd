"""`--shard i/n`: the shards are disjoint, together the whole, and `merge` makes one run of them again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict
from repository import ROOT

from taskchaos.harness.record import events
from taskchaos.harness.record.events import CasesCollected

pytestmark = pytest.mark.usefixtures("linux")
SUITES = ROOT / "suites"
#: A suite without markers, of a person's own: three small cases and a test that runs none.
MINE = (
    "import pytest\n"
    "from taskchaos.harness.contract import Slo\n"
    "from taskchaos.harness.workload import LoadModel, Workload\n"
    "@pytest.mark.parametrize('size', [10, 20, 30])\n"
    "def test_few(chaos, size):\n"
    "    chaos(Workload(model=LoadModel.PREFILL, prefill=size), slo=Slo(target_tps=None))\n"
)


def _pytest(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL)


def collected(out: Path) -> CasesCollected:
    """Which cases a run had, and which each of its shards."""
    [found] = [e for e in events.read(out / "events.jsonl") if isinstance(e, CasesCollected)]
    return found


@pytest.mark.parametrize("text", ["0/3", "4/3", "x"])
def test_a_bad_shard_is_one_line_and_exit_code_4(tmp_path: Path, text: str) -> None:
    done = taskchaos("run", "--shard", text, cwd=tmp_path)
    assert done.error_line == f"taskchaos: --shard {text}: give i/n with i from 1 to n, such as 1/4"
    assert done.code == 4
    assert not (tmp_path / ".taskchaos").exists()


def test_shards_run_apart_are_the_whole_run_when_merged(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(MINE)
    for index, parallel in ((1, "1"), (2, "2")):  # what a shard gets does not depend on -n
        out = tmp_path / "all" / str(index)
        common = ["test_mine.py", "-s", "stock_best", "-n", parallel, "--shard", f"{index}/2", "--out", str(out)]
        done = taskchaos("run", *common, cwd=tmp_path)
        assert done.code == 0, done.out + done.err
        assert f"shard {index}/2" in done.out
    one, two = (collected(tmp_path / "all" / name) for name in "12")
    assert one.dealt == two.dealt == (one.cases, two.cases)
    assert sorted(one.cases + two.cases) == [f"mine.few-{size}.stock_best" for size in (10, 20, 30)]
    for name, mine in (("1", one), ("2", two)):
        found = verdict(tmp_path / "all" / name)
        assert sorted(c["id"] for c in found["cases"]) == sorted(mine.cases)
        assert found["shard"] == {"index": int(name), "count": 2}
        assert sorted(found["selection"]) == sorted(one.cases + two.cases)
    done = taskchaos("merge", "all", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    whole = verdict(tmp_path / ".taskchaos" / "runs" / "latest")
    assert sorted(c["id"] for c in whole["cases"]) == sorted(one.cases + two.cases)
    assert whole["shard"] is None and whole["incomplete"] == []
    assert taskchaos("judge", cwd=tmp_path).code == 0, "what was merged can be judged again like any other run"


def test_a_case_of_a_shard_can_be_run_again_alone(tmp_path: Path) -> None:
    """Alone it would fall to the first shard: replay may not look for it in the second."""
    common = ["throughput", "-s", "stock_best", "-s", "stock_defaults", "-n", "1", "-k", "drain", "--shard", "2/2"]
    assert taskchaos("run", *common, "--out", "part", cwd=tmp_path).code == 0
    [case] = verdict(tmp_path / "part")["cases"]
    assert taskchaos("merge", "part", "--out", "whole", cwd=tmp_path).code == 2
    for stored in (case, verdict(tmp_path / "whole")["cases"][0]):
        done = taskchaos(*shlex.split(stored["replay"])[1:], cwd=tmp_path)
        assert done.code == 0, done.out + done.err
        latest = verdict(tmp_path / ".taskchaos" / "runs" / "latest")
        assert [c["id"] for c in latest["cases"]] == [case["id"]]


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_shard_that_no_case_fell_to_passes(tmp_path: Path, parallel: str) -> None:
    common = ["run", "throughput", "-k", "drain", "-s", "stock_best", "-n", parallel]
    done = taskchaos(*common, "--shard", "2/2", "--out", str(tmp_path / "2"), cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "Shard 2/2 has no case to run; the whole run has 1." in done.out
    assert verdict(tmp_path / "2")["exit_code"] == 0
    assert collected(tmp_path / "2").dealt == (("throughput.drain.stock_best",), ())
    done = taskchaos("merge", "2", "--out", "whole", cwd=tmp_path)
    assert done.code == 2
    assert "shard 1/2: no run folder of it was given" in done.out
    assert "shard 2/2" not in done.out
    done = taskchaos("merge", "2", "--out", "/proc/none", cwd=tmp_path)
    assert done.code == 4 and done.error_line.startswith("taskchaos: /proc/none: "), done.err


def test_a_shard_of_no_case_at_all_is_a_usage_error(tmp_path: Path) -> None:
    done = taskchaos("run", "-k", "no_such_scenario", "--shard", "1/2", "--out", "run", cwd=tmp_path)
    assert done.code == 4
    assert "no case matches" in done.error_line
    assert not (tmp_path / "run").exists()


def test_pytest_itself_takes_a_shard(tmp_path: Path) -> None:
    common = [str(SUITES / "test_throughput.py"), "--chaos-subject", "stock_best"]
    done = _pytest(*common, "--chaos-shard", "2/2", "--chaos-out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 deselected" in done.stdout
    assert verdict(tmp_path / "run")["shard"] == {"index": 2, "count": 2}
    bad = _pytest(*common, "--chaos-shard", "3/2", cwd=tmp_path)
    assert bad.returncode == 4
    assert "--shard 3/2: give i/n" in bad.stdout + bad.stderr
