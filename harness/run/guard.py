"""The guard: runs something in a child process and owns the exit code, whatever happens in there.

A subject's code may end the process that it runs in, a test may, the kernel may. The child says by messages how far it
came; a child that ends without its last message has proven nothing. The guard also owns the user's signals: the first
asks the child to heal and to judge what there is, the second ends everything at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from taskchaos.harness.errors import ExitCode, TaskchaosError, unforeseen
from taskchaos.harness.stack.child_process import die_with_parent

_POLL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: How a child says something: members of one JSON object.
Say = Callable[..., None]


@dataclass(slots=True)
class ChildEnd:
    """How the child ended. said: its messages, later ones over earlier ones; status: its return code."""

    said: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    interrupted: bool = False

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.status < 0:
            return f"was ended by signal {-self.status}"
        return f"ended with status {self.status}"


def guarded(work: Callable[[Say], None], heard: Callable[[dict[str, Any]], None] = lambda message: None) -> ChildEnd:
    """Run `work` in a child process until it ends; `heard` is given each message as it comes.

    What `work` raises becomes the messages `error` (one line) and `code` (an ExitCode); its own last message is its own
    affair. Must be called from the main thread, before any other thread exists.
    """
    read_fd, write_fd = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    outcome = ChildEnd()
    with _signals_noted(outcome) as pass_on:
        # Until the child can heed signals, and it is known whom to pass them on to: a fork forgets those that are met.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        child = os.fork()
        if child == 0:
            os.close(read_fd)
            _be_child(work, write_fd, mask)
        os.close(write_fd)
        pass_on.append(child)
        if outcome.interrupted:
            os.kill(child, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for message in _messages(read_fd, child):
            outcome.said.update(message)
            heard(message)
        outcome.status = os.waitstatus_to_exitcode(_reap(child))
    os.close(read_fd)
    return outcome


def _be_child(work: Callable[[Say], None], fd: int, mask: Iterable[int]) -> None:
    """Never returns. mask: the signals that are to be blocked while it works."""

    def say(**message: object) -> None:
        os.write(fd, json.dumps(message).encode() + b"\n")

    try:
        os.setpgid(0, 0)  # what a terminal sends goes to the guard alone
        guard = os.getppid()
        die_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a terminal may stop a group in the background that writes
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() != guard:
            os._exit(1)
        work(say)
    except KeyboardInterrupt:
        say(error="interrupted", code=int(ExitCode.INTERRUPTED))
    except TaskchaosError as error:
        say(error=str(error), code=int(error.exit_code))
    except BaseException as error:
        say(error=unforeseen(error), code=int(ExitCode.STACK), trace=traceback.format_exc())
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # nothing may come back from here
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _is_over(child: int) -> bool:
    """Whether a child has ended, whoever waits for it."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


@contextlib.contextmanager
def _signals_noted(outcome: ChildEnd) -> Iterator[list[int]]:
    """While this lasts, the user's signals go to the child that is put into the list: first politely, then for good."""
    child: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if child and _is_over(child[0]):
            return  # all is done, only not yet seen: there is nothing to interrupt
        again, outcome.interrupted = outcome.interrupted, True
        for pid in child:
            with contextlib.suppress(ProcessLookupError):
                if again:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGINT)

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup, for example
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield child
    finally:
        child.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _messages(fd: int, child: int) -> Iterator[dict[str, Any]]:
    """The child's messages until it has closed the pipe or ended; what it forked may hold the pipe for longer."""
    data = b""
    while True:
        if select.select([fd], [], [], _POLL_S)[0]:
            more = os.read(fd, 1 << 16)
            data += more
            *lines, data = data.split(b"\n")
            yield from (json.loads(line) for line in lines)
            if not more:
                return
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


def _reap(child: int) -> int:
    """Wait for the child; as process 1 of a container also for whatever else was left to us."""
    while True:
        pid, status = os.waitpid(-1 if os.getpid() == 1 else child, 0)
        if pid == child:
            return status
