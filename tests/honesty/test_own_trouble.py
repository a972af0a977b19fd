"""The harness's own trouble is never blamed on the subject: exit 3, or unknown, with the cause in one line.

Every process that belongs to the harness is killed or stopped at several moments; the disk under the run folder is full
for a moment, for a second, and to the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from honesty_support import COMMAND, Came
from waiting import until

from taskchaos.harness.conduct.standstill import LONGEST_GAP_S
from taskchaos.harness.stack.procfs import children_of

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

LOAD = Workload(rate_tps=20, baseline_s=0.5, fault_s=1.0, healed_s=0.5, work_ms=20)


def test_small(chaos):
    chaos(LOAD, Schedule.of(PlannedFault("latency", "worker-1", 0.1, 0.8, {"round_trip_ms": 20})), slo=Slo())
"""


class Running:
    """A run of one case, watched by its events."""

    def __init__(self, cwd: Path, out: Path, subject: str, parallel: str = "1") -> None:
        (cwd / "test_suite.py").write_text(SUITE)
        self.out = out
        self._cwd = cwd
        self._log = (cwd / "out.log").open("wb")
        self._popen = subprocess.Popen(
            [COMMAND, "run", "test_suite.py", "-s", subject, "-n", parallel, "--out", str(out)],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    def reaches(self, event: str) -> None:
        """Wait until the case has come so far."""
        stream = self.out / "events.jsonl"

        def reached() -> bool:
            return (stream.is_file() and event.encode() in stream.read_bytes()) or self._popen.poll() is not None

        until(reached, lambda: f"{event}\n{(self._cwd / 'out.log').read_text()}", 60.0)
        assert self._popen.poll() is None, (self._cwd / "out.log").read_text()

    def pids(self, what: str) -> list[int]:
        """The processes of this run whose command line, or role, says so."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                cwd, log = os.readlink(f"/proc/{entry}/cwd"), os.readlink(f"/proc/{entry}/fd/1")
                words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            named = what in words if "." in what else log.endswith(f"/{what}.log")
            if cwd.startswith(str(self._cwd)) and named:
                found.append(int(entry))
        return found

    def tree(self) -> list[int]:
        """All processes of this run, parents first."""
        found = [self._popen.pid]
        for pid in found:
            found += children_of(pid)
        return found

    def ended(self) -> Came:
        """Wait for its end."""
        code = self._popen.wait(120)
        self._log.close()
        return Came(code, (self._cwd / "out.log").read_text(errors="replace"), self.out)


def _blames_nobody(came: Came) -> None:
    assert came.code in (2, 3), came.out
    assert "PASS in" not in came.out and "FAIL" not in came.out, came.out
    assert "Traceback" not in came.out and "a defect of taskchaos" not in came.out, came.out
    assert [case["failed_rules"] for case in came.verdict.get("cases", [])] in ([], [[]]), came.out


PROCESSES = {
    "redis": "redis",
    "proxy": "taskchaos.faults.proxy",
    "zygote": "taskchaos.harness.stack.zygote",
    "inspector": "inspector",
    "producer": "producer-1",
}
MOMENTS = {"as the load begins": '"phase":"baseline"', "in the fault phase": '"state":"proven"'}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_of_the_harness_that_is_killed_is_no_finding(tmp_path: Path, name: str, moment: str) -> None:
    running = Running(tmp_path, tmp_path / "run", "stock_best")
    running.reaches(MOMENTS[moment])
    victims = running.pids(PROCESSES[name])
    assert victims, f"no process for {name}"
    for pid in victims if name != "zygote" else victims[:1]:  # what it forked has its command line
        os.kill(pid, signal.SIGKILL)
    came = running.ended()
    _blames_nobody(came)
    assert came.code == 3, came.out


def test_a_redis_of_the_harness_that_hangs_is_no_finding(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "run", "stock_best")
    running.reaches('"phase":"healed"')
    (redis,) = running.pids(PROCESSES["redis"])
    os.kill(redis, signal.SIGSTOP)
    _blames_nobody(running.ended())


def test_a_proxy_of_the_harness_that_hangs_is_no_finding(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "run", "stock_best")
    running.reaches('"phase":"baseline"')
    (proxy,) = running.pids(PROCESSES["proxy"])
    os.kill(proxy, signal.SIGSTOP)
    came = running.ended()
    _blames_nobody(came)
    assert came.code == 3 and "the proxy does not answer" in came.out, came.out


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_run_that_stood_still_is_run_again(tmp_path: Path, parallel: str) -> None:
    """As on a laptop that was closed: every lease and timeout is over when it goes on, whoever held it."""
    running = Running(tmp_path, tmp_path / "run", "locked_retry", parallel=parallel)
    running.reaches('"phase":"fault"')
    stopped = running.tree()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    held = threading.Event()
    held.wait(LONGEST_GAP_S + 1.0)  # what is waited for is time itself
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    came = running.ended()
    (case,) = came.verdict["cases"]
    assert came.code == 0 and case["outcome"] == "pass" and case["tries"] == 2, came.out
    first = came.folder / "cases" / f"{case['id']}~1"
    assert "everything stood still for" in (first / "events.jsonl").read_text()
    assert not (first / "final.json").exists(), "there is nothing in it to be judged later"


def test_a_killed_process_of_cases_is_no_finding(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "run", "stock_best")
    running.reaches('"phase":"healed"')
    guard = running._popen.pid
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    came = running.ended()
    _blames_nobody(came)
    assert came.code == 3 and "was ended by signal 9 before it was done" in came.out, came.out


def test_a_test_worker_that_is_killed_is_no_finding(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "run", "stock_best", parallel="2")
    running.reaches('"phase":"baseline"')
    workers = running.pids("exec(eval(sys.stdin")
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    _blames_nobody(running.ended())


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, require: Callable[[str, bool, str], None]) -> Iterator[Path]:
    """A folder on a disk of its own that can be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], capture_output=True, check=False
    )
    require("mount", made.returncode == 0, f"no disk can be mounted here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)


def _fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * (1 << 16))
        except OSError:
            pass
    return filler


@pytest.mark.parametrize("event", MOMENTS.values(), ids=list(MOMENTS))
@pytest.mark.parametrize("for_good", [False, True], ids=["for a moment", "to the end"])
@pytest.mark.parametrize("subject", ["stock_best", "locked_retry"])
def test_a_full_disk_under_the_run_folder_is_no_finding(
    tmp_path: Path, small_disk: Path, event: str, for_good: bool, subject: str
) -> None:
    """Redis's file, the ledgers and the events are all on it. A moment is until a process has noticed."""
    running = Running(tmp_path, small_disk / "run", subject)
    running.reaches(event)
    filler = _fill(small_disk)
    if for_good:
        came = running.ended()
        filler.unlink()
        assert came.code == 3, came.out
        assert "No space left on device" in came.out or "disk" in came.out, came.out
    else:
        until(lambda: running._popen.poll() is not None or _alarmed(small_disk / "run"), "somebody notices", 20.0)
        filler.unlink()
        came = running.ended()
    _blames_nobody(came)


def _alarmed(run: Path) -> bool:
    """Whether a process of the case has said that it could not write."""
    return any(path.read_bytes().strip() for path in run.glob("cases/*/ledger/alarm"))
