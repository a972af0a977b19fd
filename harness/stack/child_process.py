"""Owned processes: everything the harness starts dies with it, also when the harness is killed with SIGKILL.

Two nets. The kernel's parent-death signal ends direct children at once. The janitor, a small process of its own,
notices that the harness is gone (end of file on a pipe) and kills whatever carries the owner's token in its
environment: grandchildren, orphans of a killed worker, everything. Tokens live in the environment because that
survives fork, exec and setsid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.procfs import kill_group

TOKEN_VARIABLE = "TASKCHAOS_OWNER"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

#: One token per harness process; a forked harness must not share it, so it is made on first use per pid.
_tokens: dict[int, str] = {}


def owner_token() -> str:
    """The token that marks all processes of this harness process."""
    return _tokens.setdefault(os.getpid(), uuid.uuid4().hex)


def die_with_parent() -> None:
    """Ask the kernel to SIGKILL this process when its parent ends. Linux; elsewhere the janitor alone has to do."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class OwnedProcess:
    """A child process with a log file, a bounded stop and a readable end."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        """Start `argv`, stdout and stderr appended to `log`, with `fds` inherited.

        Raises StackError when it cannot be executed. Must be called from a thread that lives as long as the child
        should (the main thread): the kernel's parent-death signal is bound to the thread that forked.
        """
        ensure_janitor()
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            try:
                self._popen = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    env={**os.environ, **(env or {}), TOKEN_VARIABLE: owner_token()},
                    preexec_fn=die_with_parent,
                    start_new_session=True,
                    restore_signals=False,  # SIGXFSZ stays ignored: a file that may not grow is an error, no end
                    pass_fds=fds,
                )
            except OSError as error:
                raise StackError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from error
        self.pid = self._popen.pid

    def exit_status(self) -> int | None:
        """The return code (negative = signal), None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended is fine."""
        self._popen.send_signal(number)

    def tail(self, lines: int = 5) -> str:
        """The last lines of its log, on one line."""
        return log_tail(self.log, lines)

    def wait_until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Return when `ready()` holds. Raises StackError with the end of the log when it ends or time runs out."""
        until = time.monotonic() + deadline_s
        while not ready():
            if (status := self.exit_status()) is not None:
                raise StackError(f"{self.name} ended with status {status} while starting: {self.tail()}")
            if time.monotonic() > until:
                raise StackError(f"{self.name} was not ready within {deadline_s:g} s: {self.tail()}")
            time.sleep(0.005)

    def stop(self, grace_s: float = 1.0) -> None:
        """SIGTERM, then SIGKILL to its whole group. Idempotent."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.terminate()
            try:
                self._popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                pass  # the kill below ends it
        kill_group(self.pid)
        self._popen.wait()


def log_tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log file on one line; says so if there is nothing."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:]
    except OSError:
        text = []
    return " | ".join(line.strip() for line in text) or f"nothing in {log.name}"


_janitors: dict[int, subprocess.Popen[bytes]] = {}


def ensure_janitor() -> None:
    """Start this harness process's janitor if it does not run yet."""
    running = _janitors.get(os.getpid())
    if running is not None and running.poll() is None:
        return
    script = Path(__file__).with_name("janitor.py")
    # The write end of this pipe lives in this process only (close-on-exec): its end is our end.
    _janitors[os.getpid()] = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), owner_token()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
