"""However a run ends, nothing of it is left: killed, interrupted, or with a stack that cannot start."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import COMMAND, taskchaos, verdict
from repository import ROOT
from waiting import until

pytestmark = pytest.mark.usefixtures("linux")


def _processes_of(folder: Path) -> list[int]:
    """Live processes that this run started: their working directory is the folder that the command ran in."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                if os.readlink(f"/proc/{entry}/cwd") == str(folder) and state not in ("Z", "X"):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def _command_of(process: int) -> bytes:
    """Its command line; nothing of one that has ended meanwhile, as some of a run do all the time."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _ended(folder: Path, deadline_s: float) -> None:
    until(lambda: not _processes_of(folder), lambda: f"all end, but {_processes_of(folder)}", deadline_s)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a run and wait until its stacks are up and faults are under way."""
    log = (folder / "out.log").open("wb")
    running = subprocess.Popen(
        [COMMAND, "run", "worker_kill", *arguments, "--out", str(folder / "run")],
        cwd=folder,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        # As from a terminal: whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    events = folder / "run" / "events.jsonl"
    until(
        lambda: events.is_file() and b"fault_changed" in events.read_bytes(),
        lambda: f"a fault\n{(folder / 'out.log').read_text()}",
        60.0,
    )
    return running


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_sigkill_of_a_run_leaves_no_process_after_two_seconds(tmp_path: Path, parallel: str) -> None:
    running = _start(tmp_path, "-s", "stock_best", "-s", "stock_defaults", "-n", parallel)
    assert len(_processes_of(tmp_path)) >= 6  # command, janitor, zygote, proxy, Redis, producer at the least
    running.kill()
    running.wait()
    _ended(tmp_path, 2.0)


def test_sigkill_of_the_proxy_is_a_stack_error_not_a_verdict(tmp_path: Path) -> None:
    running = _start(tmp_path, "-s", "stock_best", "-n", "1")
    victims = [p for p in _processes_of(tmp_path) if b"taskchaos.faults.proxy" in _command_of(p)]
    assert len(victims) == 1
    os.kill(victims[0], signal.SIGKILL)
    assert running.wait(120) == 3, (tmp_path / "out.log").read_text()
    (case,) = verdict(tmp_path / "run")["cases"]
    assert case["outcome"] == "unknown"
    assert "proxy ended with status -9" in case["error"]
    _ended(tmp_path, 5.0)


@pytest.mark.parametrize("parallel", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_heals_judges_what_there_is_and_exits_130(
    tmp_path: Path, number: signal.Signals, parallel: str
) -> None:
    running = _start(tmp_path, "-s", "stock_best", "-s", "stock_defaults", "-n", parallel)
    running.send_signal(number)
    assert running.wait(60) == 130, (tmp_path / "out.log").read_text()
    out, found = (tmp_path / "out.log").read_text(), verdict(tmp_path / "run")
    assert found["interrupted"] is True and found["wall_s"] > 0.5
    assert {case["trouble"] for case in found["cases"]} == {"interrupted"}
    assert "INTERRUPTED after" in out and "0 of 2 cases were judged" in out
    assert "STACK" not in out and "surprise" not in out and "Traceback" not in out
    assert f"Again:   taskchaos replay {tmp_path / 'run' / 'cases' / 'worker_kill.tree.stock_best'}" in out
    assert (tmp_path / "run" / "report.html").is_file()
    _ended(tmp_path, 5.0)


def _started(process: int) -> bool:
    """Whether a process has a child."""
    return bool(Path(f"/proc/{process}/task/{process}/children").read_text().split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_case_leaves_the_reports_whole(tmp_path: Path, number: signal.Signals) -> None:
    running = _start(tmp_path, "-s", "stock_best", "-n", "1")
    until(lambda: not _started(running.pid), "the cases have ended, and the reports are being written", 60.0)
    running.send_signal(number)
    assert running.wait(60) == 0, (tmp_path / "out.log").read_text()
    assert verdict(tmp_path / "run")["exit_code"] == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert "PASS in" in (tmp_path / "out.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["the first output", "the run folder", "the first case"])
def test_an_early_signal_is_no_traceback(tmp_path: Path, number: signal.Signals, after: str) -> None:
    """Before anything could be judged: one line, or the summary of a run that came to nothing."""
    out = tmp_path / "run"
    signs = {
        "the first output": lambda: b"taskchaos" in _command_of(running.pid),
        "the run folder": out.is_dir,
        "the first case": lambda: any(out.glob("cases/*")),
    }
    with (tmp_path / "out.log").open("wb") as log:
        running = subprocess.Popen(
            [COMMAND, "run", "worker_kill", "-s", "stock_best", "-n", "1", "--out", str(out)],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    until(signs[after], after)
    running.send_signal(number)
    code, text = running.wait(60), (tmp_path / "out.log").read_text()
    # Python itself needs a moment before it runs a line of ours; until then a signal ends it in silence.
    assert code == 130 or (after == "the first output" and not text), (code, text)
    assert "Traceback" not in text and "KeyboardInterrupt" not in text, text
    _ended(tmp_path, 5.0)


def test_a_pytest_that_is_told_to_end_leaves_a_report(tmp_path: Path) -> None:
    """SIGTERM is what a CI job's time limit sends."""
    suite = ROOT / "suites" / "test_worker_kill.py"
    out = tmp_path / "run"
    with (tmp_path / "out.log").open("wb") as log:
        words = [
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            str(suite),
            "--chaos-subject",
            "stock_best",
            "--chaos-out",
            str(out),
        ]
        running = subprocess.Popen([sys.executable, *words], cwd=tmp_path, stdout=log, stderr=log)
    until(lambda: (out / "events.jsonl").is_file() and b"phase_began" in (out / "events.jsonl").read_bytes(), "a case")
    running.terminate()
    assert running.wait(60) == 2, (tmp_path / "out.log").read_text()
    assert verdict(out)["interrupted"] is True and (out / "report.html").is_file()
    _ended(tmp_path, 5.0)


def test_a_server_that_does_not_start_is_exit_code_3(tmp_path: Path) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'Redis server v=7.0' && exit\necho wrong architecture >&2\nexit 126\n"
    )
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    out = tmp_path / "run"
    done = taskchaos(
        "run", "throughput", "-s", "stock_best", "-n", "1", "--redis-server", str(binary), "--out", str(out)
    )
    assert done.code == 3, done.out + done.err
    (case,) = verdict(out)["cases"]
    assert "redis ended with status 126 while starting: wrong architecture" in case["error"]
    assert "Traceback" not in done.out + done.err
