"""The guard owns the exit code: whatever the child does, it is known how it ended, and the user's signals reach it."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.run.guard import ChildEnd, Say, guarded


def test_what_the_child_says_is_heard_in_order() -> None:
    heard: list[dict[str, Any]] = []

    def work(say: Say) -> None:
        say(folder="x", text="é\n")
        say(status=0)

    outcome = guarded(work, heard.append)
    assert heard == [{"folder": "x", "text": "é\n"}, {"status": 0}]
    assert outcome == ChildEnd({"folder": "x", "text": "é\n", "status": 0}, 0)


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os._exit(0), "ended with status 0"),
        (lambda: os._exit(7), "ended with status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by signal 9"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was ended by signal 11"),
        (lambda: os.execv("/bin/true", ["true"]), "ended with status 0"),
    ],
)
def test_a_child_that_ends_without_its_last_word_is_noticed(end: Callable[[], None], how: str) -> None:
    def work(say: Say) -> None:
        say(folder="x")
        faulthandler.disable()  # pytest's: a test that is meant to crash looks like an accident in its output
        end()

    outcome = guarded(work)
    assert (outcome.said, outcome.how) == ({"folder": "x"}, how)


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (UsageError("no such subject"), "no such subject", ExitCode.USAGE),
        (ValueError("odd"), "ValueError: odd (test_guard.py:", ExitCode.STACK),
        (SystemExit(0), "SystemExit: 0 (test_guard.py:", ExitCode.STACK),
        (KeyboardInterrupt(), "interrupted", ExitCode.INTERRUPTED),
        (RecursionError(), "RecursionError", ExitCode.STACK),
    ],
)
def test_what_the_child_raises_is_one_line_and_a_code(error: BaseException, text: str, code: ExitCode) -> None:
    def work(say: Say) -> None:
        raise error

    outcome = guarded(work)
    assert outcome.said["error"].startswith(text)
    assert outcome.said["code"] == code
    assert outcome.status == 0


def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_guard() -> None:
    read_fd, write_fd = os.pipe()

    def work(say: Say) -> None:
        if os.fork() == 0:
            os.setsid()
            os.close(write_fd)
            os.read(read_fd, 1)  # until the test is over
            os._exit(0)
        say(done=True)
        os._exit(3)

    outcome = guarded(work)
    os.close(write_fd)
    os.close(read_fd)
    assert (outcome.said, outcome.status) == ({"done": True}, 3)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals are not ignored, as they are in what somebody runs in the background."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_when_the_child_is_over_interrupts_nothing(number: signal.Signals) -> None:
    """Although the guard has not seen yet that it is."""

    def heard(message: dict[str, Any]) -> None:
        os.waitid(os.P_PID, message["pid"], os.WEXITED | os.WNOWAIT)
        signal.raise_signal(number)

    outcome = guarded(lambda say: say(pid=os.getpid()), heard)
    assert (outcome.interrupted, outcome.status) == (False, 0)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("late", [False, True], ids=["in both", "in the guard alone"])
def test_a_signal_while_the_child_is_made_reaches_it(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """Before anybody knows whom to pass it on to; before the child is made, or just after."""
    fork = os.fork

    def signalled() -> int:
        child = 0 if late else -1
        if not late:
            signal.raise_signal(signal.SIGINT)
        child = fork()
        if late and child:
            signal.raise_signal(signal.SIGINT)
        return child

    monkeypatch.setattr(os, "fork", signalled)
    outcome = guarded(lambda say: time.sleep(60.0))
    assert outcome.interrupted and outcome.said["error"] == "interrupted"


#: A guard as a process of its own, to be signalled. The child says when it is ready, and waits.
GUARD = """
import json, os, signal, sys, time
from pathlib import Path
from taskchaos.harness.run.guard import guarded

def work(say):
    try:
        say(ready=True)
        while True:
            time.sleep(0.01)  # pause() would miss a signal that came just before it
    except KeyboardInterrupt:
        if sys.argv[2] == "stubborn":
            Path(sys.argv[1] + ".asked").touch()
            while True:
                time.sleep(1)
        raise

def heard(message):
    if "ready" in message:
        Path(sys.argv[1]).write_text(str(os.getpid()))

outcome = guarded(work, heard)
print(json.dumps([outcome.said.get("error"), outcome.status, outcome.interrupted]))
"""


def _guard(ready: Path, manner: str, **more: Any) -> subprocess.Popen[str]:
    running = subprocess.Popen(
        [sys.executable, "-c", GUARD, str(ready), manner], stdout=subprocess.PIPE, text=True, **more
    )
    until(lambda: ready.exists() and ready.read_text(), "the child is ready")
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_the_child_to_end(tmp_path: Path, number: signal.Signals) -> None:
    heeding = lambda: signal.signal(number, signal.SIG_DFL)  # noqa: E731 (whoever started us may ignore it)
    running = _guard(tmp_path / "ready", "polite", preexec_fn=heeding)
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert json.loads(out) == ["interrupted", 0, True]


def test_the_second_signal_ends_it(tmp_path: Path) -> None:
    running = _guard(tmp_path / "ready", "stubborn")
    running.send_signal(signal.SIGTERM)
    until((tmp_path / "ready.asked").exists, "the child was asked")
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert json.loads(out) == [None, -signal.SIGKILL, True]


def test_a_signal_that_was_ignored_before_stays_ignored(tmp_path: Path) -> None:
    """`nohup taskchaos run &`: a terminal that closes ends nothing."""
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    running = _guard(tmp_path / "ready", "polite", preexec_fn=ignoring)
    running.send_signal(signal.SIGHUP)
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert json.loads(out) == ["interrupted", 0, True]


def test_a_guard_that_is_killed_takes_the_child_along(tmp_path: Path) -> None:
    running = _guard(tmp_path / "ready", "polite")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(children) == 1
    running.kill()
    running.communicate(timeout=30)
    until(lambda: not Path(f"/proc/{children[0]}").exists(), "the child is gone")
