"""A task that kills its worker is delivered again without a limit.

Bug: crashes are not counted.
Exposed by: poison.
Symptom: it goes round for ever, and takes a process with it each time.
Met by: Celery's `task_reject_on_worker_lost`, OasisPlatform #975, secator #1284, dramatiq #213, Sidekiq #4594.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import MAX_CRASHES, PASS, MiniQueue, fails


class CrashLoop(MiniQueue):
    """Back to the queue, each time."""

    name = "crash_loop"
    only_in = "poison.task"
    symptom = fails(Rule.STUCK, Rule.RETRIES)
    max_crashes = 0


class CrashLoopMended(CrashLoop):
    """Five times, then a dead letter."""

    name = "crash_loop_mended"
    symptom = PASS
    max_crashes = MAX_CRASHES
