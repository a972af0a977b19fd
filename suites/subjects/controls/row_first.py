"""A producer that writes down what it is going to send, and then sends it.

Bug: two steps, and nobody looks after who dies between them (0.15 s here, so that a kill comes then).
Exposed by: SIGKILL to a producer while it submits.
Symptom: a row says "queued" for ever, of a task that is in no queue.
Met by: rq #758 and frappe/press #3847 (a job's hash without its place in the queue, so that its id was taken for ever);
    celery-once and celery-singleton, which lock before they publish.
"""

from __future__ import annotations

import time

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails

BETWEEN_S = 0.15
#: ARGV: id, message.
PUT_WITH_ROW = f"redis.call('SET', 'row:' .. ARGV[1], 'queued')\n{scripts.PUT}"


class RowFirst(MiniQueue):
    """A row for each task, from its submit to its end."""

    name = "row_first"
    only_in = "submits.producer_killed"
    symptom = fails(Rule.LEAK)

    def put(self, task_id: str, message: str) -> None:
        """First the row, then the queue."""
        self.redis.set(f"row:{task_id}", "queued")
        time.sleep(BETWEEN_S)
        super().put(task_id, message)

    def done(self, token: int) -> None:
        """The row goes first: said again, the step finds the entry as long as there is a row."""
        if entry := self.entry(token):
            self.redis.delete(f"row:{entry['id']}")
        super().done(token)


class RowFirstMended(RowFirst):
    """Both in one step."""

    name = "row_first_mended"
    symptom = PASS

    def put(self, task_id: str, message: str) -> None:
        """The row and the entry."""
        self.hashed(PUT_WITH_ROW, task_id, message)
