"""The Redis of a stack of containers, as faults see it: killed, paused and started again through the Docker engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from docker.errors import APIError
from redis import Redis

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.faults.preload.page import ProcessPage
from taskchaos.harness.stack.redis_access import RedisAccess

FILLER = "/data/filler"
_START_DEADLINE_S = 10.0


class RedisContainer(RedisAccess):
    """A server as faults see it (`taskchaos.faults.base.Server`). Its disk can be filled if it is a small one.

    down_on_purpose: a fault has ended it.
    """

    def __init__(self, name: str, container: Any, client: Redis, *, small_disk: bool) -> None:
        self.name = name
        self._small_disk = small_disk
        self.client = client
        self.down_on_purpose = False
        self._container = container
        self._pid = int(self._state()["Pid"])
        self.remember()

    def page(self) -> ProcessPage:
        raise FaultError(f"{self.name} is in a container: nothing is loaded before its libc")

    @property
    def pid(self) -> int:
        return self._pid

    def running(self) -> bool:
        return bool(self._state()["Running"])

    def kill(self, *, forget: bool = False) -> None:
        if forget:  # nobody can be asked to when it has ended
            self._run("rm -rf /data/*")
        self.down_on_purpose = True
        self._ask("kill", self._container.kill)

    def terminate(self, grace_s: float) -> None:
        self.down_on_purpose = True
        self._ask("stop", lambda: self._container.stop(timeout=int(grace_s)))

    def start(self, *, load_delay_us: int = 0) -> None:
        if self.running():
            return
        if load_delay_us:
            raise FaultError(f"{self.name} is started with the options of its container: that needs --stack local")
        self._ask("start", self._container.start)
        if not wait_for(self.answers, _START_DEADLINE_S, every_s=0.05):
            raise FaultError(f"{self.name} does not answer {_START_DEADLINE_S:g} s after it was started again")
        self._pid = int(self._state()["Pid"])
        self.down_on_purpose = False

    def pause(self) -> None:
        self._ask("pause", self._container.pause)

    def resume(self) -> None:
        if self.paused():
            self._ask("unpause", self._container.unpause)

    def paused(self) -> bool:
        return bool(self._state()["Paused"])

    def fill_disk(self) -> None:
        if not self._small_disk:  # it would fill the engine's
            raise FaultError(f"{self.name} has no disk of its own to fill: run the case with redis_disk_mb")
        said = self._run(f"cat /dev/zero > {FILLER}")
        if "No space left" not in said:
            raise FaultError(f"the disk of {self.name} could not be filled: {said or 'it is larger than expected'}")

    def free_disk(self) -> None:
        if said := self._run(f"rm -f {FILLER}"):
            raise FaultError(f"{FILLER} of {self.name} could not be removed: {said}")

    def _state(self) -> Any:
        self._ask("inspect", self._container.reload)
        return self._container.attrs["State"]

    def _ask(self, verb: str, call: Callable[[], object]) -> None:
        try:
            call()
        except APIError as error:
            raise FaultError(f"docker {verb} {self._container.name}: {error.explanation}") from error

    def _run(self, script: str) -> str:
        """What a script prints in the container, as Redis's own user."""
        try:
            done = self._container.exec_run(["sh", "-c", script])
        except APIError as error:
            raise FaultError(f"docker exec in {self._container.name}: {error.explanation}") from error
        return " ".join(done.output.decode(errors="replace").split())
