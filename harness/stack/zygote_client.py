"""The harness's end of the zygote: asks it for processes, waits until they are ready, ends them."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskchaos.faults.base import wait_for
from taskchaos.harness.errors import StackError, SubjectError
from taskchaos.harness.stack import environment
from taskchaos.harness.stack.child_process import OwnedProcess, log_tail
from taskchaos.harness.stack.procfs import alive, children_of, kill_group, send
from taskchaos.harness.stack.runtime import REFUSAL, RoleConfig, note_path
from taskchaos.harness.stack.sockets import Socket
from taskchaos.harness.stack.zygote import MESSAGE_BYTES, Spawn

READY_DEADLINE_S = 20.0
LAST_WORDS_S = 1.0


class ZygoteGone(StackError):
    """The zygote has ended, and with it everything that it forked."""


class Zygote:
    """The harness's end of a zygote: asks it for processes and about them.

    pid_base: what its pids are counted from; a zygote in a container has pids of its own, and every pid of a case is
    to be unique. `inside`: a path as the zygote sees it. Everything raises StackError when it does not answer.
    """

    def __init__(
        self,
        channel: socket.socket,
        tail: Callable[[], str],
        *,
        pid_base: int = 0,
        inside: Callable[[Path], Path] = Path,
    ) -> None:
        """Its imports go on while the caller does other things. tail: the end of its log, for error messages."""
        self._lock = threading.Lock()
        self._channel = channel
        self._channel.settimeout(READY_DEADLINE_S)
        self._tail = tail
        self.pid_base = pid_base
        self._inside = inside
        self._ready = False

    def _exchange(self, request: Mapping[str, object], fds: Sequence[int] = ()) -> Any:
        with self._lock:
            self._before_asking()
            try:
                if not self._ready:
                    self._ready = bool(self._channel.recv(MESSAGE_BYTES))
                socket.send_fds(self._channel, [json.dumps(request).encode()], fds)
                answer = self._channel.recv(MESSAGE_BYTES)
            except (ConnectionResetError, BrokenPipeError):
                answer = b""
            except OSError as error:
                if self._channel.fileno() < 0:
                    raise ZygoteGone("the zygote was given up") from error
                self._channel.close()  # a late answer would be taken for that to the next question
                raise StackError(f"the zygote does not answer ({error}): {self._tail()}") from error
            if not answer:
                raise ZygoteGone(f"the zygote ended: {self._tail()}")
            return json.loads(answer)

    def _before_asking(self) -> None:
        """Called under the lock. May raise what tells why the zygote cannot be asked."""

    def spawn(self, what: Spawn, config: RoleConfig, log: Path) -> Spawned:
        """Fork a process for a role; it still has to become ready."""
        path = config.path
        seen = replace(config, folder=str(self._inside(Path(config.folder))), pid_base=self.pid_base)
        seen.save(path)
        ready_read, ready_write = os.pipe()
        told_read, told_write = os.pipe()
        try:
            request = {"spawn": what.value, "config": str(self._inside(path)), "log": str(self._inside(log))}
            pid = self._exchange(request, [ready_write, told_read])
        except BaseException:
            os.close(ready_read)
            os.close(told_write)
            raise
        finally:
            os.close(ready_write)
            os.close(told_read)
        return Spawned(config.role, self.pid_base + pid, ready_read, told_write, log, self, note_path(path))

    def answers(self) -> bool:
        """Whether it is still there."""
        try:
            self._exchange({})
        except ZygoteGone:
            return False
        return True

    def exit_status(self, pid: int) -> int | None:
        """The return code of a forked process; None while it runs."""
        status: int | None = self._exchange({"status": pid - self.pid_base})
        return status

    def alive(self, pid: int) -> bool:
        """Whether a process runs."""
        return bool(self._exchange({"alive": pid - self.pid_base}))

    def children(self, pid: int) -> tuple[int, ...]:
        """The live children of a process, oldest first."""
        return tuple(self.pid_base + child for child in self._exchange({"children": pid - self.pid_base}))

    def send(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Signal some processes; those that are gone are fine."""
        self._exchange({"send": int(number), "to": [pid - self.pid_base for pid in pids]})

    def end(self, pid: int) -> None:
        """SIGKILL to the group of a forked process; one that is gone is fine."""
        self._exchange({"end": pid - self.pid_base})

    def exhaust_memory(self, victim: int) -> bool:
        """Have the memory of its container run out until this process is killed; False if there is no such process."""
        return bool(self._exchange({"exhaust": victim - self.pid_base}))

    def oom_kills(self) -> int:
        """How many processes of its container were killed because memory had run out."""
        return int(self._exchange({"oom_kills": True}))

    def connections(self, host: str, port: int) -> list[Socket]:
        """The connections from its network namespace to this address."""
        return [Socket(*each) for each in self._exchange({"connections_to": [host, port]})]

    def close(self) -> None:
        """End it and with it everything it forked. Idempotent."""
        self._channel.close()


class LocalZygote(Zygote):
    """A zygote as a process beside us: what it forked can be looked at and ended without asking it."""

    def __init__(self, log: Path, preload: Path | None = None, python: str | None = None) -> None:
        """Start it. preload: a library that is to be loaded before libc. python: of another environment."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            module, number = "taskchaos.harness.stack.zygote", str(theirs.fileno())
            here = [sys.executable, "-P", "-m", module, number]
            argv = environment.command(python, module, number) if python else here
            env = {"LD_PRELOAD": str(preload)} if preload else {}
            self._process = OwnedProcess("zygote", argv, log, env=env, fds=(theirs.fileno(),))
        super().__init__(ours, self._process.tail)

    def running(self) -> bool:
        """Whether it can still be asked."""
        return self._channel.fileno() >= 0 and self._process.exit_status() is None

    def alive(self, pid: int) -> bool:
        return alive(pid)

    def children(self, pid: int) -> tuple[int, ...]:
        return children_of(pid)

    def send(self, pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            send(pid, number)

    def end(self, pid: int) -> None:
        kill_group(pid)

    def close(self) -> None:
        super().close()
        self._process.stop(grace_s=0.2)


class Spawned:
    """One process forked by the zygote."""

    def __init__(
        self, role: str, pid: int, ready_fd: int, told_fd: int, log: Path, zygote: Zygote, note: Path = Path()
    ) -> None:
        """note: where it writes down what it calls of the subject while it starts."""
        self.role = role
        self._note = note
        self.pid = pid
        self.log = log
        self._ready_fd = ready_fd
        self._told_fd = told_fd
        self._zygote = zygote
        self._is_ready = False
        self._ended = False
        self._refusal = ""  # why it cannot be what it was started for
        self._polling = threading.Lock()

    def wait_ready(self) -> None:
        """Wait until it says so.

        Raises StackError with the end of its log when it ends first or time runs out, and SubjectError when it says
        that the subject cannot be used.
        """
        deadline_s = READY_DEADLINE_S
        if self.poll_ready(deadline_s):
            return
        if self._refusal:
            raise SubjectError(f"subject in {self.role}: {self._refusal}")
        if self._ended:
            if self.fault:
                raise SubjectError(f"subject in {self.role}: {self.fault}")
            raise StackError(f"{self.role} ended while starting: {log_tail(self.log, 1)}")
        raise StackError(f"{self.role} was not ready within {deadline_s:g} s: {log_tail(self.log)}")

    def poll_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it has said that it is ready, waiting at most `wait_s`."""
        with self._polling:
            undecided = not self._is_ready and not self._ended and self._ready_fd >= 0
            if undecided and select.select([self._ready_fd], [], [], wait_s)[0]:
                first = os.read(self._ready_fd, 1)
                self._is_ready = first == b"1"
                self._ended = not self._is_ready  # end of file: it ended without a word
                if first == REFUSAL:
                    self._refusal = _rest_of(self._ready_fd)
            return self._is_ready

    def tell(self, message: bytes) -> None:
        """Write to its control pipe; nothing if it is gone."""
        try:
            os.write(self._told_fd, message)
        except BrokenPipeError:
            pass  # whoever waits for its answer will see that it ended

    @property
    def answers_fd(self) -> int:
        """Where it writes after it has said that it is ready, if it writes anything."""
        return self._ready_fd

    @property
    def refusal(self) -> str:
        """Why the subject cannot be used, if that is what it said instead of being ready."""
        return self._refusal

    @property
    def fault(self) -> str:
        """What of the subject has ended it while it started, in words; "" if nothing has."""
        try:
            called = self._note.read_text(encoding="utf-8")
        except OSError:
            return ""
        status = self.await_exit() if called else None
        if status is None:
            return ""
        return f"{called} has ended the process, which {ended_how(status)}{outside(status)}"

    def await_exit(self) -> int | None:
        """Its return code, waiting a moment for it; None if it still runs."""
        wait_for(lambda: self.exit_status() is not None, LAST_WORDS_S)
        return self.exit_status()

    def how_it_ended(self) -> str:
        """How it ended, with the end of its log."""
        return f"{ended_how(self.await_exit())}: {log_tail(self.log, 3)}"

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._zygote.alive(self.pid)

    def exit_status(self) -> int | None:
        """Its return code, None while it runs."""
        return self._zygote.exit_status(self.pid)

    def end(self) -> None:
        """SIGKILL to its group, and close the pipes. Idempotent."""
        self._zygote.end(self.pid)
        self.close()

    def close(self) -> None:
        """Close the pipes. Idempotent."""
        for fd in (self._ready_fd, self._told_fd):
            if fd >= 0:
                os.close(fd)
        self._ready_fd = self._told_fd = -1


def ended_how(status: int | None) -> str:
    """A return code in words."""
    if status is None or status >= 0:
        return f"ended with status {status}"
    try:
        return f"ended with status {status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"ended with status {status}"


def outside(status: int | None) -> str:
    """That it cannot be told who it was, of a signal that anybody may send; else ""."""
    if status not in (-signal.SIGKILL, -signal.SIGTERM):
        return ""
    return " (by itself, by the kernel for want of memory or by somebody else: that cannot be told from here)"


def _rest_of(fd: int) -> str:
    """What the process still writes until it ends."""
    text = b""
    while select.select([fd], [], [], LAST_WORDS_S)[0] and (data := os.read(fd, 4096)):
        text += data
    return " ".join(text.decode("utf-8", "replace").split())


_zygotes: dict[tuple[int, Path | None, str | None], LocalZygote] = {}


def zygote(log: Path, preload: Path | None = None, python: str | None = None) -> LocalZygote:
    """This harness process's zygote, started on first use and kept for all cases; again when it has died.

    preload: one of its own, with a library that is loaded before libc. python: one of another environment.
    """
    mine = os.getpid(), preload, python
    if mine in _zygotes and not _zygotes[mine].running():
        _zygotes.pop(mine).close()
    if mine not in _zygotes:
        _zygotes[mine] = LocalZygote(log, preload, python)
        atexit.register(stop_zygote)
    return _zygotes[mine]


def stop_zygote() -> None:
    """End this process's zygotes, if there are any."""
    for mine in list(_zygotes):
        if mine[0] == os.getpid():
            _zygotes.pop(mine).close()
