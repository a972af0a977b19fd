"""The harness's end of the zygote: asks it for processes, waits until they are ready, ends them."""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from faults.process import alive
from harness.errors import StackError
from harness.runtime import RoleConfig
from harness.stack.owned import OwnedProcess, kill_group, log_tail
from harness.stack.zygote import MESSAGE_BYTES, Spawn

READY_DEADLINE_S = 20.0


class Zygote:
    """The harness's end of the zygote process."""

    def __init__(self, log: Path) -> None:
        """Start it; the imports go on while the caller does other things."""
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "harness.stack.zygote", str(theirs.fileno())]
            self._process = OwnedProcess("zygote", argv, log, fds=(theirs.fileno(),))
        self._socket = ours
        self._socket.settimeout(READY_DEADLINE_S)
        self._ready = False

    def _exchange(self, request: Mapping[str, object], fds: list[int]) -> dict[str, int | None]:
        with self._lock:
            try:
                if not self._ready:
                    self._ready = bool(self._socket.recv(MESSAGE_BYTES))
                socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
                answer = self._socket.recv(MESSAGE_BYTES)
            except OSError as error:
                raise StackError(f"the zygote does not answer ({error}): {self._process.tail()}") from error
            if not answer:
                raise StackError(f"the zygote ended: {self._process.tail()}")
            return json.loads(answer)  # type: ignore[no-any-return]

    def spawn(self, what: Spawn, config: RoleConfig, log: Path) -> Spawned:
        """Fork a process for a role; it still has to become ready."""
        config.save()
        ready_read, ready_write = os.pipe()
        told_read, told_write = os.pipe()
        try:
            request = {"spawn": what.value, "config": str(config.path), "log": str(log)}
            answer = self._exchange(request, [ready_write, told_read])
        finally:
            os.close(ready_write)
            os.close(told_read)
        pid = answer["pid"]
        assert pid is not None, "a spawn is always answered with a pid"
        return Spawned(config.role, pid, ready_read, told_write, log, self)

    def exit_status(self, pid: int) -> int | None:
        """The return code of a forked process; None while it runs."""
        return self._exchange({"status": pid}, [])["status"]

    def stop(self) -> None:
        """End it and with it everything it forked. Idempotent."""
        self._socket.close()
        self._process.stop(grace_s=0.2)


class Spawned:
    """One process forked by the zygote."""

    def __init__(self, role: str, pid: int, ready_fd: int, told_fd: int, log: Path, zygote: Zygote) -> None:
        self.role = role
        self.pid = pid
        self.log = log
        self._ready_fd = ready_fd
        self._told_fd = told_fd
        self._zygote = zygote
        self._is_ready = False
        self._ended = False
        self._polling = threading.Lock()

    def wait_ready(self) -> None:
        """Wait until it says so. Raises StackError with the end of its log when it ends first or time runs out."""
        deadline_s = READY_DEADLINE_S
        if self.poll_ready(deadline_s):
            return
        if self._ended:
            raise StackError(f"{self.role} ended while starting: {log_tail(self.log, 1)}")
        raise StackError(f"{self.role} was not ready within {deadline_s:g} s: {log_tail(self.log)}")

    def poll_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it has said that it is ready, waiting at most `wait_s`."""
        with self._polling:
            undecided = not self._is_ready and not self._ended and self._ready_fd >= 0
            if undecided and select.select([self._ready_fd], [], [], wait_s)[0]:
                self._is_ready = os.read(self._ready_fd, 1) == b"1"
                self._ended = not self._is_ready  # end of file: it ended without a word
            return self._is_ready

    def tell(self, message: bytes) -> None:
        """Write to its control pipe."""
        os.write(self._told_fd, message)

    def alive(self) -> bool:
        """Whether the process runs."""
        return alive(self.pid)

    def exit_status(self) -> int | None:
        """Its return code, None while it runs."""
        return self._zygote.exit_status(self.pid)

    def end(self) -> None:
        """SIGKILL to its group, and close the pipes. Idempotent."""
        kill_group(self.pid)
        for fd in (self._ready_fd, self._told_fd):
            if fd >= 0:
                os.close(fd)
        self._ready_fd = self._told_fd = -1


_zygotes: dict[int, Zygote] = {}


def zygote(log: Path) -> Zygote:
    """This harness process's zygote, started on first use and kept for all cases."""
    if os.getpid() not in _zygotes:
        _zygotes[os.getpid()] = Zygote(log)
        atexit.register(stop_zygote)
    return _zygotes[os.getpid()]


def stop_zygote() -> None:
    """End this process's zygote, if there is one."""
    running = _zygotes.pop(os.getpid(), None)
    if running is not None:
        running.stop()
