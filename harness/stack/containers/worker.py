"""A worker in a container, as faults see it: killed, paused, cut off and started again through the Docker engine.

Its processes are forked by a zygote in the container, which is also who looks at them and signals them: outside they
have other pids, and another user may own them. The container's death is the death of the whole tree.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any

from docker.errors import APIError

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.containers.engine import how_it_ended, printed
from taskchaos.harness.stack.containers.role import CASE, RUN
from taskchaos.harness.stack.forked_worker import ForkedWorker
from taskchaos.harness.stack.runtime import RoleConfig
from taskchaos.harness.stack.sockets import Socket
from taskchaos.harness.stack.zygote import Spawn
from taskchaos.harness.stack.zygote_client import READY_DEADLINE_S, Zygote, ZygoteGone

#: Pids in a container stay below this (the kernel's PID_MAX_LIMIT).
PIDS = 1 << 22
#: More lives than any container of a case has.
LIVES = 1000


class Frozen(StackError):
    """The container is paused: nobody in it can be asked."""


class ContainerZygote(Zygote):
    """The zygote of one life of a container. Dead processes are dead, not errors; frozen ones are as they were."""

    def __init__(self, channel: socket.socket, tail: Callable[[], str], folder: Path, pid_base: int) -> None:
        def inside(path: Path) -> Path:
            return CASE / path.resolve().relative_to(folder)

        super().__init__(channel, tail, pid_base=pid_base, inside=inside)
        self._frozen = False
        self._children: tuple[int, ...] = ()

    def _before_asking(self) -> None:
        if self._frozen:
            raise Frozen("the container is paused")

    def freeze(self, pause: Callable[[], None]) -> None:
        """Pause the container while nobody is asking it anything."""
        with self._lock:
            pause()
            self._frozen = True

    def thaw(self, unpause: Callable[[], None]) -> None:
        """Unpause it."""
        with self._lock:
            unpause()
            self._frozen = False

    def alive(self, pid: int) -> bool:
        try:
            return self.pid_base < pid < self.pid_base + PIDS and super().alive(pid)
        except ZygoteGone:
            return False
        except Frozen:
            return True

    def children(self, pid: int) -> tuple[int, ...]:
        try:
            self._children = super().children(pid)
        except ZygoteGone:
            return ()
        except Frozen:
            pass  # as they were
        return self._children


class ContainerWorker(ForkedWorker):
    """A worker as faults see it (`taskchaos.faults.base.Worker`), in a container of its own.

    container: its handle in the Docker SDK. number: of the replica, from which its pids in the ledger are counted.
    """

    def __init__(self, config: RoleConfig, what: Spawn, log: Path, container: Any, number: int) -> None:
        self._folder = log.parent.parent.resolve()
        self.container = container
        self._number = number
        self._life = 0
        self._reviving = threading.Lock()
        self._networks: dict[str, list[str]] = {}  # that it was taken out of, with its names there
        super().__init__(config, what, log, self._born())

    def _born(self) -> ContainerZygote:
        """The zygote of the container's present life. Raises StackError when it does not answer in time."""
        self._life += 1
        pid_base = (self._number * LIVES + self._life) * PIDS
        tail = partial(printed, self.container)
        channel = _connect(self._folder / RUN, self.container.id[:12], self._ended, tail)
        return ContainerZygote(channel, tail, self._folder, pid_base)

    def _ended(self) -> str | None:
        return how_it_ended(self.container)

    def start(self) -> None:
        """Fork the process, in a new life of the container if it has ended; `wait_ready` has to follow."""
        with self._reviving:
            if not self._zygote.answers():
                self._zygote.close()
                if not wait_for(lambda: self._ended() is not None, READY_DEADLINE_S):
                    raise StackError(f"{self.name}: its zygote ended and its container did not")
                self.container.start()
                self._zygote = self._born()
        super().start()

    def await_zygote(self) -> None:
        """Return when the container can fork a worker at once. Raises StackError when it cannot in time."""
        self._zygote.answers()

    def kill(self, pids: tuple[int, ...]) -> None:
        """The whole tree: the container is killed. Some of it: those processes."""
        if {self.pid, *self.children()} <= set(pids):
            self._ask("kill", self.container.kill)
        else:
            super().kill(pids)

    def terminate(self, grace_s: float, told: Signals = SIGTERM) -> None:
        if told != SIGTERM:  # the engine would tell the process that the worker was forked from
            super().terminate(grace_s, told)
            return
        self._ask("stop", lambda: self.container.stop(timeout=max(1, round(grace_s))))

    def pause(self) -> None:
        self.children()  # as they will be found while it is paused
        self._home.freeze(lambda: self._ask("pause", self.container.pause))

    def resume(self) -> None:
        if self.paused()[0]:
            self._home.thaw(lambda: self._ask("unpause", self.container.unpause))

    def paused(self) -> tuple[int, int]:
        self.container.reload()
        of = 1 + len(self.children()) if self._all else 0
        return (of if self.container.status == "paused" else 0), of

    def disconnect(self) -> None:
        """The address stays the engine's choice: it takes a chosen one only in a network with a subnet of its own."""
        for network, names in self._joined().items():
            self._networks[network] = names
            leave = partial(self._engine.disconnect_container_from_network, self.container.id, network)
            self._ask("network disconnect", leave)

    def reconnect(self) -> None:
        joined = self._joined()
        for network, names in self._networks.items():
            if network not in joined:
                join = partial(self._engine.connect_container_to_network, self.container.id, network, aliases=names)
                self._ask("network connect", join)
        self._networks = {}

    def connected(self) -> bool:
        joined = self._joined()
        return bool(joined) and self._networks.keys() <= joined.keys()

    def _joined(self) -> dict[str, list[str]]:
        """The container's names in each network that it is in now."""
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"].values()
        return {n["NetworkID"]: [a for a in n["Aliases"] or () if a != self.container.short_id] for n in networks}

    @property
    def _engine(self) -> Any:
        return self.container.client.api

    def exhaust_memory(self, victim: int) -> None:
        if not self._zygote.exhaust_memory(victim):
            raise FaultError(f"{self.name}: the process that was to be killed is gone")

    def oom_kills(self) -> int:
        return self._zygote.oom_kills()

    def connections(self, host: str, port: int) -> list[Socket]:
        """Of its processes, to this address. Raises StackError while nobody in the container can be asked."""
        return self._zygote.connections(host, port)

    @property
    def _home(self) -> ContainerZygote:
        assert isinstance(self._zygote, ContainerZygote)
        return self._zygote

    def _ask(self, verb: str, call: Callable[[], object]) -> None:
        try:
            call()
        except APIError as error:
            raise FaultError(f"docker {verb} {self.container.name}: {error.explanation}") from error

    def how_it_ended(self) -> str:
        """The container's end if it has ended, else the process's."""
        ended = self._ended()
        return super().how_it_ended() if ended is None else f"container {ended}"

    def stop(self, grace_s: float) -> None:
        """Nothing more is started; the containers themselves are the stack's to remove."""
        with self._starting:
            self._stopped = True  # a heal that is still under way must not start it again
        for spawned in self._all:
            spawned.close()
        self._zygote.close()


def _connect(folder: Path, name: str, ended: Callable[[], str | None], tail: Callable[[], str]) -> socket.socket:
    """Connect to the zygote that listens in the folder as soon as it does."""
    # Through the folder's descriptor: the path of a case is longer than a socket's address may be.
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    until = time.monotonic() + READY_DEADLINE_S
    try:
        while True:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                channel.connect(f"/proc/self/fd/{fd}/{name}.sock")
                return channel
            except OSError as error:
                channel.close()
                if (how := ended()) is not None:
                    raise StackError(f"a worker's container {how} while starting: {tail()}") from error
                if time.monotonic() > until:
                    raise StackError(f"no worker answers in container {name} ({error}): {tail()}") from error
            time.sleep(0.02)
    finally:
        os.close(fd)
