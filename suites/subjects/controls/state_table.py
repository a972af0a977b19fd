"""A table of task states in a hash beside the lock, written in two steps.

Bug: the lock frees itself, the row does not; nothing changes both.
Exposed by: SIGKILL between the first write and the last.
Symptom: a row says "running" for ever, and the task waits for somebody who is gone.
Met by: asynq #1144 and #1051, rq's `job.retry`, and the interview, which had no answer to how lock and table stay
    consistent.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock, lock

STATES = "states"


class StateTable(UnderLock):
    """The row decides."""

    name = "state_table"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.STUCK)

    def running(self, job: Job) -> bool:
        """Whether somebody is at work on it, as the table has it."""
        return self.redis.hget(STATES, job.id) == b"running"

    def acquire(self, job: Job) -> bool:
        """First the row, then the lock."""
        if self.running(job):
            return False
        self.redis.hset(STATES, job.id, "running")
        return super().acquire(job)

    def release(self, job: Job) -> bool:
        """First the lock, then the row."""
        ours = super().release(job)
        if ours:
            self.redis.hdel(STATES, job.id)
        return ours


class StateTableMended(StateTable):
    """The lock decides, which ends by itself; the row tells people."""

    name = "state_table_mended"
    symptom = PASS

    def running(self, job: Job) -> bool:
        """A row without its lock is what a killed worker left."""
        return super().running(job) and bool(self.redis.exists(lock(job)))
