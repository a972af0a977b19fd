"""A chord of one's own: the member that is counted last sends the body.

Bug: a member is counted when it begins.
Exposed by: members that fail once and are tried again.
Symptom: the body runs before what it is to sum up is there.
Met by: counters for a fan-in (INCR at the top of the task), or ones that count deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.harness.workload import Operation
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

CHORD = "mini:chord:"


class ChordByBegin(MiniQueue):
    """Members are counted in a set of each chord, so that one that comes again counts once."""

    name = "chord_by_begin"
    only_in = "chords.quiet"
    contract = MiniQueue.contract.claiming(Claim.ORDER)
    symptom = fails(Rule.ORDER)
    _task: Any = None

    def register(self, app: Any, body: TaskBody) -> Any:
        """The task, by which members send the body."""
        self._task = super().register(app, body)
        return self._task

    def submit_chord(self, task: Any, members: Sequence[Operation], body: Operation) -> None:
        """Each member knows how many there are, and what comes after them."""
        chord = {"size": len(members), "then": body.payload()}
        for member in members:
            task.apply_async(args=({**member.payload(), "chord": chord},), task_id=member.task_id)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Counted first."""
        self.count(job, payload)
        return super().work(job, body, payload)

    def count(self, job: Job, payload: Mapping[str, Any]) -> None:
        """One more; the last sends the body, which is queued once whoever sends it."""
        if chord := payload.get("chord"):
            then = f"op-{chord['then']['op']}"
            self.redis.sadd(CHORD + then, job.id)
            if self.redis.scard(CHORD + then) == chord["size"]:
                self._task.apply_async(args=(chord["then"],), task_id=then)

    def leftovers(self, redis: Redis) -> tuple[str, ...]:
        """The sets are kept."""
        return tuple(key for key in super().leftovers(redis) if not key.startswith(CHORD))


class ChordByBeginMended(ChordByBegin):
    """Counted when it is done."""

    name = "chord_by_begin_mended"
    symptom = PASS

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Counted last."""
        result = MiniQueue.work(self, job, body, payload)
        self.count(job, payload)
        return result
