"""The Redis of a stack of containers, as faults see it: one whose small disk can be filled."""

from __future__ import annotations

from typing import Any

from docker.errors import APIError
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from taskchaos.faults.base import FaultError

FILLER = "/data/filler"
PROBE = "taskchaos:probe"
#: More than fits into what the filler leaves of the last page.
_PROBE_BYTES = 8192


class RedisContainer:
    """A server as faults see it (`taskchaos.faults.base.Server`). Only for a container that has a disk of its own."""

    def __init__(self, name: str, container: Any, client: Redis) -> None:
        self.name = name
        self._container = container
        self._client = client

    def fill_disk(self) -> None:
        said = self._run(f"cat /dev/zero > {FILLER}")
        if "No space left" not in said:
            raise FaultError(f"the disk of {self.name} could not be filled: {said or 'it is larger than expected'}")

    def free_disk(self) -> None:
        if said := self._run(f"rm -f {FILLER}"):
            raise FaultError(f"{FILLER} of {self.name} could not be removed: {said}")

    def refuses_writes(self) -> str:
        try:
            self._client.set(PROBE, bytes(_PROBE_BYTES))
            self._client.delete(PROBE)
            status = self._client.info("persistence")["aof_last_write_status"]
        except ResponseError as error:
            return str(error)
        except RedisError as error:
            raise FaultError(f"{self.name} does not answer: {error}") from error
        return "" if status == "ok" else f"aof_last_write_status:{status}"

    def _run(self, script: str) -> str:
        """What a script prints in the container, as Redis's own user."""
        try:
            done = self._container.exec_run(["sh", "-c", script])
        except APIError as error:
            raise FaultError(f"docker exec in {self._container.name}: {error.explanation}") from error
        return " ".join(done.output.decode(errors="replace").split())
