"""A producer that logs what it could not send, and goes on.

Bug: the caller is told that the task was sent.
Exposed by: a producer that cannot reach Redis for a while.
Symptom: tasks that nobody has.
Met by: `except Exception: log` around `delay()`; socket time-outs of half a second with retries that are used up.
"""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class FireAndForget(MiniQueue):
    """Sent, as far as anybody is told."""

    name = "fire_and_forget"
    only_in = "partition.producer_refused"
    symptom = fails(Rule.LOST)

    def send(self, task_id: str, message: str) -> None:
        """A few times, then a line in the log."""
        try:
            super().send(task_id, message)
        except RedisError as error:
            logging.getLogger(__name__).warning("%s could not be sent: %s", task_id, error)


class FireAndForgetMended(FireAndForget):
    """The caller learns of it."""

    name = "fire_and_forget_mended"
    symptom = PASS
    send = MiniQueue.send
