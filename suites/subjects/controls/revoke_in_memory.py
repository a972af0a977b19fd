"""What is revoked is a word to those workers that are there.

Bug: a worker that starts does not read what was revoked before.
Exposed by: a worker that is killed and replaced while revoked tasks wait.
Symptom: they begin.
Met by: Celery's revoke, in the memory of workers unless they have a `--statedb` (celery #818); readthedocs/common #109.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.workload import Operation
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

REVOKED = "mini:revoked"


class RevokeInMemory(MiniQueue):
    """A list of what was revoked, of which each worker remembers what it has read before it takes an entry."""

    name = "revoke_in_memory"
    only_in = "revokes.kill"
    contract = MiniQueue.contract.claiming(Claim.REVOKE)
    symptom = fails(Rule.REVOKED)
    kept = (*MiniQueue.kept, REVOKED)

    def __init__(self) -> None:
        super().__init__()
        self._read: int | None = None
        self._revoked: set[str] = set()

    def revoke(self, app: Celery, operation: Operation, workers: int) -> None:
        """Whoever takes an entry from now on has read this before."""
        self.redis.rpush(REVOKED, operation.task_id)

    def begin(self) -> int:
        """From where on a worker reads."""
        return int(self.redis.llen(REVOKED))  # type: ignore[arg-type]

    def take(self) -> Job | None:
        """The next entry that was not revoked."""
        if self._read is None:
            self._read = self.begin()
        new: list[Any] = self.redis.lrange(REVOKED, self._read, -1)  # type: ignore[assignment]
        self._read += len(new)
        self._revoked.update(each.decode() for each in new)
        job = super().take()
        if job is None or job.id not in self._revoked:
            return job
        self.done(job.token)
        signals.task_revoked.send(sender=None, request=job)
        return None


class RevokeInMemoryMended(RevokeInMemory):
    """From the beginning."""

    name = "revoke_in_memory_mended"
    symptom = PASS

    def begin(self) -> int:
        return 0
